"""One Gaussian under every f-divergence (Nowozin, Cseke and Tomioka 2016): `python -m experiments.f_gan`."""
