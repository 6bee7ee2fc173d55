"""Latent distributions: factories of `sampler(key) -> [size]`, one example's latent vector from one example's key.

And what is done with latents once a generator is trained: paths through them, and arithmetic (Radford et al. 2016, section 6).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gan_jax.typing import AnyArray, Array, Key


def normal(size: int) -> Callable[[Key], Array]:
    """Standard normal latents, `[size]`."""
    return lambda key: jax.random.normal(key, (size,))


def uniform(size: int, low: float = -1.0, high: float = 1.0) -> Callable[[Key], Array]:
    """Latents uniform on `[low, high)`, `[size]`: DCGAN's are on [-1, 1), Goodfellow et al.'s on [-sqrt(3), sqrt(3))."""
    return lambda key: jax.random.uniform(key, (size,), minval=low, maxval=high)


def truncated_normal(size: int, limit: float) -> Callable[[Key], Array]:
    """Standard normal latents whose entries beyond `limit` are drawn again, `[size]`: the truncation trick.

    Samples of a generator trained on all latents get more typical and less varied, the smaller the limit (Brock et al. 2019,
    section 3.1). Raises `ValueError` for a limit that is not above 0.
    """
    if not limit > 0:
        raise ValueError(f'the limit of truncated latents is above 0, got {limit}')
    return lambda key: jax.random.truncated_normal(key, -limit, limit, (size,))


def lerp(a: Array, b: Array, t: Array) -> Array:
    """`(1 - t) a + t b`: the straight line from `a [size]` at t = 0 to `b [size]` at t = 1."""
    return (1 - t) * a + t * b


def slerp(a: Array, b: Array, t: Array) -> Array:
    """The arc from `a [size]` at t = 0 to `b [size]` at t = 1, about the origin (Shoemake 1985; White 2016, section 2.1):

        sin((1 - t) w) / sin w  a  +  sin(t w) / sin w  b,    w the angle between a and b

    Normal latents of many dimensions lie near a sphere, which the straight line between two of them leaves: half-way it is
    shorter by sqrt(2). Parallel latents have the straight line as their arc. Opposite ones have no shortest arc; what is
    returned for them is not determined.
    """
    norm_a, norm_b = jnp.linalg.norm(a), jnp.linalg.norm(b)
    u, v = norm_b * a, norm_a * b
    angle = 2 * jnp.arctan2(jnp.linalg.norm(u - v), jnp.linalg.norm(u + v))  # accurate at small angles, unlike the arc cosine
    sine = jnp.sin(angle)
    share = lambda t: jnp.where(sine == 0, t, jnp.sin(t * angle) / jnp.where(sine == 0, 1, sine))
    return share(1 - t) * a + share(t) * b


def path(points: Array, steps: int, between: Callable[[Array, Array, Array], Array] = lerp) -> Array:
    """The latents on the way through `points [n, size]`, `steps` equal shares from each to the next: `[(n - 1) steps + 1, size]`.

    `between(a, b, t)` is `lerp` or `slerp`. Every `steps`-th latent is one of the points. Raises `ValueError` for fewer than 2
    points or 1 step.
    """
    if points.ndim != 2 or len(points) < 2 or steps < 1:
        raise ValueError(f'a path has at least 2 points [n, size] and 1 step between them, got {points.shape} and {steps=}')
    shares = jnp.arange(steps, dtype=points.dtype) / steps
    legs = jax.vmap(lambda a, b: jax.vmap(lambda t: between(a, b, t))(shares))(points[:-1], points[1:])
    return jnp.concatenate([legs.reshape(-1, points.shape[1]), points[-1:]])


def analogy(a: AnyArray, b: AnyArray, c: AnyArray) -> AnyArray:
    """What is to c as a is to b: mean(a) - mean(b) + mean(c), of exemplars `[n, size]` of each concept, `[size]`.

    Means of three exemplars are the paper's (section 6.3.2); single ones were unstable. Of independent standard normal latents
    the result of three for each concept is standard normal again.
    """
    return a.mean(0) - b.mean(0) + c.mean(0)
