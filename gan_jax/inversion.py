"""Inference via optimisation (Metz et al. 2017, section 3.4): how near can a generator come to a given example?

    z* = argmin |G(z) - x|^2   by L-BFGS from several random latents

A generator that has dropped x cannot reproduce it from any latent. VEEGAN's IvOM score is the same measure.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.numerics import minimise
from gan_jax.typing import Array, Key


class Inversion(NamedTuple):
    """The best reconstruction of each of n targets."""

    latents: Array
    """`[n, size]`"""
    reconstructions: Array
    """`[n, ...]`, the generator's output at the latents"""
    errors: Array
    """`[n]`, mean squared error of an entry. For images in [-1, 1] it is 4 times that of images in [0, 1], which is what the
    papers' tables hold."""
    starts: Array
    """`[n, restarts]`, the error that each start ended with; how much they differ says whether there were enough."""


def invert(
    generate: Callable[[Array], Array],
    targets: Array,
    latent: Callable[[Key], Array],
    key: Key,
    *,
    restarts: int = 3,
    steps: int = 100,
    memory: int = 10,
    tolerance: float = 1e-5,
    block: int = 256,
) -> Inversion:
    """Searches a latent for each of `targets [n, ...]`, from `restarts` starts each (3 in the paper), the best of which is kept.

    Args:
        generate: `latents [m, size] -> examples [m, ...]`, each row from its own latent alone (inference mode, where there is
            batch norm).
        targets: what to reproduce, in the generator's units.
        latent: one start from one key, from `gan_jax.latents`.
        key: of the starts. Those of a target depend on the key and its row only, so that generators compared on the same
            targets start alike.
        restarts: starts for each target.
        steps: iterations of L-BFGS at most.
        memory: gradients that L-BFGS remembers.
        tolerance: a search ends where the gradient of the mean squared error is no longer than this.
        block: targets searched for at once.

    Pure, for the caller to compile. A search that meets values that are not finite has lost: its error is infinite.
    Raises `ValueError` for counts below 1, no targets, or if the generator's output is not of the targets' shape.
    """
    if min(restarts, steps, memory, block, len(targets)) < 1:
        counts = f'{restarts=}, {steps=}, {memory=}, {block=}, {len(targets)} targets'
        raise ValueError(f'a search needs at least 1 of each, got {counts}')
    made = jax.eval_shape(lambda key: generate(latent(key)[None]), key).shape[1:]
    if made != targets.shape[1:]:
        raise ValueError(f'the generator makes examples of shape {made}, the targets have {targets.shape[1:]}')

    def search(target: Array, start: Array) -> tuple[Array, Array]:
        loss = lambda z: jnp.square(generate(z[None])[0] - target).mean()
        return minimise(loss, start, steps=steps, memory=memory, tolerance=tolerance)

    def one(row: tuple[Array, Array]) -> Inversion:
        target, index = row
        starts = jax.vmap(latent)(jax.random.split(jax.random.fold_in(key, index), restarts))
        latents, errors = jax.vmap(search, (None, 0))(target, starts)
        best = jnp.argmin(errors)
        return Inversion(latents[best], generate(latents[best][None])[0], errors[best], errors)

    n = len(targets)
    size = -(-n // -(-n // block))
    filling = [(0, -n % size)] + [(0, 0)] * (targets.ndim - 1)  # whole blocks: a remainder would be compiled apart
    rows = jnp.pad(targets, filling, mode='edge'), jnp.arange(n + -n % size)
    return jax.tree.map(lambda x: x[:n], lax.map(one, rows, batch_size=size))


def best_shares(errors: Array) -> Array:
    """`errors [models, n] -> [models]`: the share of targets that each model reproduces best; a tie counts for all who share it
    in equal parts.
    """
    best = errors == errors.min(0)
    return (best / best.sum(0)).mean(1)
