"""Inception features on the device, from the network that defines FID, KID and the Inception score.

    weights = inception.load()
    features = jax.jit(inception.inception(weights.variables, outputs='2048'))(images)

The weights are downloaded once by `python -m gan_jax.metrics.inception download`.
"""

from collections.abc import Callable
from typing import Any

from gan_jax.metrics.extractors.inception.network import OUTPUTS, InceptionV3
from gan_jax.metrics.extractors.inception.preprocessing import RESIZES, preprocess
from gan_jax.metrics.extractors.inception.weights import Weights, load
from gan_jax.typing import Array, Variables

__all__ = ['OUTPUTS', 'RESIZES', 'InceptionV3', 'Weights', 'inception', 'load', 'preprocess']


def inception(
    variables: Variables, *, resize: str = 'tf1', outputs: str | tuple[str, ...] = ('2048',)
) -> Callable[[Array], Array | tuple[Array, ...]]:
    """A pure function from images `[n, h, w, 1 or 3]`, uint8 or float in [-1, 1], to the outputs of the network.

    The function raises `ValueError` for images of another type or shape and for unknown outputs, and `InputError` for an unknown
    resize.

    Args:
        variables: variables of `InceptionV3`, such as `load().variables`.
        resize: a name in `RESIZES`; see `preprocess`.
        outputs: one name in `OUTPUTS`, which gives an array `[n, width]`, or several, which give a tuple of arrays.
    """
    names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    network = InceptionV3(names)

    def extract(images: Array) -> Array | tuple[Array, ...]:
        found: Any = network.apply(variables, preprocess(images, resize))
        return found[0] if isinstance(outputs, str) else found

    return extract
