"""Feature extractors, which map images to the vectors that metrics compare.

`EXTRACTORS` lists them by name; `extract` applies one to any number of images.
"""

from gan_jax.metrics.extractors.extraction import Extractor, Outputs, extract
from gan_jax.metrics.extractors.table import EXTRACTORS

__all__ = ['EXTRACTORS', 'Extractor', 'Outputs', 'extract']
