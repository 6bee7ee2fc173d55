"""What every game owes its users, whatever it plays: one line in GAMES and these tests cover it."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gan_jax
from gan_jax import features, games, latents, networks, objectives, parallel, penalties, runs
from gan_jax.networks import layers
from gan_jax.runs.checkpoints import Checkpoints

DEVICES = 4
# SGD, because Adam over a zero gradient turns round-off into a difference of 1e-3.
OPTIMIZER = optax.sgd(0.02)


class Case(NamedTuple):
    make: Callable[[str | None], gan_jax.Game]
    """`axis_name -> game`, of small networks without convolutions where it can be (those compile for long)."""
    batch: Callable[[jax.Array], Any]
    """`key -> batch` of 8 examples."""


def adversarial(axis_name: str | None) -> gan_jax.Game:
    return games.adversarial(
        networks.MLP((6, 2), norm='batch', axis_name=axis_name),
        networks.MLP((6, 1), squeeze=True, activation=jnp.tanh),
        objectives.non_saturating(),
        latent=latents.normal(3),
        axis_name=axis_name,
    )


def points(key: jax.Array) -> jax.Array:
    return jax.random.normal(key, (8, 2))


class Noisy(nn.Module):
    """A generator whose noise is dropout."""

    axis_name: str | None

    @nn.compact
    def __call__(self, x, *, train=True):
        x = layers.Dropout(0.5, self.axis_name if train else None)(jnp.tanh(nn.Dense(6)(x)))
        return networks.MLP((6, 2), norm='batch', axis_name=self.axis_name)(x, train=train)


def paired_translation(axis_name: str | None) -> gan_jax.Game:
    return games.paired_translation(Noisy(axis_name), networks.MLP((6, 1), squeeze=True, activation=jnp.tanh))


def input_and_target(key: jax.Array) -> dict[str, jax.Array]:
    x = jax.random.normal(key, (8, 3))
    return {'input': x, 'target': x[:, :2] ** 2}


def unpaired_translation(axis_name: str | None) -> gan_jax.Game:
    # The pool of 3 is full within a step, and gives back more often than not.
    judge = networks.MLP((6, 1), squeeze=True, activation=jnp.tanh)
    back = networks.MLP((2,))
    return games.unpaired_translation(Noisy(axis_name), back, judge, judge, pool_size=3, axis_name=axis_name)


def two_sets(key: jax.Array) -> dict[str, jax.Array]:
    return {'a': points(key), 'b': 3 - points(jax.random.fold_in(key, 1))}


def multi_generator(axis_name: str | None) -> gan_jax.Game:
    return games.multi_generator(
        networks.MLP((6, 6, 2), norm='batch', axis_name=axis_name),
        networks.MLP((6, 4), activation=jnp.tanh),
        generators=3,
        latent=latents.normal(3),
        shared=('Dense_0', 'BatchNorm_0'),
        penalties=[penalties.scheduled(penalties.r1()), penalties.r2()],
        axis_name=axis_name,
    )


def conditional(axis_name: str | None) -> gan_jax.Game:
    return games.conditional(
        networks.MLP((6, 2), norm='batch', classes=3, axis_name=axis_name),
        networks.ProjectionDiscriminator(networks.MLP((6, 1), squeeze=True, activation=jnp.tanh), 3),
        objectives.non_saturating(),
        latent=latents.normal(3),
        axis_name=axis_name,
    )


def labelled_points(key: jax.Array) -> dict[str, jax.Array]:
    return {'image': points(key), 'label': jnp.arange(8) % 3}


def semi_supervised(axis_name: str | None) -> gan_jax.Game:
    return games.semi_supervised(
        networks.SemiSupervisedGenerator((2,), (6,), axis_name),
        networks.SemiSupervisedClassifier((5,), 3, axis_name=axis_name),
        objectives.minimax(),
        latent=latents.uniform(3, 0.0),
        feature_losses=[features.feature_matching(axis_name=axis_name)],
        axis_name=axis_name,
    )


def few_labels(key: jax.Array) -> dict[str, Any]:
    return {'labelled': labelled_points(key), 'unlabelled': points(jax.random.fold_in(key, 1))}


class Level(nn.Module):
    """A generator or a discriminator of one level of a pyramid, fully connected and with dropout."""

    axis_name: str | None
    judges: bool = False

    @nn.compact
    def __call__(self, x, *low, train=True):
        if self.judges:
            x = layers.Dropout(0.5 if train else 0, self.axis_name)((x + sum(low)).reshape(len(x), -1))
            return networks.MLP((6, 1), squeeze=True, activation=jnp.tanh)(x)
        shape = low[0].shape[1:] if low else (2, 2, 1)
        x = jnp.concatenate([x, *(image.reshape(len(x), -1) for image in low)], -1)
        norm = 'none' if low else 'batch'  # one of the levels has batch statistics, the other none
        return networks.MLP((6, math.prod(shape)), norm=norm, axis_name=self.axis_name)(x, train=train).reshape(-1, *shape)


def laplacian_pyramid(axis_name: str | None) -> gan_jax.Game:
    return games.laplacian_pyramid(
        [Level(axis_name)] * 2,
        [Level(axis_name, judges=True)] * 2,
        objectives.non_saturating(),
        latent=[latents.uniform(16), latents.uniform(3)],
        axis_name=axis_name,
    )


def small_images(key: jax.Array) -> jax.Array:
    return jax.random.normal(key, (8, 4, 4, 1))


def product(axis_name: str | None) -> gan_jax.Game:
    return games.product({'plain': adversarial(axis_name), 'told': conditional(axis_name)})


def points_and_labelled(key: jax.Array) -> dict[str, Any]:
    return {'plain': points(key), 'told': labelled_points(jax.random.fold_in(key, 1))}


def text_to_image(axis_name: str | None) -> gan_jax.Game:
    return games.text_to_image(
        Told(networks.MLP((6, 2), norm='batch', axis_name=axis_name)),
        ToldJudge(networks.MLP((6, 1), squeeze=True, activation=jnp.tanh)),
        objectives.non_saturating(),
        latent=latents.normal(3),
        interpolation_weight=1.0,
        axis_name=axis_name,
    )


class Told(nn.Module):
    """A generator of the latent joined to the text."""

    network: nn.Module

    @nn.compact
    def __call__(self, z, text, *, train=True):
        return self.network(jnp.concatenate([z, text], -1), train=train)


class ToldJudge(nn.Module):
    """A discriminator of the example joined to each of the texts."""

    network: nn.Module

    @nn.compact
    def __call__(self, x, *texts, train=True):
        return jnp.stack([self.network(jnp.concatenate([x, text], -1), train=train) for text in texts], -1)


def captioned_points(key: jax.Array) -> dict[str, jax.Array]:
    labels = jnp.arange(8) // 3  # neighbours of one label, whose texts are passed over
    return {'image': points(key), 'text': jax.nn.one_hot(labels, 3), 'label': labels}


GAMES: dict[str, Case] = {
    'adversarial': Case(adversarial, points),
    'conditional': Case(conditional, labelled_points),
    'semi_supervised': Case(semi_supervised, few_labels),
    'laplacian_pyramid': Case(laplacian_pyramid, small_images),
    'product': Case(product, points_and_labelled),
    'multi_generator': Case(multi_generator, points),
    'paired_translation': Case(paired_translation, input_and_target),
    'unpaired_translation': Case(unpaired_translation, two_sets),
    'text_to_image': Case(text_to_image, captioned_points),
}


NAMES = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in GAMES]  # one process has a game's programs


@dataclasses.dataclass(frozen=True)
class Config(runs.Options):
    pass


def prepare(case: Case, unroll_steps: int = 2, axis_name: str | None = None):
    game = case.make(axis_name)
    step = gan_jax.make_train_step(game, OPTIMIZER, OPTIMIZER, unroll_steps=unroll_steps, axis_name=axis_name)
    return gan_jax.init(case.make(None), OPTIMIZER, OPTIMIZER, case.batch(jax.random.key(1)), jax.random.key(0)), step


@functools.cache
def compiled(name: str, unroll_steps: int):
    """The first state, and the compiled step; most of the time goes into these."""
    state, step = prepare(GAMES[name], unroll_steps)
    return state, jax.jit(step)


def batches(case: Case, count: int):
    return [case.batch(key) for key in jax.random.split(jax.random.key(2), count)]


def numbers(x: jax.Array) -> np.ndarray:
    """An image pool holds the bits of its images, in which a rounding error can be large."""
    x = np.asarray(x)
    return x.view(np.float32) if x.dtype == np.uint32 else x


def test_every_game_is_here():
    assert set(games.__all__) <= set(GAMES)


@pytest.mark.parametrize('name', NAMES)
def test_trains_unrolled_in_one_program_and_resumes_bit_for_bit(name, tmp_path):
    case = GAMES[name]
    first, step = compiled(name, 2)
    state, middle = first, None
    for i, batch in enumerate(batches(case, 4)):
        state, metrics = step(state, batch)
        middle = state if i == 1 else middle
    assert step._cache_size() == 1
    assert all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves((state.generator, state.discriminator, metrics)))
    for player in ('generator', 'discriminator'):
        before, after = (jax.tree.leaves(getattr(s, player).params) for s in (first, state))
        assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True)), f'the {player} has not learned'

    with Checkpoints(tmp_path) as saved:
        saved.save(2, middle)
    with Checkpoints(tmp_path) as saved:
        resumed = saved.restore(first)
    for batch in batches(case, 4)[2:]:
        resumed, _ = step(resumed, batch)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(resumed), strict=True):
        a, b = (jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in (a, b))
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize('name', NAMES)
def test_unrolling_looks_into_the_future(name):
    case = GAMES[name]
    after = []
    for unroll_steps in (0, 2):
        state, step = compiled(name, unroll_steps)
        after.append(step(state, batches(case, 1)[0])[0])
    same = lambda player: [  # two programs may round differently
        np.allclose(a, b, rtol=0, atol=1e-6)
        for a, b in zip(*(jax.tree.leaves(getattr(s, player).params) for s in after), strict=True)
    ]
    assert all(same('discriminator')) and not all(same('generator'))


@pytest.mark.parametrize('name', NAMES)
def test_four_devices_are_one(name):
    # Under vmap every replica is visible: one that drifts apart shows here, and only here.
    case = GAMES[name]
    state, step = compiled(name, 2)
    many = jax.jit(jax.vmap(prepare(case, 2, parallel.AXIS)[1], axis_name=parallel.AXIS))
    states = jax.tree.map(lambda x: jnp.stack([x] * DEVICES), state)
    for batch in batches(case, 2):
        state, metrics = step(state, batch)
        states, found = many(states, jax.tree.map(lambda x: x.reshape(DEVICES, -1, *x.shape[1:]), batch))
    for row in range(DEVICES):
        for a, b in zip(jax.tree.leaves(states), jax.tree.leaves(state), strict=True):
            if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
                np.testing.assert_allclose(numbers(a[row]), numbers(b), atol=2e-6)
    for key in metrics:
        np.testing.assert_allclose(found[key][0], metrics[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', NAMES)
def test_pmap_runs_it(name):
    case = GAMES[name]
    state, step = compiled(name, 0)
    run = parallel.pmap(prepare(case, 0, parallel.AXIS)[1], devices=jax.devices()[:DEVICES])
    batch = batches(case, 1)[0]
    expected, _ = step(state, batch)
    found, _ = run(state, batch)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            np.testing.assert_allclose(numbers(a), numbers(b), atol=2e-6)


@pytest.mark.parametrize('unroll_steps', [0, 2])
@pytest.mark.parametrize('name', NAMES)
def test_lowers_for_gpus_and_tpus(name, unroll_steps):
    # From a machine that has neither.
    case = GAMES[name]
    state, step = prepare(case, unroll_steps)
    exported = jax.export.export(jax.jit(step), platforms=['cuda', 'tpu'])(state, batches(case, 1)[0])
    assert exported.platforms == ('cuda', 'tpu')
