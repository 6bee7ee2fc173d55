"""TensorFlow Datasets, read and, for the commonest sets, prepared without TensorFlow.

    python -m gan_jax.data.tfds mnist --data-dir DIR

prepares a data set in the folder. `mnist`, `fashion_mnist` and `cifar10` need nothing but this package; any other set needs
TensorFlow, `pip install 'gan_jax[prepare]'`. `--manual-dir` names a folder that holds the original files already.
"""

from gan_jax.data.tfds.names import Name, directory, is_known, parse
from gan_jax.data.tfds.preparation import prepare
from gan_jax.data.tfds.source import TfdsSource, has_held_out, held_out

__all__ = ['Name', 'TfdsSource', 'directory', 'has_held_out', 'held_out', 'is_known', 'parse', 'prepare']
