"""CycleGAN (Zhu et al. 2017): `python -m experiments.cyclegan`."""
