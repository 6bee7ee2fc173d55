"""Converts the released weights to arrays named after the layers, and those to the variables of the network.

Each of the 94 layers has the arrays `LAYER/kernel` (height, width, inputs, features), `/gamma`, `/beta`, `/mean` and `/variance`.
Together with `logits/kernel` (2048, 1008) and `logits/bias` these are 472 float32 arrays.
"""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np

from gan_jax.errors import InputError
from gan_jax.metrics.extractors.inception.network import CLASSES, layers
from gan_jax.typing import Variables

Arrays = dict[str, np.ndarray]

BATCH_NORM_EPSILON = 1e-3
_NORM = ('gamma', 'beta', 'mean', 'variance')
_TORCH = {
    'kernel': 'conv.weight',
    'gamma': 'bn.weight',
    'beta': 'bn.bias',
    'mean': 'bn.running_mean',
    'variance': 'bn.running_var',
}


def shapes() -> dict[str, tuple[int, ...]]:
    """Name -> shape of every array, in the order of the network."""
    found: dict[str, tuple[int, ...]] = {}
    for layer in layers():
        found[f'{layer.name}/kernel'] = layer.shape
        found |= {f'{layer.name}/{kind}': layer.shape[-1:] for kind in _NORM}
    return found | {'logits/kernel': (2048, CLASSES), 'logits/bias': (CLASSES,)}


def random_arrays(seed: int) -> Arrays:
    """Random weights for tests and timings, with He-normal kernels and batch norms that are not the identity.

    With common initial values the features would be 1e-8 with a spread of 1e-9, and nearly any computation would agree.
    """
    rng = np.random.default_rng(seed)
    draw = {
        'kernel': lambda shape: rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1])),
        'gamma': lambda shape: rng.uniform(0.8, 1.2, shape),
        'beta': lambda shape: rng.normal(size=shape) * 0.1,
        'bias': lambda shape: rng.normal(size=shape) * 0.1,
        'mean': lambda shape: rng.normal(size=shape) * 0.1,
        'variance': lambda shape: rng.uniform(0.5, 1.5, shape),
    }
    return {name: draw[name.partition('/')[2]](shape).astype(np.float32) for name, shape in shapes().items()}


def from_torch(state: Mapping[str, np.ndarray]) -> Arrays:
    """Converts the state dict of the PyTorch release, pytorch-fid or torch-fidelity. Raises `InputError` if it does not fit."""
    names = {f'{layer.name}/{kind}': f'{layer.name}.{theirs}' for layer in layers() for kind, theirs in _TORCH.items()}
    names |= {'logits/kernel': 'fc.weight', 'logits/bias': 'fc.bias'}
    axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}  # PyTorch has (features, inputs, height, width) and (classes, 2048)
    return _fitted(names, state, lambda x: x.transpose(axes[x.ndim]))


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """Checks arrays that are already named as in this module. Raises `InputError` if they do not fit."""
    return _fitted({name: name for name in shapes()}, arrays)


def _fitted(names: dict[str, str], source: Mapping[str, np.ndarray], turned: Callable = lambda x: x) -> Arrays:
    found = {}
    for name, shape in shapes().items():
        if names[name] not in source:
            raise InputError(f'these are not the weights of Inception 2015-12-05: {names[name]} is missing')
        array = turned(np.asarray(source[names[name]], np.float32))
        if array.shape != shape:
            raise InputError(f'these are not the weights of Inception 2015-12-05: {names[name]} is {array.shape}, not {shape}')
        found[name] = np.ascontiguousarray(array)
    return found


def fold(arrays: Mapping[str, np.ndarray], epsilon: float = BATCH_NORM_EPSILON) -> Variables:
    """The variables of `network.InceptionV3`, with each batch norm folded into its convolution in float64."""
    params: dict[str, dict[str, jnp.ndarray] | jnp.ndarray] = {}
    for layer in layers():
        kernel, gamma, beta, mean, variance = (arrays[f'{layer.name}/{kind}'].astype(np.float64) for kind in ('kernel', *_NORM))
        scale = gamma / np.sqrt(variance + epsilon)
        params[layer.name] = {
            'kernel': jnp.asarray(kernel * scale, jnp.float32),
            'bias': jnp.asarray(beta - mean * scale, jnp.float32),
        }
    params['logits'] = {'kernel': jnp.asarray(arrays['logits/kernel'])}
    params['logits_bias'] = jnp.asarray(arrays['logits/bias'])
    return {'params': params}
