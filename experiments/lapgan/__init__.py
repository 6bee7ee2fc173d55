"""LAPGAN (Denton et al. 2015): `python -m experiments.lapgan`."""
