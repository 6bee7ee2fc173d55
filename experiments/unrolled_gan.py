"""Unrolled GAN on the ring of 8 Gaussians (Metz, Poole, Pfau and Sohl-Dickstein 2017, appendix A), K = 0 beside K = 10.

    python -m experiments.unrolled_gan --steps 30000 --decay 0.01

The paper's preset: both players update at once, the generator minimises minus the discriminator's whole loss at the unrolled
discriminator, Adam(1e-4, beta1 = .5), batch 512, latents N(0, I_256). All seeds of one K train in one program.
Expected of that: K = 0 holds at most 1 of 8 modes, K = 10 all of them with 71 % of its samples within 3 sigma. About 40 minutes
on 2 CPU cores.
"""

import dataclasses
import json
import time
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import gan_jax
from gan_jax import data, games, latents, networks, runs
from gan_jax.errors import InputError
from gan_jax.metrics.modes import mode_coverage
from gan_jax.objectives import OBJECTIVES
from gan_jax.runs import pictures, samples


@dataclasses.dataclass(frozen=True)
class Config(runs.Options):
    """Unrolled GAN on a mixture of Gaussians: modes covered, for each number of unrolled steps."""

    name: str = 'unrolled_gan'
    data: str = 'ring_unrolled'
    """A mixture in the plane: ring_unrolled, ring_veegan, ring_wgan_gp, grid_veegan, grid_wgan_gp."""
    unroll_steps: tuple[int, ...] = (0, 10)
    """The values of K to compare."""
    seeds: int = 10
    steps: int = 25_000
    batch_size: int = 512
    learning_rate: float = 1e-4
    decay: float = 1.0
    """The learning rate's value at the last step, as a share of the first: 1 is the paper's constant, less a cosine decay."""
    beta1: float = 0.5
    objective: str = 'minimax'
    simultaneous: bool = True
    latent_size: int = 256
    width: int = 128
    samples: int = 2500
    """Points that the modes are counted on."""
    seed: int = 0

    def identity(self) -> dict[str, Any]:
        """A learning rate that decays over the whole run makes its length part of what it is."""
        return super().identity() | ({} if self.decay == 1 else {'decay_steps': self.steps})


def main(config: Config) -> dict[int, dict[str, Any]]:
    """Trains every K in turn, prints the table, and returns it: K -> modes, high-quality share and reverse KL, `[seeds]`."""
    mixture = data.mixture(config.data)
    if mixture.centres.shape[1] != 2:
        raise InputError(f'{config.data} is not in the plane; this experiment draws points of the plane')
    if config.objective not in OBJECTIVES:
        raise InputError(f'unknown objective {config.objective!r}; known: {", ".join(OBJECTIVES)}')
    if config.seeds < 1 or config.steps < 1 or not config.unroll_steps:
        raise InputError('seeds and steps are at least 1, and unroll-steps names at least one K')
    run = runs.RunDirectory(config)
    results, clouds = {}, []
    for k in config.unroll_steps:
        start = time.perf_counter()
        result, frames = train(config, mixture, k, run)
        results[k] = {**result, 'seconds': time.perf_counter() - start}
        clouds += [(f'K = {k}, step {step}', points) for step, points in frames]
    limit = 1.4 * float(np.abs(mixture.centres).max())
    columns = len(clouds) // len(config.unroll_steps)
    picture = run.path / 'samples.png'
    pictures.save_figure(picture, pictures.scatter(clouds, mixture.centres, limit=limit, columns=columns))
    listed = {str(k): {name: np.asarray(value).tolist() for name, value in result.items()} for k, result in results.items()}
    runs.write_whole(run.path / 'results.json', (json.dumps(listed, indent=2) + '\n').encode())
    print(report(config, results))
    print(f'pictures {picture}, and {run.path}/K*/samples.gif; numbers {run.path / "results.json"}')
    return results


def train(config: Config, mixture: data.Mixture, k: int, run: runs.RunDirectory) -> tuple[dict[str, Any], list]:
    """All seeds at one K: what they cover at the end, and seed 0's points at five moments."""
    init = nn.initializers.orthogonal(0.8)
    generator = networks.MLP((config.width, config.width, 2), kernel_init=init)
    discriminator = networks.MLP((config.width, 1), kernel_init=init, input_scale=0.25, squeeze=True)
    latent = latents.normal(config.latent_size)
    game = games.adversarial(generator, discriminator, OBJECTIVES[config.objective](), latent=latent)
    rate = optax.cosine_decay_schedule(config.learning_rate, config.steps, config.decay)
    optimizer = optax.adam(rate, b1=config.beta1)
    step = gan_jax.make_train_step(game, optimizer, optimizer, unroll_steps=k, simultaneous=config.simultaneous)

    def one(key: jax.Array) -> gan_jax.TrainState:
        return gan_jax.init(game, optimizer, optimizer, jnp.zeros((1, 2)), key)

    def draw(key: jax.Array, number: jax.Array) -> jax.Array:
        keys = jax.random.split(jax.random.fold_in(key, number), config.batch_size)
        return jax.vmap(mixture.sample)(keys)

    model_keys, data_keys = jax.random.split(jax.random.key(config.seed), (2, config.seeds))
    # lax.map, for under vmap the orthogonal initialisers' QR can hang XLA's CPU back end.
    state = jax.jit(lambda keys: jax.lax.map(one, keys))(model_keys)
    many = jax.jit(jax.vmap(gan_jax.many_steps(step, draw, runs.CALL_STEPS), in_axes=(0, 0, None)), donate_argnums=0)

    def advance(state: gan_jax.TrainState, n: int) -> tuple[gan_jax.TrainState, Any]:
        state, rows = many(state, data_keys, n)
        return state, {name: value[:, :n].T for name, value in rows.items()}

    @jax.jit
    def sample(state: gan_jax.TrainState) -> jax.Array:
        keys = jax.random.split(jax.random.key(config.seed + 1), config.seeds)
        points = jnp.zeros(config.samples)
        return jax.vmap(lambda state, key: gan_jax.sample(game, state, points, key, ema=False))(state, keys)

    part = dataclasses.replace(config, name=f'{config.name}/K{k}', resume=(run.path / f'K{k}/config.json').exists())
    directory = runs.RunDirectory(part)
    limit = 1.4 * float(np.abs(mixture.centres).max())

    def draw_points(number: int, state: gan_jax.TrainState) -> None:
        points = np.asarray(sample(state))
        figure = pictures.scatter([(f'seed {i}', x) for i, x in enumerate(points[:5])], mixture.centres, limit=limit)
        figure.suptitle(f'K = {k}, step {number}', fontsize=9)
        pictures.save_figure(samples.frame_path(directory, number), figure)
        runs.write_whole(directory.path / f'points/{number:07d}.json', json.dumps(points[0].tolist()).encode())

    state = runs.fit(
        advance,
        state,
        directory,
        steps=config.steps,
        batch_size=config.batch_size * config.seeds,
        log_every=100,
        checkpoint_every=max(1, config.steps // 10),
        callbacks=[runs.Callback(max(1, config.steps // 20), draw_points)],
    )
    samples.animate(directory)
    moments = sorted(directory.path.glob('points/*.json'))
    chosen = [moments[i] for i in np.linspace(0, len(moments) - 1, min(5, len(moments))).astype(int)]
    frames = [(int(path.stem), np.array(json.loads(path.read_text()))) for path in chosen]
    coverage = jax.vmap(lambda x: mode_coverage(x, mixture.centres, mixture.stds))(sample(state))
    return coverage._asdict(), frames


def report(config: Config, results: dict[int, dict[str, Any]]) -> str:
    """The end table: mean and standard error over the seeds."""

    def cell(values: Any, scale: float = 1.0) -> str:
        values = scale * np.asarray(values, np.float64)
        if len(values) == 1 or not np.isfinite(values).all():
            return f'{values.mean():.2f}'
        error = values.std(ddof=1) / np.sqrt(len(values))
        return f'{values.mean():.2f} +- {error:.2f}'

    rows: list[tuple] = [('K', 'modes', 'high quality, %', 'reverse KL', 's')]
    for k, result in results.items():
        row = (cell(result['modes']), cell(result['high_quality'], 100), cell(result['reverse_kl']), f'{result["seconds"]:.0f}')
        rows.append((str(k), *row))
    title = f'{config.data}, {config.seeds} seeds, {config.steps} steps; mean +- standard error; last step'
    return runs.table(rows, title=title)


if __name__ == '__main__':
    runs.run_main(main, Config)
