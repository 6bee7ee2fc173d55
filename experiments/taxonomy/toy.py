"""Bars and stripes: few enough units to know a model's whole distribution and compare it with that of the data."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.taxonomy.common import Model, every_vector
from gan_jax import compilation, runs
from gan_jax.typing import Array, Key

ROWS, COLUMNS = 3, 4
UNITS = ROWS * COLUMNS
DRAWS = 20_000
"""Number of samples that are counted."""
SETTINGS: dict[str, Any] = {
    'hidden': 64, 'latent_size': 2, 'gibbs_steps': 200, 'denoising_steps': 400, 'noise': 0.1, 'walkback': 1,
}  # fmt: skip
"""Settings of the models. Two latents make the VAE's integral a sum; the noise is low because 12 pixels determine each other
weakly."""


def bars_and_stripes() -> np.ndarray:
    """The probability of every image of 3 x 4 pixels, `[4096]`, in the order of `every_vector` (MacKay 2003, section 43.3).

    A coin toss chooses rows or columns, and another one for each of them decides whether it is on, which gives 22 images.
    """
    images = every_vector(UNITS).reshape(-1, ROWS, COLUMNS)
    of_rows, of_columns = ((images == images.max(axis, keepdims=True)).all((1, 2)) for axis in (2, 1))
    return of_rows / 2 / 2**ROWS + of_columns / 2 / 2**COLUMNS


def draw(key: Key, n: int) -> Array:
    """Draws n images, `[n, 12]`."""
    p = bars_and_stripes()
    support = np.flatnonzero(p)
    rows = jax.random.categorical(key, jnp.log(jnp.asarray(p[support])), shape=(n,))
    return jnp.asarray(every_vector(UNITS)[support])[rows]


def histogram(pixels: Array) -> np.ndarray:
    """The share of every vector in `pixels [n, d]`, `[2^d]`."""
    d = pixels.shape[1]
    numbers = np.asarray(pixels, int) @ (1 << np.arange(d)[::-1])
    return np.bincount(numbers, minlength=2**d) / len(pixels)


class Fit(NamedTuple):
    """A model's distribution compared with that of the data."""

    kl: float
    """KL(data || model) in nats; infinite if the model assigns probability 0 to a pattern of the data."""
    total_variation: float
    """Total variation distance between the two."""
    legal: float
    """Probability that the model assigns to patterns of the data."""
    patterns: int
    """Number of patterns of the data that have a probability above 0."""


def compare(p: np.ndarray, q: np.ndarray) -> Fit:
    """How well q fits p, both `[vectors]`."""
    support = p > 0
    with np.errstate(divide='ignore'):
        kl = p[support] @ (np.log(p[support]) - np.log(q[support]))
    return Fit(float(kl), float(abs(p - q).sum() / 2), float(q[support].sum()), int((q[support] > 0).sum()))


def measure(model: Model, state: Any, key: Key) -> dict[str, dict[str, float]]:
    """Compares the data's distribution with the model's own, where it is known, and with that of its samples.

    Returns the fields of each `Fit`, for JSON.
    """
    p = bars_and_stripes()
    pixels = compilation.jit(lambda state, key: model.sample(state, key, DRAWS).pixels)(state, key)
    fits = {'counted': compare(p, histogram(pixels))}
    if model.distribution is not None:
        fits['exact'] = compare(p, np.exp(np.asarray(compilation.jit(model.distribution)(state), np.float64)))
    return {name: fit._asdict() for name, fit in fits.items()}


def report(results: dict[str, dict[str, dict[str, Any]]], steps: int, seed: int) -> str:
    """A row for each model, and one for the same number of samples from the data."""
    p = bars_and_stripes()
    itself = compare(p, histogram(draw(jax.random.key(seed + 2), DRAWS)))
    head = ('', 'KL(data || model)', 'total variation', 'legal, %', 'counted: total variation', 'legal, %', 'patterns of 22')
    rows: list[tuple] = [head]
    for name, fits in {**results, 'data': {'exact': compare(p, p)._asdict(), 'counted': itself._asdict()}}.items():
        exact = Fit(**fits['exact']) if 'exact' in fits else None
        cells = (f'{exact.kl:.4f}', f'{exact.total_variation:.3f}', f'{100 * exact.legal:.1f}') if exact else ('-', '-', '-')
        counted = Fit(**fits['counted'])
        rows.append((name, *cells, f'{counted.total_variation:.3f}', f'{100 * counted.legal:.1f}', counted.patterns))
    title = f'bars and stripes, 3 x 4 pixels, {steps} steps: exact distributions where known, and {DRAWS} samples'
    return runs.table(rows, title=title)
