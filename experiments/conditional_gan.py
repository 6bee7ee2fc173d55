"""Class-conditional GANs on labelled images: label concatenation, AC-GAN, and projection with conditional batch norm.

    python -m experiments.conditional_gan
    python -m experiments.conditional_gan --condition concatenation
    python -m experiments.conditional_gan --condition projection --size 32 --d-norm spectral
    python -m experiments.conditional_gan --dataset digits --steps 2000

Mirza and Osindero 2014, Odena et al. 2017, Miyato and Koyama 2018, on DCGAN's networks. Ends with one class in each row, the same
latents in every row, and with how many samples a classifier of the same data reads as their label.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from experiments.shared import labelled
from gan_jax import compilation, data, games, latents, networks, parallel, runs
from gan_jax.errors import InputError
from gan_jax.games.adversarial import apply_network
from gan_jax.games.conditional import auxiliary_classifier
from gan_jax.metrics.classifier import Classifier, train_classifier
from gan_jax.metrics.frechet import frechet_distance_from_features
from gan_jax.networks import dcgan
from gan_jax.ranges import BatchSize, Count, KernelSize, Samples, Share, Side, Text, UnrollSteps, Weight, Width
from gan_jax.registry import Table
from gan_jax.runs import samples
from gan_jax.typing import Array, Key


@dataclasses.dataclass(frozen=True)
class Config(runs.GameOptions):
    """A generator that is told a class, on labelled images."""

    name: str = 'conditional_gan'
    condition: str = 'auxiliary_classifier'
    """How the players know the label: concatenation, auxiliary_classifier (AC-GAN) or projection."""
    dataset: Text = 'mnist'
    """A TFDS name of labelled images, 'digits' (offline), or a folder with a folder of images for each class; it may hold
    folders train and test, and otherwise every tenth image is held out."""
    data_dir: Text | None = None
    """Where TFDS data sets are prepared; TFDS_DATA_DIR if it is not given."""
    size: Side | None = None
    """Height and width: 28 or 4 * 2^n. The data set's own if it is not given (16 for the digits, 64 for a folder)."""
    channels: Literal[1, 3] | None = None
    """1 for grey images, 3 for colour; the data set's own if it is not given."""
    skip_broken: bool = False
    """Leave out the images of a folder that cannot be read, and count them."""
    steps: Count = 3000
    batch_size: BatchSize = 64
    width: Width = 16
    """Channels at half the image's size, doubled at each halving."""
    kernel_size: KernelSize = 4
    latent_size: Width = 64
    d_norm: str = 'batch'
    g_norm: str = 'batch'
    """Projection needs batch, which it gives a scale and a bias for each class."""
    class_weight: Weight = 1.0
    """AC-GAN: of the class loss in D."""
    generator_class_weight: Weight = 1.0
    """AC-GAN: of the class loss in G."""
    generated_classes: bool = False
    """AC-GAN: whether D learns the classes of generated images too, as in the paper, or of real images alone."""
    optimizers: str = 'adam:learning_rate=1e-3'
    decay: Share = 0.1
    """The learning rates' value at the last step, as a share of the first; a cosine in between, and 1 for none."""
    unroll_steps: UnrollSteps = 0
    dtype: Literal['float32', 'bfloat16'] = 'float32'
    """What the layers compute in; parameters, logits and losses are float32."""
    runner: Literal['pmap', 'shard_map'] = 'pmap'
    """What splits a batch over several devices."""
    evaluate: Samples = 10_000
    """Samples in the end table, as many of each class."""
    sample_every: Count = 500
    checkpoint_every: Count = 1000

    free: ClassVar[tuple[str, ...]] = ('evaluate', 'sample_every', 'checkpoint_every')

    def network(self, size: int, channels: int, classes: int, axis_name: str | None) -> nn.Module:
        """The generator of such images."""
        shape = (size, channels, self.width, self.kernel_size, jnp.dtype(self.dtype), axis_name)
        make = functools.partial(networks.DCGANGenerator, *shape, norm=self.g_norm)
        return CONDITIONS[self.condition].generator(make, classes)

    def generator(self, size: int, channels: int, classes: list[str], shares: list[float]) -> runs.Generator:
        """How the trained generator is drawn from: labels as often as the data have them."""
        network = self.network(size, channels, len(classes), None)
        generate = lambda weights, z, labels: apply_network(network, weights, z, labels, train=False)[0]
        return runs.Generator(latents.normal(self.latent_size), generate, tuple(classes), tuple(shares))


class Condition(NamedTuple):
    """How the players know the label."""

    generator: Callable[[Callable[..., nn.Module], int], nn.Module]
    """`(DCGAN's generator but for its classes, classes) -> generator`"""
    discriminator: Callable[[nn.Module, int], nn.Module]
    """`(DCGAN's discriminator, classes) -> discriminator`"""
    auxiliary: bool = False
    """The discriminator is not told the label, but has to tell it."""


def _concatenated(network: Callable[..., nn.Module], classes: int) -> nn.Module:
    return networks.ConcatenatedGenerator(network(), classes)


def _normalised(network: Callable[..., nn.Module], classes: int) -> nn.Module:
    """Conditional batch norm alone moves whole channels, of which a DCGAN of 28 pixels has too few for a class's shape."""
    return networks.ConcatenatedGenerator(network(classes=classes), classes, labels_too=True)


def _projected(network: nn.Module, classes: int) -> nn.Module:
    return networks.ProjectionDiscriminator(network, classes, pooled=False)  # as DCGAN's logit, which looks at every position


COLUMNS = 10
"""Of the picture with a class in each row."""
CONDITIONS: Table[Condition] = Table(
    'condition',
    {
        'concatenation': Condition(_concatenated, networks.ConcatenatedDiscriminator),
        'auxiliary_classifier': Condition(_concatenated, networks.AuxiliaryDiscriminator, auxiliary=True),
        'projection': Condition(_normalised, _projected),
    },
)


def main(config: Config) -> dict[str, Any]:
    """Trains, draws and evaluates; returns the end table's figures."""
    check(config)
    train, test = labelled.load(
        config.dataset,
        size=config.size,
        data_dir=config.data_dir,
        channels=config.channels,
        skip_broken=config.skip_broken,
    )
    classes = len(train.classes)
    if config.evaluate < classes:
        raise InputError(f'--evaluate is at least one sample of each of the {classes} classes, not {config.evaluate}')
    game, step, init = build(config, train)
    init = runs.first_state(init, config.init_from, resume=config.resume)
    runner, axis_name = parallel.choose(config.runner)
    feed = data.resident(
        {'image': train.images, 'label': train.labels},
        config.batch_size,
        seed=config.seed,
        minibatches=config.minibatches,
        axis_name=axis_name,
    )
    run = runs.RunDirectory(config)  # once nothing more can be refused
    shares = np.bincount(train.labels, minlength=classes) / len(train.labels)
    known: dict[str, Any] = {'size': train.images.shape[1], 'channels': train.images.shape[3]}
    known |= {'classes': list(train.classes), 'shares': shares.tolist()}
    runs.describe(run, config, **known)
    draw = compilation.jit(lambda state, labels, key: gan_jax.sample(game, state, {'label': labels}, key))
    grid_key, table_key = jax.random.split(jax.random.key(config.seed + 1))
    state = runs.fit(
        runs.resident_trainer(step, feed, runner),
        init,
        run,
        steps=config.steps,
        batch_size=config.batch_size * config.minibatches,
        checkpoint_every=config.checkpoint_every,
        callbacks=[
            runs.image_samples(
                run, lambda state: class_rows(draw, state, classes, grid_key), every=config.sample_every, columns=COLUMNS
            )
        ],
    )
    runs.save_generator(run, config.generator(**known), state)
    samples.animate(run)
    labels = np.arange(config.evaluate, dtype=np.int32) % classes
    parts = [labels[i : i + 500] for i in range(0, len(labels), 500)]
    keys = jax.random.split(table_key, len(parts))
    fakes = np.concatenate([data.to_uint8(draw(state, part, key)) for part, key in zip(parts, keys, strict=True)])
    results = compare(config, fakes, labels, train, test)
    runs.write_json(run.path / 'results.json', results)
    print(f'pictures {run.path}/samples.png (a class in each row), samples.gif, losses.png; numbers {run.path}/results.json')
    return results


def class_rows(draw: Callable[..., Array], state: gan_jax.TrainState, classes: int, key: Key) -> Array:
    """Samples of one class after another, `[classes * COLUMNS, h, w, c]`, of the same COLUMNS latents each: those of the key."""
    return jnp.concatenate([draw(state, jnp.full(COLUMNS, label, jnp.int32), key) for label in range(classes)])


def check(config: Config) -> None:
    """Refuses what cannot work, before anything is loaded or written."""
    CONDITIONS[config.condition]
    config.check()
    if config.size is not None:
        dcgan.stages(config.size)
    parallel.check_divisible(config.batch_size)


def build(config: Config, train: labelled.Labelled) -> tuple[gan_jax.Game, Any, gan_jax.TrainState]:
    """The game, its train step, and the state at step 0."""
    _, size, _, channels = train.images.shape
    dcgan.stages(size)
    axis_name = parallel.choose(config.runner)[1]
    make = functools.partial(make_game, config, size, channels, len(train.classes))
    shapes = {'image': (size, size, channels), 'label': ()}
    batch = {
        name: jax.ShapeDtypeStruct((config.batch_size // jax.local_device_count(), *shape), jnp.float32 if shape else jnp.int32)
        for name, shape in shapes.items()
    }
    runs.check_fit(make(None), batch)
    game = make(axis_name)
    step, players = config.train_step(game, unroll_steps=config.unroll_steps, axis_name=axis_name), config.players()
    example = {'image': jnp.zeros((1, *train.images.shape[1:])), 'label': jnp.asarray(train.labels[:64], jnp.int32)}
    init = compilation.jit(lambda key: gan_jax.init(game, players.generator, players.discriminator, example, key))
    return game, step, init(jax.random.key(config.seed))


def make_game(config: Config, size: int, channels: int, classes: int, axis_name: str | None) -> gan_jax.Game:
    """The game on such images of so many classes."""
    condition = CONDITIONS[config.condition]
    generator = config.network(size, channels, classes, axis_name)
    judge = networks.DCGANDiscriminator(
        config.width, config.kernel_size, jnp.dtype(config.dtype), axis_name, norm=config.d_norm, minibatch=config.minibatch
    )
    rules = games.conditional
    if condition.auxiliary:
        auxiliary = auxiliary_classifier(config.class_weight, config.generator_class_weight, config.generated_classes)
        rules = functools.partial(games.conditional, auxiliary=auxiliary)
    latent = latents.normal(config.latent_size)
    return config.game(generator, condition.discriminator(judge, classes), latent, axis_name, rules=rules)


def compare(
    config: Config, fakes: np.ndarray, labels: np.ndarray, train: labelled.Labelled, test: labelled.Labelled
) -> dict[str, Any]:
    """The end table: samples beside held-out real images."""
    classifier = train_classifier(train.images, train.labels, name=config.dataset, cache=True)
    ours, real = (read(classifier, x, y) for x, y in ((fakes, labels), (test.images, test.labels)))
    distance = frechet_distance_from_features(real.features, ours.features)
    floor = frechet_distance_from_features(real.features, classifier.features(train.images[: len(fakes)]))
    worst = int(ours.accuracies.argmin())
    rows: list[tuple] = [
        ('', 'samples', 'held-out real images'),
        ('read as their label', ours.accuracy, real.accuracy),
        (f'  of class {train.classes[worst]}, the worst', float(ours.accuracies[worst]), float(real.accuracies[worst])),
        ('variance within a class, classifier features', ours.variance, real.variance),
        ('Frechet distance, classifier features', distance, f'{floor:.4g} (train)'),
    ]
    print(f'judge: a classifier trained on {config.dataset}; no FID')
    title = f'{config.dataset}, {config.condition}, after {config.steps} steps, {len(fakes)} samples'
    print(runs.table(rows, title=title))
    return {
        'accuracy': ours.accuracy,
        'accuracy_real': real.accuracy,
        'class_accuracies': ours.accuracies.tolist(),
        'class_accuracies_real': real.accuracies.tolist(),
        'class_variance': ours.variance,
        'class_variance_real': real.variance,
        'frechet_distance': distance,
    }


class Reading(NamedTuple):
    """What the classifier sees in images that ought to be of given classes."""

    accuracy: float
    """Share of images read as their label."""
    accuracies: np.ndarray
    """The same of each class, `[classes]`."""
    variance: float
    """Mean squared distance of the features to their class's mean: near 0 for a generator of one image for each class."""
    features: np.ndarray


def read(classifier: Classifier, images: np.ndarray, labels: np.ndarray) -> Reading:
    right = classifier.probabilities(images).argmax(1) == labels
    features = classifier.features(images)
    classes = range(labels.max() + 1)
    accuracies = np.array([right[labels == k].mean() for k in classes])
    variance = np.mean([features[labels == k].var(0).sum() for k in classes])
    return Reading(float(right.mean()), accuracies, float(variance), features)


if __name__ == '__main__':
    runs.run_main(main, Config)
