"""What every experiment's runs can do, checked of one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.runs import seeds


def numbers(tree) -> list[np.ndarray]:
    """The arrays of a state; bits, of keys and of what an image pool holds, as floats."""
    is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    arrays = [np.asarray(jax.random.key_data(x) if is_key(x) else x) for x in jax.tree.leaves(tree)]
    return [x.view(np.float32) if x.dtype == np.uint32 else x for x in arrays]


def check_seeds(train, config, atol=2e-5):
    """Of two seeds 2 + 2 steps are 4, bit for bit, and the second is the run of that seed alone.

    `train(config) -> runs.Trained`. Batches of one seed are split over the devices, so that sums are taken in another order.
    """
    options = lambda name, **changes: dataclasses.replace(config, name=name, **changes)
    whole = train(options('whole', seeds=2, steps=4))
    half = train(options('parts', seeds=2, steps=2))
    parts = train(options('parts', seeds=2, steps=4, resume=True))
    for a, b in zip(numbers(whole.state), numbers(parts.state), strict=True):
        np.testing.assert_array_equal(a, b)
    alone = train(options('alone', seed=config.seed + 1, seeds=1, steps=2))
    first, second = (numbers(seeds.row(half.state, number)) for number in (0, 1))
    for a, b in zip(second, numbers(alone.state), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=atol)
    assert any(not np.allclose(a, b, atol=1e-3) for a, b in zip(first, second, strict=True))
