"""Adversarial flow models on a line (Lin et al. 2025): `python -m experiments.adversarial_flow`."""
