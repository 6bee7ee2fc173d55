"""The transforms of adaptive discriminator augmentation (Karras et al. 2020, "ADA", appendix B), for one image `[h, w, c]`.

Values are meant to be in [-1, 1]. Every transform is drawn with the same probability, each on its own, from the paper's
distributions. Geometric transforms are composed into one map, by which the image is resampled once; if all of those that were
drawn move whole pixels, it is not resampled at all. Transforms of colour are composed into one matrix. Two things differ from the
authors' code: beyond its edges an image is mirrored again and again, where theirs has one mirror image and then zeros; and an
image whose map moves whole pixels is not filtered.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import compilation
from gan_jax.errors import InputError
from gan_jax.registry import Table
from gan_jax.typing import Array, Key
from gan_jax.warping import SYM2, mirrored, moved, resampled

P = Array | float
"""A probability."""
_LUMA = np.array([1, 1, 1, 0]) / np.sqrt(3)
"""The axis of greys in (red, green, blue, 1)."""


def _numbers(key: Key, uniform: int, normal: int = 0) -> tuple[Array, Array]:
    """That many uniform and normal numbers; separate calls take long to compile."""
    of_uniform, of_normal = jax.random.split(key)
    return jax.random.uniform(of_uniform, (uniform,)), jax.random.normal(of_normal, (normal,))


def _affine(a: Array | float, b: Array | float, c: Array | float, d: Array | float) -> Array:
    """The map (x, y) -> (a x + b y, c x + d y), `[3, 3]`."""
    entries = [a, b, 0, c, d, 0, 0, 0, 1]
    return jnp.stack([jnp.asarray(entry, jnp.float32) for entry in entries]).reshape(3, 3)


def _shift(x: Array, y: Array) -> Array:
    """The map (x', y') -> (x' - x, y' - y): the image moves right by x and down by y."""
    return jnp.eye(3).at[0, 2].set(-x).at[1, 2].set(-y)


def blit(p: P, sides: tuple[int, int], key: Key) -> Array:
    """The map of moves by whole pixels, `[3, 3]`: mirroring, turns by 90 degrees, shifts by at most an eighth of the sides."""
    (flip, turn, shift, mirror, quarter, *at), _ = _numbers(key, 7)
    sign = jnp.where((flip < p) & (mirror < 0.5), -1.0, 1.0)
    turns = jnp.where(turn < p, jnp.floor(4 * quarter), 0).astype(jnp.int32)
    cos, sin = jnp.array([1.0, 0, -1, 0])[turns], jnp.array([0.0, 1, 0, -1])[turns]
    x, y = (jnp.where(shift < p, jnp.round((share - 0.5) / 4 * side), 0) for share, side in zip(at, sides[::-1], strict=True))
    return _affine(sign, 0, 0, 1) @ _affine(cos, -sin, sin, cos) @ _shift(x, y)


def geom(p: P, sides: tuple[int, int], key: Key) -> Array:
    """The map of general geometric transforms, `[3, 3]`.

    In turn: scaling by 2^N(0, .2^2), a rotation, scaling by 2^N(0, .2^2) along x and its inverse along y, another rotation, and
    a shift by N(0, .125^2) of the sides. The two rotations, uniform, are drawn so that at least one of them is with probability
    p.
    """
    (scale, before, stretch, after, shift, *turns), (size, longer, *at) = _numbers(key, 7, 4)
    rotate = 1 - jnp.sqrt(jnp.maximum(1 - jnp.asarray(p, jnp.float32), 0))

    def rotation(coin: Array, turn: Array) -> Array:
        theta = jnp.where(coin < rotate, 2 * jnp.pi * turn, 0)
        return _affine(jnp.cos(theta), -jnp.sin(theta), jnp.sin(theta), jnp.cos(theta))

    s, along = (jnp.where(coin < p, jnp.exp2(0.2 * z), 1) for coin, z in ((scale, size), (stretch, longer)))
    shifted = _shift(*(jnp.where(shift < p, 0.125 * z * side, 0) for z, side in zip(at, sides[::-1], strict=True)))
    return (
        _affine(1 / s, 0, 0, 1 / s)
        @ rotation(before, turns[0])
        @ _affine(1 / along, 0, 0, along)
        @ rotation(after, turns[1])
        @ shifted
    )


def color(p: P, channels: int, key: Key) -> Array:
    """The matrix of changes of colour, `[4, 4]`, which acts on (red, green, blue, 1).

    In turn: brightness by N(0, .2^2), contrast by a factor 2^N(0, .5^2), the reflection of luma, a rotation of hue, and
    saturation by a factor 2^N(0, 1). The last two are left out for images of one channel.
    """
    (brightness, contrast, flip, hue, saturation, mirror, turn), (lighter, stronger, richer) = _numbers(key, 7, 3)
    luma = jnp.asarray(np.outer(_LUMA, _LUMA), jnp.float32)
    matrix = jnp.eye(4).at[:3, 3].set(jnp.where(brightness < p, 0.2 * lighter, 0))
    factor = jnp.where(contrast < p, jnp.exp2(0.5 * stronger), 1)
    matrix = jnp.diag(jnp.append(jnp.full(3, factor), 1)) @ matrix
    matrix = (jnp.eye(4) - 2 * ((flip < p) & (mirror < 0.5)) * luma) @ matrix
    if channels == 1:
        return matrix
    chroma = jnp.diag(jnp.array([1.0, 1, 1, 0])) - luma
    factor = jnp.where(saturation < p, jnp.exp2(richer), 1)
    return (jnp.eye(4) + (factor - 1) * chroma) @ _about_luma(jnp.where(hue < p, 2 * jnp.pi * turn, 0)) @ matrix


def _about_luma(theta: Array) -> Array:
    """The rotation of colours about the axis of greys, `[4, 4]` (Rodrigues' formula)."""
    x, y, z = _LUMA[:3]
    across = np.zeros((4, 4), np.float32)
    across[:3, :3] = [[0, -z, y], [z, 0, -x], [-y, x, 0]]
    return jnp.eye(4) + jnp.sin(theta) * across + (1 - jnp.cos(theta)) * (across @ across)


def colored(image: Array, matrix: Array) -> Array:
    """An image `[h, w, c]` after a matrix of colour `[4, 4]`; one of a single channel changes by the mean of the three rows.

    Raises `ValueError` unless the image has 1 or 3 channels.
    """
    channels, matrix = image.shape[-1], matrix.astype(image.dtype)
    if channels == 3:
        return image @ matrix[:3, :3].T + matrix[:3, 3]
    if channels != 1:
        raise ValueError(f'the color of ADA requires images of 1 or 3 channels, got {channels}')
    row = matrix[:3].mean(0)
    return image * row[:3].sum() + row[3]


def _filter_bank() -> np.ndarray:
    """Four filters of 43 taps, from low to high frequencies, whose sum is 1 at the middle tap and 0 elsewhere."""
    low, high = SYM2, SYM2 * (-1.0) ** np.arange(4)
    low, high = (np.convolve(taps, taps[::-1]) / 2 for taps in (low, high))
    bank = np.eye(4, 1)
    for i in (1, 2, 3):
        spread = np.zeros((4, 2 * bank.shape[1] - 1))
        spread[:, ::2] = bank
        bank = np.stack([np.convolve(row, low) for row in spread])
        first = (bank.shape[1] - len(high)) // 2
        bank[i, first : first + len(high)] += high
    return bank


BANK = _filter_bank()


def filtered(p: P, image: Array, key: Key) -> Array:
    """An image `[h, w, c]` whose frequency bands are amplified by 2^N(0, 1), each with probability p, at the same expected power.

    The expected power is that of images with a spectrum of 1 / f: 10/13 in the lowest band and 1/13 in each of the others.
    """
    power = jnp.array([10.0, 1, 1, 1]) / 13
    coins, z = _numbers(key, 4, 4)
    factors = jnp.where(coins < p, jnp.exp2(z), 1)
    gains = factors / jnp.sqrt(1 + power * (jnp.square(factors) - 1)).prod()  # each amplification divided by its own power
    middle = np.eye(1, BANK.shape[1], BANK.shape[1] // 2)[0]
    taps = (middle + (gains - 1) @ BANK).astype(image.dtype)  # exactly the image at gains of 1

    def along(side: int) -> Array:
        rows, reach = np.arange(side), len(BANK[0]) // 2
        columns = mirrored(rows[:, None] + np.arange(-reach, reach + 1), side)
        return jnp.zeros((side, side), image.dtype).at[rows[:, None], columns].add(taps)

    return jnp.einsum('ih,jw,hwc->ijc', along(image.shape[0]), along(image.shape[1]), image)


def noised(p: P, image: Array, key: Key) -> Array:
    """An image `[h, w, c]` with normal noise, whose standard deviation is .1 |N(0, 1)|."""
    coins, noise = _numbers(key, 1, 1 + image.size)
    sigma = jnp.where(coins[0] < p, 0.1 * jnp.abs(noise[0]), 0)
    return image + (sigma * noise[1:]).reshape(image.shape).astype(image.dtype)


def cut(p: P, image: Array, key: Key) -> Array:
    """An image `[h, w, c]` with a rectangle of half its sides, centred anywhere in it, set to zero."""
    (coin, *centres), _ = _numbers(key, 3)
    sides = zip(image.shape[:2], centres, strict=True)
    y, x = (jnp.abs((jnp.arange(side) + 0.5) / side - centre) < 0.25 for side, centre in sides)
    return jnp.where((coin < p) & (y[:, None] & x)[..., None], 0, image)


STAGES: Table[Callable[..., Array]] = Table(
    'transform of ADA',
    {'blit': blit, 'geom': geom, 'color': color, 'filter': filtered, 'noise': noised, 'cutout': cut},
)
"""Name -> function, in the order in which they are applied."""


def pipeline(names: Sequence[str], color_share: float = 1.0) -> Callable[[P, Array, Key, int], Array]:
    """The named stages, in the order of `STAGES`, as `(p, image, key, i) -> image`.

    The probability of changes of colour is p times `color_share`. For images that belong together, i is the number of the image;
    they share the key, and only their noise differs. Raises `InputError` for an unknown name and for one that is given twice.
    """
    chosen = {name: STAGES[name] for name in names}
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise InputError(f'the policy of ADA names {twice[0]} twice')

    def apply(p: P, image: Array, key: Key, i: int) -> Array:
        keys = dict(zip(STAGES, jax.random.split(key, len(STAGES)), strict=True))
        sides = (image.shape[0], image.shape[1])
        whole = blit(p, sides, keys['blit']) if 'blit' in chosen else jnp.eye(3)
        if 'geom' in chosen:
            map_of_geom = geom(p, sides, keys['geom'])
            by_pixels = (map_of_geom == jnp.eye(3)).all()
            image = jnp.where(by_pixels, moved(image, whole), resampled(image, whole @ map_of_geom))
        elif 'blit' in chosen:
            image = moved(image, whole)
        if 'color' in chosen:
            image = colored(image, color(color_share * p, image.shape[-1], keys['color']))
        if 'filter' in chosen:
            image = filtered(p, image, keys['filter'])
        if 'noise' in chosen:
            image = noised(p, image, jax.random.fold_in(keys['noise'], i))
        return cut(p, image, keys['cutout']) if 'cutout' in chosen else image

    return compilation.exact(apply)
