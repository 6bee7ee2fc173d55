"""The optimal discriminator (Goodfellow et al. 2014): `python -m experiments.optimal_discriminator`."""
