"""A record of three train steps: what no other test would notice, a change of every number at once, is seen here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
from gan_jax import data, games, latents, networks, objectives, optimizers, penalties

# Computed by this test on jax 0.10.2, CPU. A change of keys, initialisers, losses or optimizers changes them. If that is what
# was meant, put the new numbers here and say so in the changelog, because results of earlier runs cannot be reproduced then.
GOLDEN = {
    'discriminator_loss': [2.1403263, 1.9214120, 1.9156013],
    'generator_loss': [0.9421664, 0.8695365, 0.7827780],
    'generator': 8.242146,
    'discriminator': 4.262779,
    'ema': 8.242851,
    'sample': [0.1275089, -0.5262735],
}


def norm(params: dict) -> float:
    return float(jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(params))))


def test_three_steps_are_those_of_the_record():
    game = games.adversarial(
        networks.MLP((16, 16, 2), norm='batch'),
        networks.MLP((16, 1), squeeze=True),
        objectives.non_saturating(),
        latent=latents.normal(4),
        penalties=[penalties.r1(gamma=1.0)],
    )
    trainer = gan_jax.trainer(game, optimizers.unrolled(learning_rate=1e-2), unroll_steps=2)
    state = trainer.init(jnp.zeros((1, 2)), jax.random.key(0))
    feed = data.generated(data.mixture('ring_unrolled').sample, 32)
    state, metrics = jax.jit(gan_jax.many_steps(trainer.step, feed.by(jax.random.key(1)), 3))(state, feed.data, 3)
    found = {name: np.asarray(metrics[name]).tolist() for name in ('discriminator_loss', 'generator_loss')}
    found |= {name: norm(getattr(state, name).params) for name in ('generator', 'discriminator')}
    found['ema'] = norm(state.ema['params'])
    found['sample'] = np.asarray(gan_jax.sample(game, state, 1, jax.random.key(2)))[0].tolist()
    for name, value in GOLDEN.items():
        assert found[name] == pytest.approx(value, rel=1e-4), f'{name} has changed; all that was found: {found}'
