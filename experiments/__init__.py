"""Experiments: one file per paper or question. `python -m experiments` lists them."""

import gan_jax  # noqa: F401  a signal ends `python -m experiments.NAME` in one line from here on
