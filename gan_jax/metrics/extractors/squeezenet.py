"""SqueezeNet 1.1 without its classifier (Iandola et al. 2016), a small feature extractor for use where Inception is unavailable.

Its distances compare models with each other. They are not FID, and are reported under the name of this network.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

from gan_jax.errors import InputError
from gan_jax.files import fingerprint, load_arrays
from gan_jax.metrics.extractors.extraction import Extractor, Outputs, as_float
from gan_jax.typing import AnyArray, Array

SMALLEST = 31
"""The smallest allowed side of an image."""
_SQUEEZED = {2: 16, 3: 16, 4: 32, 5: 32, 6: 48, 7: 48, 8: 64, 9: 64}
"""Number of a fire module -> its channels after the squeeze; it returns 8 times as many."""
_MEANS = (103.939, 116.779, 123.68)
"""Means of ImageNet's blue, green and red channels, from 0 to 255."""


def shapes() -> dict[str, tuple[int, ...]]:
    """The names and shapes of the weights; kernels are `[h, w, in, out]`."""
    kernels, channels = {'conv1': (3, 3, 3, 64)}, 64
    for i, squeezed in _SQUEEZED.items():
        kernels[f'fire{i}/squeeze1x1'] = (1, 1, channels, squeezed)
        kernels[f'fire{i}/expand1x1'] = (1, 1, squeezed, 4 * squeezed)
        kernels[f'fire{i}/expand3x3'] = (3, 3, squeezed, 4 * squeezed)
        channels = 8 * squeezed
    found: dict[str, tuple[int, ...]] = {}
    for name, shape in kernels.items():
        found |= {f'{name}/kernel': shape, f'{name}/bias': shape[-1:]}
    return found


def squeezenet(path: str) -> Extractor:
    """The mean over all positions of the last fire module's 512 channels, for RGB images of at least `SMALLEST` pixels a side.

    `path` is an `.npz` file with the weights of `shapes()`, trained on BGR pixels from 0 to 255 minus ImageNet's means, as in
    Keras ports of the network. Raises `InputError` for a file without these weights, and for images that the network does not
    accept.
    """
    weights = _read(path)
    return Extractor(
        f'squeezenet-1.1 ({fingerprint(*weights.values())}), not FID', lambda images: Outputs(_apply(weights, images))
    )


def _apply(weights: dict[str, np.ndarray], images: AnyArray) -> Array:
    if images.shape[-1] != 3 or min(images.shape[1:3]) < SMALLEST:
        raise InputError(f'squeezenet requires RGB images of at least {SMALLEST} x {SMALLEST}, not {images.shape[1:]}')

    def conv(x: Array, name: str, stride: int = 1, padding: str = 'SAME') -> Array:
        kernel = jnp.asarray(weights[f'{name}/kernel'])
        x = lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
        return jnp.maximum(x + weights[f'{name}/bias'], 0)

    def pool(x: Array) -> Array:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), 'VALID')

    x = 127.5 * (as_float(images)[..., ::-1] + 1) - jnp.array(_MEANS)
    x = pool(conv(x, 'conv1', 2, 'VALID'))
    for i in _SQUEEZED:
        squeezed = conv(x, f'fire{i}/squeeze1x1')
        x = jnp.concatenate([conv(squeezed, f'fire{i}/expand1x1'), conv(squeezed, f'fire{i}/expand3x3')], -1)
        x = pool(x) if i in (3, 5) else x
    return x.mean((1, 2))


def _read(path: str) -> dict[str, np.ndarray]:
    weights = load_arrays(path)
    wrong = [name for name, shape in shapes().items() if name not in weights or weights[name].shape != shape]
    if wrong:
        raise InputError(f'{path} is not a SqueezeNet 1.1: {wrong[0]} is missing or is not of shape {shapes()[wrong[0]]}')
    return {name: weights[name].astype(np.float32) for name in shapes()}
