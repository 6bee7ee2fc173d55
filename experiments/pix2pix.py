"""pix2pix (Isola et al. 2017): from label maps to photographs, or between the two images of any folder of pairs.

    python -m experiments.pix2pix --dataset facades
    python -m experiments.pix2pix --dataset PAIRS --direction a_to_b --size 256 --width 64 --receptive-field 70 --batch-size 1

`facades` is the unpacked folder of the authors' facades.tar.gz: photographs to the left, labels to the right. Ends with the L1
distance from the validation photographs, beside that of their mean image and of a U-Net trained on L1 alone.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from experiments.shared.image_gan import floats
from experiments.shared.translation import TranslationOptions, central, load_pairs, picture_every, save_progress, save_titled
from gan_jax import compilation, data, games, networks, parallel, runs
from gan_jax.errors import InputError
from gan_jax.games.adversarial import apply_network
from gan_jax.metrics.distances import pair_distances
from gan_jax.metrics.extractors import EXTRACTORS, Extractor
from gan_jax.metrics.frechet import frechet_distance_from_features
from gan_jax.metrics.kernel import kernel_distance
from gan_jax.metrics.protocols import collect
from gan_jax.networks.translation import patch_outputs, unet_halvings
from gan_jax.ranges import BatchSize, Count, Range, ShareBelow1, Side, Text, Weight, Width
from gan_jax.registry import build
from gan_jax.typing import Array, Key


@dataclasses.dataclass(frozen=True)
class Config(TranslationOptions):
    """pix2pix on a folder of pairs of images."""

    name: str = 'pix2pix'
    dataset: Text = 'facades'
    """A folder of pairs: images side by side, A to the left of B, or folders A and B with images of the same names. Folders
    train, val and test are splits; without any, every tenth pair is held out."""
    direction: Literal['a_to_b', 'b_to_a'] = 'b_to_a'
    """What is made of what; b_to_a makes facades' photographs of labels."""
    size: Side = 64
    """Height and width, a power of two; the paper has 256. Training images are loaded at 286 / 256 of it, cropped at
    random and mirrored."""
    steps: Count = 1_500
    batch_size: BatchSize = 4
    """1 in the paper, for 200 epochs."""
    width: Width = 24
    l1_weight: Weight = 100.0
    """Of the mean absolute difference from the target, in [-1, 1], in G's loss."""
    objective_weight: Weight = 1.0
    """Of the objective in G's loss; 0 is L1 alone, with a D of a few weights that does nothing."""
    receptive_field: Count = 34
    """The side of the square that one logit of D judges: 1, 16, 34, 70, 142 or 286. The paper has 70, at 256 pixels."""
    g_norm: str = 'instance'
    """In G: instance, batch (which at the paper's batch size of 1 is instance norm in training), layer, spectral, weight or
    none."""
    statistics: Literal['running', 'batch'] = 'batch'
    """By which G with batch norm translates: each image's own, a test batch of one as in the authors' test script, or the
    running averages."""
    d_norm: str = 'instance'
    """In D: the same."""
    dropout: ShareBelow1 = 0.5
    """In the three innermost layers on the way up, at any time: G's only noise."""
    compare_l1: bool = True
    """Train the same U-Net on L1 alone, too."""
    features: str | None = None
    """Compare outputs with photographs in the features of this extractor of gan_jax.metrics, such as squeezenet:path=FILE,
    inception or pixels."""
    validation: Annotated[int, Range(2, 1_000_000)] = 200
    """At most so many validation pairs."""

    free: ClassVar[tuple[str, ...]] = (*TranslationOptions.free, 'compare_l1', 'features', 'validation')

    def network(self, channels: int, axis_name: str | None) -> networks.UNet:
        """The generator of images with this number of channels."""
        dtype = jnp.dtype(self.dtype)
        options: dict[str, Any] = {'dropout': self.dropout, 'norm': self.g_norm, 'statistics': self.statistics}
        return networks.UNet(channels, self.width, dtype=dtype, axis_name=axis_name, **options)

    def drawn(self, draw: Callable[[Array, Key], Array], x: Array, key: Key) -> Array:
        """`draw(x, key)`, of each image by itself where batch norm goes by what it is given."""
        if self.g_norm != 'batch' or self.statistics == 'running':
            return draw(x, key)
        return jax.lax.map(lambda one: draw(one[0][None], one[1])[0], (x, parallel.example_keys(key, len(x))))

    def translator(self, direction: str | None, channels: list[int]) -> runs.Translator:
        """How the trained generator translates; `channels` are the input's and the output's."""
        if direction not in (None, self.direction):
            raise InputError(f'this run has learned --direction {self.direction} only, not {direction}')
        network = self.network(channels[1], None)
        one = lambda weights: lambda x, key: apply_network(network, weights, x, train=False, noise=key)[0]
        translate = lambda weights, x, key: self.drawn(one(weights), x, key)
        return runs.Translator(translate, self.size, channels[0])


def main(config: Config) -> dict[str, Any]:
    """Trains, draws and evaluates; returns the end table's figures by model."""
    check(config)
    extractor = build(EXTRACTORS, config.features) if config.features else None
    train, held_out = load_pairs(
        config.dataset, config.size, config.validation, skip_broken=config.skip_broken, direction=config.direction
    )
    if extractor and len(held_out['input']) < _COMPARED:
        raise InputError(f'--features compares sets of at least {_COMPARED} images, and there are {len(held_out["input"])}')
    parts = {'pix2pix' if config.objective_weight else 'L1 alone': config}
    if config.compare_l1 and config.objective_weight:
        parts['L1 alone'] = dataclasses.replace(config, name=f'{config.name}/l1', objective_weight=0.0, init_from=None)
    prepared = {model: prepare(part, train) for model, part in parts.items()}
    run = runs.RunDirectory(config)  # once nothing more can be refused
    outputs = {}
    for model, part in parts.items():
        print(f'{model}: {part.steps} steps')
        began = part is not config and (run.path / 'l1' / 'config.json').exists()
        own = run if part is config else runs.RunDirectory(dataclasses.replace(part, resume=began))
        runs.describe(own, part, channels=[train[name].shape[-1] for name in ('input', 'target')])
        outputs[model] = fit(part, own, held_out, *prepared[model])
    shown = slice(0, _SHOWN)
    columns = [('input', held_out['input'][shown]), *((m, x[shown]) for m, x in outputs.items())]
    columns += [('target', held_out['target'][shown])]
    save_titled(run.path / 'validation.png', columns)
    results = evaluate(config, outputs, train['target'], held_out['target'], extractor)
    runs.write_json(run.path / 'results.json', results)
    print(f'pictures {run.path}/progress.png, validation.png, losses.png; numbers {run.path}/results.json')
    return results


_SHOWN = 8
"""How many validation images are drawn."""
_COMPARED = 4
"""Fewest images of which the kernel distance has a standard error."""


def check(config: Config) -> None:
    """Refuses what cannot work, before anything is loaded or written."""
    config.check()
    unet_halvings((config.size, config.size))
    if config.objective_weight:
        patch_outputs(config.size, config.receptive_field)
    if not config.objective_weight and not config.l1_weight:
        raise InputError('--objective-weight and --l1-weight are not both 0')


Draw = Callable[[gan_jax.TrainState, np.ndarray], np.ndarray]
"""`(state, inputs) -> outputs` in [-1, 1], of uint8 inputs `[n, h, w, c]`, any number of them."""


def prepare(config: Config, train: dict[str, np.ndarray]) -> tuple[runs.Advance, gan_jax.TrainState, Draw]:
    """What takes training steps, the state at step 0, and what draws."""
    (runner, axis_name), players = parallel.choose(config.runner), config.players()
    runs.check_fit(
        make_game(config, train, None),
        jax.eval_shape(lambda: crops(config, train, config.batch_size // jax.local_device_count())),
    )
    game = make_game(config, train, axis_name)
    step = config.train_step(game, axis_name)
    cropped = lambda pair, key: data.jitter(pair, key, config.size)
    count = players.discriminator_steps
    feed = data.resident(train, config.batch_size, seed=config.seed, minibatches=count, transform=cropped, axis_name=axis_name)
    example = crops(config, train, 1)
    init = compilation.jit(lambda key: gan_jax.init(game, players.generator, players.discriminator, example, key))
    one = lambda state: lambda x, key: gan_jax.sample(game, state, {'input': x}, key)
    sample = compilation.jit(lambda state, x, key: config.drawn(one(state), data.to_float(x), key))
    key = jax.random.key(config.seed + 1)

    def draw(state: gan_jax.TrainState, inputs: np.ndarray) -> np.ndarray:
        blocks = [sample(state, inputs[i : i + 50], jax.random.fold_in(key, i)) for i in range(0, len(inputs), 50)]
        return np.concatenate([np.asarray(block) for block in blocks])

    state = runs.first_state(init(jax.random.key(config.seed)), config.init_from, resume=config.resume)
    return runs.resident_trainer(step, feed, runner), state, draw


def make_game(config: Config, train: dict[str, np.ndarray], axis_name: str | None) -> gan_jax.Game:
    """The game on such pairs."""
    field, width, norm = (config.receptive_field, config.width, config.d_norm) if config.objective_weight else (1, 1, 'none')
    discriminator = networks.PatchDiscriminator(field, width, norm, jnp.dtype(config.dtype), axis_name)
    objective, penalties = config.method(axis_name)
    return games.paired_translation(
        config.network(train['target'].shape[-1], axis_name),
        discriminator,
        objective,
        l1_weight=config.l1_weight,
        objective_weight=config.objective_weight,
        penalties=penalties,
    )


def crops(config: Config, train: dict[str, np.ndarray], n: int) -> dict[str, jax.Array]:
    """A batch of the shapes that are learned from."""
    return {name: jnp.zeros((n, config.size, config.size, x.shape[-1])) for name, x in train.items()}


def fit(
    config: Config,
    run: runs.RunDirectory,
    held_out: dict[str, np.ndarray],
    advance: runs.Advance,
    init: gan_jax.TrainState,
    draw: Draw,
) -> np.ndarray:
    """Trains one model; returns what it makes of the validation inputs, in [-1, 1]."""
    source, target = (held_out[name][:_SHOWN] for name in ('input', 'target'))
    columns = lambda state: [('input', source), ('output', draw(state, source)), ('target', target)]
    state = runs.fit(
        advance,
        init,
        run,
        steps=config.steps,
        batch_size=config.batch_size * config.players().discriminator_steps,
        checkpoint_every=config.checkpoint_every,
        callbacks=[picture_every(run, columns, every=config.sample_every)],
    )
    runs.save_translator(run, state)
    save_progress(run, ('input', 'output', 'target'), 1)
    return draw(state, held_out['input'])


def evaluate(
    config: Config, outputs: dict[str, np.ndarray], train: np.ndarray, targets: np.ndarray, extractor: Extractor | None
) -> dict[str, dict[str, float]]:
    """The end table: every model's outputs, and the label-blind mean image, beside the validation targets."""
    photographs = central(train, config.size)
    blind = np.broadcast_to(floats(photographs).mean(0), targets.shape)
    truth = floats(targets)
    results = {model: {'l1': float(np.abs(x - truth).mean())} for model, x in {**outputs, 'mean training image': blind}.items()}
    rows: list[tuple] = [('', 'L1, [-1, 1]')]
    if extractor is not None:
        rows = [('', 'L1, [-1, 1]', 'kernel distance', '+-', 'Frechet distance', 'pair distances')]
        real = collect(extractor, [targets], {'features'})
        others = {**{model: np.asarray(data.to_uint8(x)) for model, x in outputs.items()}, 'training targets': photographs}
        for model, images in others.items():
            found = collect(extractor, [images], {'features'})
            kernel = kernel_distance(real.features, found.features)
            results.setdefault(model, {}).update(
                kernel_distance=float(kernel.value),
                kernel_distance_standard_error=float(np.asarray(kernel.standard_error)),
                frechet_distance=float(frechet_distance_from_features(real.features, found.features)),
                pair_distance_ratio=pair_distances(found.features, real.features).ratio,
            )
        print(f'features: {extractor.name}')
    rows += [(model, *result.values(), *[''] * (len(rows[0]) - 1 - len(result))) for model, result in results.items()]
    print(runs.table(rows, title=f'{config.dataset}, {len(targets)} validation pairs, after {config.steps} steps'))
    return results


if __name__ == '__main__':
    runs.run_main(main, Config)
