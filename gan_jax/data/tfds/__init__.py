"""TensorFlow Datasets, read without TensorFlow and, for the most common data sets, also prepared without it.

    python -m gan_jax.data.tfds mnist --data-dir DIR

prepares a data set in the folder. `mnist`, `fashion_mnist` and `cifar10` require nothing but this package; other data sets
require TensorFlow, `pip install 'gan_jax[prepare]'`. `--manual-dir` names a folder that already contains the original files.
"""

from gan_jax.data.tfds.names import Name, directory, is_known, parse
from gan_jax.data.tfds.preparation import prepare
from gan_jax.data.tfds.source import TfdsSource, has_held_out, held_out

__all__ = ['Name', 'TfdsSource', 'directory', 'has_held_out', 'held_out', 'is_known', 'parse', 'prepare']
