"""DCGAN (Radford, Metz and Chintala 2016), `python -m experiments.dcgan`, and an analysis of its latent space and filters."""
