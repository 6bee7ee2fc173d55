"""Perceptual path length: closed forms of linear generators, and torch-fidelity's formula."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import latents
from gan_jax.metrics.paths import perceptual_path_length

KEY = jax.random.key(0)
MATRIX = np.random.default_rng(0).normal(size=(5, 12))


def linear(z):
    return (z @ jnp.asarray(MATRIX, z.dtype)).reshape(len(z), 2, 2, 3)


def squared(a, b):
    """A stand-in for LPIPS, which is quadratic in small differences, too."""
    return jnp.square(a - b).reshape(len(a), -1).sum(1)


def ends(n):
    return jax.random.normal(jax.random.key(1), (2, n, 5))


@pytest.mark.parametrize('whole', [True, False])
@pytest.mark.parametrize('epsilon', [1e-4, 1e-2])
def test_straight_paths_have_the_speed_of_their_ends(whole, epsilon):
    """d(G(a + t (b - a)), G(a + (t + e) (b - a))) / e^2 = |(b - a) A|^2, whatever t."""
    with jax.enable_x64(True):
        start, end = (np.asarray(x, np.float64) for x in ends(37))
        found = perceptual_path_length(
            linear, squared, start, end, latents.lerp, KEY, epsilon=epsilon, whole=whole, discard=(0, 100), block=8
        )
        expected = np.square((end - start) @ MATRIX).sum(1)
        np.testing.assert_allclose(found.lengths, expected, rtol=1e-7)
        assert float(found.mean) == pytest.approx(expected.mean(), rel=1e-7)
        assert float(found.standard_error) == pytest.approx(expected.std(ddof=1) / 37**0.5, rel=1e-6)


def test_float32_keeps_three_digits():
    start, end = ends(300)
    found = perceptual_path_length(lambda z: z[:, :, None, None], squared, start, end, latents.lerp, KEY, discard=(0, 100))
    np.testing.assert_allclose(found.lengths, np.square(end - start).sum(1), rtol=2e-2)
    assert np.median(np.abs(found.lengths / np.square(end - start).sum(1) - 1)) < 2e-3


def test_arcs_between_orthogonal_latents():
    """Of length pi / 2 on the unit circle, at constant speed; G(z) = z."""
    start, end = np.tile([1.0, 0], (9, 1)), np.tile([0, 1.0], (9, 1))
    with jax.enable_x64(True):
        found = perceptual_path_length(lambda z: z[:, :, None, None], squared, start, end, latents.slerp, KEY)
        assert float(found.mean) == pytest.approx(np.pi**2 / 4, rel=1e-6)


def test_percentiles_are_those_of_torch_fidelity():
    """`np.percentile` with the lower and the higher neighbour, both ends kept."""
    scale = np.random.default_rng(0).exponential(size=250) ** 3
    with jax.enable_x64(True):
        start, end = np.zeros((250, 1)), np.sqrt(scale)[:, None]
        run = functools.partial(perceptual_path_length, lambda z: z[:, :, None, None], squared, start, end, latents.lerp, KEY)
        found, all_kept, narrow = run(), run(discard=(0, 100)), run(discard=(20, 50))
        for result, (low, high) in ((found, (1, 99)), (narrow, (20, 50))):
            lengths = np.asarray(result.lengths)
            a, b = np.percentile(lengths, low, method='lower'), np.percentile(lengths, high, method='higher')
            kept = lengths[(a <= lengths) & (lengths <= b)]
            assert len(kept) < 250 and float(result.mean) == pytest.approx(kept.mean(), rel=1e-9)
        assert float(all_kept.mean) == pytest.approx(scale.mean(), rel=1e-6)


@pytest.mark.parametrize('block', [1, 7, 100])
def test_blocks_change_nothing(block):
    start, end = ends(40)
    run = lambda size: perceptual_path_length(linear, squared, start, end, latents.slerp, KEY, block=size)
    np.testing.assert_allclose(run(block).mean, run(40).mean, rtol=1e-3)  # products of other sizes round differently, over 1e-8
    with jax.enable_x64(True):
        start, end = (np.asarray(x, np.float64) for x in (start, end))
        np.testing.assert_allclose(run(block).mean, run(40).mean, rtol=1e-6)


def test_bad_input():
    start, end = ends(4)
    for call, message in (
        (
            lambda: perceptual_path_length(linear, squared, start, end[:3], latents.lerp, KEY),
            r'one shape, got \(4, 5\) and \(3, 5\)',
        ),
        (lambda: perceptual_path_length(linear, squared, start, end, latents.lerp, KEY, epsilon=0), 'epsilon > 0'),
        (
            lambda: perceptual_path_length(linear, squared, start, end, latents.lerp, KEY, discard=(50, 50)),
            'percentiles in order',
        ),
        (lambda: perceptual_path_length(linear, lambda a, b: a - b, start, end, latents.lerp, KEY), 'one number per pair'),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_length_that_is_not_finite_is_not_discarded():
    start, end = jnp.zeros((250, 2)), jnp.ones((250, 2))
    broken = lambda z: jnp.where(z[:, :, None, None] < 0, jnp.nan, z[:, :, None, None])
    last = 3 * (jnp.arange(250) == 7)[:, None]  # whose images are NaN
    found = perceptual_path_length(broken, squared, start - last, end - last, latents.lerp, KEY)
    assert np.isnan(found.mean)
