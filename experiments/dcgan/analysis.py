"""What DCGAN's paper does with a trained network (Radford et al. 2016, sections 5 and 6): `experiments.dcgan --analyse RUN`."""

import pathlib
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.dcgan import arithmetic as vectors
from experiments.dcgan.trained import Trained, blocks_of, load
from experiments.shared import image_gan
from gan_jax import compilation, data, latents, runs
from gan_jax.games.adversarial import apply_network
from gan_jax.metrics.classifier import Classifier, train_classifier
from gan_jax.metrics.neighbours import memorisation_test, nearest_neighbours
from gan_jax.metrics.probe import Probe, linear_probe, pooled_features
from gan_jax.metrics.smoothness import smoothness
from gan_jax.runs import pictures
from gan_jax.typing import Array, Variables

POINTS, STEPS, PATHS = 9, 8, 16
"""Latents that a path goes through, steps from one to the next, and paths that are measured."""
CANDIDATES = 5000
"""Samples among which exemplars are looked for."""
LABELLED = (1000, 10_000)
"""Training images of a probe."""
SAMPLES, BANK = 1000, 20_000
"""Samples whose nearest training images are looked for; at most so many training images among which those of a path are."""


def main(run: str, config_class: type[image_gan.ImageOptions], data_dir: str | None) -> dict[str, Any]:
    """Writes pictures and `analysis.json` to the run; prints a table, and returns its figures."""
    found = load(pathlib.Path(run), config_class, data_dir)
    classifier = None
    if found.train.labels is not None:
        classifier = train_classifier(found.train.images, found.train.labels, name=found.config.dataset, cache=True)
    results: dict[str, Any] = {'steps': found.steps, 'interpolation': interpolation(found)}
    results['neighbours'] = neighbours(found, classifier)
    draw_filters(found)
    if classifier is not None:
        results['arithmetic'] = arithmetic(found, classifier)
        results['probe'] = probes(found)
    else:
        print(f'{found.config.dataset} has no labels: no vector arithmetic, whose exemplars a classifier chooses, and no probe')
    print(table(found, results))
    runs.write_json(found.path / 'analysis.json', results)
    drawn = ('interpolation', 'nearest', 'filters', *(['arithmetic'] if results.get('arithmetic') else []))
    print(f'pictures {found.path}/ {", ".join(f"{name}.png" for name in drawn)}; numbers {found.path}/analysis.json')
    return results


def save(found: Trained, name: str, images: Any, columns: int) -> None:
    scale = max(1, 64 // images.shape[1])
    pictures.save_picture(found.path / f'{name}.png', pictures.image_grid(np.asarray(images), columns=columns, scale=scale))


def interpolation(found: Trained) -> dict[str, list[float]]:
    """The smoothness ratios of paths through nine latents; of the straight ones also with every image replaced by its nearest
    training image, which is what a generator that has learned those by heart could show at best."""
    points = found.draw(0, PATHS, POINTS)
    ratios: dict[str, list[float]] = {}
    for name, between in {'straight lines': latents.lerp, 'arcs': latents.slerp}.items():
        paths = jax.vmap(lambda p, between=between: latents.path(p, STEPS, between))(points)
        images = found.generate(paths.reshape(-1, paths.shape[-1])).reshape(*paths.shape[:2], *found.train.images.shape[1:])
        ratios[name] = [float(smoothness(path).ratio) for path in images]
        if name == 'straight lines':
            rows = [images[0, i * STEPS : (i + 1) * STEPS + 1] for i in range(POINTS - 1)]
            save(found, 'interpolation', data.to_uint8(jnp.concatenate(rows)), STEPS + 1)
            bank = found.train.images[:BANK]
            nearest = nearest_neighbours((images.reshape(-1, *images.shape[2:]) + 1) * 127.5, bank).index
            copies = (bank[np.asarray(nearest[:, 0])] / 127.5 - 1).reshape(images.shape)
    ratios['nearest training images'] = [float(smoothness(path).ratio) for path in copies]
    return ratios


def arithmetic(found: Trained, classifier: Classifier) -> dict[str, Any]:
    """How often vector arithmetic gives what it should; a picture of up to eight cases."""
    z, classes = np.asarray(found.draw(1, CANDIDATES)), len(found.train.classes)
    concepts = vectors.find_concepts(z, vectors.look(found.generate, classifier, z), classes)
    usable = list(concepts.median)
    if missing := set(range(classes)) - set(usable):
        print(f'no arithmetic with classes {", ".join(map(str, sorted(missing)))}: too few of {CANDIDATES} samples are of them')
    if len(usable) < 2:
        return {}
    pairs = list(zip(usable, usable[1:] + usable[:1], strict=True))[:8]
    rows = vectors.picture_rows(found.generate, concepts, pairs, jax.random.key(found.config.seed))
    save(found, 'arithmetic', rows, vectors.COLUMNS)
    return vectors.judge(found.generate, classifier, concepts)


def neighbours(found: Trained, classifier: Classifier | None) -> dict[str, Any]:
    """Medians of the distance to the nearest training image, of samples and of held-out images; pictures of the nearest three, by
    pixels and, in the rows' second half, by the classifier's features."""
    fakes = np.asarray(data.to_uint8(found.generate(found.draw(2, SAMPLES))))
    spaces: dict[str, Callable] = {'pixels': lambda images: (images / np.float32(127.5)).reshape(len(images), -1)}
    if classifier is not None:
        spaces["the classifier's features"] = lambda images: classifier.features(image_gan.floats(images))
    results, shown = {}, [fakes[:12, None]]
    for name, space in spaces.items():
        bank = space(found.train.images)
        shown.append(found.train.images[np.asarray(nearest_neighbours(space(fakes[:12]), bank, min(3, len(bank))).index)])
        if found.held_out is not None:
            test = memorisation_test(space(fakes), bank, space(found.held_out.images[:SAMPLES]))
            results[name] = {**test._asdict(), 'ratio': test.ratio}
        else:
            results[name] = {'generated': float(np.median(nearest_neighbours(space(fakes), bank).distance))}
    rows = np.concatenate(shown, 1)
    save(found, 'nearest', rows.reshape(-1, *fakes.shape[1:]), rows.shape[1])
    return results


def draw_filters(found: Trained) -> None:
    """The discriminator's first layer, at most 32 filters, each about mid-grey by its own largest weight; below them an untrained
    one's."""
    trained, fresh = (first_filters(variables, found.train.channels) for variables in (found.variables, untrained(found)))
    columns = min(16, len(trained))
    save(found, 'filters', np.concatenate([trained, np.full_like(trained[:columns], 255), fresh]), columns)


def first_filters(variables: Variables, channels: int) -> np.ndarray:
    """uint8 `[n, k, k, channels]`, in whole rows of 16 if there are more than those."""
    kernels = [leaf for leaf in jax.tree.leaves(variables['params']) if leaf.ndim == 4 and leaf.shape[2] == channels]
    filters = np.moveaxis(np.asarray(kernels[0], np.float32), 3, 0)
    filters = filters[: 32 if len(filters) >= 32 else min(16, len(filters))]
    return np.round((filters / np.abs(filters).max((1, 2, 3), keepdims=True) + 1) * 127.5).astype(np.uint8)


def untrained(found: Trained) -> Variables:
    """The discriminator's variables before training, from another key than the run's."""
    example = jnp.zeros((1, *found.train.images.shape[1:]))
    return compilation.jit(lambda key: found.discriminator.init(key, example, train=False))(jax.random.key(found.config.seed + 4))


def probes(found: Trained) -> dict[str, dict[str, Any]]:
    """The probe's accuracy on held-out images, by features and by the number of labelled training images."""
    assert found.train.labels is not None and found.held_out is not None and found.held_out.labels is not None
    sizes = [n for n in LABELLED if n <= len(found.train.images)] or [len(found.train.images)]
    rows = np.random.default_rng(found.config.seed).permutation(len(found.train.images))[: max(sizes)]
    images, labels = found.train.images[rows], found.train.labels[rows]
    spaces: dict[str, Callable] = {'pixels': lambda x: image_gan.floats(x).reshape(len(x), -1)}
    for name, variables in {'untrained D': untrained(found), 'trained D': found.variables}.items():
        spaces[name] = features_of(found.discriminator, with_statistics(found.discriminator, variables, found.train.images))
    results: dict[str, dict[str, Any]] = {}
    for name, space in spaces.items():
        train, test = space(images), space(found.held_out.images)
        results[name] = {'features': train.shape[1]}
        for n in sizes:
            probe: Probe = linear_probe(train[:n], labels[:n], test, found.held_out.labels)
            results[name][str(n)] = probe._asdict()
    return results


def features_of(discriminator: nn.Module, variables: Variables) -> Callable[[np.ndarray], Array]:
    """uint8 images to all convolutional features, each map max-pooled to 4 x 4."""

    def features(x: Array) -> Array:
        (_, maps), _ = apply_network(discriminator, variables, data.to_float(x), train=False, features_too=True)
        return pooled_features(maps).astype(jnp.float32)

    return blocks_of(compilation.jit(features))


def with_statistics(discriminator: nn.Module, variables: Variables, images: np.ndarray) -> Variables:
    """The variables with batch statistics of training images alone, as in the authors' code: those of a GAN are also of samples,
    and an untrained network has none. Batch norm's averages forget a tenth with every batch, and after 200 all that was before.
    """
    rows = np.random.default_rng(0).integers(0, len(images), (200, 64))

    def one(variables: Variables, x: Array) -> tuple[Variables, None]:
        _, state = apply_network(discriminator, variables, data.to_float(x), noise=jax.random.key(0))
        return {**variables, **state}, None

    return compilation.jit(lambda variables, x: lax.scan(one, variables, x)[0])(variables, images[rows])


def table(found: Trained, results: dict[str, Any]) -> str:
    """Everything measured."""
    rows: list[tuple] = [(f'{POINTS} latents, {PATHS} paths: largest step / mean step', 'mean', 'worst')]
    rows += [(name, float(np.mean(ratios)), max(ratios)) for name, ratios in results['interpolation'].items()]
    parts = [runs.table(rows, title=f'{found.config.dataset}, {found.path} after {found.steps} steps')]
    if counted := results.get('arithmetic'):
        kinds = ('result', 'light b', 'heavy b')
        rows = [(f'heavy a - light a + light b, {counted["pairs"]} pairs: share', *kinds)]
        rows += [(title, *(counted[kind][title] for kind in kinds)) for title in counted['result']]
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
