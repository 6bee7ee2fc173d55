"""The taxonomy of generative models, measured: a model in each file, and `python -m experiments.taxonomy`."""
