"""Distributions of latents: moments, and what is refused."""

import jax
import numpy as np
import pytest

from gan_jax import latents


def test_clusters_are_equally_likely_and_apart_from_the_noise():
    draw = lambda clusters, n: np.asarray(jax.vmap(latents.clustered(2, clusters, 6.0))(jax.random.split(jax.random.key(1), n)))
    z = draw(4, 8000)
    assert z.shape == (8000, 6) and set(np.unique(z[:, :4])) == {0, 6} and (z[:, :4].sum(1) == 6).all()
    np.testing.assert_allclose((z[:, :4] > 0).mean(0), 0.25, atol=0.02)
    np.testing.assert_allclose(np.cov(z[:, 4:].T), np.eye(2), atol=0.06)
    np.testing.assert_allclose(z[:, 4:][z[:, 0] > 0].mean(0), 0, atol=0.08)  # noise does not depend on the cluster
    keys = jax.random.split(jax.random.key(2), 5)
    np.testing.assert_array_equal(jax.vmap(latents.clustered(3, 0))(keys), jax.vmap(latents.normal(3))(keys))
    for clusters, distance in ((-1, 3.0), (2, 0.0), (2, float('nan'))):
        with pytest.raises(ValueError, match='clusters must be at least 0, and their distance above 0'):
            latents.clustered(2, clusters, distance)
