"""Semi-supervised learning from few labels (Salimans et al. 2016), `python -m experiments.semi_supervised`, and its baseline."""
