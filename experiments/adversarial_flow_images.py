"""Adversarial flow models (Lin, Yang, Lin, Chen and Fan 2025, arXiv 2511.22475) on images, in one step or several.

    python -m experiments.adversarial_flow_images
    python -m experiments.adversarial_flow_images --dataset mnist --flow-steps 4 --g-width 1024 --g-norm batch --width 16 \
        --penalties r1:gamma=10 r2:gamma=10 --optimizers adam:learning_rate=5e-4,beta1=0,beta2=0.9 --steps 2000 --seeds 3

The generator is fully connected, sees an image of noise, and predicts where each pixel ends, towards which it moves. The
discriminator is DCGAN's, with the time as a further channel if there are several steps. The weight of the cost of transport falls
from .2 to .005 by half a cosine, as for the authors' images; their transformers and the normalisation of the gradient that D
sends to G are not part of this experiment.

Expected of the second command, on one core of an AMD EPYC with AVX-512: 4 min; recognised .558 +- .005 (.982 of held-out digits).
With the default rates and penalties, G collapses on MNIST.
"""

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from tyro.conf import Suppress

import gan_jax
from experiments.shared import flows, image_gan
from gan_jax import data, latents, networks, runs
from gan_jax.games.adversarial_flow import flow
from gan_jax.ranges import KernelSize, ShareAbove0, Weight, Width, refuse_given
from gan_jax.typing import Array


@dataclasses.dataclass(frozen=True)
class Config(flows.FlowOptions, image_gan.ImageOptions):
    """An adversarial flow from noise to images."""

    name: str = 'adversarial_flow_images'
    latent_size: Suppress[Width] = 128
    transport_weight: Weight = 0.2
    transport_decay: ShareAbove0 = 0.025
    width: Width = 32
    """Channels of D at half the image's size, doubled at each halving."""
    kernel_size: KernelSize = 4
    """Side of D's convolution kernels."""
    g_width: Width = 512
    """Width of the two hidden layers of G."""
    penalties: tuple[str, ...] = ('r1:gamma=0.5', 'r2:gamma=0.5')
    """Penalties on D; by default R1 and R2 with the authors' weight of .25, which is gamma / 2."""
    optimizers: str = 'adam:learning_rate=2e-4,beta1=0,beta2=0.9'

    def check(self) -> None:
        super().check()
        if not self.transport_weight:
            refuse_given(self, 'transport_decay', because='has no effect with --transport-weight 0')
        refuse_given(self, 'latent_size', because='does not apply to a flow, whose noise has the shape of the images')

    def networks(self, size: data.Size, channels: int) -> tuple[nn.Module, nn.Module]:
        shape = (*data.sides(size), channels)
        dtype = jnp.dtype(self.dtype)
        end = networks.MLP((self.g_width, self.g_width, math.prod(shape)), dtype=dtype, norm=self.g_norm)
        judge = networks.DCGANDiscriminator(self.width, self.kernel_size, dtype, norm=self.d_norm, minibatch=self.minibatch)
        return Moved(end), ImageAtTime(judge)

    def make_game(self, size: data.Size, channels: int) -> gan_jax.Game:
        shape = (*data.sides(size), channels)
        return self.game(*self.networks(size, channels), lambda key: jax.random.normal(key, shape), self.moving)

    def generator(self, size: data.Size | list[int], channels: int) -> runs.Generator:
        """How to draw from the trained flow; the latents are the pixels of the noise."""
        size = data.size_of(*size) if isinstance(size, list) else size
        network, shape = self.networks(size, channels)[0], (*data.sides(size), channels)
        generate = lambda weights, z, _: flow(network, weights, z.reshape(-1, *shape), steps=self.flow_steps)
        return runs.Generator(latents.normal(math.prod(shape)), generate)


class Moved(nn.Module):
    """A generator that moves images towards their ends at time 0, `(x [n, h, w, c], s [n], t [n]) -> e + (t / s) (x - e)`.

    The end e in [-1, 1] is what `network` predicts from rows of pixels, joined to the times. Without times, s = 1 and t = 0, and
    the result is e. A network that predicts the velocity (x - e) / s instead has to reproduce all of the noise in order to remove
    it, for which hidden layers narrower than an image have no room.
    """

    network: nn.Module

    @nn.compact
    def __call__(self, x: Array, *times: Array, train: bool = True) -> Array:
        rows = jnp.concatenate([x.reshape(len(x), -1), *(time[:, None] for time in times)], -1)
        end = jnp.tanh(self.network(rows, train=train)).reshape(x.shape)
        return end if not times else end + (times[1] / times[0]).reshape(-1, 1, 1, 1) * (x - end)


class ImageAtTime(nn.Module):
    """A discriminator of images, `(x [n, h, w, c], *times [n]) -> logits`, to which each time is a further channel."""

    network: nn.Module

    @nn.compact
    def __call__(self, x: Array, *times: Array, train: bool = True, **options: Any) -> Any:
        channels = [jnp.broadcast_to(time.reshape(-1, 1, 1, 1), (*x.shape[:3], 1)) for time in times]
        return self.network(jnp.concatenate([x, *channels], -1), train=train, **options)


def study(config: Config) -> runs.Study:
    """The run for these options. Raises `InputError` for what cannot work, before anything is written."""
    return image_gan.study(config)


def main(config: Config) -> dict[str, Any]:
    """Trains, draws and evaluates; returns the figures of the end table. Raises `InputError`."""
    return runs.conclude(config, study(config), image_gan.evaluate)


if __name__ == '__main__':
    runs.run_main(main, Config)
