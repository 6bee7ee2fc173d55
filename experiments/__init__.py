"""Experiments: one file per paper or question. `python -m experiments` lists them."""
