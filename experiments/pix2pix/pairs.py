"""The run of a generator and a discriminator on pairs of images."""

from typing import Any

import jax.numpy as jnp

from experiments.pix2pix.report import SHOWN, Pairs
from experiments.shared.translation import table_of_images
from gan_jax import data, games, networks, runs


def of_pairs(config: Any, pairs: Pairs) -> runs.Study:
    """The run on these pairs."""
    size, channels = config.size, [pairs.train[name].shape[-1] for name in ('input', 'target')]
    field, width, norm = (1, 1, 'none') if config.l1_alone else (config.receptive_field, config.width, config.d_norm)
    discriminator = networks.PatchDiscriminator(field, width, norm, jnp.dtype(config.dtype))
    game = config.played(games.paired_translation, config.network(channels[1]), discriminator, l1_weight=config.l1_weight)
    translator = config.translator(None, channels)
    source, target = (pairs.held_out[name][:SHOWN] for name in ('input', 'target'))
    return runs.Study(
        game,
        config.trainer(game),
        data.feed(
            pairs.train,
            config.batch_size,
            minibatches=config.minibatches,
            transform=lambda pair, key: data.jitter(pair, key, size=size),
            memory_limit=config.memory_limit * 1e9,
        ),
        {name: jnp.zeros((1, size, size, c)) for name, c in zip(pairs.train, channels, strict=True)},
        generator=translator,
        known={'channels': channels},
        show=lambda state, key: translator.translate(state.ema, data.to_float(jnp.asarray(source)), key),
        picture=lambda made: table_of_images([('input', source), ('output', made), ('target', target)]),
        data=pairs,
    )
