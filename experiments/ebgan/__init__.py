"""EBGAN (Zhao, Mathieu and LeCun 2017): `python -m experiments.ebgan`."""
