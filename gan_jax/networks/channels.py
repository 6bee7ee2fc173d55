"""Sums over all but the last axis of a layer's output, and their transpose: what batch norm does its arithmetic by.

Each is the transpose of the other, so that derivatives of any order of what is made of the two are made of the two again.
"""

import math

import jax.numpy as jnp

from gan_jax.typing import Array


def channel_sum(x: Array) -> Array:
    """The sums over every axis but the last, `[..., c] -> [c]`."""
    return x.sum(tuple(range(x.ndim - 1)))


def channel_broadcast(values: Array, shape: tuple[int, ...]) -> Array:
    """One value for each channel, repeated over every other axis, `[c] -> shape = [..., c]`."""
    return jnp.broadcast_to(values, shape)


def channel_mean(x: Array) -> Array:
    """The means over every axis but the last, `[..., c] -> [c]`."""
    return channel_sum(x) / math.prod(x.shape[:-1])
