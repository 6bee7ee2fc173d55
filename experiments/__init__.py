"""Experiments, one file or folder per paper or question. `python -m experiments` lists them."""

import gan_jax  # noqa: F401  from here on, a signal ends `python -m experiments.NAME` with one line
