"""Files of reference statistics for any extractor: moments, features and labels, with a record of images and extractor.

    save_statistics('mnist.npz', reference_statistics(extractor, images, {'moments', 'features'}))
    evaluate(protocols, lambda split: load_statistics('mnist.npz'), fake)

The file is an npz file with `mu` and `sigma`, like those of TTUR and pytorch-fid, which are read as well. Ours add `count`,
`features`, `labels`, and `origin`, a JSON text that states the images, the extractor and the versions. Statistics are used only
with the extractor that computed them; of those without an origin, nothing but the dimension can be checked.
"""

import io
import json
import pathlib
from collections.abc import Collection
from typing import Any, NamedTuple

import jax
import numpy as np

import gan_jax
from gan_jax.errors import InputError
from gan_jax.files import array_names, load_arrays, write_whole
from gan_jax.metrics.extractors.extraction import Extractor, extract, identity
from gan_jax.metrics.measure import Found
from gan_jax.metrics.moments import FeatureMoments, Gaussian, check_moments, feature_moments, of_arrays

_FORMAT = 1
_TOLERANCE = 1e-3
"""Difference of features, relative to the largest, that another device or release of JAX may cause."""
_TRACED = 4
"""Number of images for which programs are compared, whatever the batch size; also that of the probe."""


class Provenance(NamedTuple):
    """What statistics are of."""

    images: str
    """The name of the images, such as 'mnist:train'."""
    split: str
    """Their split; empty for images that have no splits."""
    size: int
    """Number of images."""
    whole: bool
    """Whether these are all images of that name."""
    shape: tuple[int, ...]
    """`(h, w, c)` of the images that the extractor was given."""
    resize: int | None
    """The side to which they were cropped and resized before; None if they were left as they are."""
    pixels: str
    """The sha256 of the pixels, in order."""
    extractor: str
    """The extractor's name, which states its weights and its own resize."""
    program: str | None
    """The fingerprint of its program and weights (`extraction.identity`); None if JAX cannot trace it."""
    versions: dict[str, str]
    """The releases of gan_jax, JAX and NumPy."""
    classes: tuple[str, ...] = ()
    """A name for each label; empty without labels."""


class Statistics(NamedTuple):
    """Statistics of a set of images in the features of one extractor."""

    moments: FeatureMoments | Gaussian | None = None
    features: np.ndarray | None = None
    """`[n, d]`"""
    labels: np.ndarray | None = None
    """Integers `[n]`."""
    probe: np.ndarray | None = None
    """The features of `probe_images`, `[4, d]`."""
    origin: Provenance | None = None
    """None for files of other programs."""
    name: str = 'the statistics'
    """The file that they were read from."""

    @property
    def contents(self) -> str:
        """What there is, in words."""
        parts = {'moments': self.moments, 'features': self.features, 'labels': self.labels}
        return ' and '.join(', '.join(name for name, x in parts.items() if x is not None).rsplit(', ', 1))

    def found(self, needs: Collection[str], labelled: bool = False) -> Found:
        """The outputs that measures require. Raises `InputError` for those that are not there."""
        if 'images' in needs:
            raise InputError('statistics do not contain images; this metric requires the real images')
        if 'features' in needs and self.features is None:
            raise InputError(
                'statistics do not contain individual features; this metric requires the real images, or a file that was saved '
                'with it'
            )
        if labelled and self.labels is None:
            raise InputError(
                'statistics do not contain labels; this metric requires real images of classes, or a file saved with it'
            )
        moments = self.moments
        if moments is None and self.features is not None and 'moments' in needs:
            moments = feature_moments(self.features)
        size = self.origin.size if self.origin else int(moments.size) if isinstance(moments, FeatureMoments) else None
        parts: dict[str, Any] = {'moments': moments, 'features': self.features, 'labels': self.labels}
        return Found(size)._replace(**{name: x for name, x in parts.items() if x is not None})


def probe_images(shape: tuple[int, ...]) -> np.ndarray:
    """Four images by which extractors are told apart, uint8 `[4, *shape]`: noise of single pixels, and of blocks."""
    height, width, channels = shape
    rng = np.random.default_rng(0)
    fine = rng.integers(0, 256, (2, height, width, channels), np.uint8)
    rows, columns = (np.arange(side) * 4 // side for side in (height, width))
    return np.concatenate([fine, rng.integers(0, 256, (2, 4, 4, channels), np.uint8)[:, rows][:, :, columns]])


def describe(extractor: Extractor, shape: tuple[int, ...], *, batch_size: int = 64) -> tuple[np.ndarray, str | None]:
    """The features of the probe, and the identity of the extractor's program.

    Args:
        extractor: the extractor.
        shape: `(h, w, c)` of its images.
        batch_size: the size of padded batches.
    """
    (outputs,) = extract(extractor, [probe_images(shape)], batch_size=max(batch_size, _TRACED))
    return as_floats(outputs.features), identity(extractor, shape, _TRACED)


def as_floats(features: np.ndarray) -> np.ndarray:
    """Features `[n, d]` as files have them: float32, or float64 where float32 does not hold all values of their type."""
    return features.astype(np.result_type(features.dtype, np.float32), copy=False)


def versions() -> dict[str, str]:
    """The releases of gan_jax, JAX and NumPy."""
    return {package.__name__: package.__version__ for package in (gan_jax, jax, np)}


def check_extractor(
    statistics: Statistics,
    extractor: Extractor,
    *,
    shape: tuple[int, ...] | None = None,
    batch_size: int = 64,
) -> None:
    """Raises `InputError` unless the statistics are of this extractor and of images of this shape, as far as their origin says.

    An extractor fits if its program and weights are the same; under another release of gan_jax or JAX, and where JAX cannot trace
    it, if it maps a few images to the same features within 1e-3 of the largest.

    Args:
        statistics: the statistics.
        extractor: the extractor of the generated images.
        shape: `(h, w, c)` of the generated images; None if it is unknown.
        batch_size: the size of padded batches.
    """
    origin, name = statistics.origin, statistics.name
    if origin is None:
        return
    if origin.extractor != extractor.name:
        raise InputError(f'{name} has features of {origin.extractor}, not of {extractor.name}')
    if shape and tuple(shape) != origin.shape:
        ours, theirs = (' x '.join(map(str, sides)) for sides in (shape, origin.shape))
        flags = ['--resize N'] * (shape[:2] != origin.shape[:2]) + ['--channels 1 or 3'] * (shape[2] != origin.shape[2])
        raise InputError(f'{name} is of images {theirs}, and the generated images are {ours}; use {" and ".join(flags)}')
    traced = identity(extractor, origin.shape, _TRACED)
    if traced == origin.program and traced is not None:
        return
    if traced is not None and origin.program is not None and origin.versions == versions():
        raise InputError(f'{name} has features of {extractor.name} with other code or weights: save it again')
    now, _ = describe(extractor, origin.shape, batch_size=batch_size)
    then = statistics.probe
    if then is None or now.shape != then.shape or abs(now - then).max() > _TOLERANCE * abs(then).max():
        raise InputError(f'{name} has features of {extractor.name} with other code or weights: save it again')


def save_statistics(path: str | pathlib.Path, statistics: Statistics) -> None:
    """Writes the file. Raises `ValueError` for moments that are not finite."""
    arrays: dict[str, Any] = {}
    if statistics.moments is not None:
        check_moments(moments=statistics.moments)
        arrays |= {'mu': np.asarray(statistics.moments.mean, np.float64)}
        arrays |= {'sigma': np.asarray(statistics.moments.covariance, np.float64)}
        if isinstance(statistics.moments, FeatureMoments):
            arrays['count'] = np.int64(statistics.moments.size)
    parts = {'features': statistics.features, 'labels': statistics.labels, 'probe': statistics.probe}
    arrays |= {name: x for name, x in parts.items() if x is not None}
    if statistics.origin is not None:
        arrays['origin'] = np.array(json.dumps({'format': _FORMAT, **statistics.origin._asdict()}))
    file = io.BytesIO()
    np.savez(file, **arrays)
    write_whole(pathlib.Path(path), file.getvalue())


def is_statistics(path: str | pathlib.Path) -> bool:
    """Whether a path ends in `.npz` and has statistics. Raises `InputError` if the file cannot be read."""
    return pathlib.Path(path).suffix == '.npz' and bool({'mu', 'origin'} & set(array_names(path)))


def load_statistics(path: str | pathlib.Path) -> Statistics:
    """Reads what `save_statistics`, `moments.save`, TTUR or pytorch-fid wrote. Raises `InputError` for any other file."""
    arrays = load_arrays(path)
    if 'origin' not in arrays:
        return Statistics(of_arrays(arrays, path), name=str(path))
    origin = _origin(arrays['origin'], path)
    moments = of_arrays(arrays, path) if 'mu' in arrays or 'sigma' in arrays else None
    features, labels, probe = (arrays.get(name) for name in ('features', 'labels', 'probe'))
    width = None if probe is None or probe.ndim != 2 else probe.shape[1]
    fine = [
        probe is not None and width is not None and len(probe) == _TRACED and _finite(probe),
        moments is not None or features is not None,
        moments is None or (moments.mean.shape == (width,) and getattr(moments, 'size', None) == origin.size),
        features is None or (features.shape == (origin.size, width) and _finite(features)),
        labels is None or _are_labels(labels, origin),
    ]
    if not all(fine):
        shapes = ', '.join(f'{name} {x.dtype}{list(x.shape)}' for name, x in arrays.items() if name != 'origin')
        raise InputError(f'{path} is damaged: it says that it has {origin.size} images, but its arrays are {shapes}')
    return Statistics(moments, features, labels, probe, origin, str(path))


def _finite(x: np.ndarray | None) -> bool:
    return x is not None and np.issubdtype(x.dtype, np.floating) and bool(np.isfinite(x).all())


def _are_labels(labels: np.ndarray, origin: Provenance) -> bool:
    whole = labels.shape == (origin.size,) and np.issubdtype(labels.dtype, np.integer)
    return whole and bool(len(labels) and labels.min() >= 0 and labels.max() < len(origin.classes))


def _origin(array: np.ndarray, path: str | pathlib.Path) -> Provenance:
    try:
        found = json.loads(str(array))
        if found.pop('format') != _FORMAT:
            raise ValueError('it is in a newer format')
        origin = Provenance(**found)
        shape, classes, versions = tuple(map(int, origin.shape)), tuple(map(str, origin.classes)), dict(origin.versions)
        texts = (origin.images, origin.split, origin.pixels, origin.extractor, origin.program or '')
        if len(shape) != 3 or min(shape) < 1 or type(origin.size) is not int or not all(isinstance(x, str) for x in texts):
            raise ValueError('its entries are of other types')
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f'{path} does not say what its statistics are of: {" ".join(str(error).split())}') from error
    return origin._replace(shape=shape, classes=classes, versions=versions)
