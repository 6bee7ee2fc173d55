"""pix2pix (Isola et al. 2017): `python -m experiments.pix2pix`."""
