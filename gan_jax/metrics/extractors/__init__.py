"""Feature extractors: what turns images into the vectors that the metrics compare.

`EXTRACTORS` lists them by name; `extract` runs one over images of any number.
"""

from gan_jax.metrics.extractors.extraction import Extractor, Outputs, extract
from gan_jax.metrics.extractors.table import EXTRACTORS

__all__ = ['EXTRACTORS', 'Extractor', 'Outputs', 'extract']
