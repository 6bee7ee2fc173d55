"""The metrics that are timed: the same number computed by this library and by other packages."""

import contextlib
import functools
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import compilation
from gan_jax.metrics.frechet import frechet_distance
from gan_jax.metrics.moments import FeatureMoments, feature_moments

Candidate = Callable[[], Any]


@functools.cache
def _moments(dimension: int, samples: int) -> tuple[FeatureMoments, FeatureMoments]:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(dimension, dimension)) / np.sqrt(dimension) * np.geomspace(1, 1e-3, dimension)
    a, b = (feature_moments(np.maximum(rng.normal(size=(samples, dimension)) @ mixing + 0.4, 0)) for _ in range(2))
    return a, b


def frechet(dimension: int, samples: int) -> dict[str, Candidate]:
    """Candidates for the Fréchet distance between two sets of moments by `frechet_distance`, on the host and compiled."""
    a, b = _moments(dimension, samples)
    on_device = [jax.tree.map(jnp.asarray, x)._replace(size=jnp.int32(samples)) for x in (a, b)]
    compiled = compilation.jit(frechet_distance)
    return {
        'frechet_distance, float64 on the host': lambda: float(frechet_distance(a, b)),
        f'frechet_distance, float32, compiled ({jax.default_backend()})': lambda: float(compiled(*on_device)),
    }


def frechet_elsewhere(dimension: int, samples: int) -> dict[str, Candidate]:
    """Candidates for the same distance as other packages compute it."""
    import scipy.linalg

    a, b = _moments(dimension, samples)
    difference = float(((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance) + np.trace(b.covariance))

    def eigenvalues(x: FeatureMoments, y: FeatureMoments) -> float:
        return difference - 2 * float(np.sqrt(np.linalg.eigvals(x.covariance @ y.covariance).astype(complex)).real.sum())

    def matrix_root(x: FeatureMoments, y: FeatureMoments) -> float:
        return difference - 2 * float(np.trace(scipy.linalg.sqrtm(x.covariance @ y.covariance).real))

    return {
        'eigenvalues of the product, NumPy (torch-fidelity)': lambda: eigenvalues(a, b),
        'scipy.linalg.sqrtm (TTUR, pytorch-fid)': lambda: matrix_root(a, b),
    }


def _batch(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (size, 299, 299, 3), np.uint8)


def inception(batch_size: int) -> dict[str, Candidate]:
    """Candidate for Inception's features of a batch of 299 x 299 images, with random weights."""
    from gan_jax.metrics.extractors import inception as network
    from gan_jax.metrics.extractors.inception import convert

    images = _batch(batch_size)
    extract = compilation.jit(network.inception(convert.fold(convert.random_arrays(0)), outputs='2048'))
    return {f'gan_jax ({jax.default_backend()})': lambda: float(np.asarray(extract(images)).mean())}


def inception_elsewhere(batch_size: int) -> dict[str, Candidate]:
    """Candidates for the same features in PyTorch. Raises `ImportError` if torch-fidelity is not installed."""
    import torch

    from gan_jax.metrics.extractors.inception import convert

    reference, images = torch_fidelity_network(convert.random_arrays(0), ('2048',)), _batch(batch_size)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(device)

    def candidate(form: Any) -> Candidate:
        def call() -> float:
            module = reference.to(device, memory_format=form)
            with torch.inference_mode():
                return float(module(pixels.contiguous(memory_format=form))[0].mean())

        return call

    forms = {'': torch.contiguous_format, ', channels-last': torch.channels_last}
    return {f'torch-fidelity ({device}{name})': candidate(form) for name, form in forms.items()}


def torch_fidelity_network(arrays: dict[str, np.ndarray], outputs: Sequence[str]) -> Any:
    """torch-fidelity's network with the given weights. Raises `ImportError` if it is not installed.

    Only that one module is imported, because importing the package requires torchvision and a download.
    """
    spec = importlib.util.find_spec('torch_fidelity')
    if spec is None:
        raise ImportError('torch_fidelity')
    import torch

    package = types.ModuleType('torch_fidelity')
    package.__path__ = list(spec.submodule_search_locations or ())
    sys.modules['torch_fidelity'] = package
    try:
        module: Any = importlib.import_module('torch_fidelity.feature_extractor_inceptionv3')
    finally:
        for name in [name for name in sys.modules if name.partition('.')[0] == 'torch_fidelity']:
            del sys.modules[name]
    state = {name: torch.from_numpy(x) for name, x in torch_state(arrays).items()}
    module.load_state_dict_from_url = lambda *_, **__: state
    return module.FeatureExtractorInceptionV3('inception-v3-compat', list(outputs))


def torch_state(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state dict that PyTorch's release of these weights would have."""
    kinds = {'gamma': 'bn.weight', 'beta': 'bn.bias', 'mean': 'bn.running_mean', 'variance': 'bn.running_var'}
    kinds |= {'kernel': 'conv.weight'}
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
    state = {}
    for name, array in arrays.items():
        layer, kind = name.split('/')
        theirs = {'logits/kernel': 'fc.weight', 'logits/bias': 'fc.bias'}.get(name) or f'{layer}.{kinds[kind]}'
        state[theirs] = np.ascontiguousarray(array.transpose(axes[array.ndim]))
    return state


METRICS: dict[str, tuple[Callable[..., dict[str, Candidate]], Callable[..., dict[str, Candidate]]]] = {
    'frechet': (frechet, frechet_elsewhere),
    'inception': (inception, inception_elsewhere),
}
"""Name -> (factory of our candidates, factory of the candidates of other packages)."""


def candidates(name: str, **settings: Any) -> dict[str, Candidate]:
    """Our candidates for a metric, and those of other packages as far as they are installed."""
    own, others = METRICS[name]
    found = own(**settings)
    with contextlib.suppress(ImportError):
        found |= others(**settings)
    return found


def ours(name: str, **settings: Any) -> Candidate:
    """The candidate of our default route."""
    return next(iter(METRICS[name][0](**settings).values()))


def theirs(name: str, **settings: Any) -> Candidate:
    """The candidate of the fastest route available to users of PyTorch. Raises `ImportError` if it is not installed."""
    return [candidate for label, candidate in METRICS[name][1](**settings).items() if 'torch-fidelity' in label][-1]
