"""CycleGAN (Zhu et al. 2017): between two sets of images without pairs.

    python -m experiments.cyclegan
    python -m experiments.cyclegan --task coloured --dataset mnist
    python -m experiments.cyclegan --task facades
    python -m experiments.cyclegan --task horse2zebra --size 256 --width 64 --blocks 9 --receptive-field 70 --batch-size 1

Digits to inverted digits, and grey digits to coloured ones, have one right answer, which training never sees and the end table
compares with.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from experiments.shared.image_gan import floats
from experiments.shared.translation import (
    Columns,
    TranslationOptions,
    central,
    load_pairs,
    picture_every,
    save_progress,
    save_titled,
)
from gan_jax import compilation, data, games, networks, parallel, runs
from gan_jax.data.decoding import left_out
from gan_jax.errors import InputError
from gan_jax.games.adversarial import apply_network
from gan_jax.games.product import part_of
from gan_jax.games.unpaired_translation import Translations
from gan_jax.networks.translation import check_resnet_size, patch_outputs
from gan_jax.ranges import BatchSize, Count, Range, Share, Side, Text, Weight
from gan_jax.typing import AnyArray


@dataclasses.dataclass(frozen=True)
class Config(TranslationOptions):
    """CycleGAN on two sets of images."""

    name: str = 'cyclegan'
    task: Text = 'inverted'
    """'inverted' or 'coloured': half of the data set's images, and the other half inverted, or with white turned blue and black
    turned yellow. Or a folder: with A and B, or trainA, trainB, testA and testB, two sets; else, of pairs side by side as for
    pix2pix, the left sides of one half of the pairs and the right sides of the other."""
    dataset: Text = 'digits'
    """Of the first two tasks: 'digits' (offline), a TFDS name such as mnist, or a folder with folders train and test."""
    data_dir: Text | None = None
    """Where TFDS data sets are prepared; TFDS_DATA_DIR if it is not given."""
    size: Side | None = None
    """Height and width, a multiple of 4: the data set's own if it is not given, and 64 of a folder. The paper has 128 and 256;
    a folder's training images are loaded at 286 / 256 of it, cropped at random and mirrored."""
    steps: Count = 3_000
    batch_size: BatchSize = 4
    """1 in the paper, for 200 epochs."""
    blocks: Annotated[int, Range(1, 100)] = 3
    """Of the generators; the paper has 6 at 128 pixels and 9 at 256."""
    objective: str = 'least_squares'
    objective_weight: Weight = 2.0
    """Of the objective in the generators' loss; least squares are halved here, and not in the paper."""
    cycle_weight: Weight = 10.0
    """Of the mean absolute difference after a round trip, in [-1, 1]."""
    identity_weight: Weight | None = None
    """Times --cycle-weight, of the mean absolute difference that a generator makes to images of its own target set. If it is not
    given, .5 for folders (as the authors' code has it), 0 for the other tasks: it asks a generator to leave what is there already
    as it is, pixel by pixel the opposite of inverting."""
    pool_size: Annotated[int, Range(0, 1_000_000)] = 50
    """Generated images that each D remembers; 0 for none."""
    receptive_field: Count = 16
    """The side of the square that one logit of D judges: 1, 16, 34, 70, 142 or 286; the paper has 70."""
    g_norm: str = 'instance'
    """In the generators: batch, instance, layer, spectral, weight or none."""
    d_norm: str = 'instance'
    """In the discriminators: the same."""
    constant: Share = 0.5

    def network(self, channels: int, axis_name: str | None) -> networks.ResNetGenerator:
        """A generator of images with this number of channels."""
        return networks.ResNetGenerator(channels, self.width, self.blocks, self.g_norm, jnp.dtype(self.dtype), axis_name)

    def translator(self, direction: str | None, size: int, channels: dict[str, int]) -> runs.Translator:
        """How the trained generators translate, from A to B if the direction is not given; `channels` are those of each set."""
        direction = direction or 'a_to_b'
        source, target = direction.split('_to_')
        network = self.network(channels[target], None)
        translate = lambda weights, x, key: apply_network(network, part_of(weights, direction), x, train=False, noise=key)[0]
        return runs.Translator(translate, size, channels[source])

    @property
    def synthetic(self) -> bool:
        """Whether the right answer is made here."""
        return self.task in TASKS

    @property
    def identity_share(self) -> float:
        """`identity_weight`, or the task's."""
        return (0.0 if self.synthetic else 0.5) if self.identity_weight is None else self.identity_weight


class Sets(NamedTuple):
    """Two sets of images, uint8 `{'a': [n, ...], 'b': [m, ...]}`."""

    train: dict[str, np.ndarray]
    held_out: dict[str, np.ndarray]
    paired: bool
    """Whether the held-out images of one number are translations of each other."""


def inverted(images: np.ndarray) -> np.ndarray:
    """White for black, `[n, h, w, c] -> [n, h, w, c]`."""
    return 255 - images


def coloured(images: np.ndarray) -> np.ndarray:
    """Blue for white and yellow for black, and what lies between, `[n, h, w, 1] -> [n, h, w, 3]`."""
    if images.shape[-1] != 1:
        raise InputError('--task coloured is for grey images')
    white, black = np.array([30, 60, 200]), np.array([250, 210, 60])
    return np.round(black + images / 255 * (white - black)).astype(np.uint8)


TASKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {'inverted': inverted, 'coloured': coloured}
_SHOWN = 8
"""How many held-out images are drawn."""
_HELD_OUT = 500
"""At most so many are judged."""


def main(config: Config) -> dict[str, Any]:
    """Trains, draws and evaluates; returns the end table's figures."""
    check(config)
    sets = load(config)
    advance, init, draw = prepare(config, sets.train)
    init = runs.first_state(init, config.init_from, resume=config.resume)
    run = runs.RunDirectory(config)  # once nothing more can be refused
    size, channels = sets.held_out['a'].shape[1], {side: images.shape[-1] for side, images in sets.train.items()}
    runs.describe(run, config, size=size, channels=channels)
    few = {side: images[:_SHOWN] for side, images in sets.held_out.items()}
    state = runs.fit(
        advance,
        init,
        run,
        steps=config.steps,
        batch_size=config.batch_size * config.players().discriminator_steps,
        checkpoint_every=config.checkpoint_every,
        callbacks=[picture_every(run, lambda state: columns(sets, few, draw(state, few), 'ab'), every=config.sample_every)],
    )
    runs.save_translator(run, state)
    made = draw(state, few)
    there = columns(sets, few, made, 'ab')
    save_progress(run, [title for title, _ in there], 1)
    save_titled(run.path / 'validation.png', [*there, *columns(sets, few, made, 'ba')])
    results = evaluate(config, sets, draw(state, sets.held_out))
    runs.write_json(run.path / 'results.json', results)
    print(f'pictures {run.path}/progress.png, validation.png, losses.png; numbers {run.path}/results.json')
    return results


def check(config: Config) -> None:
    """Refuses what cannot work, before anything is loaded or written."""
    config.check()
    if config.size is not None:
        _check_size(config, config.size)
    if not config.synthetic and not pathlib.Path(config.task).is_dir():
        raise InputError(f'--task is {", ".join(map(repr, TASKS))} or a folder, and there is no folder {config.task!r}')
    if not config.synthetic and config.dataset != Config.dataset:
        raise InputError(f'--task {config.task} names the images: leave out --dataset, which is for {" and ".join(TASKS)}')
    if config.synthetic and data.is_folder(config.dataset) and data.two_sets(config.dataset):
        raise InputError(
            f'--dataset {config.dataset} holds two sets of images, which --task {config.task} would mix: '
            f'--task {config.dataset} translates between them'
        )


def _check_size(config: Config, size: int) -> None:
    check_resnet_size(size)
    patch_outputs(size, config.receptive_field)


def load(config: Config) -> Sets:
    """What the task translates between. Raises `InputError` for what cannot be read or translated."""
    sets, broken = _made(config) if config.synthetic else _from_folder(config)
    a, b = (sets.train[side] for side in 'ab')
    if config.identity_share and a.shape[-1] != b.shape[-1]:
        raise InputError(f'--identity-weight is 0 where A has {a.shape[-1]} channels and B {b.shape[-1]}')
    name = config.dataset if config.synthetic else config.task
    held_out = f'{len(sets.held_out["a"]):,} of each held out'
    print(f'{name}: {len(a):,} images of A and {len(b):,} of B to train on, {held_out}{left_out(broken)}')
    return sets


def _made(config: Config) -> tuple[Sets, list[str]]:
    """Half of a data set, and what its other half becomes: no image is on both sides. And the files that were left out."""
    options: dict[str, Any] = {'size': config.size, 'data_dir': config.data_dir, 'skip_broken': config.skip_broken}
    train_set = data.load(config.dataset, split='train', **options)
    test_set = data.load(config.dataset, split='test', channels=train_set.channels, **options)
    images, judged = train_set.images, test_set.images[:_HELD_OUT]
    _check_size(config, images.shape[1])
    answer = TASKS[config.task]
    train = data.without_pairs({'input': images, 'target': answer(images)}, config.seed)
    return Sets(train, {'a': judged, 'b': answer(judged)}, paired=True), [*train_set.broken, *test_set.broken]


def _from_folder(config: Config) -> tuple[Sets, list[str]]:
    path, size = pathlib.Path(config.task), config.size or 64
    _check_size(config, size)
    two = data.two_sets(path)
    if not two:
        train, judged = load_pairs(path, size, limit=_HELD_OUT, skip_broken=config.skip_broken)
        return Sets(data.without_pairs(train, config.seed), {'a': judged['input'], 'b': judged['target']}, paired=True), []
    if 'train' not in two:
        raise InputError(f'{path} has sets to be judged on ({", ".join(two)}), and none to train on')
    train, broken = data.unpaired(*two['train'], data.loading_size(size), skip_broken=config.skip_broken)
    split = next((split for split in ('val', 'test') if split in two), None)
    if split is None:
        judged = {side: data.resize(images[::10], size) for side, images in train.items()}
        train = {side: images[np.arange(len(images)) % 10 > 0] for side, images in train.items()}
    else:
        judged, others = data.unpaired(*two[split], size, train['a'].shape[-1], config.skip_broken)
        broken += others
    if min(map(len, train.values())) < 1:
        raise InputError(f'{path} has too few images: one of ten is held out, and some are to train on')
    count = min(_HELD_OUT, *map(len, judged.values()))
    return Sets(train, {side: images[:count] for side, images in judged.items()}, paired=False), broken


def make_game(config: Config, train: dict[str, np.ndarray], axis_name: str | None) -> gan_jax.Game:
    """The game between such sets."""
    dtype = jnp.dtype(config.dtype)
    to = lambda side: config.network(train[side].shape[-1], axis_name)
    judge = lambda: networks.PatchDiscriminator(config.receptive_field, config.width, config.d_norm, dtype, axis_name)
    objective, penalties = config.method(axis_name)
    return games.unpaired_translation(
        to('b'),
        to('a'),
        judge(),
        judge(),
        objective,
        cycle_weight=config.cycle_weight,
        identity_weight=config.identity_share,
        objective_weight=config.objective_weight,
        pool_size=config.pool_size,
        penalties=penalties,
        axis_name=axis_name,
    )


def prepare(
    config: Config, train: dict[str, np.ndarray]
) -> tuple[runs.Advance, gan_jax.TrainState, Callable[[gan_jax.TrainState, dict[str, np.ndarray]], Translations]]:
    """What takes training steps, the state at step 0, and what translates uint8 `{'a', 'b'}` by a state."""
    (runner, axis_name), players = parallel.choose(config.runner), config.players()
    size = train['a'].shape[1] if config.synthetic else config.size or 64
    zeros = lambda n: {side: jnp.zeros((n, size, size, images.shape[-1])) for side, images in train.items()}
    runs.check_fit(make_game(config, train, None), jax.eval_shape(lambda: zeros(config.batch_size // jax.local_device_count())))
    game = make_game(config, train, axis_name)
    feeds = {
        side: data.resident(
            images,
            config.batch_size,
            seed=2 * config.seed + number,  # the sets are drawn independently
            minibatches=players.discriminator_steps,
            transform=None if config.synthetic else lambda image, key: data.jitter(image, key, size),
            axis_name=axis_name,
        )
        for number, (side, images) in enumerate(train.items())
    }
    init = compilation.jit(lambda key: gan_jax.init(game, players.generator, players.discriminator, zeros(1), key))
    sample = compilation.jit(lambda state, batch, key: gan_jax.sample(game, state, jax.tree.map(data.to_float, batch), key))

    def draw(state: gan_jax.TrainState, images: dict[str, np.ndarray]) -> Translations:
        keys = enumerate(range(0, len(images['a']), 50))
        blocks = [
            sample(state, {side: x[i : i + 50] for side, x in images.items()}, jax.random.key(number)) for number, i in keys
        ]
        return jax.tree.map(lambda *x: np.concatenate(x), *blocks)

    step = config.train_step(game, axis_name)
    return runs.resident_trainer(step, data.joined(feeds), runner), init(jax.random.key(config.seed)), draw


def columns(sets: Sets, images: dict[str, np.ndarray], made: Translations, direction: str) -> Columns:
    """Input, output, the right answer where there is one, and the round trip."""
    source, target = direction[0], direction[1]
    truth = [('truth', images[target])] if sets.paired else []
    back = made.cycle_a if source == 'a' else made.cycle_b
    name = f'{source} to {target}'.upper().replace('TO', 'to')
    return [(source.upper(), images[source]), (name, made.fake(target)), *truth, ('and back', back)]


def evaluate(config: Config, sets: Sets, made: Translations) -> dict[str, dict[str, float]]:
    """The end table: mean absolute errors, of pixels in [0, 1]."""
    real = {side: floats(images) for side, images in sets.held_out.items()}
    size = real['a'].shape[1]
    mean = {side: floats(central(images, size)).mean(0) for side, images in sets.train.items()}
    error = lambda of_a, of_b: {'a_to_b': _error(of_b, real['b']), 'b_to_a': _error(of_a, real['a'])}
    found = {}
    if sets.paired:
        found['from the right answer'] = error(made.fake_a, made.fake_b)
        found['  mean training image'] = error(mean['a'], mean['b'])
        if real['a'].shape == real['b'].shape:
            found['  input as it is'] = error(real['b'], real['a'])
    found['round trip'] = {'a_to_b': _error(made.cycle_a, real['a']), 'b_to_a': _error(made.cycle_b, real['b'])}
    rows: list[tuple] = [('mean absolute error', 'A to B', 'B to A', 'in [-1, 1]', '')]
    rows += [(name, *values.values(), *(2 * value for value in values.values())) for name, values in found.items()]
    source = f'{config.dataset} to {config.task}' if config.synthetic else config.task
    print(runs.table(rows, title=f'{source} after {config.steps} steps, {len(real["a"])} held-out images; pixels in [0, 1]'))
    return found


def _error(x: AnyArray, y: AnyArray) -> float:
    """The mean absolute error of images in [-1, 1], in the scale of [0, 1]."""
    return float(np.abs(x - y).mean()) / 2


if __name__ == '__main__':
    runs.run_main(main, Config)
