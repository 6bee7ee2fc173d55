"""A history of generated images for the discriminator (Shrivastava et al. 2017, section 2.3; Zhu et al. 2017, section 4)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax import parallel
from gan_jax.typing import Array, Key


class ImagePool(NamedTuple):
    """The stored images, which are the same on every device of a parallel run."""

    bits: Array
    """The images as unsigned integers `[size, ...]`, because a train step averages floating-point state over devices."""
    filled: Array
    """The number of images stored."""


def empty_pool(size: int, example: Array | jax.ShapeDtypeStruct) -> ImagePool:
    """A pool for `size` images with the shape and floating-point type of `example`."""
    bits = jnp.dtype(f'uint{8 * example.dtype.itemsize}')
    return ImagePool(jnp.zeros((size, *example.shape), bits), jnp.int32(0))


def exchange(pool: ImagePool, images: Array, key: Key) -> tuple[ImagePool, Array]:
    """The pool after visiting images `[n, ...]`, and the images to show instead of them, `[n, ...]`.

    Images are visited one by one, in the order of the global batch. While the pool is not full, an image is stored and shown.
    Afterwards it is shown unchanged with probability 1/2; otherwise it replaces a stored image, drawn uniformly, which is shown
    instead. Stored images are constants; gradients flow only through images shown unchanged.
    """
    size = len(pool.bits)
    newcomers = parallel.all_gather(lax.bitcast_convert_type(lax.stop_gradient(images), pool.bits.dtype))
    coin_key, place_key = jax.random.split(key)
    coins = jax.random.bernoulli(coin_key, shape=newcomers.shape[:1])
    places = jax.random.randint(place_key, newcomers.shape[:1], 0, size)

    def visit(pool: ImagePool, newcomer: tuple[Array, Array, Array]) -> tuple[ImagePool, tuple[Array, Array]]:
        bits, coin, place = newcomer
        full = pool.filled == size
        swap, slot = full & coin, jnp.where(full, place, pool.filled)
        old = pool.bits[slot]
        stored = pool.bits.at[slot].set(jnp.where(swap | ~full, bits, old))
        return ImagePool(stored, pool.filled + ~full), (swap, old)

    pool, given = lax.scan(visit, pool, (newcomers, coins, places))
    swapped, old = (parallel.local_rows(x) for x in given)
    swapped = swapped.reshape(-1, *[1] * (images.ndim - 1))
    return pool, jnp.where(swapped, lax.bitcast_convert_type(old, images.dtype), images)
