"""VGG-16 (Simonyan and Zisserman 2015), and LPIPS, the perceptual distance in its features (Zhang et al. 2018).

    extractor = lpips('vgg16-397923af.pth', linear='vgg.pth')
    a, b = (extractor.apply(images).features for images in pairs)
    distances = ((a - b) ** 2).sum(1)

`vgg16` returns the features in which precision and recall were published (Kynkäänniemi et al. 2019).
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision

from gan_jax.errors import InputError
from gan_jax.metrics.extractors import published
from gan_jax.metrics.extractors.extraction import Extractor, Outputs, as_float
from gan_jax.metrics.extractors.preparation import IMAGENET, RESIZES, prepare
from gan_jax.numerics import safe_sqrt
from gan_jax.typing import AnyArray, Array, Variables

SIDE = 224
"""Height and width of the images that the fully connected layers require."""
SMALLEST = 16
"""The smallest side of an image for LPIPS, which halves it four times."""
WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""The channels of the convolutions in each of the five stages."""
HIDDEN = 4096
_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
_SCALE = np.array([0.458, 0.448, 0.450], np.float32)
"""LPIPS standardises images in [-1, 1] by these numbers."""
_EPSILON = 1e-10


class VGG16(nn.Module):
    """Maps standardised images `[n, h, w, 3]` to the maps after each of the five stages, and to the hidden layer fc2.

    The maps are `[n, h / 2^i, w / 2^i, channels]` for i from 0 to 4, after the last ReLU and before the pooling. The hidden layer
    `[n, hidden]`, before its ReLU, requires images of `SIDE` pixels; it is None if `hidden` is None.
    """

    widths: tuple[tuple[int, ...], ...] = WIDTHS
    hidden: int | None = HIDDEN

    @nn.compact
    def __call__(self, x: Array) -> tuple[list[Array], Array | None]:
        maps = []
        for i, stage in enumerate(self.widths):
            x = nn.max_pool(x, (2, 2), (2, 2)) if i else x
            for j, width in enumerate(stage):
                x = nn.relu(nn.Conv(width, (3, 3), precision=Precision.HIGHEST, name=f'conv_{i}_{j}')(x))
            maps.append(x)
        if self.hidden is None:
            return maps, None
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Dense(self.hidden, precision=Precision.HIGHEST, name='fc_1')(_flattened(x)))
        return maps, nn.Dense(self.hidden, precision=Precision.HIGHEST, name='fc_2')(x)


def _flattened(x: Array) -> Array:
    """`[n, h, w, c]` to `[n, c h w]`, in PyTorch's order."""
    return x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)


def load_vgg16(path: str | None, network: VGG16, side: int = SIDE) -> tuple[Variables, str]:
    """The variables of a network for images `[n, side, side, 3]`, and what they were read from (`published.Loaded.source`).

    Raises `InputError` without a path, and for a file without these weights.
    """
    state = published.read('vgg16', path)
    names = lambda path: official_name(path, network.widths)
    return published.fitted(network, side, names, state.arrays, 'VGG-16'), state.source


def official_name(path: str, widths: tuple[tuple[int, ...], ...] = WIDTHS) -> str:
    """The name in torchvision of a variable such as 'conv_0_1/kernel'.

    torchvision numbers the convolutions, ReLUs and poolings of all stages in one sequence.
    """
    layer, _, kind = path.partition('/')
    places, place = {'fc_1': 'classifier.0', 'fc_2': 'classifier.3'}, 0
    for i, stage in enumerate(widths):
        places |= {f'conv_{i}_{j}': f'features.{place + 2 * j}' for j in range(len(stage))}
        place += 2 * len(stage) + 1
    return f'{places[layer]}.{"weight" if kind == "kernel" else kind}'


def vgg16(weights: str | None = None, resize: str = 'tf1', relu: bool = True) -> Extractor:
    """The second hidden layer of VGG-16, `fc2_relu` of torch-fidelity: 4096 features, after their ReLU if `relu`.

    Precision and recall were published in the features of this layer (Kynkäänniemi et al. 2019). `weights` is torchvision's file
    or a `.safetensors` file of its arrays, and `resize` a name in `preparation.RESIZES`. Raises `InputError` without weights.
    """
    return extractor(VGG16(), weights, resize=resize, relu=relu)


def extractor(network: VGG16, path: str | None, *, resize: str, relu: bool) -> Extractor:
    """The hidden layer of a network as an extractor. Raises `InputError` without weights, and for an unknown resize.

    Args:
        network: a network with a hidden layer.
        path: a file of its weights.
        resize: a name in `preparation.RESIZES`.
        relu: whether the ReLU of the layer is applied.
    """
    RESIZES[resize]  # an unknown one is refused before the weights are read
    variables, source = load_vgg16(path, network)

    def apply(images: AnyArray) -> Outputs:
        found: Any = network.apply(variables, prepare(images, SIDE, resize, IMAGENET))
        return Outputs(nn.relu(found[1]) if relu else found[1])

    return Extractor(f'vgg16 fc2{"_relu" if relu else ""} {source}, {resize} resize', apply, rounds=True)


def lpips(weights: str | None = None, linear: str | None = None) -> Extractor:
    """LPIPS of version 0.1 with VGG-16: the squared distance between the features of two images is their LPIPS.

    LPIPS is sum_l mean_hw sum_c w_lc (f_lc(x) - f_lc(y))^2, where f_l is the map after stage l with each position scaled to unit
    length (Zhang et al. 2018, eq. 1). The features are the f_lc times the root of w_lc / (h w), for all stages and positions;
    there are about 122 per pixel. Images `[n, h, w, 1 or 3]` keep their size, which is at least `SMALLEST`.

    `weights` is torchvision's file of VGG-16, `linear` the file of w that LPIPS published, or `.safetensors` files of their
    arrays. Raises `InputError` without both files, and for images that are too small.
    """
    needed = (('weights', weights, 'vgg16'), ('linear', linear, 'lpips'))
    if missing := {setting: published.where(name) for setting, path, name in needed if path is None}:
        settings = ','.join(f'{setting}=FILE' for setting in missing)
        raise InputError(f'lpips requires its published weights: fetch {" and ".join(missing.values())} and pass {settings}')
    network = VGG16(hidden=None)
    variables, source = load_vgg16(weights, network, SMALLEST)
    state = published.read('lpips', linear, 'linear')
    return _lpips(network, variables, _linear(state.arrays, network.widths), f'vgg16 {source}, linear {state.source}')


def _linear(state: dict[str, np.ndarray], widths: tuple[tuple[int, ...], ...]) -> list[np.ndarray]:
    """The weights `[channels]` of each stage. The published ones are not negative, which the square root requires."""
    found = []
    for i, stage in enumerate(widths):
        name = f'lin{i}.model.1.weight'
        if name not in state or state[name].shape != (1, stage[-1], 1, 1):
            raise InputError(f'these are not the weights of LPIPS: {name} is missing or is not of shape {(1, stage[-1], 1, 1)}')
        found.append(np.asarray(state[name], np.float32).ravel())
        if not (found[-1] >= 0).all():
            raise InputError(f'these are not the weights of LPIPS: {name} has negative numbers')
    return found


def _lpips(network: VGG16, variables: Variables, linear: list[np.ndarray], source: str) -> Extractor:
    def apply(images: AnyArray) -> Outputs:
        n, h, w, channels = images.shape
        if channels not in (1, 3) or min(h, w) < SMALLEST:
            raise InputError(f'lpips requires grey or RGB images of at least {SMALLEST} x {SMALLEST}, not {images.shape[1:]}')
        x = as_float(images)
        x = jnp.repeat(x, 3, -1) if channels == 1 else x
        found: Any = network.apply(variables, (x - _SHIFT) / _SCALE)
        features = [_embedded(*stage).reshape(n, -1) for stage in zip(found[0], linear, strict=True)]
        return Outputs(jnp.concatenate(features, 1))

    return Extractor(f'lpips 0.1, {source}', apply, distances=True)


def _embedded(features: Array, weights: np.ndarray) -> Array:
    unit = features / (safe_sqrt((features**2).sum(-1, keepdims=True)) + _EPSILON)
    return unit * np.sqrt(weights / (features.shape[1] * features.shape[2]))
