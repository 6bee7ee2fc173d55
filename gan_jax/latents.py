"""Latent distributions: factories of `sampler(key) -> [size]`, which draws the latent vector of one example from its key.

Also operations on the latents of a trained generator: paths through them, and arithmetic (Radford et al. 2016, section 6).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gan_jax.typing import AnyArray, Array, Key


def normal(size: int) -> Callable[[Key], Array]:
    """Standard normal latents, `[size]`."""
    return lambda key: jax.random.normal(key, (size,))


def uniform(size: int, low: float = -1.0, high: float = 1.0) -> Callable[[Key], Array]:
    """Latents uniform on `[low, high)`, `[size]`; DCGAN uses [-1, 1), Goodfellow et al. use [-sqrt(3), sqrt(3))."""
    return lambda key: jax.random.uniform(key, (size,), minval=low, maxval=high)


def truncated_normal(size: int, limit: float) -> Callable[[Key], Array]:
    """Standard normal latents with entries beyond `limit` redrawn, `[size]`: the truncation trick.

    The smaller the limit, the more typical and the less varied are the samples of a generator trained without it (Brock et al.
    2019, section 3.1). Raises `ValueError` unless the limit is above 0.
    """
    if not limit > 0:
        raise ValueError(f'the limit of truncated latents must be above 0, got {limit}')
    return lambda key: jax.random.truncated_normal(key, -limit, limit, (size,))


def clustered(size: int, clusters: int, distance: float = 3.0) -> Callable[[Key], Array]:
    """One of equally likely clusters, as a one-hot vector times `distance`, then standard normal entries: `[clusters + size]`.

    The images of a continuous generator of connected latents are connected, so between the modes of the data it has to make
    images that belong to none (Khayatkhoei et al. 2018). Clusters need not be (ClusterGAN, Mukherjee et al. 2019, section 3.1,
    with 10 for the ratio of `distance` to the standard deviation; DeLiGAN, Gurumurthy et al. 2017, learns a mixture). What a
    cluster shows is left to the generator. With 0 clusters, latents are those of `normal`. Raises `ValueError` for fewer, and
    for a `distance` that is not above 0.
    """
    if clusters < 0 or not distance > 0:
        raise ValueError(f'clusters must be at least 0, and their distance above 0, got {clusters} and {distance}')
    if not clusters:
        return normal(size)

    def draw(key: Key) -> Array:
        which, rest = jax.random.split(key)
        cluster = jax.nn.one_hot(jax.random.randint(which, (), 0, clusters), clusters)
        return jnp.concatenate([distance * cluster, jax.random.normal(rest, (size,))])

    return draw


def kl_to_standard_normal(mean: Array, log_variance: Array) -> Array:
    """KL(N(mean, diag(sigma^2)) || N(0, I)) in nats, `[..., size] -> [...]` (Kingma and Welling 2014, appendix B).

    It is half the sum of mean^2 + sigma^2 - 1 - log sigma^2.
    """
    return (mean**2 + jnp.expm1(log_variance) - log_variance).sum(-1) / 2


def lerp(a: Array, b: Array, t: Array | float) -> Array:
    """`(1 - t) a + t b`: the straight line from `a [size]` at t = 0 to `b [size]` at t = 1."""
    return (1 - t) * a + t * b


def slerp(a: Array, b: Array, t: Array) -> Array:
    """The arc about the origin from `a [size]` at t = 0 to `b [size]` at t = 1 (Shoemake 1985; White 2016, section 2.1).

        sin((1 - t) w) / sin w  a  +  sin(t w) / sin w  b,    w the angle between a and b

    High-dimensional normal latents lie near a sphere, and the straight line between two of them leaves it: its midpoint is
    shorter by a factor of sqrt(2). For parallel latents the arc is the straight line. Opposite latents have no unique shortest
    arc, and the result for them is unspecified.
    """
    norm_a, norm_b = jnp.linalg.norm(a), jnp.linalg.norm(b)
    u, v = norm_b * a, norm_a * b
    angle = 2 * jnp.arctan2(jnp.linalg.norm(u - v), jnp.linalg.norm(u + v))  # accurate at small angles, unlike the arc cosine
    sine = jnp.sin(angle)
    share = lambda t: jnp.where(sine == 0, t, jnp.sin(t * angle) / jnp.where(sine == 0, 1, sine))
    return share(1 - t) * a + share(t) * b


def path(points: Array, steps: int, between: Callable[[Array, Array, Array], Array] = lerp) -> Array:
    """A path of latents through `points [n, size]` in `steps` equal steps from each to the next: `[(n - 1) steps + 1, size]`.

    `between(a, b, t)` is `lerp` or `slerp`. Every `steps`-th latent is one of the points. Raises `ValueError` for fewer than 2
    points or 1 step.
    """
    if points.ndim != 2 or len(points) < 2 or steps < 1:
        raise ValueError(f'a path requires at least 2 points [n, size] and 1 step between them, got {points.shape} and {steps=}')
    shares = jnp.arange(steps, dtype=points.dtype) / steps
    legs = jax.vmap(lambda a, b: jax.vmap(lambda t: between(a, b, t))(shares))(points[:-1], points[1:])
    return jnp.concatenate([legs.reshape(-1, points.shape[1]), points[-1:]])


def analogy(a: AnyArray, b: AnyArray, c: AnyArray) -> AnyArray:
    """Completes the analogy a : b = ? : c as mean(a) - mean(b) + mean(c), of exemplars `[n, size]` of each concept, `[size]`.

    The paper averages three exemplars; single ones were unstable (section 6.3.2). With three independent standard normal
    latents for each concept, the result is standard normal again.
    """
    return a.mean(0) - b.mean(0) + c.mean(0)
