"""What every game owes its users, whatever it plays: one line in GAMES and these tests cover it."""

import dataclasses
import functools
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gan_jax
from gan_jax import augmentations, codes, features, games, latents, networks, objectives, parallel, path_lengths, penalties, runs
from gan_jax.networks import layers
from gan_jax.runs.checkpoints import Checkpoints

DEVICES = 4
# SGD, because Adam over a zero gradient turns round-off into a difference of 1e-3.
OPTIMIZER = optax.sgd(0.02)


BATCH_WIDE = True
"""Whether the games have terms that look at a whole batch, such as batch norm; one test does without."""


def norm() -> str:
    return 'batch' if BATCH_WIDE else 'none'


class Case(NamedTuple):
    make: Callable[[], gan_jax.Game]
    """Of small networks without convolutions where it can be (those compile for long)."""
    batch: Callable[[jax.Array], Any]
    """`key -> batch` of 8 examples."""


def adversarial() -> gan_jax.Game:
    return games.adversarial(
        networks.MLP((6, 2), norm=norm()),
        networks.MLP((6, 1), squeeze=True, activation=jnp.tanh),
        objectives.non_saturating(),
        latent=latents.normal(3),
    )


def points(key: jax.Array) -> jax.Array:
    return jax.random.normal(key, (8, 2))


class Noisy(nn.Module):
    """A generator whose noise is dropout."""

    @nn.compact
    def __call__(self, x, *, train=True):
        x = layers.Dropout(0.5)(jnp.tanh(nn.Dense(6)(x)))
        return networks.MLP((6, 2), norm=norm())(x, train=train)


def paired_translation() -> gan_jax.Game:
    return games.paired_translation(
        Noisy(),
        networks.MLP((6, 1), squeeze=True, activation=jnp.tanh),
        penalties=[penalties.scheduled(penalties.r1(), every=2)],
        augmentation=augmentations.instance_noise(0.1),
    )


def input_and_target(key: jax.Array) -> dict[str, jax.Array]:
    x = jax.random.normal(key, (8, 3))
    return {'input': x, 'target': x[:, :2] ** 2}


def unpaired_translation() -> gan_jax.Game:
    # The pool of 3 is full within a step, and gives back more often than not.
    judge = networks.MLP((6, 1), squeeze=True, activation=jnp.tanh)
    back = networks.MLP((2,))
    noise = augmentations.instance_noise(0.1, updates=9)
    return games.unpaired_translation(Noisy(), back, judge, judge, pool_size=3 * BATCH_WIDE, augmentation=noise)


def two_sets(key: jax.Array) -> dict[str, jax.Array]:
    return {'a': points(key), 'b': 3 - points(jax.random.fold_in(key, 1))}


def multi_generator() -> gan_jax.Game:
    return games.multi_generator(
        networks.MLP((6, 6, 2), norm=norm()),
        networks.MLP((6, 4), activation=jnp.tanh),
        generators=3,
        latent=latents.normal(3),
        shared=('Dense_0', 'BatchNorm_0') if BATCH_WIDE else ('Dense_0',),
        penalties=[penalties.scheduled(penalties.r1()), penalties.r2()],
        augmentation=augmentations.instance_noise(0.1),
    )


class Labelled(nn.Module):
    """A generator of the latent joined to the label."""

    @nn.compact
    def __call__(self, z, label, *, train=True):
        return networks.MLP((6, 2))(jnp.concatenate([z, jax.nn.one_hot(label, 3)], -1))


def conditional() -> gan_jax.Game:
    return games.conditional(
        networks.MLP((6, 2), norm='batch', classes=3) if BATCH_WIDE else Labelled(),
        networks.ProjectionDiscriminator(networks.MLP((6, 1), squeeze=True, activation=jnp.tanh), 3),
        objectives.non_saturating(),
        latent=latents.normal(3),
    )


def labelled_points(key: jax.Array) -> dict[str, jax.Array]:
    return {'image': points(key), 'label': jnp.arange(8) % 3}


def semi_supervised() -> gan_jax.Game:
    return games.semi_supervised(
        networks.SemiSupervisedGenerator((2,), (6,)) if BATCH_WIDE else networks.MLP((6, 2)),
        networks.SemiSupervisedClassifier((5,), 3),
        objectives.minimax(),
        latent=latents.uniform(3, 0.0),
        feature_losses=[features.feature_matching()] if BATCH_WIDE else [],
    )


def few_labels(key: jax.Array) -> dict[str, Any]:
    return {'labelled': labelled_points(key), 'unlabelled': points(jax.random.fold_in(key, 1))}


class Level(nn.Module):
    """A generator or a discriminator of one level of a pyramid, fully connected and with dropout."""

    judges: bool = False

    @nn.compact
    def __call__(self, x, *low, train=True):
        if self.judges:
            x = layers.Dropout(0.5 if train else 0)((x + sum(low)).reshape(len(x), -1))
            return networks.MLP((6, 1), squeeze=True, activation=jnp.tanh)(x)
        shape = low[0].shape[1:] if low else (2, 2, 1)
        x = jnp.concatenate([x, *(image.reshape(len(x), -1) for image in low)], -1)
        normed = 'none' if low else norm()  # one of the levels has batch statistics, the other none
        return networks.MLP((6, math.prod(shape)), norm=normed)(x, train=train).reshape(-1, *shape)


def laplacian_pyramid() -> gan_jax.Game:
    return games.laplacian_pyramid(
        [Level()] * 2,
        [Level(judges=True)] * 2,
        objectives.non_saturating(),
        latent=[latents.uniform(16), latents.uniform(3)],
    )


def small_images(key: jax.Array) -> jax.Array:
    return jax.random.normal(key, (8, 4, 4, 1))


def product() -> gan_jax.Game:
    return games.product({'plain': adversarial(), 'told': conditional()})


def points_and_labelled(key: jax.Array) -> dict[str, Any]:
    return {'plain': points(key), 'told': labelled_points(jax.random.fold_in(key, 1))}


def text_to_image() -> gan_jax.Game:
    return games.text_to_image(
        Told(networks.MLP((6, 2), norm=norm())),
        ToldJudge(networks.MLP((6, 1), squeeze=True, activation=jnp.tanh)),
        objectives.non_saturating(),
        latent=latents.normal(3),
        interpolation_weight=1.0,
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
    texts = jax.nn.one_hot(labels, 3)
    others = {} if BATCH_WIDE else {'mismatched': jnp.roll(texts, 1, 1)}
    return {'image': points(key), 'text': texts, 'label': labels, **others}


def info_gan() -> gan_jax.Game:
    return games.info_gan(
        networks.MLP((6, 2), norm=norm()),
        networks.AuxiliaryDiscriminator(networks.MLP((6, 1), squeeze=True, activation=jnp.tanh), 5),
        objectives.non_saturating(),
        codes=[codes.categorical(3), codes.uniform(deviation=None, weight=0.5)],
        latent=latents.normal(2),
        augmentation=augmentations.instance_noise(0.1),
    )


class PairJudge(nn.Module):
    """A discriminator of points and their codes."""

    @nn.compact
    def __call__(self, x, code, *, train=True):
        return networks.MLP((6, 1), squeeze=True, activation=jnp.tanh)(jnp.concatenate([x, code], -1))


def bidirectional() -> gan_jax.Game:
    # The encoder is stochastic, as in ALI.
    return games.bidirectional(
        networks.MLP((6, 2), norm=norm()),
        Noisy(),
        PairJudge(),
        objectives.non_saturating(),
        latent=latents.normal(2),
        penalties=[penalties.scheduled(penalties.r1(), every=2)],
        augmentation=augmentations.instance_noise(0.1),
    )


class AtTimes(nn.Module):
    """A network of points joined to times."""

    network: nn.Module

    @nn.compact
    def __call__(self, x, *times, train=True):
        return self.network(jnp.concatenate([x, *(time[:, None] for time in times)], -1), train=train)


def adversarial_flow() -> gan_jax.Game:
    return games.adversarial_flow(
        AtTimes(networks.MLP((6, 2), norm=norm())),
        AtTimes(networks.MLP((6, 1), squeeze=True, activation=jnp.tanh)),
        latent=latents.normal(2),
        steps=3,
        penalties=[penalties.r1(), penalties.r2()],
    )


class Quantised(nn.Module):
    """A quantised autoencoder with noise, whose last layer is where `games.vqgan` looks for it."""

    @nn.compact
    def __call__(self, x, *, train=True):
        z, codes, loss = networks.VectorQuantizer(5)(Noisy()(x, train=train))
        return nn.Dense(2, name='last')(jnp.tanh(nn.Dense(6)(z))), codes, loss


def vqgan() -> gan_jax.Game:
    return games.vqgan(
        Quantised(),
        networks.MLP((6, 1), squeeze=True, activation=jnp.tanh),
        last_layer=('last',) if BATCH_WIDE else None,
        start=1,
        penalties=[penalties.r1()],
        augmentation=augmentations.instance_noise(0.1),
    )


def vae_gan() -> gan_jax.Game:
    return games.vae_gan(
        networks.MLP((6, 6), norm=norm()),
        networks.MLP((6, 2), norm=norm()),
        networks.MLP((6, 1), squeeze=True, activation=jnp.tanh),
        augmentation=augmentations.instance_noise(0.1),
    )


def adversarial_autoencoder() -> gan_jax.Game:
    return games.adversarial_autoencoder(
        networks.MLP((6, 3), norm=norm()),
        Noisy(),
        networks.MLP((6, 1), squeeze=True, activation=jnp.tanh),
        latent=latents.normal(3),
        penalties=[penalties.scheduled(penalties.r1(), every=2)],
    )


class StyledPoints(nn.Module):
    """A style-based generator of points, with noise."""

    layers: int = 3

    def setup(self):
        self.mapping, self.inner = networks.MLP((4, 4), norm=norm()), [nn.Dense(5) for _ in range(self.layers)]
        self.last, self.noise = nn.Dense(2), layers.Dropout(0.5)

    def styles(self, z, *, train=True):
        return self.mapping(z, train=train)

    def synthesise(self, w, *, train=True):
        w = jnp.broadcast_to(w[:, None] if w.ndim == 2 else w, (len(w), self.layers, 4))
        return self.last(self.noise(jnp.tanh(sum(layer(w[:, i]) for i, layer in enumerate(self.inner)))))

    def __call__(self, z, *, train=True):
        return self.synthesise(self.styles(z, train=train))


def style_based() -> gan_jax.Game:
    return games.style_based(
        StyledPoints(),
        networks.MLP((6, 1), squeeze=True, activation=jnp.tanh),
        objectives.non_saturating(),
        latent=latents.normal(3),
        path_regularization=path_lengths.path_length(every=2),
        augmentation=augmentations.instance_noise(0.1),
    )


GAMES: dict[str, Case] = {
    'adversarial': Case(adversarial, points),
    'info_gan': Case(info_gan, points),
    'bidirectional': Case(bidirectional, points),
    'adversarial_flow': Case(adversarial_flow, points),
    'conditional': Case(conditional, labelled_points),
    'semi_supervised': Case(semi_supervised, few_labels),
    'laplacian_pyramid': Case(laplacian_pyramid, small_images),
    'product': Case(product, points_and_labelled),
    'multi_generator': Case(multi_generator, points),
    'paired_translation': Case(paired_translation, input_and_target),
    'unpaired_translation': Case(unpaired_translation, two_sets),
    'text_to_image': Case(text_to_image, captioned_points),
    'vqgan': Case(vqgan, points),
    'vae_gan': Case(vae_gan, points),
    'style_based': Case(style_based, points),
    'adversarial_autoencoder': Case(adversarial_autoencoder, points),
}


@dataclasses.dataclass(frozen=True)
class Config(runs.Options):
    pass


def prepare(case: Case, unroll_steps: int = 2):
    game = case.make()
    step = gan_jax.make_train_step(game, OPTIMIZER, OPTIMIZER, unroll_steps=unroll_steps)
    return gan_jax.init(game, OPTIMIZER, OPTIMIZER, case.batch(jax.random.key(1)), jax.random.key(0)), step


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


@pytest.mark.parametrize('name', GAMES)
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


FELT = {'vqgan': 2}
"""The step in which a generator first feels a discriminator that starts later."""


@pytest.mark.parametrize('name', GAMES)
def test_unrolling_looks_into_the_future(name):
    case = GAMES[name]
    after = []
    for unroll_steps in (0, 2):
        state, step = compiled(name, unroll_steps)
        for batch in batches(case, FELT.get(name, 1)):
            state, _ = step(state, batch)
        after.append(state)
    same = lambda player: [  # two programs may round differently
        np.allclose(a, b, rtol=0, atol=1e-6)
        for a, b in zip(*(jax.tree.leaves(getattr(s, player).params) for s in after), strict=True)
    ]
    assert all(same('discriminator')) and not all(same('generator'))


@pytest.mark.parametrize('name', GAMES)
def test_four_devices_are_one(name):
    # Under vmap every replica is visible: one that drifts apart shows here, and only here.
    case = GAMES[name]
    state, step = compiled(name, 2)
    many = jax.jit(jax.vmap(step, axis_name=parallel.AXIS))
    states = jax.tree.map(lambda x: jnp.stack([x] * DEVICES), state)
    for batch in batches(case, 2):
        state, metrics = step(state, batch)
        states, found = many(states, split(batch))
    for row in range(DEVICES):
        assert_equal_states(jax.tree.map(lambda x, row=row: x[row], states), state)
    for key in metrics:
        np.testing.assert_allclose(found[key][0], metrics[key], rtol=1e-4, atol=1e-5)


def split(batch: Any) -> Any:
    """The devices' shares of a batch."""
    return jax.tree.map(lambda x: x.reshape(DEVICES, -1, *x.shape[1:]), batch)


def assert_equal_states(a: Any, b: Any) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            np.testing.assert_allclose(numbers(x), numbers(y), atol=2e-6)


PMAPPED = ('adversarial', 'semi_supervised', 'multi_generator', 'unpaired_translation')
"""Always run; the others run what `shard_map` below compiles for every game."""


@pytest.mark.parametrize('name', [pytest.param(name, marks=[pytest.mark.slow] * (name not in PMAPPED)) for name in GAMES])
def test_pmap_runs_it(name):
    case = GAMES[name]
    state, step = compiled(name, 0)
    run = parallel.pmap(prepare(case, 0)[1], devices=jax.devices()[:DEVICES])
    batch = batches(case, 1)[0]
    assert_equal_states(step(state, batch)[0], run(jax.tree.map(jnp.copy, state), batch)[0])  # it donates


ALL_REDUCES = {'semi_supervised': 4, 'vqgan': 3, 'vae_gan': 3}
"""Feature losses have some, and so has an adaptive weight."""


@pytest.mark.parametrize('name', GAMES)
def test_shard_map_runs_it_with_one_all_reduce_for_each_player_update(name):
    case = GAMES[name]
    state, step = compiled(name, 0)
    mesh, spec = jax.sharding.Mesh(np.array(jax.devices()[:DEVICES]), (parallel.AXIS,)), jax.sharding.PartitionSpec
    mapped = jax.shard_map(
        prepare(case, 0)[1], mesh=mesh, in_specs=(spec(), spec(parallel.AXIS)), out_specs=spec(), check_vma=False
    )
    batch = batches(case, 1)[0]
    run = jax.jit(mapped).lower(state, batch).compile()
    everywhere = jax.sharding.NamedSharding(mesh, spec())
    rows = jax.device_put(batch, jax.sharding.NamedSharding(mesh, spec(parallel.AXIS)))
    assert_equal_states(step(state, batch)[0], run(jax.device_put(state, everywhere), rows)[0])
    assert len(re.findall(r' all-reduce(?:-start)?\(', run.as_text())) == ALL_REDUCES.get(name, 2)


@pytest.mark.parametrize('name', GAMES)
def test_accumulated_gradients_are_those_of_the_whole_batch(name, monkeypatch):
    """For games without terms that look at a whole batch, such as batch norm."""
    monkeypatch.setitem(globals(), 'BATCH_WIDE', False)
    case = GAMES[name]
    game, batch = case.make(), batches(case, 1)[0]
    state = gan_jax.init(game, OPTIMIZER, OPTIMIZER, batch, jax.random.key(0))
    steps = [gan_jax.make_train_step(game, OPTIMIZER, OPTIMIZER, accumulate=n, simultaneous=True) for n in (1, 2)]
    (whole, expected), (parts, found) = jax.jit(lambda state: [step(state, batch) for step in steps])(state)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            np.testing.assert_allclose(a, b, atol=1e-6)
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('name', GAMES)
def test_devices_draw_their_share_of_the_samples(name):
    case = GAMES[name]
    state, _ = compiled(name, 0)
    draw = lambda batch: gan_jax.sample(case.make(), state, batch, jax.random.key(5))
    batch = batches(case, 1)[0]
    found = jax.jit(jax.vmap(draw, axis_name=parallel.AXIS, out_axes=int(name == 'multi_generator')))(split(batch))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(jax.jit(draw)(batch)), strict=True):
        np.testing.assert_allclose(a.reshape(b.shape), b, atol=1e-6)


@pytest.mark.parametrize('name', GAMES)
def test_devices_initialise_alike(name):
    case = GAMES[name]
    batch = batches(case, 1)[0]
    init = lambda batch: case.make().init(batch, jax.random.key(0))
    expected, found = init(batch), jax.jit(jax.vmap(init, axis_name=parallel.AXIS))(split(batch))
    for row in range(DEVICES):
        assert_equal_states(expected, jax.tree.map(lambda x, row=row: x[row], found))


@pytest.mark.parametrize('unroll_steps', [0, 2])
@pytest.mark.parametrize('name', GAMES)
def test_lowers_for_gpus_and_tpus(name, unroll_steps):
    # From a machine that has neither.
    case = GAMES[name]
    state, step = prepare(case, unroll_steps)
    exported = jax.export.export(jax.jit(step), platforms=['cuda', 'tpu'])(state, batches(case, 1)[0])
    assert exported.platforms == ('cuda', 'tpu')


NOTHING: Any = None
LATENT = {'latent': latents.normal(2)}
BUILT = {
    'adversarial': lambda **more: games.adversarial(NOTHING, NOTHING, objectives.minimax(), **LATENT, **more),
    'adversarial_autoencoder': lambda **more: games.adversarial_autoencoder(NOTHING, NOTHING, NOTHING, **LATENT, **more),
    'adversarial_flow': lambda **more: games.adversarial_flow(NOTHING, NOTHING, **LATENT, **more),
    'bidirectional': lambda **more: games.bidirectional(NOTHING, NOTHING, NOTHING, objectives.minimax(), **LATENT, **more),
    'conditional': lambda **more: games.conditional(NOTHING, NOTHING, objectives.minimax(), **LATENT, **more),
    'info_gan': lambda **more: games.info_gan(
        NOTHING, NOTHING, objectives.minimax(), codes=[codes.categorical(3)], **LATENT, **more
    ),
    'laplacian_pyramid': lambda **more: games.laplacian_pyramid(
        [NOTHING], [NOTHING], objectives.minimax(), latent=[NOTHING], **more
    ),
    'multi_generator': lambda **more: games.multi_generator(NOTHING, NOTHING, generators=2, **LATENT, **more),
    'paired_translation': lambda **more: games.paired_translation(NOTHING, NOTHING, **more),
    'semi_supervised': lambda **more: games.semi_supervised(NOTHING, NOTHING, objectives.minimax(), **LATENT, **more),
    'style_based': lambda **more: games.style_based(NOTHING, NOTHING, objectives.minimax(), **LATENT, **more),
    'text_to_image': lambda **more: games.text_to_image(NOTHING, NOTHING, objectives.minimax(), **LATENT, **more),
    'unpaired_translation': lambda **more: games.unpaired_translation(NOTHING, NOTHING, NOTHING, NOTHING, **more),
    'vae_gan': lambda **more: games.vae_gan(NOTHING, NOTHING, NOTHING, **more),
    'vqgan': lambda **more: games.vqgan(NOTHING, NOTHING, **more),
}


@pytest.mark.parametrize('name', [name for name in games.__all__ if name != 'product'])
def test_a_keyword_that_no_game_has_is_refused(name):
    """Though games pass their options on."""
    BUILT[name]()
    for keyword in ('logit', 'join', 'moves_latents', 'penaltys', 'undecided'):
        with pytest.raises(TypeError, match=keyword):
            BUILT[name](**{keyword: None})


def test_feature_losses_are_of_float32_features():
    class Half(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=True, features_too=False):
            hidden = nn.Dense(4, dtype=jnp.bfloat16)(x)
            logits = nn.Dense(1)(hidden.astype(jnp.float32))[:, 0]
            return (logits, [hidden]) if features_too else logits

    options = {'latent': latents.normal(2), 'feature_losses': [features.FEATURES['feature_matching_l1'](1.0)]}
    game = games.adversarial(networks.MLP((2,)), Half(), objectives.non_saturating(), **options)
    batch = 100 + jax.random.normal(jax.random.key(0), (64, 2))
    generator, discriminator = game.init(batch, jax.random.key(1))
    fake, _ = game.play(generator, batch, jax.random.key(2))
    _, metrics = game.generator_loss(discriminator, fake, batch, jax.random.key(3))
    _, (real,) = Half().apply(discriminator, batch, features_too=True)
    _, (made,) = Half().apply(discriminator, fake, features_too=True)
    expected = np.abs(np.asarray(real, np.float64).mean(0) - np.asarray(made, np.float64).mean(0)).mean()
    assert metrics['feature_loss'].dtype == jnp.float32
    assert metrics['feature_loss'] == pytest.approx(expected, rel=1e-5)
