"""The taxonomy of generative models, measured, with one model per file: `python -m experiments.taxonomy`."""
