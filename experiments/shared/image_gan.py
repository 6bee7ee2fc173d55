"""Options, study and end table shared by experiments on images; each experiment adds its networks and settings."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from gan_jax import data, latents, memory, runs
from gan_jax.data.feeds import Feed, Stream
from gan_jax.errors import InputError
from gan_jax.games.judgement import apply_network
from gan_jax.metrics.extractors.classifier import classifier_scores, train_classifier
from gan_jax.metrics.frechet import frechet_distance_from_features
from gan_jax.metrics.imagesets import collect
from gan_jax.metrics.neighbours import memorisation_test, nearest_distance, nearest_neighbours
from gan_jax.networks import dcgan
from gan_jax.ranges import Width, refuse_given
from gan_jax.runs import pictures
from gan_jax.typing import Array, Key


@dataclasses.dataclass(frozen=True)
class SizedOptions(runs.GameOptions, runs.DataOptions):
    """A game of networks that support some sizes of images only."""

    def check(self) -> None:
        """Raises `InputError` for options that cannot work, before anything is loaded or written."""
        super().check()
        if self.shape is not None and self.shape != 'native':
            self.check_size(self.shape)

    def check_size(self, size: data.Size) -> None:
        """Raises `InputError` for sizes that the networks do not support; DCGAN's support 28 and 4 * 2^n pixels."""
        dcgan.smallest_map(size)


@dataclasses.dataclass(frozen=True)
class ImageOptions(SizedOptions):
    """A generator and a discriminator of images."""

    latent_size: Width = 128
    """Size of the latents, which are standard normal."""
    dtype: Literal['float32', 'bfloat16'] = 'float32'
    """Dtype of the layers' computations; parameters, logits and losses are float32."""

    def networks(self, size: data.Size, channels: int) -> tuple[nn.Module, nn.Module]:
        """The generator and the discriminator for images of this size and number of channels."""
        raise NotImplementedError

    def sampler(self) -> Callable[[Key], Array]:
        """Draws the latent of one example from its key."""
        return latents.normal(self.latent_size)

    def make_game(self, size: data.Size, channels: int) -> gan_jax.Game:
        """The game on such images. Raises `InputError`."""
        return self.game(*self.networks(size, channels), self.sampler())

    def generator(self, size: data.Size | list[int], channels: int) -> runs.Generator:
        """How to draw from the trained generator of such images. A size from JSON is a list."""
        network, _ = self.networks(data.size_of(*size) if isinstance(size, list) else size, channels)
        generate = lambda weights, z, _: apply_network(network, weights, z, train=False)[0]
        return runs.Generator(self.sampler(), generate)

    def others(self, size: data.Size, channels: int) -> dict[str, 'Draw']:
        """Further ways to draw such images that are scored as well, by name."""
        del size, channels
        return {}


@dataclasses.dataclass(frozen=True)
class StageOptions(ImageOptions):
    """Networks that consist of stages, from the smallest map to the full size, each with its own number of channels."""

    width: Width = 32
    """Channels of the stage at full size, doubled at each halving up to four times as many."""
    widths: tuple[Width, ...] = ()
    """Channels of every stage, from the smallest map (4 pixels, or 7 of 28) to the full size, in place of --width."""

    def check(self) -> None:
        super().check()
        if self.widths:
            refuse_given(self, 'width', because='has no effect with --widths or the widths of a --preset')

    def stages(self, size: data.Size) -> tuple[int, ...]:
        """The number of channels of every stage. Raises `InputError` for sizes that DCGAN does not support, if --width counts."""
        if self.widths:
            return self.widths
        return tuple(self.width << min(2, i) for i in reversed(range(dcgan.smallest_map(size)[2] + 1)))


KEPT = 20_000
"""Most images of a source that samples are compared with."""


class ImageData(NamedTuple):
    """The data a run is trained on and compared with."""

    source: data.Images | data.ImageSource
    """The training images, held in memory if they fit within the memory limit."""
    train: data.Images
    """The training images in memory; of a source, at most KEPT."""
    held_out: data.Images | None
    """None for a data set without a test set."""


def load(config: ImageOptions) -> ImageData:
    """Loads the data set of the options and prints its description. Raises `InputError` for one that cannot be used."""
    source = data.load_or_open(
        config.dataset,
        split='train',
        size=config.shape,
        data_dir=config.data_dir,
        memory_limit=config.memory_limit * 1e9,
        channels=config.channels,
        skip_broken=config.skip_broken,
        check=config.check_size,
    )
    if config.score_every and not source.classes:
        raise InputError(f'--score-every requires labels to train a classifier; {config.dataset} has none')
    train = at_most(source, KEPT)
    if train.labels is not None:
        try:
            data.check_labels(train.labels, len(train.classes))
        except InputError as error:
            if config.score_every:
                raise
            print(f'no classifier will judge the samples: {error}')
            train = train._replace(labels=None, classes=())
    print(data.describe(config.dataset, source))
    return ImageData(source, train, held_out_images(config, source))


def feed(config: ImageOptions, source: data.Images | data.ImageSource) -> Feed | Stream:
    """Minibatches of the images of a data set, without their labels."""
    return data.feed(
        source.images if isinstance(source, data.Images) else source,
        config.batch_size,
        minibatches=config.minibatches,
        pick=lambda batch: batch['image'] if isinstance(batch, dict) else batch,
        memory_limit=config.memory_limit * 1e9,
    )


def study(config: ImageOptions) -> runs.Study:
    """The run for these options. Raises `InputError` for what cannot work, before anything is written."""
    config.check()
    images = load(config)
    size, channels = images.source.size, images.source.channels
    game = config.make_game(size, channels)
    return runs.Study(
        game,
        config.trainer(game),
        feed(config, images.source),
        jnp.zeros((1, *data.sides(size), channels)),
        generator=config.generator(size, channels),
        known={'size': size, 'channels': channels},
        judge=lambda: judge(config.dataset, images.train),
        data=images,
    )


Draw = Callable[[gan_jax.TrainState, Key, int], Array]
"""`(state, key, n) -> images [n, h, w, c]` in [-1, 1]."""


def judge(name: str, train: data.Images) -> runs.Judge:
    """The scorer of a run during training.

    It is a classifier of the data set, with the moments of the training images in its features.
    """
    assert train.labels is not None
    extractor = train_classifier(train.images, train.labels, name=name, cache=True).extractor
    reference = collect(extractor, [train.images], {'moments'}).moments
    assert reference is not None
    return runs.Judge(extractor, reference)


def condition_rows(generator: runs.Generator, state: gan_jax.TrainState, latents: Array) -> Array:
    """Samples of one condition after another, each from the same latents `[n, size]`: `[conditions * n, h, w, c]`."""
    weights = generator.weights(state.ema)
    row = lambda condition: generator.generate(weights, latents, jnp.full(len(latents), condition))
    rows = jax.lax.map(row, jnp.arange(len(generator.conditions)))
    return rows.reshape(-1, *rows.shape[2:])


def evaluate(trained: runs.Trained) -> dict[str, Any]:
    """The end table: samples next to held-out real images, if the data set has them, for each way to draw."""
    config: Any = trained.config
    images: ImageData = trained.study.data
    results = compare(trained, trained.images(config.samples))
    for name, draw in config.others(images.source.size, images.source.channels).items():
        trained.tell(f'{name}:')
        results[name] = compare(trained, trained.drawn(draw, config.samples, name), draw=False)
    return results


def compare(trained: runs.Trained, fakes: np.ndarray, *, draw: bool = True) -> dict[str, Any]:
    """The figures of uint8 samples `[n, h, w, c]`; with `draw`, also a picture of their nearest training images."""
    config: Any = trained.config
    source, train, held_out = trained.study.data
    if held_out is None:
        distance = nearest_distance(fakes / np.float32(127.5), blocks_of(source))
        results = {'median_neighbour_distance': float(np.median(distance))}
        trained.tell(runs.table([('samples', 'value'), *results.items()], title=f'{config.name} after {trained.steps} steps'))
    else:
        results = beside_real(trained, fakes, source, train, held_out)
    if trained.first and draw:
        nearest = np.asarray(nearest_neighbours(fakes[:16], train.images, min(3, len(train.images))).index)
        rows = np.concatenate([fakes[:16, None], train.images[nearest]], 1).reshape(-1, *fakes.shape[1:])
        scale = max(1, 64 // fakes.shape[1])
        pictures.save_picture(trained.path / 'neighbours.png', pictures.image_grid(rows, columns=8, scale=scale))
    return results


def blocks_of(source: data.Images | data.ImageSource, size: int = 8192) -> Iterator[np.ndarray]:
    """All images, in blocks of float32 `[n, h, w, c]` in [0, 2]."""
    count = len(source.images) if isinstance(source, data.Images) else len(source)
    for i in range(0, count, size):
        rows = range(i, min(i + size, count))
        images = source.images[rows.start : rows.stop] if isinstance(source, data.Images) else source.read(rows)['image']
        yield images / np.float32(127.5)


def at_most(source: data.Images | data.ImageSource, limit: int) -> data.Images:
    """Images in memory as they are; of those on disk, at most `limit` at random, in at most a quarter of the memory."""
    if isinstance(source, data.Images):
        return source
    room = (memory.available() or math.inf) / 4 / (math.prod(data.sides(source.size)) * source.channels)
    rows = np.random.default_rng(0).permutation(len(source))[: max(2, int(min(limit, room)))]
    batch = source.read(np.sort(rows).tolist())
    return data.Images(batch['image'], batch.get('label'), source.classes)


def at_random(images: np.ndarray, limit: int) -> np.ndarray:
    """At most `limit` of the images, at random, because folders list them class by class."""
    return images[np.random.default_rng(0).permutation(len(images))[:limit]]


def held_out_images(config: ImageOptions, like: data.Images | data.ImageSource, limit: int = 10_000) -> data.Images | None:
    """Held-out images of the size and channels of `like`: at most `limit`, but all digits; None if there are none.

    Raises `InputError` if there is only one.
    """
    if not data.has_test_set(config.dataset, config.data_dir):
        return None
    options: dict[str, Any] = {'split': 'test', 'size': like.size, 'channels': like.channels, 'data_dir': config.data_dir}
    if data.is_digits(config.dataset):
        return data.load(config.dataset, **options)
    found = at_most(data.open_source(config.dataset, skip_broken=config.skip_broken, **options), limit)
    if len(found.images) < 2:
        raise InputError(f'{config.dataset} has 1 test image; samples are compared with at least 2')
    return found


def beside_real(
    trained: runs.Trained,
    fakes: np.ndarray,
    source: data.Images | data.ImageSource,
    train: data.Images,
    held_out: data.Images,
) -> dict[str, Any]:
    """The figures of samples next to those of held-out images.

    Args:
        trained: The run.
        fakes: Samples, uint8 `[n, h, w, c]`.
        source: All training images, for the distances to the nearest.
        train: Training images in memory, for the classifier.
        held_out: Held-out images.
    """
    config: Any = trained.config
    test = memorisation_test(fakes / np.float32(127.5), blocks_of(source), held_out.images / np.float32(127.5))
    rows: list[tuple] = [('', 'samples', 'held-out real images')]
    results: dict[str, Any] = {
        'neighbour_ratio': test.ratio,
        'neighbour_p_value': test.p_value,
        'nearer': test.nearer,
        'nearer_p_value': test.nearer_p_value,
    }
    if train.labels is not None:
        classifier = train_classifier(train.images, train.labels, name=config.dataset, cache=True)
        seen = {'samples': floats(fakes), 'real': floats(held_out.images)}
        predicted = {name: classifier.probabilities(images) for name, images in seen.items()}
        scores = {name: classifier_scores(p) for name, p in predicted.items()}
        features = {name: classifier.features(images) for name, images in seen.items()}
        accuracy = float((predicted['real'].argmax(1) == held_out.labels).mean())
        distance = frechet_distance_from_features(features['real'], features['samples'])
        seen_in_training = classifier.features(floats(at_random(train.images, len(fakes))))
        floor = frechet_distance_from_features(features['real'], seen_in_training)
        a, b = scores['samples'], scores['real']
        results |= {
            'confident': a.confident,
            'confident_real': b.confident,
            'confidence': a.confidence,
            'class_entropy': a.class_entropy,
            'class_shares': a.class_shares.tolist(),
            'frechet_distance': distance,
            'frechet_distance_training': floor,
            'classifier_accuracy': accuracy,
        }
        rows += [
            ('recognised with probability >= .9', a.confident, b.confident),
            ('  as a share of real', a.confident / b.confident if b.confident else float('nan'), 1.0),
            ('mean confidence', a.confidence, b.confidence),
            (f'class entropy (log {len(b.class_shares)} = {np.log(len(b.class_shares)):.4g})', a.class_entropy, b.class_entropy),
            ('rarest class, share', float(a.class_shares.min()), float(b.class_shares.min())),
            ('Fréchet distance, classifier features', distance, f'{floor:.4g} (train)'),
        ]
        trained.tell(f'judge: classifier of {config.dataset}, {100 * accuracy:.1f} % accurate on held-out images; not an FID')
    rows.append(('median distance to nearest training image', test.generated, test.held_out))
    rows.append(('  as a share of real', test.ratio, 1.0))
    rows.append(('  p-value of being no nearer than real', test.p_value, '-'))
    rows.append(('nearer than all real ones, p-value', f'{test.nearer}, {test.nearer_p_value:.3g}', '-'))
    trained.tell(runs.table(rows, title=f'{config.dataset} after {trained.steps} steps, {len(fakes)} samples'))
    return results


def floats(images: np.ndarray) -> np.ndarray:
    """uint8 images as float32 in [-1, 1]."""
    return np.asarray(data.to_float(jnp.asarray(images)))
