"""The analyses of DCGAN's paper (Radford et al. 2016, sections 5 and 6) on a trained run of `experiments.dcgan`.

    python -m experiments.dcgan.analyse runs/dcgan

Interpolation, vector arithmetic, nearest neighbours, the filters, and a linear classifier on the discriminator's features, as
pictures and `analysis.json` in the run's directory. Of several seeds, the first that has not diverged is analysed.

Expected, for 12,000 steps of 64 on MNIST without clusters: 3 min 53 s on one core. With 10,000 labels, a linear SVM on the
features of the trained D has a held-out accuracy of 98.2 %, on those of the untrained D 96.1 %, and on pixels 90.8 %.
"""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import gan_jax
from experiments.dcgan import arithmetic as vectors
from experiments.dcgan import features
from experiments.shared import image_gan
from gan_jax import data, latents, runs
from gan_jax.errors import InputError
from gan_jax.metrics.extractors.classifier import Classifier, train_classifier
from gan_jax.metrics.neighbours import memorisation_test, nearest_distance, nearest_neighbours
from gan_jax.metrics.paths import smoothness
from gan_jax.ranges import Checked, Text
from gan_jax.runs import pictures
from gan_jax.runs.generators import description
from gan_jax.typing import AnyArray, Array, Key

POINTS, STEPS, PATHS = 9, 8, 16
"""Latents that each path visits, steps between consecutive latents, and number of paths measured."""
BANK = 20_000
"""Maximal number of training images that are searched for the nearest neighbours of a path."""
CANDIDATES = 5000
"""Number of samples that are searched for exemplars."""
SAMPLES = 1000
"""Number of samples whose nearest training images are found."""


@dataclasses.dataclass(frozen=True)
class Config(Checked):
    """Analysis of a trained DCGAN."""

    run: Annotated[Text, tyro.conf.Positional]
    """The run's directory, such as runs/dcgan."""
    data_dir: Text | None = None
    """Directory of prepared TFDS data sets; by default TFDS_DATA_DIR."""


def main(config: Config) -> dict[str, Any]:
    """Writes pictures and `analysis.json` to the run, prints a table and returns its figures.

    Raises `InputError` for a directory that is not a trained run of `experiments.dcgan`.
    """
    path = pathlib.Path(config.run)
    if (experiment := description(path)['experiment']) != 'experiments.dcgan':
        raise InputError(f'{path} is a run of {experiment}, not of experiments.dcgan')
    every = runs.load(path, data_dir=config.data_dir)
    trained = every.seed(every.shown)
    train, dataset = trained.study.data.train, trained.config.dataset  # type: ignore[attr-defined]
    classifier = None
    if train.labels is not None:
        classifier = train_classifier(train.images, train.labels, name=dataset, cache=True)
    results: dict[str, Any] = {'steps': trained.steps, 'interpolation': interpolation(trained)}
    results['neighbours'] = neighbours(trained, classifier)
    save(trained, 'filters', *features.filters(trained))
    if classifier is not None:
        results['arithmetic'] = arithmetic(trained, classifier)
        if trained.study.data.held_out is not None:
            results['probe'] = features.probes(trained)
        else:
            print(f'{dataset} has no test set, which the linear probe requires')
    else:
        print(f'{dataset} has no labels, which vector arithmetic and the linear probe require')
    print(table(f'{dataset}, {path} after {trained.steps} steps', results))
    runs.write_json(path / 'analysis.json', results)
    names = ('interpolation', 'nearest', 'filters', *(['arithmetic'] if results.get('arithmetic') else []))
    print(f'pictures {path}/ {", ".join(f"{name}.png" for name in names)}; numbers {path}/analysis.json')
    return results


def generator_of(trained: runs.Trained) -> runs.Generator:
    """How the run draws."""
    assert isinstance(trained.study.generator, runs.Generator)
    return trained.study.generator


def generate(trained: runs.Trained, z: AnyArray) -> np.ndarray:
    """Images `[n, h, w, c]` in [-1, 1] for latents `[n, size]`, by the averaged generator."""
    generator = generator_of(trained)

    def images(state: gan_jax.TrainState, z: Array, _: Key) -> Array:
        return generator.generate(generator.weights(state.ema), z, jnp.zeros(len(z), jnp.int32))

    return trained.mapped(images, z, 'images of latents')


def drawn(trained: runs.Trained, use: str, *shape: int) -> Array:
    """Latents `[*shape, size]`; `use` names their random key."""
    keys = jax.random.split(trained.key(use), math.prod(shape))
    return jax.vmap(generator_of(trained).latent)(keys).reshape(*shape, -1)


def save(trained: runs.Trained, name: str, images: Any, columns: int) -> None:
    """Writes a grid of images to the run's directory."""
    scale = max(1, 64 // images.shape[1])
    pictures.save_picture(trained.path / f'{name}.png', pictures.image_grid(np.asarray(images), columns=columns, scale=scale))


def interpolation(trained: runs.Trained) -> dict[str, list[float]]:
    """The smoothness ratios of paths through nine latents, by kind of path.

    For straight paths also those after every image is replaced by its nearest training image, which bounds what a generator that
    had memorised the training images could achieve.
    """
    train = trained.study.data.train
    bank = image_gan.at_random(train.images, BANK)
    points = drawn(trained, 'paths', PATHS, POINTS)
    ratios: dict[str, list[float]] = {}
    for name, between in {'straight lines': latents.lerp, 'arcs': generator_of(trained).arc}.items():
        paths = jax.vmap(lambda p, between=between: latents.path(p, STEPS, between))(points)
        images = generate(trained, paths.reshape(-1, paths.shape[-1])).reshape(*paths.shape[:2], *train.images.shape[1:])
        ratios[name] = [float(smoothness(path).ratio) for path in images]
        if name == 'straight lines':
            rows = [images[0, i * STEPS : (i + 1) * STEPS + 1] for i in range(POINTS - 1)]
            save(trained, 'interpolation', data.to_uint8(np.concatenate(rows)), STEPS + 1)
            nearest = nearest_neighbours((images.reshape(-1, *images.shape[2:]) + 1) * 127.5, bank).index
            copies = (bank[np.asarray(nearest[:, 0])] / 127.5 - 1).reshape(images.shape)
    ratios['nearest training images'] = [float(smoothness(path).ratio) for path in copies]
    return ratios


def arithmetic(trained: runs.Trained, classifier: Classifier) -> dict[str, Any]:
    """How often vector arithmetic has the intended result; draws up to eight cases.

    Empty if fewer than two classes can be used.
    """
    z, classes = np.asarray(drawn(trained, 'candidates', CANDIDATES)), len(trained.study.data.train.classes)
    made = functools.partial(generate, trained)
    concepts = vectors.find_concepts(z, vectors.look(made, classifier, z), classes)
    usable = list(concepts.median)
    if missing := set(range(classes)) - set(usable):
        print(f'no arithmetic with classes {", ".join(map(str, sorted(missing)))}: too few of {CANDIDATES} samples show them')
    if len(usable) < 2:
        return {}
    pairs = list(zip(usable, usable[1:] + usable[:1], strict=True))[:8]
    rows = vectors.picture_rows(made, concepts, pairs, trained.key('beside results'))
    save(trained, 'arithmetic', rows, vectors.COLUMNS)
    return vectors.judge(made, classifier, concepts)


def neighbours(trained: runs.Trained, classifier: Classifier | None) -> dict[str, Any]:
    """Median distances to the nearest of all training images, of samples and of held-out images, in each space of features.

    Draws the three nearest of the training images in memory for each sample, in pixels and, in the second half of a row, in the
    classifier's features.
    """
    source, train, held_out = trained.study.data
    fakes = trained.images(SAMPLES, 'neighbours')
    spaces: dict[str, Callable] = {'pixels': lambda images: images.reshape(len(images), -1)}
    if classifier is not None:
        spaces["the classifier's features"] = lambda images: classifier.features(images - 1)
    scaled = lambda images: images / np.float32(127.5)
    results, shown = {}, [fakes[:12, None]]
    for name, space in spaces.items():
        bank = space(scaled(train.images))
        shown.append(train.images[np.asarray(nearest_neighbours(space(scaled(fakes[:12])), bank, min(3, len(bank))).index)])
        everything = [bank] if train is source else map(space, image_gan.blocks_of(source))
        if held_out is not None:
            held = scaled(image_gan.at_random(held_out.images, SAMPLES))
            test = memorisation_test(space(scaled(fakes)), everything, space(held))
            results[name] = {**test._asdict(), 'ratio': test.ratio}
        else:
            results[name] = {'generated': float(np.median(nearest_distance(space(scaled(fakes)), everything)))}
    rows = np.concatenate(shown, 1)
    save(trained, 'nearest', rows.reshape(-1, *fakes.shape[1:]), rows.shape[1])
    return results


def table(title: str, results: dict[str, Any]) -> str:
    """The table of all measurements."""
    rows: list[tuple] = [(f'{POINTS} latents, {PATHS} paths: largest step / mean step', 'mean', 'worst')]
    rows += [(name, float(np.mean(ratios)), max(ratios)) for name, ratios in results['interpolation'].items()]
    parts = [runs.table(rows, title=title)]
    if counted := results.get('arithmetic'):
        kinds = ('result', 'light b', 'heavy b')
        rows = [(f'heavy a - light a + light b, {counted["pairs"]} pairs: share', *kinds)]
        rows += [(name, *(counted[kind][name] for kind in kinds)) for name in counted['result']]
        parts.append(runs.table(rows))
    rows = [('median distance to the nearest training image', 'samples', 'held-out', 'ratio')]
    for name, test in results['neighbours'].items():
        rows.append((name, test['generated'], test.get('held_out', ''), test.get('ratio', '')))
    parts.append(runs.table(rows))
    if 'probe' in results:
        sizes = [n for n in results['probe']['pixels'] if n != 'features']
        rows = [('linear SVM, held-out accuracy', 'features', *(f'{n} labels' for n in sizes))]
        for name, by_size in results['probe'].items():
            rows.append((name, by_size['features'], *(f'{100 * by_size[n]["accuracy"]:.2f} %' for n in sizes)))
        parts.append(runs.table(rows))
    return '\n\n'.join(parts)


if __name__ == '__main__':
    runs.run_main(main, Config)
