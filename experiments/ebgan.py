"""EBGAN (Zhao, Mathieu and LeCun 2017): a discriminator that is an autoencoder, whose reconstruction error is an energy.

    python -m experiments.ebgan
    python -m experiments.ebgan --margins 5 10 20
    python -m experiments.ebgan --network convolutional --width 32

Ends with the energies of real and generated images, and what a classifier of the same data makes of the samples.
"""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from experiments.shared import image_gan
from gan_jax import compilation, data, networks, runs
from gan_jax.errors import InputError
from gan_jax.metrics.classifier import Classifier, classifier_scores, train_classifier
from gan_jax.metrics.frechet import frechet_distance_from_features
from gan_jax.networks.autoencoder import mean_energy
from gan_jax.objectives import OBJECTIVES
from gan_jax.ranges import Compared, Count, Margin, Range, Several, Share, Text, Width
from gan_jax.registry import build
from gan_jax.runs import pictures


@dataclasses.dataclass(frozen=True)
class Config(image_gan.ImageOptions):
    """EBGAN on labelled images."""

    name: str = 'ebgan'
    dataset: Text = 'mnist'
    """A TFDS name of labelled images, 'digits' (offline), or a folder with folders train and test, and in each a folder of images
    for each class."""
    steps: Count = 6_000
    network: Literal['mlp', 'convolutional'] = 'mlp'
    """Both players: fully connected, as in the paper's search on MNIST, or as its networks for faces."""
    width: Width = 512
    """Of fully connected layers; of convolutional ones the channels at half the image's size, doubled at each halving."""
    layers: Annotated[int, Range(1, 100)] = 2
    """Hidden layers of G and of the encoder, if they are fully connected. The decoder is one layer."""
    latent_size: Width = 64
    """Standard normal."""
    objective: str = 'energy_margin:margin=10'
    """energy_margin, with its margin. Energies are Euclidean distances of images in [-1, 1]; the table says what those of the
    mean image are."""
    margins: Annotated[tuple[Margin, ...], Several()] = ()
    """Train once with each of these margins instead, and compare."""
    features: tuple[str, ...] = ('pulling_away:weight=0.1',)
    """Added to G's loss, on D's code: pulling_away:weight=0.1, feature_matching, feature_matching_l1."""
    g_norm: str = 'batch'
    optimizers: str = 'adam:learning_rate=1e-3'
    """Both players', by paper: adam (EBGAN's search has 1e-3), wgan, wgan_gp, ttur, improved_gan."""
    decay: Share = 0.1
    """The learning rates' value at the last step, as a share of the first; a cosine in between, and 1 for none."""
    evaluate: Compared = 10_000
    """Samples in the end table, and at most so many real images of each split."""
    sample_every: Count = 500

    energies: ClassVar[bool] = True

    def networks(self, size: data.Size, channels: int, axis_name: str | None) -> tuple[nn.Module, nn.Module]:
        options: Any = {'dtype': jnp.dtype(self.dtype), 'axis_name': axis_name}
        generator: nn.Module
        autoencoder: nn.Module
        if self.network == 'mlp':
            widths = (self.width,) * self.layers
            generator = networks.MLPGenerator((*data.sides(size), channels), widths, norm=self.g_norm, **options)
            autoencoder = networks.MLPAutoencoder(widths, norm=self.d_norm, **options)
        else:
            generator = networks.DCGANGenerator(size, channels, self.width, 4, norm=self.g_norm, **options)
            autoencoder = networks.ConvAutoencoder(self.width, norm=self.d_norm, **options)
        return generator, networks.EnergyDiscriminator(autoencoder)

    def check(self) -> None:
        super().check()
        if self.minibatch != 'none':
            raise InputError('an autoencoder sees each example alone: it has no --minibatch layer')
        for margin in self.margins:
            self.with_margin(margin).check()

    @property
    def margin(self) -> float:
        """What a generated image of energy 0 costs D."""
        return float(build(OBJECTIVES, self.objective).discriminator(jnp.zeros(1), jnp.zeros(1))[0])

    def with_margin(self, margin: float) -> 'Config':
        """One run of a sweep, in a directory below."""
        name, objective = f'{self.name}/margin_{margin:g}', f'energy_margin:margin={margin:g}'
        return dataclasses.replace(self, name=name, objective=objective, margins=())


def main(config: Config) -> dict[str, Any]:
    """Trains, draws and evaluates; returns the end table's figures, of several margins by margin."""
    config.check()
    source = image_gan.load(config)
    train = image_gan.at_most(source, 20_000)
    if train.labels is None:
        raise InputError(f'{config.dataset} has no labels to train a classifier on, which judges the samples')
    test = image_gan.held_out_images(config, source, config.evaluate)
    if test is None:
        raise InputError(f'{config.dataset} has no folders train and test: samples are compared with held-out images')
    parts = [config.with_margin(margin) for margin in config.margins] or [config]
    prepared = [(part, *prepare(part, source)) for part in parts]
    run = runs.RunDirectory(config)  # once nothing more can be refused
    results: dict[Any, Any] = {}
    for part, game, advance, init in prepared:
        found = run
        if config.margins:
            path = run.path.parent / part.name
            found = runs.RunDirectory(dataclasses.replace(part, resume=(path / 'config.json').exists()))
        results[part.margin] = train_one(part, found, game, advance, init, train, test.images)

    if config.margins:
        energies = {margin: found['energies'] for margin, found in results.items()}
        pictures.save_figure(run.path / 'energies.png', histograms(energies))
        print(sweep_table(config, results))
    else:
        (results,) = results.values()
        print(table(config, results))
    runs.write_json(run.path / 'results.json', without_energies(results))
    print(f'pictures in {run.path}; numbers {run.path}/results.json')
    return results


def prepare(config: Config, source: data.Images | data.ImageSource) -> tuple[gan_jax.Game, runs.Advance, gan_jax.TrainState]:
    """The game, how it is trained, and its state at step 0."""
    game, step, init = image_gan.build(config, source.size, source.channels)
    init = runs.first_state(init, config.init_from, resume=config.resume)
    return game, image_gan.trainer(config, source, step), init


def train_one(
    config: Config,
    run: runs.RunDirectory,
    game: gan_jax.Game,
    advance: runs.Advance,
    init: gan_jax.TrainState,
    train: data.Images,
    held_out: np.ndarray,
) -> dict[str, Any]:
    """One run: its pictures, and its figures with the energies of single images."""
    grid_key, table_key = jax.random.split(jax.random.key(config.seed + 1))
    draw = compilation.jit(lambda state, key, points: gan_jax.sample(game, state, points, key))
    state = image_gan.fit(config, run, train, advance, init, draw, grid_key)
    blocks = [draw(state, key, jnp.zeros(500)) for key in jax.random.split(table_key, -(-config.evaluate // 500))]
    fakes = np.asarray(data.to_uint8(np.concatenate(blocks)[: config.evaluate]))
    seen = {'generated': fakes, 'held-out': held_out[: config.evaluate], 'training': train.images[: config.evaluate]}
    variables = state.discriminator.variables
    discriminator = config.networks(train.size, train.channels, None)[1]
    energy = compilation.jit(lambda x: discriminator.apply(variables, data.to_float(x), train=False))
    energies = {
        name: np.concatenate([np.asarray(energy(images[i : i + 500])) for i in range(0, len(images), 500)])
        for name, images in seen.items()
    }
    pictures.save_figure(run.path / 'energies.png', histograms({config.margin: energies}))
    save_reconstructions(run, discriminator, variables, seen['held-out'][:16], fakes[:16])
    assert train.labels is not None
    classifier = train_classifier(train.images, train.labels, name=config.dataset, cache=True)
    return {**figures(seen, energies, classifier), 'energies': energies}


def save_reconstructions(run: runs.RunDirectory, network: nn.Module, variables: Any, *sets: np.ndarray) -> None:
    """Images and, below each row of them, what the autoencoder makes of it: real ones, then generated ones."""
    rows = []
    for images in sets:
        found = network.apply(variables, image_gan.floats(images), method='reconstruct')
        rows += [images, np.asarray(data.to_uint8(found))]  # type: ignore[arg-type]
    grid = pictures.image_grid(np.concatenate(rows), columns=len(rows[0]), scale=max(1, 48 // rows[0].shape[1]))
    pictures.save_picture(run.path / 'reconstructions.png', grid)


def histograms(panels: dict[float, dict[str, np.ndarray]]) -> Any:
    """A figure of energies, one panel for each margin, which is a dashed line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2.2 * len(panels)))
    for i, (margin, energies) in enumerate(panels.items()):
        ax = figure.add_subplot(len(panels), 1, i + 1)
        edges = np.histogram_bin_edges(np.concatenate(list(energies.values())), 80)
        for name, values in energies.items():
            ax.hist(values, edges.tolist(), density=True, histtype='step', label=name)
        ax.axvline(margin, color='0.5', ls='--', lw=1)
        ax.set_title(f'margin {margin:g}', fontsize=8)
        ax.set_yticks([])
        ax.spines[['top', 'right', 'left']].set_visible(False)
        ax.legend(frameon=False, fontsize=8)
    ax.set_xlabel('energy')
    figure.tight_layout()
    return figure


def figures(seen: dict[str, np.ndarray], energies: dict[str, np.ndarray], classifier: Classifier) -> dict[str, Any]:
    """The end table's figures, by set of images."""
    floats = {name: image_gan.floats(images) for name, images in seen.items()}
    features = {name: classifier.features(images) for name, images in floats.items()}
    results: dict[str, Any] = {'mean_image_energy': float(mean_energy(jnp.asarray(floats['training'])))}
    for name, images in floats.items():
        scores = classifier_scores(classifier.probabilities(images))
        results[name] = {
            'energy': float(energies[name].mean()),
            'energy_deviation': float(energies[name].std()),
            'confident': scores.confident,
            'class_entropy': scores.class_entropy,
            'rarest_class': float(scores.class_shares.min()),
        }
        if name != 'held-out':
            results[name]['frechet_distance'] = float(frechet_distance_from_features(features['held-out'], features[name]))
    return results


ROWS = {
    'energy': 'mean energy',
    'energy_deviation': 'its standard deviation',
    'confident': 'recognised with probability >= .9',
    'class_entropy': 'entropy of the classes, nats',
    'rarest_class': 'rarest class, share',
    'frechet_distance': 'Frechet distance, classifier features',
}


def table(config: Config, results: dict[str, Any]) -> str:
    """The figures of one run."""
    sets = ('generated', 'held-out', 'training')
    rows: list[tuple] = [('', *sets)]
    rows += [(title, *(results[name].get(key, '') for name in sets)) for key, title in ROWS.items()]
    rows.append(('energy of the mean image', '', '', results['mean_image_energy']))
    return runs.table(rows, title=f'{config.dataset}, {config.objective} after {config.steps} steps')


def sweep_table(config: Config, results: dict[float, Any]) -> str:
    """One row for each margin."""
    head = ('margin', 'E real', 'E generated', 'recognised', 'entropy', 'rarest', 'Frechet')
    rows: list[tuple] = [head]
    for margin, found in results.items():
        own = found['generated']
        values = (own[key] for key in ('energy', 'confident', 'class_entropy', 'rarest_class', 'frechet_distance'))
        rows.append((f'{margin:g}', found['held-out']['energy'], *values))
    scale = next(iter(results.values()))['mean_image_energy']
    return runs.table(rows, title=f'{config.dataset} after {config.steps} steps; energy of the mean image {scale:.4g}')


def without_energies(results: dict[Any, Any]) -> dict[Any, Any]:
    """Figures without the energies of single images."""
    return {k: without_energies(v) if isinstance(v, dict) else v for k, v in results.items() if k != 'energies'}


if __name__ == '__main__':
    runs.run_main(main, Config)
