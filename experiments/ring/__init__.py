"""Any game on a ring of Gaussians, and a sweep of objectives and penalties: `python -m experiments.ring`."""
