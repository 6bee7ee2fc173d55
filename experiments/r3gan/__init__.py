"""R3GAN (Huang et al. 2024): `python -m experiments.r3gan`."""
