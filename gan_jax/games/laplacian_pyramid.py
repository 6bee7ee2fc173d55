"""LAPGAN: one game per level of a Laplacian pyramid (Denton et al. 2015)."""

from collections.abc import Callable, Sequence
from typing import Any, Unpack

import flax.linen as nn
import jax

from gan_jax import parallel, pyramids
from gan_jax.games.adversarial import Reading, adversarial
from gan_jax.games.judgement import JudgementOptions, apply_network, check_options
from gan_jax.games.parts import part_of
from gan_jax.games.product import product
from gan_jax.objectives import Objective
from gan_jax.training import Game
from gan_jax.typing import Array, Batch, Key, Variables

_LEVEL = Reading(
    examples=lambda batch: batch['high'],
    generator=lambda batch: (batch['low'],),
    discriminator=lambda batch: (batch['low'],),
)


def laplacian_pyramid(
    generators: Sequence[nn.Module],
    discriminators: Sequence[nn.Module],
    objective: Objective,
    *,
    latent: Sequence[Callable[[Key], Array]],
    objective_weight: float = 1.0,
    **options: Unpack[JudgementOptions],
) -> Game:
    """Level k < K generates h_k given the low-pass image l_k = up(down(I_k)), level K the coarsest image (section 2.3).

    The levels are independent games that learn in parallel from one batch of images `[n, h, w, c]`. Each level is conditioned
    on real low-pass images, never on another level's output. In inference mode the play is the cascade

        I~_K = G_K(z_K),   I~_k = up(I~_{k+1}) + G_k(z_k, up(I~_{k+1})),

    as the tuple of all its stages, `(I~_0, ..., I~_K)`, finest first. `gan_jax.sample(game, state, jnp.zeros(64), key)` draws
    64 images of each stage.

    Args:
        generators: finest first: `generators[k](z, low, train=) -> high`, both `[n, h, w, c]`, and
            `generators[K](z, train=) -> images`.
        discriminators: `discriminators[k](high, low, train=) -> logits [n]`, and
            `discriminators[K](images, train=) -> logits [n]`.
        objective: the objective of every level; the paper uses `objectives.non_saturating()`.
        latent: for each level, draws one example's latent from one key.
        objective_weight: weight of the objective in every generator's loss.
        **options: of the judgement of every level: `games.judgement.JudgementOptions`. A penalty acts on `high` and holds `low`
            fixed; there can be no augmentation, because it would change `high` but not `low`.

    Metrics and variables are named level_0, ..., level_K. Raises `ValueError` if the three lists differ in length or are empty,
    for an augmentation and for a regularizer that changes examples; `InputError` for images that cannot be halved K times.
    """
    check_options(options)
    if not len(generators) == len(discriminators) == len(latent) > 0:
        counts = f'{len(generators)} generators, {len(discriminators)} discriminators and {len(latent)} latents'
        raise ValueError(f'every level requires one generator, one discriminator and one latent, got {counts}')
    if options.get('augmentation') is not None:
        raise ValueError('an augmentation would change the high-pass images of a pyramid but not the low-pass ones')
    if any(regularizer.change is not None for regularizer in options.get('regularizers', ())):
        raise ValueError(
            'a regularizer that changes examples, such as bcr, would change the high-pass images of a pyramid but not the '
            'low-pass ones'
        )
    halvings = len(generators) - 1
    names = [_name(k) for k in range(halvings + 1)]
    readings = [_LEVEL] * halvings + [Reading()]
    levels = product(
        {
            name: adversarial(
                generators[k],
                discriminators[k],
                objective,
                latent=latent[k],
                objective_weight=objective_weight,
                reading=readings[k],
                **options,
            )
            for k, name in enumerate(names)
        }
    )

    def split(images: Array) -> dict[str, Batch]:
        stages = pyramids.gaussian(images, halvings)
        lows = [pyramids.up(coarse) for coarse in stages[1:]]
        pairs = [{'high': fine - low, 'low': low} for fine, low in zip(stages, lows, strict=False)]
        return dict(zip(names, [*pairs, stages[-1]], strict=True))

    def play(variables: Variables, batch: Batch, key: Key, *, train: bool = True) -> tuple[Any, Variables]:
        if train:
            return levels.play(variables, split(batch), key)
        state = {name: value for name, value in variables.items() if name != 'params'}
        keys = [parallel.example_keys(len(batch), level_key) for level_key in jax.random.split(key, halvings + 1)]
        return cascade(generators, variables, [jax.vmap(z)(k) for z, k in zip(latent, keys, strict=True)]), state

    return Game(
        lambda batch, key: levels.init(split(batch), key),
        play,
        lambda variables, play, batch, key: levels.discriminator_loss(variables, play, split(batch), key),
        lambda variables, play, batch, key: levels.generator_loss(variables, play, split(batch), key),
    )


def cascade(generators: Sequence[nn.Module], variables: Variables, latents: Sequence[Array]) -> tuple[Array, ...]:
    """All stages of the cascade, finest first, from latents `[n, size]` for each level, finest first."""
    stages: list[Array] = []
    for k in reversed(range(len(generators))):
        low = [pyramids.up(stages[-1])] if stages else []
        made, _ = apply_network(generators[k], part_of(variables, _name(k)), latents[k], *low, train=False)
        stages.append(low[0] + made if low else made)
    return tuple(reversed(stages))


def _name(level: int) -> str:
    return f'level_{level}'
