"""Published weights: what to fetch, from where, and how their arrays become the variables of a Flax network.

Files are read without PyTorch and without executing anything in them (`inception.pytorch`).
"""

import hashlib
import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from gan_jax.errors import InputError
from gan_jax.metrics.extractors.inception.pytorch import read_state_dict
from gan_jax.registry import Table
from gan_jax.typing import Variables

_DINOV2 = 'https://dl.fbaipublicfiles.com/dinov2/{0}/{0}_pretrain.pth'
_CLIP = 'https://openaipublic.azureedge.net/clip/models'
_AXES = {2: (1, 0), 4: (2, 3, 1, 0)}
"""Dimensions of a kernel -> the order of PyTorch's axes in that of Flax."""


class Release(NamedTuple):
    """A published file of weights."""

    url: str
    sha256: str | None = None
    """The published sha256, or its first digits; None if none is published."""


RELEASES: Table[Release] = Table(
    'network',
    {
        'vgg16': Release('https://download.pytorch.org/models/vgg16-397923af.pth', '397923af'),
        'lpips': Release('https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/vgg.pth'),
        'clip_vitb32': Release(
            f'{_CLIP}/40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt',
            '40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af',
        ),
        'clip_vitl14': Release(
            f'{_CLIP}/b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836/ViT-L-14.pt',
            'b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836',
        ),
        'dinov2_vits14': Release(_DINOV2.format('dinov2_vits14')),
        'dinov2_vitb14': Release(_DINOV2.format('dinov2_vitb14')),
        'dinov2_vitl14': Release(_DINOV2.format('dinov2_vitl14')),
    },
)
"""Name -> the official release of its weights."""


class Loaded(NamedTuple):
    """The arrays of a file."""

    arrays: dict[str, np.ndarray]
    """Named as in the official release."""
    source: str
    """The first digits of the file's sha256, after the word "unverified" unless they are the published ones."""


def read(name: str, path: str | pathlib.Path | None, setting: str = 'weights') -> Loaded:
    """Reads the weights of a network in `RELEASES` from the official file, or from a `.safetensors` file of the same arrays.

    Raises `InputError` without a path, stating what to fetch and the setting to pass it by, and for a file that cannot be read.
    """
    release = RELEASES[name]
    if path is None:
        raise InputError(f'{name} requires its published weights: fetch {where(name)} and pass {setting}=FILE')
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise InputError(f'cannot read the weights of {name}: {error}') from error
    digest = hashlib.sha256(data).hexdigest()
    verified = release.sha256 is not None and digest.startswith(release.sha256)
    # The header of safetensors follows its length, which takes 8 bytes.
    arrays = _safetensors(data, path) if data[8:9] == b'{' else read_state_dict(data, str(path))
    return Loaded(arrays, digest[:8] if verified else f'unverified {digest[:8]}')


def where(name: str) -> str:
    """The file of a network's published weights, and its address."""
    url = RELEASES[name].url
    return f'{url.rpartition("/")[2]} from {url}'


def _safetensors(data: bytes, path: str | pathlib.Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(data)
    except (SafetensorError, KeyError, ValueError) as error:  # KeyError for a type that NumPy does not have
        raise InputError(f'cannot read {path}, which may be truncated: {error}') from error


def fitted(network: nn.Module, side: int, names: Callable[[str], str], state: Mapping[str, np.ndarray], what: str) -> Variables:
    """The variables of a network for images `[n, side, side, 3]`, float32, from the arrays of the official release.

    Kernels are transposed to Flax's order of axes, and leading axes of length 1 that Flax does not have are dropped. Raises
    `InputError` if an array is missing or does not fit.

    Args:
        network: the Flax module.
        side: height and width of its images.
        names: maps the path of a variable, such as 'block_0/mlp_in/kernel', to the name of its array.
        state: the arrays by name.
        what: the network's name in messages.
    """
    init = lambda: network.init(jax.random.key(0), jnp.zeros((1, side, side, 3)))
    found = {}
    for path, leaf in traverse_util.flatten_dict(jax.eval_shape(init)['params'], sep='/').items():
        name = names(path)
        if name not in state:
            raise InputError(f'these are not the weights of {what}: {name} is missing')
        array = np.asarray(state[name], np.float32)
        if path.endswith('kernel'):
            array = array.transpose(_AXES.get(array.ndim, range(array.ndim)))
        extra = max(array.ndim - len(leaf.shape), 0)
        if array.shape[extra:] != leaf.shape or set(array.shape[:extra]) - {1}:
            raise InputError(
                f'these are not the weights of {what}: {name} is {state[name].shape}, not {leaf.shape} in some order'
            )
        found[path] = jnp.asarray(array.reshape(leaf.shape))
    return {'params': traverse_util.unflatten_dict(found, sep='/')}
