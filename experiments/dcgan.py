"""DCGAN (Radford, Metz and Chintala 2016) on handwritten digits, a TFDS image data set, or a folder of images.

    python -m experiments.dcgan
    python -m experiments.dcgan --dataset mnist --batch-size 64 --latent-size 64 --steps 5000
    python -m experiments.dcgan --dataset path/to/images --size 64

Ends with what a small classifier trained on the same data makes of the samples, their Frechet distance in its features, and
whether they are copies. The default, on the digits, takes 3 minutes on 2 CPU cores; expect a score of .85 of real digits'.
"""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from gan_jax import data, latents, networks, parallel, runs
from gan_jax.errors import InputError
from gan_jax.metrics.classifier import classifier_scores, train_classifier
from gan_jax.metrics.frechet import frechet_distance_from_features
from gan_jax.metrics.neighbours import memorisation_test, nearest_neighbours
from gan_jax.metrics.protocols import collect
from gan_jax.networks import dcgan
from gan_jax.runs import pictures, samples


@dataclasses.dataclass(frozen=True)
class Config(runs.GameOptions):
    """DCGAN on images."""

    name: str = 'dcgan'
    dataset: str = 'digits'
    """'digits' (offline), a TFDS name such as mnist, fashion_mnist or cifar10, or a folder of images."""
    data_dir: str | None = None
    """Where TFDS data sets are prepared; TFDS_DATA_DIR if it is not given."""
    size: int | None = None
    """Height and width: 28 or 4 * 2^n. The data set's own if it is not given (16 for the digits, 64 for a folder)."""
    steps: int = 14_000
    batch_size: int = 16
    """Small sets learn faster from many small steps; the paper has 128."""
    width: int = 64
    """Channels at half the image's size, doubled at each halving; the paper's 64-pixel network has 128."""
    kernel_size: int = 4
    """5 in the paper's code."""
    latent_size: int = 16
    """Standard normal; the paper has 100, uniform."""
    penalties: tuple[str, ...] = ('r1:gamma=1',)
    """Any of r1, r2, roth, wgan_gp, dragan. R1 keeps D from learning a small data set by heart; the paper has none."""
    d_norm: str = 'batch'
    g_norm: str = 'batch'
    optimizers: str = 'adam:learning_rate=1e-3'
    """Both players', by paper: adam (whose default is DCGAN's), wgan, wgan_gp, ttur."""
    decay: float = 0.1
    """The learning rates' value at the last step, as a share of the first; a cosine in between, and 1 for none."""
    unroll_steps: int = 0
    dtype: Literal['float32', 'bfloat16'] = 'float32'
    """What the layers compute in; parameters, logits and losses are float32."""
    runner: Literal['pmap', 'shard_map'] = 'pmap'
    """What splits a batch over several devices."""
    evaluate: int = 2000
    """Samples in the end table."""
    sample_every: int = 400
    score_every: int = 0
    """Every so many steps, the Frechet distance of --evaluate samples to the data, in the features of a classifier of the data
    set, to scores.jsonl and scores.png; 0 for never."""
    checkpoint_every: int = 2000
    memory_limit: float = 2.0
    """Gigabytes up to which a data set is held on the device; a larger one is read from disk as it is needed."""


def main(config: Config) -> dict[str, Any]:
    """Trains, draws and evaluates; returns the end table's figures."""
    check(config)
    source = data.load_or_open(
        config.dataset, split='train', size=config.size, data_dir=config.data_dir, memory_limit=config.memory_limit * 1e9
    )
    dcgan.stages(source.size)
    game, step, init = build(config, source.size, source.channels)
    advance = trainer(config, source, step)
    run = runs.RunDirectory(config)  # once nothing more can be refused
    grid_key, table_key = jax.random.split(jax.random.key(config.seed + 1))
    draw = jax.jit(lambda state, key, points: gan_jax.sample(game, state, points, key))
    grid = samples.image_samples(run, lambda state: draw(state, grid_key, jnp.zeros(64)), every=config.sample_every)
    state = runs.fit(
        advance,
        init,
        run,
        steps=config.steps,
        batch_size=config.batch_size * config.minibatches,
        checkpoint_every=config.checkpoint_every,
        callbacks=[grid, *scores(config, run, source, draw)],
    )
    runs.save_sampler(run, lambda key: draw(state, key, jnp.zeros(100)))
    samples.animate(run)
    blocks = [draw(state, key, jnp.zeros(500)) for key in jax.random.split(table_key, -(-config.evaluate // 500))]
    fakes = np.concatenate([np.asarray(data.to_uint8(block)) for block in blocks])[: config.evaluate]
    results = evaluate(config, run, fakes, source if isinstance(source, data.Images) else None)
    runs.write_whole(run.path / 'results.json', (json.dumps(results, indent=2) + '\n').encode())
    print(f'pictures {run.path}/samples.png, samples.gif, neighbours.png, losses.png; numbers {run.path}/results.json')
    return results


def trainer(config: Config, source: data.Images | data.TfdsSource, step: Any) -> runs.Advance:
    """Steps on data that live on the device, or that are read from disk as they are needed."""
    (runner, axis_name), count = parallel.choose(config.runner), config.minibatches
    if isinstance(source, data.Images):
        feed = data.resident(source.images, config.batch_size, seed=config.seed, minibatches=count, axis_name=axis_name)
        return runs.resident_trainer(step, feed, runner)

    def batches(start: int) -> Iterator[np.ndarray]:
        stream = data.stream(source, config.batch_size, seed=config.seed, start=start, minibatches=count)
        return (batch['image'] for batch in stream)

    return runs.stream_trainer(step, batches, runner, stacked=count > 1)


def scores(config: Config, run: runs.RunDirectory, source: data.Images | data.TfdsSource, draw: Any) -> list[runs.Callback]:
    """What scores the run as it trains, if that was asked for."""
    if not config.score_every:
        return []
    train = source if isinstance(source, data.Images) else _sample_of(config, 'train', source.size, 20_000)
    if train.labels is None:
        raise InputError(f'--score-every needs labels to train a classifier on, and {config.dataset} has none')
    extractor = train_classifier(train.images, train.labels, name=config.dataset, cache=True).extractor
    reference = collect(extractor, [train.images], ()).moments
    block = lambda state, key: draw(state, key, jnp.zeros(100))
    key = jax.random.key(config.seed + 2)
    return [runs.sample_scores(run, block, extractor, reference, key, every=config.score_every, samples=config.evaluate)]


def check(config: Config) -> None:
    """Refuses what cannot work, before anything is loaded or written."""
    config.check()
    counts = ('batch_size', 'width', 'kernel_size', 'latent_size', 'evaluate', 'sample_every', 'checkpoint_every')
    for name in counts:
        if getattr(config, name) < 1:
            raise InputError(f'--{name.replace("_", "-")} is at least 1, not {getattr(config, name)}')
    if config.size is not None:
        dcgan.stages(config.size)
    if config.score_every < 0:
        raise InputError(f'--score-every is at least 0, not {config.score_every}')
    parallel.check_divisible(config.batch_size)


def build(config: Config, size: int, channels: int) -> tuple[gan_jax.Game, Any, gan_jax.TrainState]:
    """The game, its train step, and the state at step 0."""
    dtype, axis_name = jnp.dtype(config.dtype), parallel.choose(config.runner)[1]
    generator = networks.DCGANGenerator(size, channels, config.width, config.kernel_size, dtype, axis_name, norm=config.g_norm)
    discriminator = networks.DCGANDiscriminator(
        config.width, config.kernel_size, dtype, axis_name, norm=config.d_norm, minibatch=config.minibatch
    )
    game = config.game(generator, discriminator, latents.normal(config.latent_size), axis_name)
    step, players = config.train_step(game, unroll_steps=config.unroll_steps, axis_name=axis_name), config.players()
    example = jnp.zeros((1, size, size, channels))
    init = jax.jit(lambda key: gan_jax.init(game, players.generator, players.discriminator, example, key))
    return game, step, init(jax.random.key(config.seed))


def evaluate(config: Config, run: runs.RunDirectory, fakes: np.ndarray, train: data.Images | None) -> dict[str, Any]:
    """The end table: samples beside held-out real images, where the data set has some."""
    if train is None:
        train = _sample_of(config, 'train', fakes.shape[1], 20_000)
    if data.is_folder(config.dataset):
        distance = nearest_neighbours(fakes / 127.5, train.images / 127.5).distance
        results = {'median_neighbour_distance': float(np.median(distance))}
        print(runs.table([('samples', 'value'), *results.items()], title=f'{config.name} after {config.steps} steps'))
    else:
        held_out = _sample_of(config, 'test', fakes.shape[1], 10_000)
        results = _compare(config, fakes, train, held_out)
    nearest = np.asarray(nearest_neighbours(fakes[:16], train.images, 3).index)
    rows = np.concatenate([fakes[:16, None], train.images[nearest]], 1).reshape(-1, *fakes.shape[1:])
    scale = max(1, 64 // fakes.shape[1])
    pictures.save_picture(run.path / 'neighbours.png', pictures.image_grid(rows, columns=8, scale=scale))
    return results


def _sample_of(config: Config, split: str, size: int, limit: int) -> data.Images:
    """At most `limit` images of a split."""
    if config.dataset == 'digits':
        return data.load('digits', split=split, size=size)
    source = data.open_source(config.dataset, split=split, size=size, data_dir=config.data_dir)
    rows = np.random.default_rng(0).permutation(len(source))[:limit]
    batch = source.read(np.sort(rows).tolist())
    return data.Images(batch['image'], batch.get('label'), source.classes)


def _compare(config: Config, fakes: np.ndarray, train: data.Images, held_out: data.Images) -> dict[str, Any]:
    test = memorisation_test(fakes / 127.5, train.images / 127.5, held_out.images / 127.5)
    rows: list[tuple] = [('', 'samples', 'held-out real images')]
    results: dict[str, Any] = {'neighbour_ratio': test.ratio, 'neighbour_p_value': test.p_value}
    if train.labels is not None:
        classifier = train_classifier(train.images, train.labels, name=config.dataset, cache=True)
        seen = {'samples': _floats(fakes), 'real': _floats(held_out.images)}
        predicted = {name: classifier.probabilities(images) for name, images in seen.items()}
        scores = {name: classifier_scores(p) for name, p in predicted.items()}
        features = {name: classifier.features(images) for name, images in seen.items()}
        accuracy = float((predicted['real'].argmax(1) == held_out.labels).mean())
        distance = frechet_distance_from_features(features['real'], features['samples'])
        floor = frechet_distance_from_features(features['real'], classifier.features(_floats(train.images[: len(fakes)])))
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
    print(runs.table(rows, title=f'{config.dataset} after {config.steps} steps, {len(fakes)} samples'))
    return results


def _floats(images: np.ndarray) -> np.ndarray:
    return np.asarray(data.to_float(jnp.asarray(images)))


if __name__ == '__main__':
    runs.run_main(main, Config)
