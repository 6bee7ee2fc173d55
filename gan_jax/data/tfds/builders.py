"""TFDS's builders of the most common data sets, with the steps that need TensorFlow replaced; they write the stock data sets."""

import functools
import gzip
import io
import pathlib
import tarfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

_CIFAR10_CLASSES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
_IDX = {'train': 'train', 'test': 't10k'}


@functools.cache
def without_tensorflow() -> dict[str, Any]:
    """Returns the builders by name."""
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


def _png(image: np.ndarray) -> bytes:
    """Encodes an image, because TFDS stores encoded images as they are but would call TensorFlow to encode an array."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, 'PNG')
    return out.getvalue()
