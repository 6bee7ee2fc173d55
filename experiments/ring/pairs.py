"""The pairs of a sweep: the figures of each, the table of all, and which ones a paper calls stable."""

from typing import Any

import numpy as np

from experiments.shared import mixtures
from experiments.shared.clock import clocked
from gan_jax import runs
from gan_jax.errors import Diverged

# (objective, penalty) -> paper that calls the pair stable.
STABLE = {
    ('minimax', 'r1'): 'Mescheder et al. 2018',
    ('minimax', 'r2'): 'Mescheder et al. 2018',
    ('minimax', 'roth'): 'Roth et al. 2017',
    ('non_saturating', 'r1'): 'Mescheder et al. 2018',
    ('non_saturating', 'r2'): 'Mescheder et al. 2018',
    ('non_saturating', 'r1+r2'): 'Huang et al. 2024',
    ('non_saturating', 'roth'): 'Roth et al. 2017',
    ('non_saturating', 'wgan_gp'): 'Fedus et al. 2018',
    ('non_saturating', 'dragan'): 'Kodali et al. 2017',
    ('wasserstein', 'wgan_gp'): 'Gulrajani et al. 2017',
    ('wasserstein', 'r1'): 'Mescheder et al. 2018',
    ('relativistic', 'r1+r2'): 'Huang et al. 2024',
}


def trained_pair(config: Any, game: runs.Study) -> dict[str, Any]:
    """The figures of each seed, where a diverged seed covers nothing, and some points of the first seed that has not diverged."""
    each: list[dict[str, float] | None]
    with clocked(config) as clock:
        try:
            trained = runs.train(config, game)
        except Diverged as error:
            print(error)
            each, points = [None] * config.seeds, []
        else:
            each = [mixtures.coverage(trained.seed(i)) if ok else None for i, ok in enumerate(trained.finite)]
            points = np.round(np.asarray(trained.seed(trained.shown).plays(500), np.float64), 4).tolist()
    nothing = {'modes': 0.0, 'high_quality': 0.0, 'reverse_kl': float('inf')}
    figures = {name: [(found or nothing)[name] for found in each] for name in nothing}
    return figures | {'diverged': [found is None for found in each], 'seconds': clock.seconds, 'points': points}


def short(penalty: str) -> str:
    """The penalty without its settings."""
    return '+'.join(text.partition(':')[0] for text in penalty.split('+'))


def sweep_table(config: Any, results: dict[str, Any], modes: int) -> str:
    """A table with objectives as rows and penalties as columns.

    Each cell has the mean number of modes and the mean high-quality share in percent; a star marks pairs that a paper calls
    stable.
    """
    rows: list[tuple] = [('', *(penalty.replace(':', ' ').replace('+', ' + ') for penalty in config.sweep_penalties))]
    for objective in config.sweep_objectives:
        cells = []
        for penalty in config.sweep_penalties:
            result = results[f'{objective} {penalty}']
            star = ' *' if (objective, short(penalty)) in STABLE else '  '
            lost = f' ({sum(result["diverged"])} diverged)' if any(result['diverged']) else ''
            cells.append(f'{np.mean(result["modes"]):.1f} / {100 * np.mean(result["high_quality"]):2.0f} %{lost}{star}')
        rows.append((objective, *cells))
    seconds = sum(result['seconds'] for result in results.values())
    title = f'{config.data}, {config.seeds} seeds, {config.steps} steps: modes / high quality, last step; {seconds:.0f} s in all'
    stable = [(o, p) for o in config.sweep_objectives for p in config.sweep_penalties if (o, short(p)) in STABLE]
    learned = [pair for pair in stable if min(results[' '.join(pair)]['modes']) == modes]
    lines = [
        runs.table(rows, title=title),
        f'* a paper calls it stable; every mode in every seed: {len(learned)} of {len(stable)}',
    ]
    lines += [f'  not {o} with {p} ({STABLE[o, short(p)]})' for o, p in stable if (o, p) not in learned]
    return '\n'.join(lines)
