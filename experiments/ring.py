"""Any objective, penalty and stabiliser on a ring of Gaussians; with --sweep, every objective under every penalty.

    python -m experiments.ring --objective relativistic --penalties r1:gamma=1 r2:gamma=1
    python -m experiments.ring --sweep

Ten seeds train in one program. What counts is whether every mode is covered (`metrics.modes`) at the last step, in every seed.
Expected: all 8 modes for 11 of the 12 pairs that a paper calls stable. A pair takes about 40 seconds on one CPU core,
the 56 pairs of the default sweep about 35 minutes.
"""

import dataclasses
import json
import time
from typing import Any

import flax.linen as nn
import jax
import numpy as np

import gan_jax
from experiments.shared.seeds import Seeds, mean_and_error, mixture_source
from experiments.shared.seeds import prepare as seeds_of
from gan_jax import data, finite, latents, networks, runs
from gan_jax.errors import InputError
from gan_jax.metrics.modes import mode_coverage
from gan_jax.ranges import BatchSize, Count, PlayerSteps, Samples, SeedCount, Share, ShareAbove0, SomeNames, UnrollSteps, Width
from gan_jax.runs import pictures, samples


@dataclasses.dataclass(frozen=True)
class MixtureOptions(runs.GameOptions):
    """What experiments on mixtures in the plane share."""

    data: str = 'ring_wgan_gp'
    """A mixture in the plane: ring_unrolled, ring_veegan, ring_wgan_gp, grid_veegan, grid_wgan_gp."""
    seeds: SeedCount = 10
    batch_size: BatchSize = 256
    latent_size: Width = 16
    width: Width = 128
    samples: Samples = 2500
    """Points that the modes are counted on."""


@dataclasses.dataclass(frozen=True)
class Config(MixtureOptions):
    """A GAN on a mixture of Gaussians in the plane, several seeds at once."""

    name: str = 'ring'
    steps: Count = 3000
    batch_size: BatchSize = 64
    latent_size: Width = 2
    discriminator_steps: PlayerSteps | None = 2
    optimizers: str = 'adam:learning_rate=1e-3,beta1=0.0,beta2=0.99'
    decay: Share = 0.01
    penalty_decay: ShareAbove0 = 0.01
    """Strong penalties first, so that every mode is found; weak ones at last, so that each is met."""
    unroll_steps: UnrollSteps = 0
    sweep: bool = False
    """Every one of SWEEP_OBJECTIVES under every one of SWEEP_PENALTIES, all else alike."""
    sweep_objectives: SomeNames = (
        'minimax',
        'non_saturating',
        'wasserstein',
        'least_squares',
        'hinge',
        'relativistic',
        'relativistic_average',
        'f_gan:divergence=kl',
    )
    sweep_penalties: SomeNames = (
        'none',
        'r1:gamma=1',
        'r2:gamma=1',
        'r1:gamma=1+r2:gamma=1',
        'roth:gamma=1',
        'wgan_gp:weight=1',
        'dragan:weight=1',
    )
    """'none', or penalties with plus signs between."""

    def identity(self) -> dict[str, Any]:
        """The pairs of a sweep are whole runs, which cannot go on to more steps."""
        return super().identity() | ({'steps': self.steps} if self.sweep else {})


# Whom to thank or to blame: pairs that a paper calls stable. (objective, penalty) -> source.
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


def main(config: Config) -> dict[str, Any]:
    """Trains, prints the table, and returns its figures: modes, high-quality share and reverse KL, `[seeds]`; of a sweep, of
    each pair.
    """
    mixture = check(config)
    if config.sweep:
        return sweep(config, mixture)
    seeds = prepare(config, mixture, *ring_networks(config), config.unroll_steps)
    run = runs.RunDirectory(config)
    result, _ = train(config, mixture, seeds, run, config.name)
    runs.write_json(run.path / 'results.json', listed(result))
    print(runs.table([('modes', 'high quality, %', 'reverse KL'), coverage_cells(result)], title=title(config)))
    print(f'pictures {run.path}/samples.gif and {run.path}/samples/; numbers {run.path / "results.json"}')
    return result


def check(config: MixtureOptions) -> data.Mixture:
    """The mixture. Refuses what cannot work before anything is written."""
    mixture = data.mixture(config.data)
    if mixture.centres.shape[1] != 2:
        raise InputError(f'{config.data} is not in the plane; this experiment draws points of the plane')
    config.check()
    return mixture


def ring_networks(config: MixtureOptions) -> tuple[nn.Module, nn.Module]:
    generator = networks.MLP((config.width, config.width, 2), norm=config.g_norm)
    discriminator = networks.MLP(
        (config.width, config.width, 1), squeeze=True, norm=config.d_norm, minibatch=config.minibatch, activation=nn.silu
    )
    return generator, discriminator


def prepare(
    config: MixtureOptions, mixture: data.Mixture, generator: nn.Module, discriminator: nn.Module, unroll_steps: int
) -> Seeds:
    """All seeds in one program. Raises `InputError` for what was chosen and does not work."""
    game = config.game(generator, discriminator, latents.normal(config.latent_size))
    source = mixture_source(mixture, config.batch_size, config.minibatches)
    return seeds_of(config, game, source, seeds=config.seeds, samples=config.samples, unroll_steps=unroll_steps)


def train(
    config: MixtureOptions, mixture: data.Mixture, seeds: Seeds, run: runs.RunDirectory, caption: str
) -> tuple[dict[str, Any], list[tuple[int, np.ndarray]]]:
    """What every seed covers at the end, and seed 0's points at five moments."""
    limit = 1.4 * float(np.abs(mixture.centres).max())

    def draw_points(number: int, state: gan_jax.TrainState) -> None:
        points = np.asarray(seeds.sample(state))
        figure = pictures.scatter([(f'seed {i}', x) for i, x in enumerate(points[:5])], mixture.centres, limit=limit)
        figure.suptitle(f'{caption}, step {number}', fontsize=9)
        pictures.save_figure(samples.frame_path(run, number), figure)
        runs.write_whole(run.path / f'points/{number:07d}.json', json.dumps(points[0].tolist()).encode())

    state = runs.fit(
        seeds.advance,
        seeds.state,
        run,
        steps=config.steps,
        batch_size=config.batch_size * config.minibatches * config.seeds,
        log_every=100,
        checkpoint_every=max(1, config.steps // 10),
        callbacks=[runs.Callback(max(1, config.steps // 20), draw_points)],
    )
    samples.animate(run)
    moments = sorted(path for path in run.path.glob('points/*.json') if path.stem.isdecimal())
    chosen = [moments[i] for i in np.linspace(0, len(moments) - 1, min(5, len(moments))).astype(int)]
    frames = [(int(path.stem), np.array(runs.read_json(path))) for path in chosen]
    return coverage(seeds.sample(state), mixture), frames


def coverage(points: jax.Array, mixture: data.Mixture) -> dict[str, Any]:
    """Modes, high-quality share and reverse KL of points `[seeds, n, 2]`, each `[seeds]`."""
    return jax.vmap(lambda x: mode_coverage(x, mixture.centres, mixture.stds))(points)._asdict()


def sweep(config: Config, mixture: data.Mixture) -> dict[str, Any]:
    """Every pair, one after the other. Pairs that are done are not trained again on --resume."""
    from tqdm import tqdm

    pairs = [(objective, penalty) for penalty in config.sweep_penalties for objective in config.sweep_objectives]
    chosen = {}
    for objective, penalty in pairs:
        one = dataclasses.replace(config, objective=objective, penalties=tuple(penalty.split('+')) if penalty != 'none' else ())
        one.check()
        chosen[f'{objective} {penalty}'] = one
    run = runs.RunDirectory(config)
    file = run.path / 'results.json'
    results: dict[str, Any] = runs.read_json(file) if file.exists() else {}
    bar = tqdm(chosen.items(), unit='pair', dynamic_ncols=True)
    for name, one in bar:
        bar.set_postfix_str(name)
        if name in results:
            continue
        start = time.perf_counter()
        seeds = prepare(one, mixture, *ring_networks(one), one.unroll_steps)
        state, done = seeds.state, 0
        while done < one.steps:
            n = min(runs.CALL_STEPS, one.steps - done)
            state, _ = seeds.advance(state, n)
            done += n
        points = seeds.sample(state)
        result = listed(coverage(points, mixture))
        result['diverged'] = diverged((state, points))
        first = np.round(np.asarray(points[0, :500], np.float64), 4)
        results[name] = result | {'seconds': time.perf_counter() - start, 'points': first.tolist()}
        runs.write_whole(file, (json.dumps(results) + '\n').encode())
    limit = 1.4 * float(np.abs(mixture.centres).max())
    panels = [(f'{o}\n{short(p)}', np.array(results[f'{o} {p}']['points'], np.float64)) for o, p in pairs]
    figure = pictures.scatter(panels, mixture.centres, limit=limit, columns=len(config.sweep_objectives))
    pictures.save_figure(run.path / 'samples.png', figure)
    print(sweep_table(config, results))
    print(f'pictures {run.path / "samples.png"}; numbers {file}')
    return results


def diverged(seeds: Any) -> list[bool]:
    """Which seeds have a number that is not finite; leaves are `[seeds, ...]`."""
    count = len(jax.tree.leaves(seeds)[0])
    return [not finite.is_finite(jax.tree.map(lambda x, i=i: x[i], seeds)) for i in range(count)]


def short(penalty: str) -> str:
    """The penalty without its settings."""
    return '+'.join(text.partition(':')[0] for text in penalty.split('+'))


def sweep_table(config: Config, results: dict[str, Any]) -> str:
    """Rows are objectives, columns penalties: mean modes, and mean high-quality share in percent. A star: a paper calls it
    stable.
    """
    rows: list[tuple] = [('', *(penalty.replace(':', ' ').replace('+', ' + ') for penalty in config.sweep_penalties))]
    for objective in config.sweep_objectives:
        cells = []
        for penalty in config.sweep_penalties:
            result = results[f'{objective} {penalty}']
            star = ' *' if (objective, short(penalty)) in STABLE else '  '
            lost = f' ({sum(result["diverged"])} diverged)' if any(result.get('diverged', ())) else ''
            cells.append(f'{np.mean(result["modes"]):.1f} / {100 * np.mean(result["high_quality"]):2.0f} %{lost}{star}')
        rows.append((objective, *cells))
    seconds = sum(result['seconds'] for result in results.values())
    title = f'{config.data}, {config.seeds} seeds, {config.steps} steps: modes / high quality, last step; {seconds:.0f} s in all'
    stable = [(o, p) for o in config.sweep_objectives for p in config.sweep_penalties if (o, short(p)) in STABLE]
    modes = len(data.mixture(config.data).centres)
    learned = [pair for pair in stable if min(results[' '.join(pair)]['modes']) == modes]
    lines = [
        runs.table(rows, title=title),
        f'* a paper calls it stable; every mode in every seed: {len(learned)} of {len(stable)}',
    ]
    lines += [f'  not {o} with {p} ({STABLE[o, short(p)]})' for o, p in stable if (o, p) not in learned]
    return '\n'.join(lines)


def title(config: MixtureOptions) -> str:
    """Of an end table."""
    return f'{config.data}, {config.seeds} seeds, {config.steps} steps; mean +- standard error; last step'


def listed(result: dict[str, Any]) -> dict[str, list]:
    """As lists, for JSON."""
    return {name: np.asarray(value, np.float64).tolist() for name, value in result.items()}


def coverage_cells(result: dict[str, Any]) -> tuple[str, str, str]:
    """Modes, high quality in percent, and reverse KL: mean and standard error over the seeds."""
    scales = {'modes': 1, 'high_quality': 100, 'reverse_kl': 1}
    modes, quality, kl = (mean_and_error(result[name], scale) for name, scale in scales.items())
    return modes, quality, kl


if __name__ == '__main__':
    runs.run_main(main, Config)
