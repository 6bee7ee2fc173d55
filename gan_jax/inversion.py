"""Inference via optimisation (Metz et al. 2017, section 3.4): how closely can a generator reproduce a given example?

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
    """`[n, ...]`, the generator's output at these latents."""
    errors: Array
    """`[n]`, the mean squared error per entry. For images in [-1, 1] it is 4 times the value for images in [0, 1], which is
    what the papers' tables report.
    """
    starts: Array
    """`[n, restarts]`, the final error of each start; their spread shows whether there were enough of them."""


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
    """Finds a latent for each of `targets [n, ...]`: the best of `restarts` searches from random starts (3 in the paper).

    Args:
        generate: `latents [m, size] -> examples [m, ...]`, where each row depends on its own latent alone (inference mode if
            there is batch norm).
        targets: the examples to reproduce, in the generator's units.
        latent: draws one start from one key, from `gan_jax.latents`.
        key: for the starts. The starts of a target depend only on the key and its row, so generators compared on the same
            targets start from the same latents.
        restarts: the number of starts per target.
        steps: the maximum number of L-BFGS iterations.
        memory: the number of gradients that L-BFGS remembers.
        tolerance: a search ends once the norm of the gradient of the mean squared error is at most this.
        block: the number of targets to search for at once.

    Pure; the caller compiles it. A search that encounters non-finite values is assigned infinite error. Raises `ValueError` if
    a count is below 1, if there are no targets, or if the generator's output does not have the targets' shape.
    """
    if min(restarts, steps, memory, block, len(targets)) < 1:
        counts = f'{restarts=}, {steps=}, {memory=}, {block=}, {len(targets)} targets'
        raise ValueError(f'a search requires at least 1 of each, got {counts}')
    made = jax.eval_shape(lambda key: generate(latent(key)[None]), key).shape[1:]
    if made != targets.shape[1:]:
        raise ValueError(f'the generator produces examples of shape {made}, but the targets have shape {targets.shape[1:]}')

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
    filling = [(0, -n % size)] + [(0, 0)] * (targets.ndim - 1)  # whole blocks: a remainder would be compiled separately
    rows = jnp.pad(targets, filling, mode='edge'), jnp.arange(n + -n % size)
    return jax.tree.map(lambda x: x[:n], lax.map(one, rows, batch_size=size))


def best_shares(errors: Array) -> Array:
    """The share of targets that each model reproduces best, `errors [models, n] -> [models]`; ties are split equally."""
    best = errors == errors.min(0)
    return (best / best.sum(0)).mean(1)
