"""Pictures of captions next to images, and the reading of captioned digits."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import gan_jax
from experiments.text_to_image import captioned
from gan_jax import data, runs, text
from gan_jax.data import captioned_digits as scenes
from gan_jax.metrics.extractors.classifier import Classifier, train_classifier
from gan_jax.runs import pictures
from gan_jax.typing import Array, Key


def figure(captions: Sequence[str], images: np.ndarray, *, note: str = '') -> Any:
    """A figure of captions above rows of their images, uint8 `[rows, columns, h, w, c]`."""
    from matplotlib.figure import Figure

    rows, columns, height, width, _ = images.shape
    scale = max(1, 64 // height)
    inches = 6.5 * (height + 2) / (columns * (width + 2)) + 0.22
    sheet = Figure(figsize=(6.5, inches * rows + 0.25))
    for i, (caption, row) in enumerate(zip(captions, images, strict=True)):
        ax = sheet.add_subplot(rows, 1, i + 1)
        ax.imshow(pictures.image_grid(row, columns=columns, scale=scale), interpolation='nearest')
        ax.set_title(caption if len(caption) < 100 else caption[:97] + '...', fontsize=8, loc='left', pad=2)
        ax.axis('off')
    sheet.subplots_adjust(left=0, right=1, bottom=0, top=1 - 0.4 / (inches * rows + 0.25), hspace=0.22 / (inches - 0.22))
    sheet.text(1, 1, note, fontsize=8, ha='right', va='top')
    return sheet


class Looked(NamedTuple):
    """The data and the encoder by which a finished run is evaluated."""

    found: captioned.Data
    encoder: text.TextEncoder


def pictures_of(game: gan_jax.Game, found: captioned.Data, encoder: text.TextEncoder) -> tuple[Callable, Callable]:
    """The `show` and `picture` of a study.

    They show a real image and samples for up to four captions that were trained on, and for up to four that were not.
    """
    chosen = [
        (kind, source.take(np.arange(min(4, len(source.images))))) for kind, source in zip(('seen', 'unseen'), found, strict=True)
    ]
    titles = [f'{kind}: {texts[0]}' for kind, source in chosen for texts in source.captions]
    real = np.concatenate([source.images for _, source in chosen])
    vectors = encoder.encode([texts[0] for _, source in chosen for texts in source.captions]).repeat(10, axis=0)

    def show(state: gan_jax.TrainState, key: Key) -> dict[str, Array]:
        return {'step': state.step, 'images': gan_jax.sample(game, state, {'text': jnp.asarray(vectors)}, key).image}

    def picture(shown: dict[str, np.ndarray]) -> Any:
        fakes = np.asarray(data.to_uint8(shown['images'])).reshape(len(real), 10, *real.shape[1:])
        return figure(titles, np.concatenate([real[:, None], fakes], 1), note=f'real image, then samples; step {shown["step"]}')

    return show, picture


def drawn(trained: runs.Trained, captions: Sequence[str], use: str) -> np.ndarray:
    """One image per caption, uint8 `[n, h, w, c]`; `use` names the random key."""
    images = trained.plays({'text': trained.study.data.encoder.encode(captions)}, use).image
    return np.asarray(data.to_uint8(images))


def evaluate(trained: runs.Trained) -> dict[str, Any]:
    """The end table for captioned digits: what is read from samples, and from real renderings of held-out digits."""
    config: Any = trained.config
    if not config.on_digits:
        return {}
    train, held_out = (data.load(config.digits, split=split, data_dir=config.data_dir) for split in ('train', 'test'))
    judge = train_judge(train, config.digits)
    right = {}
    for kind in ('seen', 'unseen'):
        asked = data.captioned_scenes(held_out, config.samples, seed=1, unseen=kind == 'unseen', captions=1, wrong=False)
        fakes = drawn(trained, [texts[0] for texts in asked.data.captions], f'table {kind}')
        for source, images in (('samples', fakes), ('real', asked.data.images)):
            right[f'{source} {kind}'] = read_scenes(judge, images) == asked.scenes
    chances = [1 / len(table) for table in (scenes.DIGITS, scenes.COLOURS, scenes.POSITIONS, scenes.SIZES)]
    results = {
        name: dict(zip((*scenes.ATTRIBUTES, 'all four'), map(float, (*found.mean(0), found.all(1).mean())), strict=True))
        for name, found in right.items()
    }
    rows: list[tuple] = [('right', *results, 'by chance')]
    for name, chance in zip((*scenes.ATTRIBUTES, 'all four'), (*chances, float(np.prod(chances))), strict=True):
        rows.append((name, *(values[name] for values in results.values()), chance))
    title = f'{config.method} after {trained.steps} steps, {config.samples} captions of each kind'
    trained.tell(runs.table(rows, title=title))
    trained.tell('digits are read by a classifier of rendered training digits, the rest from pixels; real: held-out, rendered')
    return results


def train_judge(digits: data.Images, name: str) -> Classifier:
    """A classifier of the digit on a canvas, for any combination, which ignores colour. Trained once and cached."""
    rng = np.random.default_rng(0)
    shown = np.concatenate([scenes.draw_scenes(n, rng, unseen=unseen) for n, unseen in ((16_667, False), (3_333, True))])
    images = scenes.render(digits, shown, rng).max(-1, keepdims=True)
    return train_classifier(images, shown[:, 0].astype(np.int32), name=f'captioned {name}', steps=2000, batch_size=64, cache=True)


def read_scenes(judge: Classifier, images: np.ndarray) -> np.ndarray:
    """Digit, colour, position and size in images `[n, 32, 32, 3]`, as `[n, 4]`.

    The digit is read by the classifier. The colour is the one in the palette that is nearest in direction to the mean of the
    bright pixels, the position the one nearest to their centre, and the size the one nearest to their extent. Pixels are bright
    if they are at least half as bright as the brightest one.
    """
    grey = images.max(-1).astype(np.float64)
    bright = grey >= np.maximum(grey.max((1, 2), keepdims=True) / 2, 1)
    mass = np.maximum(bright.sum((1, 2)), 1)
    colour = (images * bright[..., None]).sum((1, 2)) / mass[:, None]
    rows, columns = (bright.sum(axis) / mass[:, None] @ (np.arange(scenes.CANVAS) + 0.5) for axis in (2, 1))
    extent = np.maximum(*(_extent(bright.any(axis)) for axis in (1, 2)))
    palette = np.array(list(scenes.COLOURS.values()), float)
    palette /= np.linalg.norm(palette, axis=1, keepdims=True)
    places, sides = (np.array(list(table.values()), float) for table in (scenes.POSITIONS, scenes.SIZES))
    middle = np.stack([rows, columns], 1)
    return np.stack(
        [
            judge.probabilities(images.max(-1, keepdims=True)).argmax(1),
            (colour @ palette.T).argmax(1),
            np.square(middle[:, None] - places).sum(-1).argmin(1),
            np.abs(extent[:, None] - sides).argmin(1),
        ],
        1,
    )


def _extent(occupied: np.ndarray) -> np.ndarray:
    """Number of places from the first to the last occupied one, `[n, places] -> [n]`."""
    return np.where(occupied.any(1), occupied.shape[1] - occupied[:, ::-1].argmax(1) - occupied.argmax(1), 0)
