"""The residual networks that WGAN-GP and SNGAN share, and the training of both papers on CIFAR-10."""

import dataclasses
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import gan_jax
from experiments.shared import image_gan
from gan_jax import data, networks, parallel
from gan_jax.errors import InputError
from gan_jax.optimizers import Optimizers, average_parameters, averaged
from gan_jax.ranges import Compared, Count, PlayerSteps, Range, Share, Text, Width, refuse_given
from gan_jax.training import Step, Trainer
from gan_jax.typing import Array, Key


@dataclasses.dataclass(frozen=True)
class ResNetOptions(image_gan.ImageOptions):
    """Options of WGAN-GP and SNGAN with residual networks."""

    dataset: Text = 'cifar10'
    g_norm: str = 'batch'
    g_width: Width = 128
    """Channels of every layer of G."""
    d_width: Width = 128
    """Channels of every layer of D."""
    pool: Literal['sum', 'mean'] = 'mean'
    """Pooling of D's last features over positions."""
    last_bias: bool = True
    """Whether D's last layer has a bias."""
    statistics: Literal['running', 'batch'] = 'running'
    """Statistics of G's batch norm when drawing: running averages, or those of the batch that is drawn."""
    ema_decay: Share = 0.0
    """Decay of the averaged generator, which draws the samples; 0 draws with the present one, as in the papers."""
    average: Share = 0.999
    """Decay of a further average of G's parameters, whose scores are reported separately. Its batch norm uses the statistics of
    the batch that is drawn, because running averages belong to other parameters."""
    schedule: str = 'linear'
    discriminator_steps: PlayerSteps | None = 5
    generator_batches: Annotated[int, Range(1, 1000)] = 2  # type: ignore[misc]  # an option here, a constant in the base class
    """Multiple of D's batch on which G is trained: in the papers, 128 samples to D's 64 real and 64 generated images."""
    samples: Compared = 5000
    sample_every: Count = 500

    def networks(self, size: data.Size, channels: int) -> tuple[nn.Module, nn.Module]:
        dtype = jnp.dtype(self.dtype)
        how: dict[str, Any] = {'norm': self.g_norm, 'statistics': self.statistics}
        generator = networks.SNGANGenerator(size, channels, self.g_width, dtype, **how)
        judges: dict[str, Any] = {'norm': self.d_norm, 'pool': self.pool, 'last_bias': self.last_bias}
        return generator, networks.SNGANDiscriminator(self.d_width, dtype, **judges)

    def players(self) -> Optimizers:
        """Both optimizers, with G's also averaging its parameters."""
        pair = super().players()
        return pair._replace(generator=optax.chain(pair.generator, average_parameters(self.average)))

    def others(self, size: data.Size, channels: int) -> dict[str, image_gan.Draw]:
        game = dataclasses.replace(self, statistics='batch').make_game(size, channels)

        def draw(state: gan_jax.TrainState, key: Key, n: int) -> Array:
            average = {**state.generator.state, 'params': averaged(state.generator.opt_state)}
            return game.play(average, jnp.zeros(n), key, train=False)[0]

        return {'average of G': draw}

    def trainer(self, game: gan_jax.Game) -> Trainer:
        """The trainer on dequantised images."""
        made = super().trainer(game)
        return made._replace(step=dequantised(made.step))

    def check(self) -> None:
        super().check()
        refuse_given(self, 'extragradient', because='cannot be used: the average of G would include the updates ahead')
        if self.g_norm != 'batch':
            refuse_given(self, 'statistics', because=f'applies to batch norm, and --g-norm is {self.g_norm}')
        if self.minibatch != 'none':
            raise InputError('the residual discriminator has no --minibatch layer')


def dequantised(step: Step) -> Step:
    """The step on real pixels with noise U(-1/255, 1/255), which spans one grey level in [-1, 1] and which rounding removes."""

    def noisy(state: gan_jax.TrainState, batch: Any) -> Any:
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), 0xFFFFFFFF)  # apart from the step's own keys
        rows = batch.reshape(-1, *batch.shape[-4:])  # several minibatches have a leading axis
        keys = jax.vmap(lambda key: parallel.example_keys(rows.shape[1], key))(jax.random.split(key, len(rows)))
        noise = lambda key: jax.random.uniform(key, rows.shape[2:], minval=-1 / 255, maxval=1 / 255)
        return step(state, (rows + jax.vmap(jax.vmap(noise))(keys)).reshape(batch.shape))

    return noisy
