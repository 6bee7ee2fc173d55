"""The experiments on autoencoders: figures in closed form, what the plain run is, and how each prior draws."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import adversarial_autoencoder, generate, vae_gan, vqgan
from experiments.shared import autoencoders
from gan_jax import data
from gan_jax.errors import InputError

STRIPES = np.zeros((2, 4, 4, 1), np.uint8)
STRIPES[:, ::2] = 255  # rows of 1 and -1: vertical neighbours differ by 2, horizontal ones by 0


def test_figures_of_reconstructions_in_closed_form():
    truth = np.where(STRIPES, 1.0, -1.0).astype(np.float32)
    perfect = autoencoders.figures(STRIPES, truth, None)
    assert perfect == {'l1': 0, 'psnr': pytest.approx(10 * np.log10(4e12)), 'sharpness': 1}
    grey = autoencoders.figures(STRIPES, truth / 4, None)  # each pixel is off by 3/4
    assert grey == {'l1': 0.75, 'psnr': pytest.approx(10 * np.log10(4 / 0.75**2)), 'sharpness': pytest.approx(0.25)}


def test_figures_of_codes():
    config = types.SimpleNamespace(codebook_size=8)
    made = types.SimpleNamespace(code=np.array([[0, 1, 2, 3], [3, 2, 1, 0]]))
    assert autoencoders.of_codes(config, made) == {'codes_used': 0.5, 'code_perplexity': pytest.approx(4)}
    assert autoencoders.of_codes(config, types.SimpleNamespace(code=np.zeros((2, 3), np.float32))) == {}


@pytest.mark.parametrize('experiment', [vqgan, vae_gan, adversarial_autoencoder])
def test_the_plain_run_is_possible_and_without_a_discriminator(experiment):
    given = {'penalties': ('r1',), 'penalty_every': 2, 'augmentations': ('diff_augment',), 'anneal': ('gamma:end=0.1',)}
    given |= {'gamma': 0.01} if experiment is vae_gan else {}
    given |= {'d_width': 8, 'clip_weights': 0.1, **({'start': 9, 'discriminator_waits': True} if experiment is vqgan else {})}
    config = experiment.Config(**given)
    config.check()
    plain = experiment.Config(**{**given, **config.without()})
    plain.check()
    assert plain.plain and not config.plain and plain.anneal == () and plain.clip_weights is None
    assert getattr(plain, 'pixel_weight', None) == {'vae_gan': 1.0}.get(config.name)


@pytest.mark.parametrize(('prior', 'size'), [('normal', 8), ('ring_veegan', 2), ('gmm:modes=4', 2)])
def test_priors_of_the_adversarial_autoencoder(prior, size):
    config = adversarial_autoencoder.Config(dataset='digits', prior=prior, width=2)
    made = config.generator(16, 1)
    assert made.prior == ('normal' if prior == 'normal' else 'mixture') and made.latent(jax.random.key(0)).shape == (size,)
    encoder, decoder, judge = config.modules(16, 1)
    shape = lambda network, *x: jax.eval_shape(lambda *x: network.init_with_output(jax.random.key(0), *x), *x)[0].shape
    assert shape(encoder, jnp.zeros((3, 16, 16, 1))) == (3, size)
    assert shape(decoder, jnp.zeros((3, size))) == (3, 16, 16, 1) and shape(judge, jnp.zeros((3, size))) == (3,)


@pytest.mark.slow
def test_vqgan_with_and_without_a_discriminator(tmp_path):
    options = {'width': 4, 'd_width': 4, 'codebook_size': 8, 'code_size': 4, 'receptive_field': 16, 'start': 1}
    small = {'dataset': 'digits', 'steps': 3, 'batch_size': 8, 'samples': 20, 'sample_every': 2, 'runs_dir': str(tmp_path)}
    results = vqgan.main(vqgan.Config(**options, **small, perceptual='pixels'))
    assert set(results) == {'VQGAN', 'without D'}
    assert results['VQGAN']['l1'] != results['without D']['l1'] and 0 < results['VQGAN']['codes_used'] <= 1
    assert (tmp_path / 'vqgan/reconstructions.png').is_file() and (tmp_path / 'vqgan/plain/samples.png').is_file()
    with pytest.raises(InputError, match='has no prior of codes to draw from'):
        generate.main(generate.Config(str(tmp_path / 'vqgan'), number=1, out=str(tmp_path / 'made')))


def test_a_vqgan_draws_nothing():
    config = vqgan.Config(dataset='digits')
    with pytest.raises(InputError, match='has no prior of codes'):
        config.generator(16, 1)
    with pytest.raises(InputError, match='has no --direction a_to_b'):
        config.translator('a_to_b', 16, 1)
    assert data.sides(config.drawer(16, 1).size) == (16, 16)
