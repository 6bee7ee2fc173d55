"""The Dirac-GAN (Mescheder, Geiger and Nowozin 2018): `python -m experiments.dirac_gan`."""
