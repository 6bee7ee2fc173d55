"""The train steps that are timed. To add one, write a function here, its twin in `torch_steps`, and an entry in each `STEPS`."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from experiments.benchmark.timing import Timed
from gan_jax import compilation, data, games, latents, networks, objectives, penalties
from gan_jax.errors import InputError
from gan_jax.features import feature_matching
from gan_jax.networks import dcgan as dcgan_networks
from gan_jax.networks import mlp, r3gan, translation
from gan_jax.optimizers import Optimizers, adam
from gan_jax.registry import build


class Training(NamedTuple):
    """A game and the data it is trained on."""

    game: gan_jax.Game
    feed: data.Feed
    batch_size: int
    start: Any
    """The batch that is passed to `init`."""
    optimizers: Optimizers = adam()
    unroll_steps: int = 0
    seeds: int = 0
    """Number of seeds trained in one program; 0 for a single run without the axis of seeds."""

    def images_per_step(self) -> int:
        """Number of real examples that the discriminator sees in one step of all seeds."""
        return self.batch_size * max(self.seeds, 1)


def timed(training: Training, calls: int, *, scanned: bool = True) -> Timed:
    """The timing of `calls` steps, run as one scanned program or with one call per step."""
    init, run, arguments = _programs(training, calls, scanned)
    state = init(jax.random.key(0))
    start = time.perf_counter()
    compiled = compilation.jit(run, cached=False, donate_argnums=0).lower(state, *arguments).compile()
    seconds = time.perf_counter() - start

    def steps() -> None:
        nonlocal state
        for _ in range(1 if scanned else calls):
            state, _ = compiled(state, *arguments)
        jax.block_until_ready(state)

    steps()
    return Timed(steps, calls, training.images_per_step(), seconds)


def _programs(training: Training, calls: int, scanned: bool) -> tuple[Callable, Callable, tuple[Any, ...]]:
    """`key -> state`, `(state, *arguments) -> (state, metrics)`, and the arguments."""
    trainer = gan_jax.trainer(training.game, training.optimizers, unroll_steps=training.unroll_steps)
    init, feed = lambda key: trainer.init(training.start, key), training.feed
    draw = feed.by(jax.random.key(0))
    if not scanned:
        return compilation.jit(init), trainer.step, (draw(feed.data, jnp.int32(0)),)
    many = gan_jax.many_steps(trainer.step, draw, calls)
    arguments = (feed.data, jnp.int32(calls))
    if not training.seeds:
        return compilation.jit(init), many, arguments
    several = jax.vmap(many, in_axes=(0, None, None))
    return compilation.jit(lambda key: jax.vmap(init)(jax.random.split(key, training.seeds))), several, arguments


def _images(batch_size: int, *shape: int) -> tuple[data.Feed, int, Any]:
    """`feed`, `batch_size` and `start` of a training on random images."""
    images = np.random.default_rng(0).integers(0, 256, (2 * batch_size, *shape), np.uint8)
    return data.resident(images, batch_size), batch_size, jnp.zeros((1, *shape))


def dcgan(
    size: int = 32, channels: int = 3, width: int = 64, kernel_size: int = 5, batch_size: int = 64, unroll_steps: int = 0
) -> Training:
    """DCGAN with the non-saturating loss."""
    game = games.adversarial(
        dcgan_networks.DCGANGenerator(size, channels, width, kernel_size),
        dcgan_networks.DCGANDiscriminator(width, kernel_size),
        objectives.non_saturating(),
        latent=latents.normal(100),
    )
    return Training(game, *_images(batch_size, size, size, channels), unroll_steps=unroll_steps)


def sngan(size: int = 32, width: int = 32, batch_size: int = 32) -> Training:
    """SNGAN's residual networks with spectral normalization and the hinge loss, one step of each player."""
    game = games.adversarial(
        networks.SNGANGenerator(size, 3, width),
        networks.SNGANDiscriminator(width),
        objectives.hinge(),
        latent=latents.normal(128),
    )
    return Training(game, *_images(batch_size, size, size, 3), optimizers=adam(2e-4, 0.0, 0.9))


def wgan_gp(size: int = 32, width: int = 32, batch_size: int = 32) -> Training:
    """WGAN-GP's residual networks and gradient penalty, one step of each player."""
    game = games.adversarial(
        networks.SNGANGenerator(size, 3, width),
        networks.SNGANDiscriminator(width, norm='none', pool='mean', last_bias=True),
        objectives.wasserstein(),
        latent=latents.normal(128),
        penalties=[penalties.wgan_gp()],
    )
    return Training(game, *_images(batch_size, size, size, 3), optimizers=adam(2e-4, 0.0, 0.9))


def pix2pix(size: int = 64, width: int = 32, batch_size: int = 4) -> Training:
    """pix2pix's U-Net and PatchGAN with a receptive field of 34 pixels, with instance norm."""
    game = games.paired_translation(
        translation.UNet(3, width, norm='instance'), translation.PatchDiscriminator(34, width, 'instance')
    )
    return Training(game, *_two_sets(('input', 'target'), size, batch_size))


def cyclegan(size: int = 64, width: int = 24, blocks: int = 3, batch_size: int = 2) -> Training:
    """CycleGAN with its image pools, without the identity loss."""
    generator, discriminator = (
        translation.ResNetGenerator(3, width, blocks),
        translation.PatchDiscriminator(34, width, 'instance'),
    )
    game = games.unpaired_translation(generator, generator, discriminator, discriminator, identity_weight=0.0)
    return Training(game, *_two_sets(('a', 'b'), size, batch_size))


def _two_sets(names: tuple[str, str], size: int, batch_size: int) -> tuple[data.Feed, int, Any]:
    rng = np.random.default_rng(0)
    sets = {name: rng.integers(0, 256, (2 * batch_size, size, size, 3), np.uint8) for name in names}
    feed = data.resident(sets, batch_size)
    return feed, batch_size, jax.tree.map(lambda x: jnp.zeros((1, *x.shape[1:])), sets)


def unrolled_ring(
    width: int = 128, batch_size: int = 512, latent_size: int = 256, unroll_steps: int = 0, seeds: int = 0
) -> Training:
    """The game of the unrolled GAN on points in the plane."""
    game = games.adversarial(
        mlp.MLP((width, width, 2)),
        mlp.MLP((width, 1), squeeze=True),
        objectives.non_saturating(),
        latent=latents.normal(latent_size),
    )
    points = np.random.default_rng(0).normal(size=(2 * batch_size, 2)).astype(np.float32)
    feed = data.resident(points, batch_size)
    return Training(game, feed, batch_size, jnp.zeros((1, 2)), unroll_steps=unroll_steps, seeds=seeds)


def r3gan_step(size: int = 32, batch_size: int = 32, penalty: str = 'r1+r2') -> Training:
    """R3GAN's small networks with the relativistic loss, R1 and R2; or other penalties, see `penalties_of`."""
    game = games.adversarial(
        r3gan.R3GANGenerator(size),
        r3gan.R3GANDiscriminator(),
        objectives.relativistic(),
        latent=latents.normal(64),
        penalties=penalties_of(penalty),
    )
    return Training(game, *_images(batch_size, size, size, 3), optimizers=adam(2e-4, 0.0, 0.99))


def penalties_of(text: str) -> list[penalties.Penalty | penalties.Scheduled]:
    """The penalties of 'none', or of names joined by plus signs; `@N` at the end takes them at every N-th update of D.

    Raises `InputError` for unknown ones.
    """
    names, at, every = text.partition('@')
    if at and not (every.isdecimal() and int(every) > 0):
        raise InputError(f'{text}: @ must be followed by a number of updates, at least 1')
    chosen: list[Any] = [] if names == 'none' else [build(penalties.PENALTIES, name) for name in names.split('+')]
    return [penalties.scheduled(penalty, every=int(every)) for penalty in chosen] if at else chosen


def improved_gan(batch_size: int = 100) -> Training:
    """Improved GAN's semi-supervised MNIST classifier with feature matching."""
    game = games.semi_supervised(
        networks.SemiSupervisedGenerator(),
        networks.SemiSupervisedClassifier(),
        objectives.minimax(),
        latent=latents.uniform(100, 0.0),
        feature_losses=[feature_matching()],
        objective_weight=0.0,
    )
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2 * batch_size, 28, 28, 1), np.uint8)
    labelled = {'image': images[:batch_size], 'label': rng.integers(0, 10, batch_size)}
    feed = data.joined({'labelled': data.resident(labelled, batch_size), 'unlabelled': data.resident(images, batch_size)})
    start = {
        'labelled': {'image': jnp.zeros((1, 28, 28, 1)), 'label': jnp.zeros(1, int)},
        'unlabelled': data.to_float(jnp.asarray(images)),
    }
    return Training(game, feed, batch_size, start)


STEPS: dict[str, Callable[..., Training]] = {
    'dcgan': dcgan,
    'sngan': sngan,
    'wgan_gp': wgan_gp,
    'pix2pix': pix2pix,
    'cyclegan': cyclegan,
    'unrolled_ring': unrolled_ring,
    'r3gan': r3gan_step,
    'improved_gan': improved_gan,
}
"""Name -> factory of a `Training`. Its keywords are the sizes; `torch_steps.STEPS` has the same names and keywords."""
