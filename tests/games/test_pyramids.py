"""Laplacian pyramids, LAPGAN's networks and cascade, and games side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import gan_jax
from experiments.lapgan import __main__ as lapgan
from experiments.lapgan import report
from gan_jax import data, games, latents, networks, objectives, pyramids, runs
from gan_jax.errors import InputError


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize(('shape', 'halvings'), [((2, 32, 32, 3), 3), ((3, 28, 12, 1), 2), ((2, 6, 6, 2), 0)])
def test_reconstruction_is_exact(shape, halvings):
    images = normal(0, *shape)
    pyramid = jax.jit(lambda x: pyramids.build(x, halvings))(images)
    assert [h.shape[1] for h in pyramid] == [shape[1] >> k for k in range(halvings + 1)]
    np.testing.assert_allclose(pyramids.reconstruct(pyramid), images, atol=1e-6)


def test_up_and_down_are_the_filters_they_say():
    # One row of numbers, by hand: away from the edges (1, 3, 3, 1) / 8 on the way down, 3/4 and 1/4 on the way up.
    x = np.random.default_rng(0).normal(size=16)
    image = jnp.asarray(np.broadcast_to(x[None, :, None], (16, 16, 1)), jnp.float32)
    weights = np.array([1, 3, 3, 1]) / 8
    expected = [weights @ x[2 * i - 1 : 2 * i + 3] for i in range(1, 7)]
    found = pyramids.down(image)
    np.testing.assert_allclose(found[4, 1:7, 0], expected, atol=1e-6)
    np.testing.assert_allclose(found[4, 0, 0], np.array([3, 3, 1]) / 7 @ x[:3], atol=1e-6)  # renormalised at the edge
    grown = np.asarray(pyramids.up(image))[7, :, 0]
    np.testing.assert_allclose(grown[2:-1:2], 0.75 * x[1:] + 0.25 * x[:-1], atol=1e-6)
    np.testing.assert_allclose(grown[1:-1:2], 0.75 * x[:-1] + 0.25 * x[1:], atol=1e-6)
    np.testing.assert_allclose(grown[[0, -1]], x[[0, -1]], atol=1e-6)


def test_a_constant_is_all_in_the_coarsest_image_and_nothing_is_shifted():
    *highs, low = pyramids.build(jnp.full((1, 16, 16, 1), 0.7), 2)
    assert max(float(jnp.abs(high).max()) for high in highs) < 1e-6
    np.testing.assert_allclose(low, 0.7, rtol=1e-6)
    image = normal(1, 1, 16, 16, 1)
    for a, b in zip(pyramids.build(image[:, :, ::-1], 2), pyramids.build(image, 2), strict=True):
        np.testing.assert_allclose(a, b[:, :, ::-1], atol=1e-6)


def test_a_size_that_cannot_be_halved_is_refused():
    with pytest.raises(InputError, match=r'images of 28 x 28 cannot be halved 3 times; the possible sizes are 28, 14, 7$'):
        pyramids.check_size(28, 3)
    with pytest.raises(InputError, match='images of 7 x 7 cannot be halved 1 times'):
        pyramids.build(jnp.zeros((1, 28, 28, 1)), 3)


def small_pyramid(**options):
    return games.laplacian_pyramid(
        [networks.LevelGenerator(3, (3, 3, 3)), networks.MLPGenerator((4, 4, 1), (5,))],
        [networks.LevelDiscriminator(3, 3, dropout=0.0), networks.CoarsestDiscriminator((5, 5))],
        objectives.non_saturating(),
        latent=[latents.uniform(64), latents.uniform(3)],
        **options,
    )


@pytest.fixture(scope='module')
def level_variables():
    return jax.jit(small_pyramid().init)(jnp.zeros((1, 8, 8, 1)), jax.random.key(0))


def test_the_cascade(level_variables):
    game, (generators, _) = small_pyramid(), level_variables
    play = jax.jit(lambda variables, key: game.play(variables, jnp.zeros(6), key, train=False)[0])
    fine, coarse = play(generators, jax.random.key(1))
    assert fine.shape == (6, 8, 8, 1) and coarse.shape == (6, 4, 4, 1)
    # By hand: the level's generator sees the enlarged coarse image, and its answer is added to it.
    level = {'params': generators['params']['level_0']}
    low = pyramids.up(coarse)
    high = networks.LevelGenerator(3, (3, 3, 3)).apply(level, drawn(jax.random.key(1), 64, 6), low)
    np.testing.assert_allclose(fine, low + high, atol=1e-6)
    assert float(jnp.abs(high).max()) > 0.01
    # Card 3: with G_k = 0 the sample is the coarsest image, enlarged.
    silent = {'params': {**generators['params'], 'level_0': jax.tree.map(jnp.zeros_like, level['params'])}}
    fine, coarse = play(silent, jax.random.key(1))
    np.testing.assert_array_equal(fine, pyramids.up(coarse))


def drawn(key, size, count):
    """The latents of level 0: a product splits its key, and each example has its own."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.split(key)[0], jnp.arange(count))
    return jax.vmap(latents.uniform(size))(keys)


def test_a_level_learns_from_real_pairs(level_variables):
    game, (generators, discriminators) = small_pyramid(), level_variables
    images, key = normal(2, 4, 8, 8, 1), jax.random.key(3)
    play, _ = jax.jit(game.play)(generators, images, key)
    level = {'params': generators['params']['level_0']}
    high = networks.LevelGenerator(3, (3, 3, 3)).apply(level, drawn(key, 64, 4), pyramids.low_pass(images))
    np.testing.assert_allclose(play['level_0'], high, atol=1e-6)
    # The discriminator sees whole images: the real one, and the generated one on the same low-pass image.
    _, (_, metrics) = jax.jit(game.discriminator_loss)(discriminators, play, images, key)
    network, judge = networks.LevelDiscriminator(3, 3), {'params': discriminators['params']['level_0']}
    for name, x in (('real', images), ('fake', pyramids.low_pass(images) + high)):
        expected = network.apply(judge, x, 0 * x, train=False).mean()
        np.testing.assert_allclose(metrics[f'level_0_{name}_logit'], expected, rtol=1e-4, atol=1e-6)


def test_the_discriminator_sees_the_sum_alone(level_variables):
    # Card 3: gradients in the high-pass and in the low-pass image are equal.
    network, variables = networks.LevelDiscriminator(3, 3), {'params': level_variables[1]['params']['level_0']}
    judge = jax.jit(lambda high, low: network.apply(variables, high, low, train=False).sum())
    high, low = normal(4, 2, 2, 8, 8, 1)
    by_high, by_low = jax.grad(judge, (0, 1))(high, low)
    assert float(jnp.abs(by_high).max()) > 0
    np.testing.assert_array_equal(by_high, by_low)
    np.testing.assert_allclose(judge(high, low), judge(low, high), rtol=1e-6)


def test_what_a_pyramid_cannot_have_is_refused():
    with pytest.raises(ValueError, match='an augmentation would change the high-pass images'):
        small_pyramid(augmentation=gan_jax.augmentations.diff_augment())
    with pytest.raises(ValueError, match='got 1 generators, 0 discriminators and 1 latents'):
        games.laplacian_pyramid([networks.MLP((1,))], [], objectives.hinge(), latent=[latents.normal(1)])
    with pytest.raises(InputError, match='cannot be halved'):
        small_pyramid().init(jnp.zeros((1, 7, 7, 1)), jax.random.key(0))
    with pytest.raises(ValueError, match='at least one game'):
        games.product({})


def test_games_of_a_product_learn_as_they_would_alone():
    def one(width, objective):
        judge = networks.CoarsestDiscriminator((width,))  # whose dropout is by the game's own key
        return games.adversarial(networks.MLP((width, 2)), judge, objective, latent=latents.normal(3))

    parts = {'a': one(4, objectives.minimax()), 'b': one(6, objectives.hinge())}
    both, batch, key = games.product(parts), {'a': normal(5, 8, 2), 'b': 2 + normal(6, 8, 2)}, jax.random.key(7)
    keys = dict(zip('ab', jax.random.split(key), strict=True))

    @jax.jit
    def compare():
        generators, discriminators = both.init(batch, key)
        plays, _ = both.play(generators, batch, key)
        loss = lambda params: both.discriminator_loss({'params': params}, plays, batch, key)
        (value, (_, metrics)), gradients = jax.value_and_grad(loss, has_aux=True)(discriminators['params'])
        found, expected = (value, plays, gradients), []
        for name, game in parts.items():
            play, _ = game.play({'params': generators['params'][name]}, batch[name], keys[name])
            own = lambda p, game=game, name=name, play=play: game.discriminator_loss(
                {'params': p}, play, batch[name], keys[name]
            )[0]
            expected.append((play, *jax.value_and_grad(own)(discriminators['params'][name])))
        return found, expected, metrics

    (value, plays, gradients), expected, metrics = compare()
    for name, (play, loss, gradient) in zip('ab', expected, strict=True):
        np.testing.assert_allclose(plays[name], play, atol=1e-7)
        np.testing.assert_allclose(metrics[f'{name}_discriminator_loss'], loss, rtol=1e-6)
        assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(gradient)) > 0
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-7), gradients[name], gradient)
    np.testing.assert_allclose(value, sum(loss for _, loss, _ in expected), rtol=1e-6)
    assert {'a_real_logit', 'b_fake_logit'} <= set(metrics)


def small(path, **options) -> lapgan.Config:
    values = {'dataset': 'digits', 'halvings': 1, 'steps': 2, 'width': 2, 'batch_size': 4, 'samples': 20, 'latent_size': 3}
    sizes = {'coarse_width': 4, 'coarse_generator_width': 4, 'kernel_sizes': (3, 3, 3), 'sample_every': 1, 'schedule': 'constant'}
    return lapgan.Config(runs_dir=str(path), **{**values, **sizes, **options})


@pytest.mark.slow
def test_lapgan(tmp_path, capsys):
    results = lapgan.main(small(tmp_path, size=8, score_every=2))
    assert set(results) == {'level_0', 'level_1', 'classifier'} and results['level_1']['size'] == 4
    assert all(np.isfinite(results['level_0'][f'frechet_{name}']) for name in ('cascade', 'level', 'training'))
    assert np.isfinite(results['level_1']['generator_loss'])
    run = tmp_path / 'lapgan'
    names = {path.name for path in run.iterdir()}
    assert names >= {'samples.png', 'samples.gif', 'stages.png', 'losses.png', 'results.json', 'sampler.bin', 'scores.jsonl'}
    with Image.open(run / 'stages.png') as picture:  # 3 images of each sample, a gap, and 3 of each real one
        assert picture.size == (7 * 66 + 2, 8 * 66 + 2)
    out = capsys.readouterr().out
    assert 'given real low-pass' in out and 'not an FID' in out


@pytest.mark.slow
def test_lapgan_of_two_seeds(tmp_path, capsys):
    results = lapgan.main(small(tmp_path, size=8, seeds=2))
    each = [figures['level_0']['frechet_cascade'] for figures in results['seeds']]
    assert each[0] != each[1] and results['figures']['level_0.frechet_cascade']['mean'] == pytest.approx(np.mean(each))
    assert capsys.readouterr().out.count('given real low-pass') == 1 and (tmp_path / 'lapgan/stages.png').exists()


def test_level_images_are_real_low_pass_images_and_the_generators_high_pass(tmp_path):
    config = small(tmp_path, size=8)
    study = lapgan.study(config)
    images = np.asarray(data.to_uint8(jnp.tanh(normal(0, 5, 8, 8, 1))))
    state = jax.eval_shape(study.trainer.init, study.example, jax.random.key(0))
    silent = state.replace(ema=jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), state.ema), generator=None, discriminator=None)
    silent = silent.replace(step=jnp.int32(0), key=jax.random.key(0))
    trained = runs.Trained(config, study, None, tmp_path, silent, jax.random.key(0), (True,), programs={})
    fine, coarse = report.from_real(trained, images)
    real = report.real_stages(config, images)
    np.testing.assert_allclose(fine, pyramids.up(jnp.asarray(real[1])), atol=1e-6)
    assert coarse.shape == real[1].shape and not coarse.any()


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        ({'size': 28, 'halvings': 3}, r'images of 28 x 28 cannot be halved 3 times; the possible sizes are 28, 14, 7'),
        ({'halvings': 5}, 'images of 16 x 16 cannot be halved 5 times'),
        ({'halvings': -1}, '--halvings must be from 0 to 10'),
        ({'kernel_sizes': (3, 0, 3)}, '--kernel-sizes must be from 1 to 255, not 0'),
        ({'dropout': 1.0}, '--dropout must be at least 0 and below 1'),
        ({'width': 0}, '--width must be from 1 to 65536'),
        ({'g_norm': 'batch'}, "LAPGAN's networks have no --g-norm"),
        ({'augmentations': ('diff_augment',)}, 'an augmentation would change the high-pass images'),
        ({'batch_size': 6}, 'not divisible by the 4 devices'),
    ],
)
def test_lapgan_refuses_what_cannot_be(tmp_path, flags, message):
    with pytest.raises(InputError, match=message) as error:
        lapgan.main(small(tmp_path, **flags))
    assert '\n' not in str(error.value) and not list(tmp_path.iterdir())
