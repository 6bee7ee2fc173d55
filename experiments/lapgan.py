"""LAPGAN (Denton et al. 2015): a GAN for every level of a Laplacian pyramid, sampled from coarse to fine.

    python -m experiments.lapgan
    python -m experiments.lapgan --dataset fashion_mnist
    python -m experiments.lapgan --width 64 --kernel-sizes 7 7 5 --coarse-width 1600 --coarse-generator-width 8000 \\
        --latent-size 100 --batch-size 64 --dropout 0.5 --penalties --steps 100000

The last has the networks of the authors' CIFAR-10 code, and wants an accelerator. All levels train at once, in one program. Ends
with the losses of every level, and the Frechet distance of every stage.
"""

import dataclasses
import pathlib
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from experiments.shared import image_gan
from gan_jax import compilation, data, games, latents, networks, pyramids, runs
from gan_jax.errors import InputError
from gan_jax.games.laplacian_pyramid import cascade
from gan_jax.metrics.classifier import classifier_scores, train_classifier
from gan_jax.metrics.frechet import frechet_distance_from_features
from gan_jax.ranges import BatchSize, Compared, Count, KernelSize, Range, Share, ShareBelow1, Text, Width
from gan_jax.runs import pictures

Stages = tuple[np.ndarray, ...]
"""Images at every size, finest first, `[n, h, w, c]` in about [-1, 1]."""


@dataclasses.dataclass(frozen=True)
class Config(image_gan.ImageOptions):
    """LAPGAN on images."""

    name: str = 'lapgan'
    dataset: Text = 'cifar10'
    """A TFDS name such as cifar10, fashion_mnist or mnist, 'digits' (offline), or a folder of images."""
    halvings: Annotated[int, Range(0, 10)] = 2
    """How often the images are halved: a game for each, and one for the coarsest images. 32 pixels: 16, 8."""
    steps: Count = 2_500
    batch_size: BatchSize = 16
    """Small batches learn faster on a CPU; the authors have 64 real images and 64 generated ones."""
    width: Width = 16
    """Channels of a level's networks; the authors have 64."""
    kernel_sizes: tuple[KernelSize, KernelSize, KernelSize] = (5, 5, 3)
    """Of a level's generator; the authors have 7 7 5."""
    coarse_width: Width = 512
    """Units of each of the two hidden layers of the coarsest discriminator; the authors have 1,600."""
    coarse_generator_width: Width = 512
    """The same of its generator; the authors have 8,000."""
    dropout: ShareBelow1 = 0.0
    """In the discriminators; the authors have .5, and no penalty."""
    penalties: tuple[str, ...] = ('r1:gamma=3',)
    """Of every level: any of r1, r2, roth, wgan_gp, dragan. In a few thousand steps R1 gets further than dropout."""
    latent_size: Width = 64
    """Of the coarsest level, uniform on [-1, 1); the other levels' noise is one such number a pixel."""
    optimizers: str = 'adam:learning_rate=1e-3'
    """Both players', by paper: adam, wgan, wgan_gp, ttur. (The authors have SGD of .02 with momentum .5.)"""
    decay: Share = 0.1
    """The learning rates' value at the last step, as a share of the first; a cosine in between, and 1 for none."""
    evaluate: Compared = 2000
    """Samples in the end table, and real images of each split beside them."""
    sample_every: Count = 250
    checkpoint_every: Count = 1000

    def check(self) -> None:
        super().check()
        for name in ('d_norm', 'g_norm', 'minibatch', 'features'):
            if getattr(self, name) not in ('none', ()):
                raise InputError(f"LAPGAN's networks have no --{name.replace('_', '-')}")
        self.make_game(1 << self.halvings, 1, None)
        if self.size is not None:
            pyramids.check_size(side_of(self.size), self.halvings)

    def make_game(self, size: data.Size, channels: int, axis_name: str | None) -> gan_jax.Game:
        """The game of all levels."""
        judge: Any = {'dtype': jnp.dtype(self.dtype), 'dropout': self.dropout, 'axis_name': axis_name}
        discriminators: Any = [networks.LevelDiscriminator(self.width, **judge) for _ in range(self.halvings)]
        discriminators.append(networks.CoarsestDiscriminator((self.coarse_width,) * 2, **judge))
        latent: Any = [latents.uniform(n) for n in self.latent_sizes(side_of(size))]
        return self.game(self.generators(side_of(size), channels), discriminators, latent, axis_name, games.laplacian_pyramid)

    def generators(self, size: int, channels: int) -> Any:
        """Those of all levels, finest first."""
        options: Any = {'dtype': jnp.dtype(self.dtype)}
        side = size >> self.halvings
        fine = [networks.LevelGenerator(self.width, self.kernel_sizes, **options) for _ in range(self.halvings)]
        return [*fine, networks.MLPGenerator((side, side, channels), (self.coarse_generator_width,) * 2, **options)]

    def latent_sizes(self, size: int) -> list[int]:
        """Those of all levels, finest first."""
        return [*((size >> k) ** 2 for k in range(self.halvings)), self.latent_size]

    def generator(self, size: data.Size | list[int], channels: int) -> runs.Generator:
        """The whole cascade; the latents of all levels stand one after another in one vector, finest first."""
        generators, sizes = self.generators(side_of(size), channels), self.latent_sizes(side_of(size))
        ends = np.cumsum(sizes)[:-1].tolist()
        generate = lambda weights, z, _: cascade(generators, weights, jnp.split(z, ends, 1))[0]
        return runs.Generator(latents.uniform(sum(sizes)), generate, normal=False)


def side_of(size: data.Size | list[int] | str) -> int:
    """The side of squares. Raises `InputError` for other images."""
    if not isinstance(size, int):
        raise InputError(f'LAPGAN is for squares: give --size their side, not {size}')
    return size


def main(config: Config) -> dict[str, Any]:
    """Trains, draws and evaluates; returns the end table's figures."""
    config.check()
    source = image_gan.load(config)
    pyramids.check_size(side_of(source.size), config.halvings)
    train, test = image_gan.at_most(source, 20_000), image_gan.held_out_images(config, source, config.evaluate)
    if len(train.images) < 2:
        raise InputError(f'{config.dataset} has 1 image, and a Frechet distance is one of at least 2')
    game, step, init = image_gan.build(config, source.size, source.channels)
    advance = image_gan.trainer(config, source, step)
    init = runs.first_state(init, config.init_from, resume=config.resume)
    run = runs.RunDirectory(config)  # once nothing more can be refused
    grid_key, table_key = jax.random.split(jax.random.key(config.seed + 1))
    draw = compilation.jit(lambda state, key, points: gan_jax.sample(game, state, points, key))
    finest = lambda state, key, points: draw(state, key, points)[0]
    state = image_gan.fit(config, run, train, advance, init, finest, grid_key)
    keys = jax.random.split(table_key, -(-config.evaluate // 250))
    blocks = [jax.tree.map(np.asarray, draw(state, key, jnp.zeros(250))) for key in keys]
    stages = tuple(np.concatenate(parts)[: config.evaluate] for parts in zip(*blocks, strict=True))
    results = evaluate(config, run, state, stages, train, test)
    save_stages(run.path / 'stages.png', tuple(stage[:8] for stage in stages), real_stages(config, train.images[:8]))
    runs.write_json(run.path / 'results.json', results)
    print(f'pictures {run.path}/samples.png, samples.gif, stages.png, losses.png; numbers {run.path}/results.json')
    return results


def evaluate(
    config: Config,
    run: runs.RunDirectory,
    state: gan_jax.TrainState,
    stages: Stages,
    train: data.Images,
    test: data.Images | None,
) -> dict:
    """The end table: every level's losses, and every stage's distance from held-out images, or from training images if there
    are no others."""
    rows = np.random.default_rng(0).permutation(len(train.images))[: config.evaluate]
    known = train.images[rows]
    held_out = known if test is None else test.images
    real = real_stages(config, held_out)
    sets = {'cascade': stages, 'level': from_real(config, state, held_out), 'training': real_stages(config, known)}
    logged = run.read_log()[-1]
    table: list[tuple] = [
        ('level', 'size', 'loss of D', 'loss of G', 'Frechet distance', 'given real low-pass', 'training images')
    ]
    results: dict[str, Any] = {}
    for k in reversed(range(config.halvings + 1)):
        distances = {name: pixel_distance(real[k], found[k]) for name, found in sets.items()}
        losses = {name: logged[f'level_{k}_{name}_loss'] for name in ('discriminator', 'generator')}
        results[f'level_{k}'] = {'size': real[k].shape[1], **losses, **{f'frechet_{n}': d for n, d in distances.items()}}
        table.append((str(k), str(real[k].shape[1]), *losses.values(), *distances.values()))
    title = f'{config.dataset} after {config.steps} steps, {len(stages[0])} samples; distances in pixels'
    print(runs.table(table, title=title))
    if train.labels is not None and test is not None:
        results['classifier'] = judged(
            config, train, {'samples': stages[0], 'held-out': real[0], 'training': image_gan.floats(known)}
        )
    return results


def real_stages(config: Config, images: np.ndarray) -> Stages:
    """uint8 images at every size, finest first, in [-1, 1]."""
    return tuple(np.asarray(stage) for stage in pyramids.gaussian(jnp.asarray(image_gan.floats(images)), config.halvings))


def from_real(config: Config, state: gan_jax.TrainState, images: np.ndarray) -> Stages:
    """What each level alone makes of the low-pass images of real ones, finest first."""
    game = config.make_game(images.shape[1], images.shape[3], None)

    @compilation.jit
    def one(variables: Any, images: Any, key: Any) -> Any:
        stages = pyramids.gaussian(images, config.halvings)
        made = game.play(variables, images, key)[0]
        lows = [*(pyramids.up(stage) for stage in stages[1:]), 0]
        return tuple(low + made[f'level_{k}'] for k, low in enumerate(lows))

    parts = [images[i : i + 250] for i in range(0, len(images), 250)]
    keys = jax.random.split(jax.random.key(config.seed + 2), len(parts))
    found = [jax.tree.map(np.asarray, one(state.ema, image_gan.floats(part), key)) for part, key in zip(parts, keys, strict=True)]
    return tuple(np.concatenate(stage) for stage in zip(*found, strict=True))


def pixel_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """The Frechet distance of images in [-1, 1], clipped to it, pixels being the features."""
    flat = [np.clip(images, -1, 1).reshape(len(images), -1) for images in (real, fake)]
    return float(frechet_distance_from_features(*flat))


def judged(config: Config, train: data.Images, seen: dict[str, np.ndarray]) -> dict[str, Any]:
    """What a classifier of the data set makes of the finest images; printed, and returned."""
    assert train.labels is not None
    classifier = train_classifier(train.images, train.labels, name=config.dataset, cache=True)
    clipped = {name: np.clip(images, -1, 1) for name, images in seen.items()}
    scores = {name: classifier_scores(classifier.probabilities(images)) for name, images in clipped.items()}
    features = {name: classifier.features(images) for name, images in clipped.items()}
    distances = {n: float(frechet_distance_from_features(features['held-out'], features[n])) for n in ('samples', 'training')}
    confident = {name: found.confident for name, found in scores.items()}
    entropy = {name: found.class_entropy for name, found in scores.items()}
    rows: list[tuple] = [('', *seen)]
    rows.append(('recognised with probability >= .9', *confident.values()))
    rows.append(('entropy of the classes, nats', *entropy.values()))
    rows.append(('Frechet distance, classifier features', *(distances.get(name, '') for name in seen)))
    print(runs.table(rows, title=f'judged by a classifier of {config.dataset}; no FID'))
    return {'confident': confident, 'class_entropy': entropy, 'frechet_distance': distances}


def save_stages(path: pathlib.Path, *sets: Stages) -> None:
    """A row for each sample, from coarse to fine: the coarsest image, then each high-pass image and what it makes of the last.

    Generated ones to the left, real pyramids to the right; a high-pass image is grey where it is 0.
    """
    blocks = []
    for stages in sets:
        columns = [stages[-1]]
        for fine, coarse in zip(stages[-2::-1], stages[:0:-1], strict=True):
            columns += [fine - np.asarray(pyramids.up(jnp.asarray(coarse))), fine]
        blocks += [*columns, np.ones_like(stages[0])]
    side = blocks[-1].shape[1]
    shown = [np.asarray(data.to_uint8(x)).repeat(side // x.shape[1], 1).repeat(side // x.shape[1], 2) for x in blocks[:-1]]
    rows = np.stack(shown, 1).reshape(-1, *shown[0].shape[1:])
    pictures.save_picture(path, pictures.image_grid(rows, columns=len(shown), scale=max(1, 64 // side)))


if __name__ == '__main__':
    runs.run_main(main, Config)
