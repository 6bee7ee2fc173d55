"""The generator's gradient as D improves (Arjovsky and Bottou 2017): `python -m experiments.vanishing_gradients`."""
