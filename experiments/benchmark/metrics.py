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
from gan_jax.metrics.kernel import cmmd, kernel_distance_subsets
from gan_jax.metrics.manifolds import prdc
from gan_jax.metrics.moments import FeatureMoments, feature_moments
from gan_jax.metrics.neighbours import nearest_neighbours

Candidate = Callable[[], Any]


@functools.cache
def _features(dimension: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sets `[samples, dimension]` that are, like Inception's, correlated and not negative."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(dimension, dimension)) / np.sqrt(dimension) * np.geomspace(1, 1e-3, dimension)
    a, b = (np.maximum(rng.normal(size=(samples, dimension)) @ mixing + 0.4, 0) for _ in range(2))
    return a, b


@functools.cache
def _moments(dimension: int, samples: int) -> tuple[FeatureMoments, FeatureMoments]:
    a, b = map(feature_moments, _features(dimension, samples))
    return a, b


def _single(dimension: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = (x.astype(np.float32) for x in _features(dimension, samples))
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
        'scipy.linalg.sqrtm (TTUR, pytorch-fid)': lambda: matrix_root(a, b),
        'eigenvalues of the product, NumPy (torch-fidelity)': lambda: eigenvalues(a, b),
    }


def kernel_subsets(dimension: int, samples: int) -> dict[str, Candidate]:
    """Candidate for KID's protocol, 100 subsets of 1000, on the rows that torch-fidelity draws."""
    a, b = _single(dimension, samples)

    def call() -> float:
        rng = np.random.RandomState(2020)
        rows = [[rng.choice(samples, 1000, replace=False) for _ in range(2)] for _ in range(100)]
        of_a, of_b = (np.stack([pair[i] for pair in rows]) for i in range(2))
        return float(kernel_distance_subsets(a, b, indices=(of_a, of_b)).mean)

    return {'kernel_distance_subsets': call}


def kernel_subsets_elsewhere(dimension: int, samples: int) -> dict[str, Candidate]:
    """Candidate for the same by torch-fidelity. Raises `ImportError` if it or torchvision is not installed."""
    import torch
    from torch_fidelity import metric_kid as module

    a, b = (torch.from_numpy(x) for x in _single(dimension, samples))
    settings = {'kid_subsets': 100, 'kid_subset_size': 1000, 'rng_seed': 2020, 'verbose': False, 'cuda': False}
    return {'torch-fidelity': lambda: module.kid_features_to_metric(a, b, **settings)[module.KEY_METRIC_KID_MEAN]}


def precision_recall(dimension: int, samples: int) -> dict[str, Candidate]:
    """Candidate for precision by balls to the third neighbour, whose surface counts; recall is computed with it."""
    a, b = _single(dimension, samples)
    return {'prdc, k = 3, not strict': lambda: float(prdc(a, b, 3, strict=False).precision)}


def precision_recall_elsewhere(dimension: int, samples: int) -> dict[str, Candidate]:
    """Candidate for the same by torch-fidelity. Raises `ImportError` if it or torchvision is not installed."""
    import torch
    from torch_fidelity import metric_prc as module

    a, b = (torch.from_numpy(x) for x in _single(dimension, samples))
    settings = {'prc_neighborhood': 3, 'prc_batch_size': 10_000, 'verbose': False, 'cuda': False}
    return {'torch-fidelity': lambda: float(module.prc_features_to_metric(b, a, **settings)[module.KEY_METRIC_PRECISION])}


def density_coverage(dimension: int, samples: int) -> dict[str, Candidate]:
    """Candidate for density by balls to the fifth neighbour; precision, recall and coverage are computed with it."""
    a, b = _single(dimension, samples)
    return {'prdc, k = 5': lambda: float(prdc(a, b, 5).density)}


def density_coverage_elsewhere(dimension: int, samples: int) -> dict[str, Candidate]:
    """Candidate for the same by the package of its authors. Raises `ImportError` if it is not installed."""
    import prdc as package

    a, b = _single(dimension, samples)

    def call() -> float:
        with contextlib.redirect_stdout(None):
            return float(package.compute_prdc(a, b, 5)['density'])

    return {'prdc of Naeem et al. (scikit-learn)': call}


def neighbours(dimension: int, samples: int) -> dict[str, Candidate]:
    """Candidate for the mean distance of every example of one set from its nearest in the other."""
    a, b = _single(dimension, samples)
    return {'nearest_neighbours': lambda: float(nearest_neighbours(b, a).distance.mean())}


def neighbours_elsewhere(dimension: int, samples: int) -> dict[str, Candidate]:
    """Candidate for the same by scikit-learn."""
    from sklearn.neighbors import NearestNeighbors

    a, b = _single(dimension, samples)
    search = NearestNeighbors(n_neighbors=1, algorithm='brute').fit(a)
    return {'scikit-learn, brute force': lambda: float(search.kneighbors(b)[0].mean())}


def kernel_gaussian(dimension: int, samples: int) -> dict[str, Candidate]:
    """Candidate for the biased kernel distance of all pairs under a Gaussian kernel; its standard error is computed with it."""
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in _single(dimension, samples))
    return {'cmmd': lambda: float(cmmd(a, b).value)}


def kernel_gaussian_elsewhere(dimension: int, samples: int) -> dict[str, Candidate]:
    """Candidate for the same by scikit-learn."""
    from sklearn.metrics.pairwise import rbf_kernel

    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in _features(dimension, samples))

    def mean(x: np.ndarray, y: np.ndarray) -> float:
        return rbf_kernel(x, y, gamma=1 / 200).mean()

    return {'scikit-learn, float64': lambda: float(1000 * (mean(a, a) + mean(b, b) - 2 * mean(a, b)))}


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


def torch_fidelity_module(name: str) -> Any:
    """A module of torch-fidelity. Raises `ImportError` if it is not installed.

    Only that one module is imported, because importing the package requires torchvision and a download.
    """
    spec = importlib.util.find_spec('torch_fidelity')
    if spec is None:
        raise ImportError('torch_fidelity')
    package = types.ModuleType('torch_fidelity')
    package.__path__ = list(spec.submodule_search_locations or ())
    sys.modules['torch_fidelity'] = package
    try:
        return importlib.import_module(f'torch_fidelity.{name}')
    finally:
        for loaded in [loaded for loaded in sys.modules if loaded.partition('.')[0] == 'torch_fidelity']:
            del sys.modules[loaded]


def torch_fidelity_network(arrays: dict[str, np.ndarray], outputs: Sequence[str]) -> Any:
    """torch-fidelity's network with the given weights. Raises `ImportError` if it is not installed."""
    module = torch_fidelity_module('feature_extractor_inceptionv3')
    import torch

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


LEAST = {'kernel_subsets': 1000, 'precision_recall': 4, 'density_coverage': 7}
"""The samples that a metric requires, if more than two."""
METRICS: dict[str, tuple[Callable[..., dict[str, Candidate]], Callable[..., dict[str, Candidate]]]] = {
    'frechet': (frechet, frechet_elsewhere),
    'kernel_subsets': (kernel_subsets, kernel_subsets_elsewhere),
    'precision_recall': (precision_recall, precision_recall_elsewhere),
    'density_coverage': (density_coverage, density_coverage_elsewhere),
    'kernel_gaussian': (kernel_gaussian, kernel_gaussian_elsewhere),
    'neighbours': (neighbours, neighbours_elsewhere),
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
    """The last, which is the fastest, candidate of other packages. Raises `ImportError` if none is installed."""
    return list(METRICS[name][1](**settings).values())[-1]
