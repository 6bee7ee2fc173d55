"""DCGAN (Radford, Metz and Chintala 2016): `python -m experiments.dcgan`, and what its latent space and filters have learned."""
