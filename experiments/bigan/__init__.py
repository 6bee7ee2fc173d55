"""BiGAN and ALI (Donahue et al. 2017; Dumoulin et al. 2017): `python -m experiments.bigan`."""
