"""The five models by name, with the options of the experiment, and the run of one of them."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax

import gan_jax
from experiments.taxonomy import gan, gsn, made, rbm, vae
from experiments.taxonomy.common import Model
from gan_jax import data, runs
from gan_jax.registry import Table
from gan_jax.typing import AnyArray


def _vae(marginals: AnyArray, c: Any) -> Model:
    return vae.model(len(marginals), hidden=c.hidden, latent=c.latent_size, optimizer=c.adam(2e-3), samples=c.importance_samples)


def _rbm(marginals: AnyArray, c: Any) -> Model:
    return rbm.model(
        marginals,
        hidden=c.hidden,
        optimizer=optax.sgd(optax.linear_schedule(0.1, 0, c.steps)),
        chains=c.batch_size,
        sampling_steps=c.gibbs_steps,
        temperatures=c.temperatures,
    )


def _gsn(marginals: AnyArray, c: Any) -> Model:
    return gsn.model(
        len(marginals),
        hidden=c.hidden,
        optimizer=c.adam(2e-3),
        noise=c.noise,
        walkback=c.walkback,
        sampling_steps=c.denoising_steps,
    )


MODELS: Table[Callable[[AnyArray, Any], Model]] = Table(
    'model',
    {
        'vae': _vae,
        'made': lambda marginals, c: made.model(len(marginals), hidden=(c.hidden,), optimizer=c.adam(2e-3)),
        'rbm': _rbm,
        'gsn': _gsn,
        'gan': lambda marginals, c: gan.model(len(marginals), hidden=c.hidden, latent=c.latent_size, optimizer=c.adam(5e-4, 0.5)),
    },
)
"""Name -> `(frequency of each pixel in the training set, [d], each between 0 and 1; config) -> model`."""


def study(model: Model, feed: data.Feed, d: int) -> runs.Study:
    """The run of a model of vectors `[n, d]`."""
    step = lambda state, x: model.step(state, x.astype(jnp.float32))
    trainer = gan_jax.Trainer(lambda _, key: model.init(key), step, 1)
    return runs.Study(None, trainer, feed, jnp.zeros((1, d)), data=model, side_by_side=True)
