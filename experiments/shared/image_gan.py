"""What experiments on images share, from their options to the end table; a paper's file adds its networks and settings."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from gan_jax import compilation, data, latents, parallel, runs
from gan_jax.errors import InputError
from gan_jax.games.adversarial import apply_network
from gan_jax.metrics.classifier import classifier_scores, train_classifier
from gan_jax.metrics.frechet import frechet_distance_from_features
from gan_jax.metrics.neighbours import memorisation_test, nearest_distance, nearest_neighbours
from gan_jax.metrics.protocols import collect
from gan_jax.networks import dcgan
from gan_jax.ranges import BatchSize, Compared, Count, Range, Sides, Text, UnrollSteps, Whole, Width
from gan_jax.runs import pictures, samples
from gan_jax.typing import Array, Key


@dataclasses.dataclass(frozen=True)
class ImageOptions(runs.GameOptions):
    """One generator and one discriminator of images."""

    dataset: Text = 'digits'
    """'digits' (offline), a TFDS name such as mnist, fashion_mnist or imagenet_resized/32x32, a folder of images, whose folders
    are classes if every image is in one, or a .npz or .npy file. A folder may hold folders train and test; a TFDS name may end
    with what to train on, as svhn_cropped:train+extra."""
    data_dir: Text | None = None
    """Where TFDS data sets are prepared; TFDS_DATA_DIR if it is not given."""
    size: Sides | None = None
    """Of squares 28 or 4 * 2^n; or HEIGHTxWIDTH as 64x96, of which the shorter side is one of those, and the other as often to be
    halved; or native, the one that all images have. The data set's own if it is not given (16 for the digits, 64 for a folder).
    Images are cropped about their centres."""
    channels: Literal[1, 3] | None = None
    """1 for grey images, 3 for colour; the data set's own if it is not given."""
    skip_broken: bool = False
    """Leave out the images of a folder that cannot be read, and count them."""
    batch_size: BatchSize = 64
    latent_size: Width = 128
    """Standard normal."""
    unroll_steps: UnrollSteps = 0
    dtype: Literal['float32', 'bfloat16'] = 'float32'
    """What the layers compute in; parameters, logits and losses are float32."""
    runner: Literal['pmap', 'shard_map'] = 'pmap'
    """What splits a batch over several devices."""
    evaluate: Compared = 2000
    """Samples in the end table, at least 2."""
    sample_every: Count = 400
    score_every: Whole = 0
    """Every so many steps, the Frechet distance of --evaluate samples to the data, in the features of a classifier of the data
    set, to scores.jsonl and scores.png; 0 for never."""
    checkpoint_every: Count = 2000
    memory_limit: Annotated[float, Range(0, 1e6)] = 2.0
    """Gigabytes up to which a data set is held on the device; a larger one is read from disk as it is needed."""

    free: ClassVar[tuple[str, ...]] = ('evaluate', 'sample_every', 'score_every', 'checkpoint_every', 'memory_limit')

    def networks(self, size: data.Size, channels: int, axis_name: str | None) -> tuple[nn.Module, nn.Module]:
        """The generator and the discriminator of such images."""
        raise NotImplementedError

    def make_game(self, size: data.Size, channels: int, axis_name: str | None) -> gan_jax.Game:
        """The game on such images."""
        generator, discriminator = self.networks(size, channels, axis_name)
        return self.game(generator, discriminator, latents.normal(self.latent_size), axis_name)

    def generator(self, size: data.Size | list[int], channels: int) -> runs.Generator:
        """How the trained generator of such images is drawn from; JSON has lists for tuples."""
        network, _ = self.networks(data.size_of(*size) if isinstance(size, list) else size, channels, None)
        generate = lambda weights, z, _: apply_network(network, weights, z, train=False)[0]
        return runs.Generator(latents.normal(self.latent_size), generate)

    def others(self, size: data.Size, channels: int) -> dict[str, 'Draw']:
        """What else draws such images and is scored, by what it is called."""
        del size, channels
        return {}

    @property
    def shape(self) -> data.Size | Literal['native'] | None:
        """What `size` says."""
        if isinstance(self.size, int) or self.size is None:
            return self.size
        if self.size == 'native':
            return 'native'
        height, width = map(int, self.size.split('x'))
        return data.size_of(height, width)

    def check(self) -> None:
        """Refuses what cannot work, before anything is loaded or written."""
        super().check()
        size = self.shape
        if size is not None and size != 'native':
            dcgan.smallest_map(size)
        parallel.check_divisible(self.batch_size)


def main(config: ImageOptions) -> dict[str, Any]:
    """Trains, draws and evaluates; returns the end table's figures."""
    config.check()
    source = load(config)
    dcgan.smallest_map(source.size)
    held_out = held_out_images(config, source)
    game, step, init = build(config, source.size, source.channels)
    advance = trainer(config, source, step)
    init = runs.first_state(init, config.init_from, resume=config.resume)
    run = runs.RunDirectory(config)  # once nothing more can be refused
    grid_key, table_key = jax.random.split(jax.random.key(config.seed + 1))
    draw = compilation.jit(lambda state, key, points: gan_jax.sample(game, state, points, key))
    state = fit(config, run, source, advance, init, draw, grid_key)

    def score(draw: Draw) -> dict[str, Any]:
        blocks = [draw(state, key, jnp.zeros(500)) for key in jax.random.split(table_key, -(-config.evaluate // 500))]
        fakes = np.concatenate([np.asarray(data.to_uint8(block)) for block in blocks])[: config.evaluate]
        return evaluate(config, run, fakes, source, held_out)

    others = {}
    for name, other in config.others(source.size, source.channels).items():
        print(f'{name}:')
        others[name] = score(compilation.jit(other))
    results = score(draw) | others
    runs.write_json(run.path / 'results.json', results)
    print(f'pictures {run.path}/samples.png, samples.gif, neighbours.png, losses.png; numbers {run.path}/results.json')
    return results


def load(config: ImageOptions) -> data.Images | data.ImageSource:
    """The training images, held in memory if they are not too many; what they are is printed."""
    source = data.load_or_open(
        config.dataset,
        split='train',
        size=config.shape,
        data_dir=config.data_dir,
        memory_limit=config.memory_limit * 1e9,
        channels=config.channels,
        skip_broken=config.skip_broken,
    )
    if config.score_every and not source.classes:
        raise InputError(f'--score-every needs labels to train a classifier on, and {config.dataset} has none')
    print(data.describe(config.dataset, source))
    return source


Draw = Callable[[gan_jax.TrainState, Key, Array], Array]
"""`(state, key, points [n]) -> images [n, h, w, c]` in [-1, 1]."""


def fit(
    config: ImageOptions,
    run: runs.RunDirectory,
    source: data.Images | data.ImageSource,
    advance: runs.Advance,
    init: gan_jax.TrainState,
    draw: Draw,
    key: Key,
) -> gan_jax.TrainState:
    """Trains, with the pictures of the key's samples and the scores; leaves the generator. Returns the last state."""
    shape: dict[str, Any] = {'size': source.size, 'channels': source.channels}
    runs.describe(run, config, **shape)
    grid = samples.image_samples(run, lambda state: draw(state, key, jnp.zeros(64)), every=config.sample_every)
    state = runs.fit(
        advance,
        init,
        run,
        steps=config.steps,
        batch_size=config.batch_size * config.minibatches,
        checkpoint_every=config.checkpoint_every,
        callbacks=[grid, *scores(config, run, source, draw)],
    )
    runs.save_generator(run, config.generator(**shape), state)
    samples.animate(run)
    return state


def build(config: ImageOptions, size: data.Size, channels: int) -> tuple[gan_jax.Game, Any, gan_jax.TrainState]:
    """The game, its train step, and the state at step 0."""
    shape = (config.batch_size // jax.local_device_count(), *data.sides(size), channels)
    runs.check_fit(config.make_game(size, channels, None), jax.ShapeDtypeStruct(shape, jnp.float32))
    axis_name = parallel.choose(config.runner)[1]
    game = config.make_game(size, channels, axis_name)
    step, players = config.train_step(game, unroll_steps=config.unroll_steps, axis_name=axis_name), config.players()
    example = jnp.zeros((1, *data.sides(size), channels))
    init = compilation.jit(lambda key: gan_jax.init(game, players.generator, players.discriminator, example, key))
    return game, step, init(jax.random.key(config.seed))


def trainer(config: ImageOptions, source: data.Images | data.ImageSource, step: Any) -> runs.Advance:
    """Steps on data that live on the device, or that are read from disk as they are needed."""
    (runner, axis_name), count = parallel.choose(config.runner), config.minibatches
    if isinstance(source, data.Images):
        feed = data.resident(source.images, config.batch_size, seed=config.seed, minibatches=count, axis_name=axis_name)
        return runs.resident_trainer(step, feed, runner)

    def batches(start: int) -> Iterator[np.ndarray]:
        stream = data.stream(source, config.batch_size, seed=config.seed, start=start, minibatches=count)
        return (batch['image'] for batch in stream)

    return runs.stream_trainer(step, batches, runner, stacked=count > 1)


def scores(
    config: ImageOptions, run: runs.RunDirectory, source: data.Images | data.ImageSource, draw: Draw
) -> list[runs.Callback]:
    """What scores the run as it trains, if that was asked for."""
    if not config.score_every:
        return []
    train = at_most(source, 20_000)
    assert train.labels is not None  # as `load` has seen
    extractor = train_classifier(train.images, train.labels, name=config.dataset, cache=True).extractor
    reference = collect(extractor, [train.images], {'moments'}).moments
    assert reference is not None
    block = lambda state, key: draw(state, key, jnp.zeros(100))
    key = jax.random.key(config.seed + 2)
    return [runs.sample_scores(run, block, extractor, reference, key, every=config.score_every, samples=config.evaluate)]


def evaluate(
    config: ImageOptions,
    run: runs.RunDirectory,
    fakes: np.ndarray,
    source: data.Images | data.ImageSource,
    held_out: data.Images | None,
) -> dict[str, Any]:
    """The end table: samples beside held-out real images, where the data set has some."""
    train = at_most(source, 20_000)
    if held_out is None:
        distance = nearest_distance(fakes / np.float32(127.5), blocks_of(source))
        results = {'median_neighbour_distance': float(np.median(distance))}
        print(runs.table([('samples', 'value'), *results.items()], title=f'{config.name} after {config.steps} steps'))
    else:
        results = compare(config, fakes, source, train, held_out)
    nearest = np.asarray(nearest_neighbours(fakes[:16], train.images, min(3, len(train.images))).index)
    rows = np.concatenate([fakes[:16, None], train.images[nearest]], 1).reshape(-1, *fakes.shape[1:])
    scale = max(1, 64 // fakes.shape[1])
    pictures.save_picture(run.path / 'neighbours.png', pictures.image_grid(rows, columns=8, scale=scale))
    return results


def blocks_of(source: data.Images | data.ImageSource, size: int = 8192) -> Iterator[np.ndarray]:
    """All images, in blocks of float32 `[n, h, w, c]` from 0 to 2."""
    count = len(source.images) if isinstance(source, data.Images) else len(source)
    for i in range(0, count, size):
        rows = range(i, min(i + size, count))
        images = source.images[rows.start : rows.stop] if isinstance(source, data.Images) else source.read(rows)['image']
        yield images / np.float32(127.5)


def at_most(source: data.Images | data.ImageSource, limit: int) -> data.Images:
    """Images in memory as they are; of those on disk at most `limit`."""
    if isinstance(source, data.Images):
        return source
    rows = np.random.default_rng(0).permutation(len(source))[:limit]
    batch = source.read(np.sort(rows).tolist())
    return data.Images(batch['image'], batch.get('label'), source.classes)


def held_out_images(config: ImageOptions, like: data.Images | data.ImageSource, limit: int = 10_000) -> data.Images | None:
    """At most `limit` held-out images of the size and the channels of `like`; all digits, and None where there are none.

    Raises `InputError` if there is but one.
    """
    if not data.has_test_set(config.dataset, config.data_dir):
        return None
    options: dict[str, Any] = {'split': 'test', 'size': like.size, 'channels': like.channels, 'data_dir': config.data_dir}
    if data.is_digits(config.dataset):
        return data.load(config.dataset, **options)
    found = at_most(data.open_source(config.dataset, skip_broken=config.skip_broken, **options), limit)
    if len(found.images) < 2:
        raise InputError(f'{config.dataset} has 1 test image, and samples are compared with at least 2')
    return found


def compare(
    config: ImageOptions,
    fakes: np.ndarray,
    source: data.Images | data.ImageSource,
    train: data.Images,
    held_out: data.Images,
) -> dict[str, Any]:
    test = memorisation_test(fakes / np.float32(127.5), blocks_of(source), held_out.images / np.float32(127.5))
    rows: list[tuple] = [('', 'samples', 'held-out real images')]
    results: dict[str, Any] = {'neighbour_ratio': test.ratio, 'neighbour_p_value': test.p_value}
    if train.labels is not None:
        classifier = train_classifier(train.images, train.labels, name=config.dataset, cache=True)
        seen = {'samples': floats(fakes), 'real': floats(held_out.images)}
        predicted = {name: classifier.probabilities(images) for name, images in seen.items()}
        scores = {name: classifier_scores(p) for name, p in predicted.items()}
        features = {name: classifier.features(images) for name, images in seen.items()}
        accuracy = float((predicted['real'].argmax(1) == held_out.labels).mean())
        distance = frechet_distance_from_features(features['real'], features['samples'])
        floor = frechet_distance_from_features(features['real'], classifier.features(floats(train.images[: len(fakes)])))
        a, b = scores['samples'], scores['real']
        results |= {
            'confident': a.confident,
            'confident_real': b.confident,
            'confidence': a.confidence,
            'class_entropy': a.class_entropy,
            'class_shares': a.class_shares.tolist(),
            'frechet_distance': distance,
            'classifier_accuracy': accuracy,
        }
        rows += [
            ('recognised with probability >= .9', a.confident, b.confident),
            ('  as a share of real', a.confident / b.confident, 1.0),
            ('mean confidence', a.confidence, b.confidence),
            (f'class entropy (log {len(b.class_shares)} = {np.log(len(b.class_shares)):.4g})', a.class_entropy, b.class_entropy),
            ('rarest class, share', float(a.class_shares.min()), float(b.class_shares.min())),
            ('Frechet distance, classifier features', distance, f'{floor:.4g} (train)'),
        ]
        print(f'judge: a classifier trained on {config.dataset}, {100 * accuracy:.1f} % right on held-out images; no FID')
    rows.append(('median distance to nearest training image', test.generated, test.held_out))
    rows.append(('  as a share of real', test.ratio, 1.0))
    rows.append(('  p-value of not being nearer than real', test.p_value, '-'))
    print(runs.table(rows, title=f'{config.dataset} after {config.steps} steps, {len(fakes)} samples'))
    return results


def floats(images: np.ndarray) -> np.ndarray:
    return np.asarray(data.to_float(jnp.asarray(images)))
