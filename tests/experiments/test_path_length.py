"""The path length of a run that was begun and not trained, in pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import path_length
from experiments.dcgan import __main__ as dcgan
from experiments.shared import generators
from gan_jax import latents, runs
from gan_jax.errors import InputError
from gan_jax.keys import roots
from gan_jax.runs.advance import first_state
from gan_jax.runs.checkpoints import Checkpoints


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    config = dcgan.Config(
        runs_dir=str(tmp_path_factory.mktemp('runs')), dataset='digits', size=8, width=2, latent_size=3, clusters=0, batch_size=8
    )
    study = dcgan.study(config)
    directory = runs.RunDirectory(config)
    runs.describe(directory, config, **study.known)
    with Checkpoints(directory.path / 'checkpoints') as checkpoints:
        checkpoints.save(1, first_state(config, study, roots(0, 1)).replace(step=jnp.int32(1)))
    return directory.path


def test_the_speed_of_pixels_along_arcs(run, capsys):
    """Against the derivative of the images with respect to t, by automatic differentiation at the beginning of each path."""
    found = path_length.main(path_length.Config(str(run), extractor='pixels', paths=40, epsilon=1e-3, whole=False, batch_size=8))
    trained = generators.load(run, 'generator')
    z, conditions = generators.latents_of(trained.made, 0, 80)

    def images(t):
        points = jax.vmap(lambda a, b: latents.slerp(a, b, t))(z[:40], z[40:])
        return trained.made.generate(trained.weights, points, conditions[:40]).reshape(40, -1)

    speeds = np.sort(np.square(jax.jvp(images, (0.0,), (1.0,))[1]).sum(1))
    assert found['path_length'] == pytest.approx(speeds.mean(), rel=0.02)  # of 40, none is beyond the percentiles
    assert (run / 'path_length.json').is_file() and 'pixels' in capsys.readouterr().out


def test_bad_options(run, tmp_path):
    np.save(tmp_path / 'z.npy', np.zeros((4, 3)))
    with pytest.raises(InputError, match='--latents does not apply'):
        path_length.main(path_length.Config(str(run), extractor='pixels', latents=str(tmp_path / 'z.npy')))
    with pytest.raises(InputError, match="unknown extractor 'pixel'"):
        path_length.main(path_length.Config(str(run), extractor='pixel'))
