"""Captioned digits: a handwritten digit with a colour, a position and a size on a black canvas, and captions that describe it.

The digits are scikit-learn's, which require no download, or any others. Each digit has one colour in which it is never shown in
training (`HELD_OUT`), so that a model can be tested on combinations of which it has seen only the parts.
"""

from typing import NamedTuple

import numpy as np

from gan_jax.data.captions import Captioned
from gan_jax.data.images import Images, resize
from gan_jax.errors import InputError

CANVAS = 32
"""Side of the images in pixels."""
COLOURS = {
    'red': (255, 40, 40),
    'green': (40, 220, 60),
    'blue': (60, 90, 255),
    'yellow': (255, 230, 40),
    'purple': (200, 50, 230),
    'white': (245, 245, 245),
}
"""Name -> RGB levels from 0 to 255."""
POSITIONS = {'top left': (9, 9), 'top right': (9, 23), 'bottom left': (23, 9), 'bottom right': (23, 23), 'centre': (16, 16)}
"""Row and column of the digit's centre, before it is moved by up to one pixel."""
SIZES = {'small': 9, 'large': 15}
"""Height of the digit in pixels, or its width if that is larger."""
DIGITS = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
"""The names of the digits."""
HELD_OUT = tuple(d % len(COLOURS) for d in range(10))
"""For each digit, the colour in which it never occurs in training."""
ATTRIBUTES = ('digit', 'colour', 'position', 'size')
"""The columns of scenes."""
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
    """Captioned digits and their attributes."""

    data: Captioned
    """Images `[n, 32, 32, 3]`, captions and labels."""
    scenes: np.ndarray
    """int `[n, 4]`: digit, colour, position and size, as indices into DIGITS, COLOURS, POSITIONS and SIZES."""


def captioned_scenes(
    digits: Images, n: int, *, seed: int, unseen: bool = False, captions: int = 5, wrong: bool = True
) -> CaptionedDigits:
    """Draws n scenes with their captions.

    Args:
        digits: grey images labelled 0 to 9, such as `data.load('digits')`.
        n: number of scenes.
        seed: seed of the scenes, images and captions.
        unseen: whether to draw combinations that are held out of training instead of combinations for training.
        captions: number of captions of each scene, in different phrasings as far as there are enough.
        wrong: whether scenes for training also have one wrong caption for each attribute, in which only that attribute is false.

    The label of a scene is its combination. Raises `InputError` for images of another kind.
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
    """Returns the digits, int32 `[n]`, of scenes with these labels."""
    return np.unravel_index(labels, _COUNTS)[0].astype(np.int32)


def draw_scenes(n: int, rng: np.random.Generator, *, unseen: bool) -> np.ndarray:
    """Draws n scenes `[n, 4]`, uniformly over the combinations that are held out if `unseen`, and over the others if not."""
    every = np.stack(np.unravel_index(np.arange(np.prod(_COUNTS)), _COUNTS), 1)
    allowed = every[is_held_out(every) == unseen]
    return allowed[rng.integers(len(allowed), size=n)]


def is_held_out(scenes: np.ndarray) -> np.ndarray:
    """Returns whether scenes `[n, 4]` are held out of training, by their digit and colour: bool `[n]`."""
    return np.asarray(HELD_OUT)[scenes[:, 0]] == scenes[:, 1]


def change(scenes: np.ndarray, attribute: int, rng: np.random.Generator) -> np.ndarray:
    """Changes one attribute (0 to 3: digit, colour, position, size) of scenes `[n, 4]`; no result is held out of training."""
    values = np.arange(_COUNTS[attribute])
    others = np.repeat(scenes[:, None], len(values), 1)
    others[..., attribute] = values
    allowed = (values != scenes[:, attribute, None]) & ~is_held_out(others.reshape(-1, 4)).reshape(others.shape[:2])
    chosen = np.where(allowed, rng.random(allowed.shape), -1).argmax(1)
    return others[np.arange(len(scenes)), chosen]


def _wrong_captions(scenes: np.ndarray, rng: np.random.Generator) -> list[list[str]]:
    """Returns wrong captions for each scene, one for each attribute, in random phrasings."""
    changed = np.stack([change(scenes, attribute, rng) for attribute in range(len(_COUNTS))], 1)
    phrasings = rng.integers(len(_PHRASES), size=changed.shape[:2])
    pairs = (zip(*rows, strict=True) for rows in zip(changed, phrasings, strict=True))
    return [[caption(scene, rng, phrasing) for scene, phrasing in row] for row in pairs]


def caption(scene: np.ndarray, rng: np.random.Generator | None = None, phrasing: int = 0) -> str:
    """Describes a scene, `[4]`, in one phrasing, with random synonyms, or in plain words if `rng` is None."""
    digit, colour, position, size = (int(x) for x in scene)
    words = {'size': list(SIZES)[size], 'position': list(POSITIONS)[position]}
    names = (DIGITS[digit], str(digit))
    if rng is not None:
        words = {name: str(rng.choice(_SYNONYMS[word])) for name, word in words.items()}
    words |= {'digit': names[0] if rng is None else str(rng.choice(names)), 'colour': list(COLOURS)[colour]}
    return _PHRASES[phrasing % len(_PHRASES)].format(**words)


def render(digits: Images, scenes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws pictures of the scenes, uint8 `[n, 32, 32, 3]`, each with a random handwritten digit of the right label.

    Raises `InputError` unless `digits` are grey images labelled 0 to 9, or for a digit whose image is blank.
    """
    if digits.labels is None or digits.channels != 1 or set(np.unique(digits.labels)) != set(range(10)):
        raise InputError('captioned digits require grey images labelled 0 to 9')
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
    """Crops a grey image `[h, w, 1]` to a square around its drawing, resized to `[side, side, 1]`.

    Raises `InputError` if the image is blank.
    """
    drawn = image[..., 0] > 64
    rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
    if not len(rows):
        raise InputError('the image of a digit is blank')
    height, width = rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
    length = max(height, width)
    square = np.zeros((length, length, 1), np.uint8)
    top, left = (length - height) // 2, (length - width) // 2
    square[top : top + height, left : left + width] = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return resize(square[None], side)[0]
