"""Semi-supervised learning by a GAN on permutation-invariant MNIST (Salimans et al. 2016, section 5), 100 labels of 60,000.

    python -m experiments.semi_supervised
    python -m experiments.semi_supervised --splits 1 --steps 7000
    python -m experiments.semi_supervised --features --objective-weight 1 --minibatch discrimination

The first is the paper's protocol: 300 epochs, 10 splits, feature matching; the last its other generator, with minibatch
discrimination. A split is a labelled subset and initial weights of its own. Ends with the test images that each split's averaged
classifier gets wrong, beside the same classifier trained on the same labels alone.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import gan_jax
from experiments.shared import labelled
from experiments.shared.seeds import placement
from gan_jax import compilation, data, finite, games, latents, networks, runs
from gan_jax.errors import InputError
from gan_jax.games.adversarial import apply_network
from gan_jax.games.semi_supervised import classify
from gan_jax.optimizers import Optimizers, average_parameters
from gan_jax.ranges import BatchSize, Count, Layers, SeedCount, Share, Side, Text, Weight, Width
from gan_jax.runs import pictures, samples
from gan_jax.typing import Array, Batch, Key


@dataclasses.dataclass(frozen=True)
class Config(runs.GameOptions):
    """A classifier that learns from few labels, and from telling unlabelled from generated images."""

    name: str = 'semi_supervised'
    dataset: Text = 'mnist'
    """A TFDS name of labelled images, 'digits' (offline), or a folder with a folder of images for each class; it may hold
    folders train and test, and otherwise every tenth image is held out."""
    data_dir: Text | None = None
    """Where TFDS data sets are prepared; TFDS_DATA_DIR if it is not given."""
    size: Side | None = None
    """Height and width; the data set's own if it is not given (16 for the digits, 64 for a folder)."""
    channels: Literal[1, 3] | None = None
    """1 for grey images, 3 for colour; the data set's own if it is not given."""
    skip_broken: bool = False
    """Leave out the images of a folder that cannot be read, and count them."""
    labels: Count = 100
    """How many training images have one, equally many of each class; the paper has 20, 50, 100 and 200."""
    splits: SeedCount = 10
    side_by_side: bool = True
    """All splits in each operation (vmap), or one after the other."""
    steps: Count = 180_000
    """300 epochs of MNIST."""
    batch_size: BatchSize = 100
    """Labelled images, unlabelled and generated ones, each."""
    objective: str = 'minimax'
    features: tuple[str, ...] = ('feature_matching:weight=0.004',)
    """Added to G's loss; 0.004 makes a mean over 250 units. None for the generator with minibatch discrimination."""
    objective_weight: Weight = 0.0
    unsupervised_weight: Weight = 1.0
    """Of the loss on unlabelled and generated images."""
    d_norm: str = 'weight'
    g_norm: str = 'batch'
    optimizers: str = 'improved_gan'
    own_minibatches: bool = True
    """G matches the features of unlabelled images that D has not seen in the same step, as in the authors' code."""
    average: Share = 1e-4
    """Rate of the parameters' average, by which test images are classified."""
    d_features: Layers = (1000, 500, 250, 250, 250)
    """Hidden layers of the classifier."""
    g_features: Layers = (500, 500)
    """Hidden layers of the generator."""
    latent_size: Width = 100
    """Uniform on [0, 1)."""
    start: Count = 500
    """Unlabelled images from which weight norm starts."""
    baseline_steps: Count = 3000
    """Of the classifier that has the labels alone."""
    evaluate_every: Count = 1000
    sample_every: Count = 1000
    checkpoint_every: Count = 1000

    free: ClassVar[tuple[str, ...]] = ('baseline_steps', 'evaluate_every', 'sample_every', 'checkpoint_every')

    def players(self) -> Optimizers:
        """The classifier keeps an average of its parameters."""
        pair = super().players()
        return pair._replace(discriminator=optax.chain(pair.discriminator, average_parameters(1 - self.average)))

    def generator(self, shape: list[int]) -> runs.Generator:
        """How the first split's generator is drawn from."""
        network = networks.SemiSupervisedGenerator(tuple(shape), self.g_features)
        generate = lambda weights, z, _: apply_network(network, weights, z, train=False)[0]
        first = lambda weights: jax.tree.map(lambda x: x[0], weights)
        return runs.Generator(latents.uniform(self.latent_size, 0.0), generate, normal=False, weights=first)


PUBLISHED = {20: '1677 +- 452', 50: '221 +- 136', 100: '93 +- 6.5', 200: '90 +- 4.2'}
"""Errors of 10,000 by the number of labels (Salimans et al. 2016, table 1), with feature matching, 10 splits."""


def main(config: Config) -> dict[str, list[int]]:
    """Trains every split, classifies, and returns the errors of each, `[splits]`: of the game and of the labels alone."""
    check(config)
    train, test = labelled.load(
        config.dataset,
        size=config.size,
        data_dir=config.data_dir,
        channels=config.channels,
        skip_broken=config.skip_broken,
    )
    seeds = np.random.SeedSequence(config.seed).generate_state(config.splits)
    classes = len(train.classes)
    subsets = [data.labelled_subset(train.labels, config.labels, classes=classes, seed=int(seed)) for seed in seeds]
    splits = prepare(config, train, subsets)
    run = runs.RunDirectory(config)  # once nothing more can be refused
    shape = list(train.images.shape[1:])
    runs.describe(run, config, shape=shape)
    wrong = compilation.jit(
        lambda players, images, labels: jax.lax.map(lambda p: errors(splits.classifier, p, images, labels), players)
    )
    count = lambda players: np.asarray(wrong(players, test.images, test.labels))

    def note(step: int, state: gan_jax.TrainState) -> None:
        run.log(step, {f'split {i + 1}': int(n) for i, n in enumerate(count(state.discriminator))}, 'errors.jsonl')

    def draw(state: gan_jax.TrainState) -> Array:
        return splits.sample(jax.tree.map(lambda x: x[0], state))

    state = runs.fit(
        splits.advance,
        splits.state,
        run,
        steps=config.steps,
        batch_size=config.batch_size * config.splits,
        checkpoint_every=config.checkpoint_every,
        callbacks=[runs.Callback(config.evaluate_every, note), runs.image_samples(run, draw, every=config.sample_every)],
    )
    runs.save_generator(run, config.generator(shape), state)
    samples.animate(run)
    alone = splits.baseline()
    finite.check_state(alone, config.baseline_steps, 'training on the labels alone')
    results = {'semi_supervised': count(state.discriminator).tolist(), 'labels_alone': count(alone).tolist()}
    runs.write_json(run.path / 'results.json', results)
    pictures.save_figure(run.path / 'errors.png', learning_curve(config, run, results))
    known = config.dataset == 'mnist' and config.objective_weight == 0
    rows = [
        ('errors', f'of {len(test.images)}', 'published'),
        (f'{config.labels} labels alone', spread(results['labels_alone']), ''),
        ('and unlabelled images', spread(results['semi_supervised']), PUBLISHED.get(config.labels, '') if known else ''),
    ]
    title = f'{config.dataset}, {config.splits} splits, {config.steps} steps; mean +- standard deviation; last step'
    print(runs.table(rows, title=title))
    print(f'pictures {run.path}/errors.png, samples.png (of the first split), losses.png; numbers {run.path}/results.json')
    return results


def check(config: Config) -> None:
    """Refuses what cannot work, before anything is loaded or written."""
    if (config.d_norm, config.g_norm) != (Config.d_norm, Config.g_norm):
        raise InputError(f"these networks' norms are the paper's: --d-norm {Config.d_norm}, --g-norm {Config.g_norm}")
    config.check()


class Splits(NamedTuple):
    """A run of several splits: its first state, how it goes on, what it draws, and what it is compared with."""

    classifier: nn.Module
    state: gan_jax.TrainState
    advance: runs.Advance
    sample: Callable[[gan_jax.TrainState], Array]
    """Images by one split's generator."""
    baseline: Callable[[], gan_jax.Player]
    """Trains the classifier of every split on its labels alone."""


def prepare(config: Config, train: labelled.Labelled, subsets: list[np.ndarray]) -> Splits:
    """All splits in one program. Raises `InputError` for what was chosen and does not work."""
    generator = networks.SemiSupervisedGenerator(train.images.shape[1:], config.g_features)
    classifier = networks.SemiSupervisedClassifier(config.d_features, len(train.classes), minibatch=config.minibatch)
    rules = functools.partial(games.semi_supervised, unsupervised_weight=config.unsupervised_weight)
    game = config.game(generator, classifier, latents.uniform(config.latent_size, 0.0), rules=rules)
    images = jax.ShapeDtypeStruct((config.batch_size, *train.images.shape[1:]), jnp.float32)
    labels = jax.ShapeDtypeStruct((config.batch_size,), jnp.int32)
    runs.check_fit(game, {'labelled': {'image': images, 'label': labels}, 'unlabelled': images})
    step, players = config.train_step(game), config.players()

    def resident(rows: np.ndarray, minibatches: int = config.minibatches) -> data.Feed:
        rows = np.tile(rows, -(-config.batch_size // len(rows)))  # fewer labels than a batch come several times in it
        arrays = {'image': train.images[rows], 'label': train.labels[rows]}
        return data.resident(arrays, config.batch_size, seed=config.seed, minibatches=minibatches)

    feeds = [resident(rows) for rows in subsets]
    unlabelled = data.resident(train.images, config.batch_size, seed=config.seed + 1, minibatches=config.minibatches)
    draw = data.joined({'labelled': feeds[0], 'unlabelled': unlabelled}).draw
    labelled = jax.tree.map(lambda *x: jnp.stack(x), *[feed.data for feed in feeds])
    first = np.random.default_rng(config.seed).permutation(len(train.images))[: config.start]
    start = data.to_float(jnp.asarray(train.images[first]))
    keys = jax.random.split(jax.random.key(config.seed), config.splits)

    def init(key: Key, labelled: Batch) -> gan_jax.TrainState:
        return gan_jax.init(game, players.generator, players.discriminator, {'labelled': labelled, 'unlabelled': start}, key)

    many = gan_jax.many_steps(step, draw, runs.CALL_STEPS)
    one = lambda state, labelled, images, n: many(state, {'labelled': labelled, 'unlabelled': images}, n)
    place = placement(config.splits) if config.side_by_side else (lambda tree: tree)
    run = compilation.jit(over_splits(one, 2, config.side_by_side), donate_argnums=0)
    labelled = place(labelled)

    def advance(state: gan_jax.TrainState, n: int) -> tuple[gan_jax.TrainState, Any]:
        state, rows = run(place(state), labelled, unlabelled.data, jnp.int32(n))
        return state, {name: value[:, :n].T for name, value in rows.items()}

    def baseline() -> gan_jax.Player:
        optimizer = dataclasses.replace(config, steps=config.baseline_steps).players().discriminator
        fit = functools.partial(supervised, classifier, optimizer, resident(subsets[0], 1).draw, config.baseline_steps)
        return compilation.jit(over_splits(fit, 2, config.side_by_side))(place(keys), labelled)

    state = compilation.jit(lambda *x: jax.lax.map(lambda x: init(*x), x))(keys, labelled)
    state = runs.first_state(state, config.init_from, resume=config.resume)
    sample = compilation.jit(lambda state: gan_jax.sample(game, state, jnp.zeros(64), jax.random.key(config.seed + 1)))
    return Splits(classifier, place(state), advance, sample, baseline)


def over_splits(function: Callable, rows: int, side_by_side: bool) -> Callable:
    """The function of every split at once; its first `rows` arguments have a leading axis of splits, the others are shared."""

    def run(*arguments: Any) -> Any:
        mine, shared = arguments[:rows], arguments[rows:]
        if side_by_side:
            return jax.vmap(lambda *x: function(*x, *shared))(*mine)
        return jax.lax.map(lambda x: function(*x, *shared), mine)

    return run


def supervised(
    classifier: nn.Module,
    optimizer: optax.GradientTransformation,
    draw: Callable[[Batch, Array], Batch],
    steps: int,
    key: Key,
    labelled: Batch,
) -> gan_jax.Player:
    """The classifier after so many steps on labelled images alone: their cross-entropy, the same noise, norm and optimizer."""
    init_key, noise_key, key = jax.random.split(key, 3)
    state = dict(classifier.init({'params': init_key, 'noise': noise_key}, data.to_float(labelled['image'])))
    params = state.pop('params')

    def update(player: gan_jax.Player, number: Array) -> tuple[gan_jax.Player, None]:
        batch = draw(labelled, number)

        def loss(params: Any) -> Array:
            noise = jax.random.fold_in(key, number)
            logits, _ = apply_network(classifier, {**player.state, 'params': params}, batch['image'], noise=noise)
            return optax.softmax_cross_entropy_with_integer_labels(logits, batch['label']).mean()

        updates, opt_state = optimizer.update(jax.grad(loss)(player.params), player.opt_state, player.params)
        return gan_jax.Player(optax.apply_updates(player.params, updates), player.state, opt_state), None

    return jax.lax.scan(update, gan_jax.Player(params, state, optimizer.init(params)), jnp.arange(steps))[0]


def errors(classifier: nn.Module, player: gan_jax.Player, images: Array, labels: Array) -> Array:
    """How many images the classifier's average gets wrong."""
    return (classify(classifier, player, data.to_float(images)).argmax(-1) != labels).sum()


def spread(counts: list[int]) -> str:
    """Mean and standard deviation over the splits."""
    return f'{np.mean(counts):.1f}' + (f' +- {np.std(counts, ddof=1):.1f}' if len(counts) > 1 else '')


def learning_curve(config: Config, run: runs.RunDirectory, results: dict[str, list[int]]) -> Any:
    """A figure of each split's errors over the steps, above the errors with the labels alone."""
    rows = run.read_log('errors.jsonl')
    title = f'{config.dataset}, {config.labels} labels: errors on the test images'
    figure = pictures.curves(rows, [[name for name in rows[0] if name != 'step']], title=title)
    (ax,) = figure.axes
    ax.axhline(np.mean(results['labels_alone']), color='0.5', ls='--', lw=1, label='labels alone, mean')
    ax.set_yscale('log')
    ax.legend(frameon=False, fontsize=7)
    return figure


if __name__ == '__main__':
    runs.run_main(main, Config)
