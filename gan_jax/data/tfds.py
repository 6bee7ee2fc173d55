"""TensorFlow Datasets, read and, for the commonest sets, prepared without TensorFlow.

    python -m gan_jax.data.tfds mnist --data-dir DIR

prepares a data set in the folder. `mnist`, `fashion_mnist` and `cifar10` need nothing but this package; any other set needs
TensorFlow, `pip install 'gan_jax[prepare]'`. `--manual-dir` names a folder that holds the original files already.
"""

import difflib
import functools
import gzip
import io
import os
import pathlib
import tarfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gan_jax.data.images import resize
from gan_jax.errors import InputError

_CIFAR10_CLASSES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')


def directory(data_dir: str | os.PathLike | None) -> str:
    """The folder of the prepared sets: the argument, or `TFDS_DATA_DIR`, or TFDS's own default."""
    return str(data_dir or os.environ.get('TFDS_DATA_DIR') or pathlib.Path.home() / 'tensorflow_datasets')


class TfdsSource:
    """One split of a prepared image data set, read by index (a `feeds.Source`); images come resized to `size`."""

    def __init__(self, name: str, split: str, *, size: int | None = None, data_dir: str | os.PathLike | None = None) -> None:
        import tensorflow_datasets as tfds

        builder = _builder(name, data_dir)
        features = dict(builder.info.features or {})
        if not isinstance(features.get('image'), tfds.features.Image):
            raise InputError(f"data set {name!r} has no feature 'image'")
        if not pathlib.Path(builder.data_dir).exists():
            prepare(name, data_dir=data_dir)
            builder = _builder(name, data_dir)
        if split not in builder.info.splits:
            raise InputError(f'{name} has splits {", ".join(builder.info.splits)}, not {split!r}')
        try:
            images = [key for key, feature in features.items() if isinstance(feature, tfds.features.Image)]
            self._records = builder.as_data_source(split=split, decoders=dict.fromkeys(images, tfds.decode.SkipDecoding()))
        except NotImplementedError as error:
            raise InputError(
                f'{name} in {builder.data_dir} is stored for TensorFlow only; prepare it anew with '
                f'python -m gan_jax.data.tfds {name} --data-dir NEW_FOLDER'
            ) from error
        height, width, channels = features['image'].shape
        self.channels: int = channels or 3
        if size is None and (height is None or height != width):
            raise InputError(f'the images of {name} are {height} x {width}, not square: give a size')
        self.size: int = size or height
        label = features.get('label')
        self.classes: tuple[str, ...] = tuple(label.names) if isinstance(label, tfds.features.ClassLabel) else ()

    def __len__(self) -> int:
        return len(self._records)

    def read(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        """`image`, uint8 `[n, size, size, channels]`, and `label`, int32 `[n]`, where the set has one."""
        from PIL import Image

        records = self._records.__getitems__(list(indices))
        images = []
        for record in records:
            image = np.asarray(Image.open(io.BytesIO(record['image'])).convert('L' if self.channels == 1 else 'RGB'))
            images.append(resize(image.reshape(1, *image.shape[:2], self.channels), self.size)[0])
        batch = {'image': np.stack(images)}
        if self.classes:
            batch['label'] = np.array([record['label'] for record in records], np.int32)
        return batch

    def column(self, name: str) -> list[Any]:
        """One feature, such as a file name, of all records. Raises `InputError` if there is no such feature."""
        if len(self) and name not in self._records[0]:
            raise InputError(f'there is no feature {name!r}; there are {", ".join(self._records[0])}')
        return [self._records[i][name] for i in range(len(self))]


def prepare(name: str, *, data_dir: str | os.PathLike | None = None, manual_dir: str | os.PathLike | None = None) -> None:
    """Downloads a data set (or finds its original files in `manual_dir`) and writes it as array_record.

    Raises `InputError` for an unknown name, without a network, or if the set needs TensorFlow and there is none.
    """
    import requests
    import tensorflow_datasets as tfds

    builder = _builder(name, data_dir)
    config = tfds.download.DownloadConfig(manual_dir=manual_dir and str(manual_dir), try_download_gcs=False)
    try:
        builder.download_and_prepare(download_config=config, file_format='array_record')
    except requests.exceptions.RequestException as error:
        raise InputError(
            f'cannot download {name}: {type(error).__name__}; --manual-dir may name a folder with its files'
        ) from error
    except ImportError as error:
        raise InputError(f"preparing {name} needs TensorFlow: pip install 'gan_jax[prepare]'") from error


def _builder(name: str, data_dir: str | os.PathLike | None) -> Any:
    import tensorflow_datasets as tfds

    folder = directory(data_dir)
    if name in _without_tensorflow():
        return _without_tensorflow()[name](data_dir=folder, file_format='array_record')
    known = tfds.list_builders(with_community_datasets=False)
    if name.partition('/')[0].partition(':')[0] not in known and not (pathlib.Path(folder) / name).is_dir():
        near = difflib.get_close_matches(name, ['digits', *known], 3)
        hint = f'; did you mean {" or ".join(near)}?' if near else ''
        raise InputError(f"unknown data set {name!r}: it is not 'digits', no folder, and not in TFDS{hint}")
    return tfds.builder(name, data_dir=folder)


@functools.cache
def _without_tensorflow() -> dict[str, Any]:
    """TFDS's builders of these sets, with the steps that need TensorFlow replaced; what they write is the stock data set."""
    from tensorflow_datasets.image_classification import cifar, mnist

    class Idx:
        URL: str

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
            files = {
                split: [f'{stem}-{kind}.gz' for kind in ('images-idx3-ubyte', 'labels-idx1-ubyte')]
                for split, stem in _IDX.items()
            }
            paths = dl_manager.download({file: self.URL + file for pair in files.values() for file in pair})
            return {split: self._generate_examples(paths[images], paths[labels]) for split, (images, labels) in files.items()}

        def _generate_examples(self, images: Any, labels: Any) -> Iterator[tuple[int, dict]]:
            pixels = np.frombuffer(gzip.decompress(pathlib.Path(images).read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)
            classes = np.frombuffer(gzip.decompress(pathlib.Path(labels).read_bytes()), np.uint8, offset=8)
            for i, (image, label) in enumerate(zip(pixels, classes, strict=True)):
                yield i, {'image': _png(image), 'label': int(label)}

    class MNIST(Idx, mnist.MNIST, skip_registration=True):  # type: ignore[call-arg]
        name = 'mnist'

    class FashionMNIST(Idx, mnist.FashionMNIST, skip_registration=True):  # type: ignore[call-arg]
        name = 'fashion_mnist'

    class Cifar10(cifar.Cifar10, skip_registration=True):  # type: ignore[call-arg]
        name = 'cifar10'

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
            self.info.features['label'].names = _CIFAR10_CLASSES
            archive = dl_manager.download('https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz')
            files = {'train': [f'data_batch_{i}' for i in range(1, 6)], 'test': ['test_batch']}
            return {split: self._generate_examples(split, archive, names) for split, names in files.items()}

        def _generate_examples(self, split: str, archive: Any, names: Sequence[str]) -> Iterator[tuple[int, dict]]:
            number = 0
            with tarfile.open(archive) as tar:
                for name in names:
                    member = tar.extractfile(f'cifar-10-batches-bin/{name}.bin')
                    assert member is not None
                    records = np.frombuffer(member.read(), np.uint8).reshape(-1, 3073)
                    for record in records:
                        image = record[1:].reshape(3, 32, 32).transpose(1, 2, 0)
                        yield number, {'id': f'{split}_{number:05d}', 'image': _png(image), 'label': int(record[0])}
                        number += 1

    return {builder.name: builder for builder in (MNIST, FashionMNIST, Cifar10)}


_IDX = {'train': 'train', 'test': 't10k'}


def _png(image: np.ndarray) -> bytes:
    """An encoded image, which TFDS stores as it is; from an array it would call TensorFlow to encode it."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, 'PNG')
    return out.getvalue()


def _main() -> None:
    import argparse

    parser = argparse.ArgumentParser(prog='python -m gan_jax.data.tfds', description='Prepare a TFDS data set as array_record.')
    parser.add_argument('name')
    parser.add_argument('--data-dir')
    parser.add_argument('--manual-dir')
    options = parser.parse_args()
    try:
        prepare(options.name, data_dir=options.data_dir, manual_dir=options.manual_dir)
    except InputError as error:
        parser.exit(2, f'{parser.prog}: {error}\n')
    print(f'{options.name} is ready in {directory(options.data_dir)}')


if __name__ == '__main__':
    _main()
