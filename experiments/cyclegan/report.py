"""CycleGAN's end table, and pictures of held-out images translated there and back."""

from typing import Any

import jax
import numpy as np

from experiments.cyclegan.sets import Sets
from experiments.shared.image_gan import floats
from experiments.shared.translation import Columns, central, save_progress, save_titled
from gan_jax import runs
from gan_jax.games.unpaired_translation import Translations
from gan_jax.typing import AnyArray

SHOWN = 8
"""Number of held-out images that are drawn."""


def columns(sets: Sets, images: dict[str, np.ndarray], made: Translations, direction: str) -> Columns:
    """Input, output, the right answer if there is one, and the round trip."""
    source, target = direction[0], direction[1]
    truth = [('truth', images[target])] if sets.paired else []
    back = made.cycle_a if source == 'a' else made.cycle_b
    name = f'{source} to {target}'.upper().replace('TO', 'to')
    return [(source.upper(), images[source]), (name, made.fake(target)), *truth, ('and back', back)]


def evaluate(trained: runs.Trained) -> dict[str, dict[str, float]]:
    """The end table of one seed: mean absolute errors of pixels in [0, 1]."""
    config: Any = trained.config
    sets: Sets = trained.study.data
    made: Translations = trained.plays(sets.held_out, block=50)
    if trained.first:
        few, shown = ({side: x[:SHOWN] for side, x in sets.held_out.items()}, jax.tree.map(lambda x: x[:SHOWN], made))
        there, back = (columns(sets, few, shown, direction) for direction in ('ab', 'ba'))
        save_progress(trained.run, [title for title, _ in there], 1)
        save_titled(trained.path / 'validation.png', [*there, *back])
    found = errors(sets, made)
    rows: list[tuple] = [('mean absolute error', 'A to B', 'B to A', 'in [-1, 1]', '')]
    rows += [(name, *values.values(), *(2 * value for value in values.values())) for name, values in found.items()]
    source = f'{config.dataset} to {config.task}' if config.synthetic else config.task
    count = len(sets.held_out['a'])
    title = f'{source} after {trained.steps} steps, {count} held-out images; pixels in [0, 1]'
    trained.tell(runs.table(rows, title=title))
    return found


def errors(sets: Sets, made: Translations) -> dict[str, dict[str, float]]:
    """Mean absolute errors in each direction, by what is compared."""
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
    return found


def _error(x: AnyArray, y: AnyArray) -> float:
    """The mean absolute error of images in [-1, 1], on the scale of [0, 1]."""
    return float(np.abs(x - y).mean()) / 2
