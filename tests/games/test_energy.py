"""EBGAN: energies, codes, and the facts of its game in closed form."""

import itertools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments.ebgan import __main__ as ebgan
from experiments.ebgan import report
from experiments.shared import image_gan
from gan_jax import games, latents, networks, objectives, runs
from gan_jax.errors import InputError
from gan_jax.features import pulling_away
from gan_jax.networks.autoencoder import mean_energy
from gan_jax.numerics import euclidean_norm

AUTOENCODERS = {
    'mlp': lambda **options: networks.MLPAutoencoder((16, 12), **options),
    'convolutional': lambda **options: networks.ConvAutoencoder(2, 3, **options),
}


def images(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize('name', AUTOENCODERS)
def test_an_energy_is_the_distance_of_the_reconstruction(name):
    network, x = networks.EnergyDiscriminator(AUTOENCODERS[name]()), images(0, 3, 8, 8, 2)

    @jax.jit
    def look(key):
        variables = network.init(key, x, train=False)
        found = network.apply(variables, x, train=False, features_too=True)
        return found, network.apply(variables, x, train=False), network.apply(variables, x, method='reconstruct')

    (energies, (code,)), plain, reconstruction = look(jax.random.key(1))
    assert energies.shape == (3,) and reconstruction.shape == x.shape and code.shape[0] == 3
    expected = np.sqrt(((np.asarray(reconstruction) - np.asarray(x)) ** 2).sum((1, 2, 3)))
    np.testing.assert_allclose(energies, expected, rtol=1e-5)
    np.testing.assert_allclose(plain, energies, rtol=1e-6)
    assert expected.std() > 0.01 and np.abs(code).max() > 0


@pytest.mark.parametrize('shape', [(2, 28, 28, 1), (2, 32, 32, 3)])
def test_shapes_at_the_sizes_of_data_sets(shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    for make, norm in itertools.product(AUTOENCODERS.values(), ('none', 'batch', 'spectral')):
        network = make(norm=norm)
        both = lambda x, network=network: network.init_with_output(jax.random.key(0), x)
        (reconstruction, code), variables = jax.eval_shape(both, x)
        assert reconstruction.shape == shape and code.shape[0] == shape[0]
        assert ('batch_stats' in variables) == (norm != 'none')


def test_the_norm_has_a_gradient_where_the_reconstruction_is_exact():
    with jax.debug_nans(True):
        gradient = jax.grad(lambda x: euclidean_norm(x).sum())
        np.testing.assert_array_equal(gradient(jnp.zeros((2, 3))), 0)
        np.testing.assert_allclose(gradient(jnp.array([[3.0, 4.0]])), [[0.6, 0.8]], rtol=1e-6)
        assert np.isfinite(jax.grad(lambda x: jnp.square(gradient(x)).sum())(jnp.zeros((2, 3)))).all()


def test_the_scale_of_energies():
    # Points on a sphere of radius 2 about their mean.
    points = jnp.array([[2.0, 0], [-2, 0], [0, 2], [0, -2]]) + jnp.array([5.0, 7.0])
    assert float(mean_energy(points)) == pytest.approx(2, rel=1e-6)


def test_the_optimal_discriminator_by_enumeration():
    # Zhao et al. 2017, lemma 1 and theorem 1: where p_data < p_G the best energy is m, elsewhere 0, and the loss is then
    # m sum_x min(p_data, p_G) <= m, with equality for p_G = p_data.
    m, energies = 3.0, jnp.linspace(0, 6, 61)
    loss = objectives.energy_margin(margin=m).discriminator
    of_real, of_fake = loss(energies, jnp.full(61, m)), loss(jnp.zeros(61), energies)
    p, q = np.random.default_rng(0).dirichlet(np.ones(5), 2)
    values = np.asarray(p[:, None] * of_real + q[:, None] * of_fake)
    np.testing.assert_allclose(energies[values.argmin(1)], np.where(p < q, m, 0), atol=1e-6)
    assert values.min(1).sum() == pytest.approx(m * np.minimum(p, q).sum(), rel=1e-5) and values.min(1).sum() < m
    equal = np.asarray(of_real + of_fake)  # p_G = p_data: every energy in [0, m] is as good, and the value is m
    np.testing.assert_allclose(equal[energies <= m + 1e-6], m, rtol=1e-6)
    assert (equal[energies > m + 0.05] > m).all()


def test_pulling_away_at_its_ends():
    term = pulling_away(weight=1.0)
    for codes, expected in ((jnp.ones((4, 3)), 1), (jnp.diag(jnp.array([1.0, -1.0])) @ jnp.ones((2, 3)), 1), (3 * jnp.eye(4), 0)):
        assert float(term(codes, codes)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize('name', AUTOENCODERS)
def test_the_generator_is_pulled_apart_in_the_code_of_its_own_images(name):
    network = networks.EnergyDiscriminator(AUTOENCODERS[name]())
    terms = [pulling_away(weight=0.1)]
    generator, objective = networks.MLPGenerator((8, 8, 2), (4,)), objectives.energy_margin()
    game = games.adversarial(generator, network, objective, latent=latents.normal(3), feature_losses=terms)

    @jax.jit
    def look(key):
        generators, discriminators = game.init(images(0, 1, 8, 8, 2), key)
        play, _ = game.play(generators, jnp.zeros(4), key)
        autoencoder = {'params': discriminators['params']['autoencoder']}
        reconstruction, code = AUTOENCODERS[name]().apply(autoencoder, play)
        energies = euclidean_norm(reconstruction - play)
        return game.generator_loss(discriminators, play, images(2, 4, 8, 8, 2), key), energies, code.reshape(4, -1)

    (loss, metrics), energies, code = jax.tree.map(np.asarray, look(jax.random.key(3)))
    unit = code / np.linalg.norm(code, axis=1, keepdims=True)
    cosines = np.square(unit @ unit.T)[~np.eye(4, dtype=bool)]
    np.testing.assert_allclose(metrics['feature_loss'], 0.1 * cosines.mean(), rtol=1e-5)
    np.testing.assert_allclose(loss, energies.mean() + 0.1 * cosines.mean(), rtol=1e-5)


def small(path, **options) -> ebgan.Config:
    values = {'dataset': 'digits', 'steps': 3, 'width': 4, 'batch_size': 8, 'samples': 40, 'latent_size': 4, 'sample_every': 2}
    return ebgan.Config(runs_dir=str(path), **{**values, **options})


@pytest.mark.slow
def test_ebgan(tmp_path, capsys):
    results = ebgan.main(small(tmp_path, size=8))
    run = tmp_path / 'ebgan'
    names = {path.name for path in run.iterdir()}
    assert names >= {'samples.png', 'samples.gif', 'reconstructions.png', 'energies.png', 'results.json', 'sampler.bin'}
    with Image.open(run / 'reconstructions.png') as picture:  # 16 columns; real, its reconstruction, generated, and its own
        assert picture.size == (16 * 50 + 2, 4 * 50 + 2)
    assert json.loads((run / 'results.json').read_text()) == results
    assert all(results[name]['energy'] > 0 for name in ('generated', 'held-out', 'training'))
    assert 'energy of the mean image' in capsys.readouterr().out


def test_energies_are_the_discriminators(tmp_path):
    """By hand, of a seed's own discriminator, in blocks whose last is not full."""
    config = small(tmp_path, size=8, samples=30)
    study = ebgan.study(config)
    state = jax.jit(study.trainer.init)(study.example, jax.random.key(3))
    trained = runs.Trained(config, study, None, tmp_path, state, jax.random.key(0), (True,), programs={})
    panels = {}
    results = report.evaluate(trained, panels)
    images = image_gan.at_random(study.data.held_out.images, 30)
    network = config.networks(8, 1)[1]
    expected = network.apply(state.discriminator.variables, image_gan.floats(images), train=False)
    np.testing.assert_allclose(panels[10.0]['held-out'], expected, rtol=1e-5)
    assert results['held-out']['energy'] == pytest.approx(float(expected.mean()), rel=1e-5)
    assert (tmp_path / 'energies.png').exists() and [len(x) for x in panels[10.0].values()] == [30, 30, 30]


@pytest.mark.slow
def test_ebgan_sweep_of_margins(tmp_path, capsys):
    options = {'size': 8, 'margins': (1.0, 2.5), 'network': 'convolutional', 'steps': 2, 'seeds': 2}
    results = ebgan.main(small(tmp_path, **options))
    assert set(results) == {1.0, 2.5} and all(len(found['seeds']) == 2 for found in results.values())
    energy = results[1.0]['figures']['generated.energy']['mean']
    assert re.search(rf'^1 .* {energy:.4g} ', capsys.readouterr().out, re.MULTILINE)
    assert (tmp_path / 'ebgan/margin_2.5/reconstructions.png').exists() and (tmp_path / 'ebgan/energies.png').exists()
    again = ebgan.main(small(tmp_path, **options, resume=True))
    assert again[1.0]['seeds'][1]['generated'] == results[1.0]['seeds'][1]['generated']


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        ({'objective': 'hinge'}, 'requires the objective energy_margin, not hinge'),
        ({'objective': 'energy_margin:margin=0'}, 'margin must be above 0'),
        ({'margins': (5.0, -1.0)}, '--margins must be above 0'),
        ({'margins': (5.0, 5.0)}, '--margins names 5 twice'),
        ({'minibatch': 'stddev'}, 'no --minibatch layer'),
        ({'layers': 0}, '--layers must be from 1 to 100'),
        ({'network': 'convolutional', 'size': 12}, 'image size 12 is not supported'),
        ({'batch_size': 6}, 'not divisible by the 4 devices'),
        ({'batch_size': 4096}, 'more than the 1437 examples'),
        ({'resume': True}, 'nothing to resume'),
    ],
)
def test_ebgan_refuses_what_cannot_be(tmp_path, flags, message):
    with pytest.raises(InputError, match=message) as error:
        ebgan.main(small(tmp_path, **flags))
    assert '\n' not in str(error.value) and not list(tmp_path.iterdir())


def test_ebgan_wants_labels(tmp_path):
    (tmp_path / 'images').mkdir()
    for i in range(8):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / f'images/{i}.png')
    with pytest.raises(InputError, match='has no labels'):
        ebgan.main(small(tmp_path / 'runs', dataset=str(tmp_path / 'images')))
