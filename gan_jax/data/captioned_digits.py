"""Captioned digits: a handwritten digit in a colour, a place and a size on a black canvas, and what is to be said of it.

No download is needed: the digits are scikit-learn's, or any others. Every digit is never shown for training in one of the
colours (`HELD_OUT`), so that a model can be asked for what it has only met in parts.
"""

from typing import NamedTuple

import numpy as np

from gan_jax.data.captions import Captioned
from gan_jax.data.images import Images, resize
from gan_jax.errors import InputError

CANVAS = 32
COLOURS = {
    'red': (255, 40, 40),
    'green': (40, 220, 60),
    'blue': (60, 90, 255),
    'yellow': (255, 230, 40),
    'purple': (200, 50, 230),
    'white': (245, 245, 245),
}
POSITIONS = {'top left': (9, 9), 'top right': (9, 23), 'bottom left': (23, 9), 'bottom right': (23, 23), 'centre': (16, 16)}
"""Row and column of the digit's middle, before it is moved by up to a pixel."""
SIZES = {'small': 9, 'large': 15}
"""Height of the digit in pixels, or width where that is more."""
DIGITS = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
HELD_OUT = tuple(d % len(COLOURS) for d in range(10))
"""The colour that each digit is never trained in."""
ATTRIBUTES = ('digit', 'colour', 'position', 'size')
_COUNTS = (10, len(COLOURS), len(POSITIONS), len(SIZES))
_SYNONYMS = {
    'small': ('small', 'little', 'tiny'),
    'large': ('large', 'big', 'huge'),
    'top left': ('top left', 'upper left'),
    'top right': ('top right', 'upper right'),
    'bottom left': ('bottom left', 'lower left'),
    'bottom right': ('bottom right', 'lower right'),
    'centre': ('centre', 'middle'),
}
_PHRASES = (
    'a {size} {colour} {digit}, {position}',
    'a {size} {digit} in {colour} at the {position}',
    '{position}: a {size} {colour} {digit}',
    'the {colour} digit {digit}, {size}, in the {position}',
    'the digit {digit} at the {position}, {size} and {colour}',
)


class CaptionedDigits(NamedTuple):
    """Captioned digits, and what is on them."""

    data: Captioned
    scenes: np.ndarray
    """int `[n, 4]`: digit, colour, position and size, by their order in DIGITS, COLOURS, POSITIONS and SIZES."""


def captioned_scenes(
    digits: Images, n: int, *, seed: int, unseen: bool = False, captions: int = 5, wrong: bool = True
) -> CaptionedDigits:
    """n scenes, drawn by the seed: of combinations for training, or with `unseen` of those that are held out.

    `digits` are grey images labelled 0 to 9, as of `data.load('digits')`. Each scene has `captions` captions in as many
    phrasings as there are; its label is its combination. With `wrong`, scenes for training have a wrong caption for each
    attribute, true but for that. Raises `InputError` for images of another kind.
    """
    rng = np.random.default_rng(seed)
    scenes = draw_scenes(n, rng, unseen=unseen)
    texts = [[caption(scene, rng, i) for i in range(captions)] for scene in scenes]
    labels = np.ravel_multi_index(tuple(scenes.T), _COUNTS).astype(np.int32)
    images = render(digits, scenes, rng)
    return CaptionedDigits(
        Captioned(images, texts, labels, _wrong_captions(scenes, rng) if wrong and not unseen else None), scenes
    )


def digits_of(labels: np.ndarray) -> np.ndarray:
    """The digits, int32 `[n]`, of scenes with these labels."""
    return np.unravel_index(labels, _COUNTS)[0].astype(np.int32)


def draw_scenes(n: int, rng: np.random.Generator, *, unseen: bool) -> np.ndarray:
    """n scenes `[n, 4]`, evenly over those that are, or are not, held out."""
    every = np.stack(np.unravel_index(np.arange(np.prod(_COUNTS)), _COUNTS), 1)
    allowed = every[is_held_out(every) == unseen]
    return allowed[rng.integers(len(allowed), size=n)]


def is_held_out(scenes: np.ndarray) -> np.ndarray:
    """Whether scenes `[n, 4]` are held out of training, by digit and colour."""
    return np.asarray(HELD_OUT)[scenes[:, 0]] == scenes[:, 1]


def change(scenes: np.ndarray, attribute: int, rng: np.random.Generator) -> np.ndarray:
    """Scenes `[n, 4]` with another digit, colour, position or size (attribute 0 to 3), none of them held out of training."""
    values = np.arange(_COUNTS[attribute])
    others = np.repeat(scenes[:, None], len(values), 1)
    others[..., attribute] = values
    allowed = (values != scenes[:, attribute, None]) & ~is_held_out(others.reshape(-1, 4)).reshape(others.shape[:2])
    chosen = np.where(allowed, rng.random(allowed.shape), -1).argmax(1)
    return others[np.arange(len(scenes)), chosen]


def _wrong_captions(scenes: np.ndarray, rng: np.random.Generator) -> list[list[str]]:
    """Of each scene, one for each attribute, in any phrasing."""
    changed = np.stack([change(scenes, attribute, rng) for attribute in range(len(_COUNTS))], 1)
    phrasings = rng.integers(len(_PHRASES), size=changed.shape[:2])
    pairs = (zip(*rows, strict=True) for rows in zip(changed, phrasings, strict=True))
    return [[caption(scene, rng, phrasing) for scene, phrasing in row] for row in pairs]


def caption(scene: np.ndarray, rng: np.random.Generator | None = None, phrasing: int = 0) -> str:
    """What is to be said of a scene, in a phrasing, with synonyms at random; without `rng` in plain words."""
    digit, colour, position, size = (int(x) for x in scene)
    words = {'size': list(SIZES)[size], 'position': list(POSITIONS)[position]}
    names = (DIGITS[digit], str(digit))
    if rng is not None:
        words = {name: str(rng.choice(_SYNONYMS[word])) for name, word in words.items()}
    words |= {'digit': names[0] if rng is None else str(rng.choice(names)), 'colour': list(COLOURS)[colour]}
    return _PHRASES[phrasing % len(_PHRASES)].format(**words)


def render(digits: Images, scenes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pictures of the scenes, uint8 `[n, 32, 32, 3]`, each of a handwritten digit drawn at random from those of its label."""
    if digits.labels is None or digits.channels != 1 or set(np.unique(digits.labels)) != set(range(10)):
        raise InputError('captioned digits are made of grey images labelled 0 to 9')
    of_label = [np.flatnonzero(digits.labels == label) for label in range(10)]
    palette, places, sides = (np.array(list(table.values())) for table in (COLOURS, POSITIONS, SIZES))
    canvases = np.zeros((len(scenes), CANVAS, CANVAS, 3), np.uint8)
    cut: dict[tuple[int, int], np.ndarray] = {}
    for canvas, (digit, colour, position, size) in zip(canvases, scenes, strict=True):
        row, side = int(rng.choice(of_label[digit])), int(sides[size])
        if (row, side) not in cut:
            cut[row, side] = ink(digits.images[row], side)
        top, left = places[position] + rng.integers(-1, 2, 2) - side // 2
        shade = palette[colour] * rng.uniform(0.85, 1.0)
        canvas[top : top + side, left : left + side] = np.round(cut[row, side] / 255 * shade)
    return canvases


def ink(image: np.ndarray, side: int) -> np.ndarray:
    """The square about what is drawn on a grey image `[h, w, 1]`, resized to `[side, side, 1]`."""
    drawn = image[..., 0] > 64
    rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
    if not len(rows):
        raise InputError('there is nothing on the image of a digit')
    height, width = rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
    length = max(height, width)
    square = np.zeros((length, length, 1), np.uint8)
    top, left = (length - height) // 2, (length - width) // 2
    square[top : top + height, left : left + width] = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return resize(square[None], side)[0]
