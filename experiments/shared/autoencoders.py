"""Options, study, pictures and end table shared by the experiments on autoencoders."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np

import gan_jax
from experiments.shared import image_gan
from experiments.shared.playing import played
from experiments.shared.translation import save_titled, table_of_images
from gan_jax import data, runs
from gan_jax.errors import InputError
from gan_jax.games.judgement import apply_network
from gan_jax.games.parts import part_of
from gan_jax.metrics.extractors import EXTRACTORS, Extractor
from gan_jax.metrics.extractors.classifier import Classifier, train_classifier
from gan_jax.metrics.frechet import frechet_distance_from_features
from gan_jax.ranges import Compared, Count, Text, Width, refuse_given
from gan_jax.registry import build
from gan_jax.typing import Array, Key

SHOWN = 8
"""Number of held-out images in pictures."""
PLAIN: dict[str, Any] = {
    'objective_weight': 0.0, 'features': (), 'penalties': (), 'penalty_every': 1, 'penalty_decay': 1.0, 'penalty_at': None,
    'augmentations': (), 'regularizers': (), 'unroll_steps': 0, 'clip_weights': None, 'init_from': None,
}  # fmt: skip
"""The changes that turn a run into one that its discriminator does not influence."""


@dataclasses.dataclass(frozen=True)
class AutoencoderOptions(image_gan.ImageOptions):
    """An autoencoder of images and a discriminator."""

    dataset: Text = 'mnist'
    """A TFDS name, 'digits' (offline), or a folder with folders train and test; reconstructions are of held-out images."""
    width: Width = 32
    """Channels of the autoencoder at half the image's size, doubled at each further halving."""
    d_width: Width = 32
    """Channels of the first layer of D."""
    g_norm: str = 'batch'
    """Normalization in the autoencoder: batch, layer, instance, spectral, weight or none."""
    compare_plain: bool = True
    """Also train the same autoencoder without D."""
    steps: Count = 5_000
    samples: Compared = 2000
    """Maximal number of held-out images that are reconstructed for the end table, and number of samples."""

    free: ClassVar[tuple[str, ...]] = (*image_gan.ImageOptions.free, 'compare_plain')
    of_discriminator: ClassVar[tuple[str, ...]] = ('d_width', 'd_norm', 'minibatch')
    """Further options without effect if D influences nothing."""
    title: ClassVar[str]
    """The name of the model in tables."""

    @property
    def has_losses(self) -> bool:
        return True  # G reconstructs

    @property
    def plain(self) -> bool:
        """Whether D influences nothing."""
        return self.objective_weight == 0 and not self.features

    def without(self) -> dict[str, Any]:
        """The changes that turn this run into one without D."""
        kept = tuple(text for text in self.anneal if text.partition(':')[0] not in ('gamma', 'probability'))
        return PLAIN | {name: getattr(type(self), name) for name in self.of_discriminator} | {'anneal': kept}

    def check(self) -> None:
        super().check()
        if self.plain:
            names = [name for name in PLAIN if name not in ('objective_weight', 'features', 'init_from')]
            why = 'has no effect: with --objective-weight 0 and without --features, D influences nothing'
            refuse_given(self, *names, *self.of_discriminator, because=why)

    def drawer(self, size: data.Size, channels: int) -> runs.Generator | runs.Translator:
        """How the trained autoencoder draws, or translates, images of this size and number of channels."""
        return self.generator(size, channels)

    def play(self, rules: Callable[..., gan_jax.Game], *networks: Any, **settings: Any) -> gan_jax.Game:
        """The game `rules` of these networks with these options. Raises `InputError`."""
        return played(self, rules, *networks, **settings)


def extractor_of(text: str, shape: tuple[int, int, int], data_dir: str | None) -> Extractor:
    """The extractor of a perceptual term on images `[h, w, c]` of this shape. Raises `InputError` if it accepts only others."""
    extractor = build(EXTRACTORS, text, data_dir=data_dir)
    if extractor.shape not in (None, shape):
        raise InputError(f'{extractor.name} accepts images {extractor.shape}, not {shape}')
    return extractor


def study(config: AutoencoderOptions, images: image_gan.ImageData | None = None) -> runs.Study:
    """The run for these options. Raises `InputError` for what cannot work, before anything is written.

    `images` are the data of another run on the same data set, if there is one.
    """
    config.check()
    images = images or image_gan.load(config)
    if images.held_out is None:
        raise InputError(f'{config.dataset} has no folders train and test; reconstructions are of held-out images')
    size, channels = images.source.size, images.source.channels
    game = config.make_game(size, channels)
    shown = images.held_out.images[:SHOWN]

    def show(state: gan_jax.TrainState, key: Key) -> Any:
        made = gan_jax.sample(game, state, data.to_float(jnp.asarray(shown)), key)
        return {name: getattr(made, name) for name in ('reconstruction', 'sample') if hasattr(made, name)}

    return runs.Study(
        game,
        config.trainer(game),
        image_gan.feed(config, images.source),
        jnp.zeros((1, *data.sides(size), channels)),
        generator=config.drawer(size, channels),
        known={'size': size, 'channels': channels},
        show=show,
        picture=lambda made: table_of_images([('image', shown), *((name, clipped(x)) for name, x in made.items())]),
        judge=lambda: image_gan.judge(config.dataset, images.train),
        data=images,
    )


def main(config: AutoencoderOptions, evaluate: Callable[[runs.Trained], dict[str, Any]] | None = None) -> dict[str, Any]:
    """Trains, with and without D, draws, and returns the figures of the end table by model. Raises `InputError`.

    `evaluate` adds further figures of the model with D.
    """
    compares = config.compare_plain and not config.plain
    if compares:
        dataclasses.replace(config, **config.without()).check()
    one, alone = study(config), None
    trained = runs.train(config, one)
    if compares:
        part = runs.part(config, 'plain', **config.without())
        alone = runs.train(part, study(part, one.data)._replace(feed=one.feed))

    def figures(own: runs.Trained) -> dict[str, Any]:
        found = compare(own, alone)
        return found | evaluate(own) if evaluate else found

    return runs.report(trained, figures)


def compare(trained: runs.Trained, alone: runs.Trained | None) -> dict[str, Any]:
    """The figures of the reconstructions of one seed, and of the same seed without D unless that has diverged."""
    config: Any = trained.config
    images: image_gan.ImageData = trained.study.data
    assert images.held_out is not None
    real = image_gan.at_random(images.held_out.images, config.samples)
    models = {f'{config.title} without D' if config.plain else config.title: trained}
    if alone is not None and alone.finite[trained.number]:
        models['without D'] = alone.seed(trained.number)
    labels = images.train.labels
    judge = None if labels is None else train_classifier(images.train.images, labels, name=config.dataset, cache=True)
    plays = {model: own.plays(real) for model, own in models.items()}
    found = {model: figures(real, clipped(made.reconstruction), judge) | of_codes(config, made) for model, made in plays.items()}
    if trained.first:
        columns = [(model, clipped(made.reconstruction[:SHOWN])) for model, made in reversed(plays.items())]
        save_titled(trained.path / 'reconstructions.png', [('held out', real[:SHOWN]), *columns])
    names = list(dict.fromkeys(name for each in found.values() for name in each))
    rows: list[tuple] = [('', *found)]
    rows += [(TITLES[name], *(each.get(name, '') for each in found.values())) for name in names]
    title = f'{config.dataset} after {trained.steps} steps, {len(real)} held-out images reconstructed'
    trained.tell(runs.table(rows, title=title))
    return found


TITLES = {
    'l1': 'mean absolute difference, [-1, 1]',
    'psnr': 'peak signal-to-noise ratio, dB',
    'sharpness': 'difference of neighbouring pixels, share of real',
    'frechet_distance': 'Fréchet distance, classifier features',
    'codes_used': 'share of the codebook in use',
    'code_perplexity': 'perplexity of the codes',
}
"""Figure -> row title."""


def figures(real: np.ndarray, made: np.ndarray, judge: Classifier | None) -> dict[str, float]:
    """The figures of reconstructions in [-1, 1] of uint8 images, both `[n, h, w, c]`."""
    truth = image_gan.floats(real)
    mse = np.square(made - truth).mean((1, 2, 3), dtype=np.float64)
    found = {
        'l1': float(np.abs(made - truth).mean(dtype=np.float64)),
        'psnr': float((10 * np.log10(4 / np.maximum(mse, 1e-12))).mean()),
        'sharpness': roughness(made) / max(roughness(truth), 1e-12),
    }
    if judge is not None:
        found['frechet_distance'] = float(frechet_distance_from_features(judge.features(truth), judge.features(made)))
    return found


def roughness(images: np.ndarray) -> float:
    """The mean absolute difference of neighbouring pixels of images `[n, h, w, c]`, which blur reduces."""
    return float(sum(np.abs(np.diff(images, axis=axis)).mean(dtype=np.float64) for axis in (1, 2)) / 2)


def of_codes(config: Any, made: Any) -> dict[str, float]:
    """How much of its codebook a quantised autoencoder uses; nothing for others."""
    if not np.issubdtype(made.code.dtype, np.integer):
        return {}
    shares = np.bincount(made.code.ravel(), minlength=config.codebook_size) / made.code.size
    entropy = -np.sum(shares * np.log(np.where(shares > 0, shares, 1)))
    return {'codes_used': float((shares > 0).mean()), 'code_perplexity': float(np.exp(entropy))}


def clipped(images: Any) -> np.ndarray:
    """Images with a linear output, in [-1, 1]."""
    return np.clip(np.asarray(images, np.float32), -1, 1)


def of_samples(trained: runs.Trained) -> dict[str, Any]:
    """The figures of samples of a model with a prior, beside held-out images."""
    return {'samples': image_gan.compare(trained, trained.images(trained.config.samples))}  # type: ignore[attr-defined]


def decoded(decoder: Any, latent: Callable[[Key], Array], prior: Literal['normal', 'mixture'] = 'normal') -> runs.Generator:
    """How to draw from the decoder of a player `{'encoder': ..., 'decoder': ...}`."""
    generate = lambda weights, z, _: apply_network(decoder, weights, z, train=False)[0]
    return runs.Generator(latent, generate, prior=prior, weights=lambda average: part_of(average, 'decoder'))
