"""The optimal discriminator for two known densities (Goodfellow et al. 2014, proposition 1 and theorem 1).

    python -m experiments.optimal_discriminator

A network trained against a fixed generator is compared with D* = p / (p + q), and its value V(D) with -log 4 + 2 JSD(p, q), the
value V(D*), both by quadrature.

Expected: V(D) approaches V(D*) from below to within 4e-4, and D differs from D* by .004 or less on average. 53 s on a CPU shared
with other jobs, 29 s on one core of an AMD EPYC with AVX-512.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import gan_jax
from experiments.optimal_discriminator.densities import PAIRS, Pair, compare, grid, log_density, sigmoid, value
from experiments.optimal_discriminator.report import draw, report
from experiments.shared.clock import clocked
from gan_jax import compilation, data, finite, games, networks, runs
from gan_jax.objectives import OBJECTIVES
from gan_jax.optimizers import Optimizers
from gan_jax.ranges import BatchSize, Coordinate, Count, Positive, SomeNames, Width
from gan_jax.runs import pictures
from gan_jax.runs.training import check as study_check
from gan_jax.typing import Array


@dataclasses.dataclass(frozen=True)
class Config(runs.TrainOptions):
    """A discriminator of two known densities, compared with the optimal one."""

    name: str = 'optimal_discriminator'
    pairs: SomeNames = tuple(PAIRS)
    """Pairs of densities: gaussians, scales, mixture."""
    mu: Coordinate = 2.0
    """Distance between the means of the pair gaussians."""
    steps: Count = 3000
    batch_size: BatchSize = 1024
    learning_rate: Positive = 3e-3
    """Initial learning rate, decayed to 0 by a cosine."""
    width: Width = 64
    """Width of D's hidden layers."""

    def identity(self) -> dict[str, Any]:
        """The identity includes the number of steps, over which the learning rate decays; pairs can be added."""
        values = super().identity() | {'decay_steps': self.steps}
        del values['pairs']
        return values


class Identity(nn.Module):
    """A generator whose samples are its latents; it has no parameters."""

    @nn.compact
    def __call__(self, z: Array, *, train: bool = True) -> Array:
        return z


def main(config: Config) -> dict[str, dict[str, Any]]:
    """Trains on every pair, prints the table, and returns it: pair -> V(D), V(D*), gap, mean |D - D*|, slope, intercept.

    Raises `InputError` for options that cannot work.
    """
    config.check()
    studies = {name: study(config, PAIRS[name](config.mu)) for name in config.pairs}
    for one in studies.values():
        study_check(config, one)
    run = runs.RunDirectory(config)
    results, curves = {}, {}
    for name, one in studies.items():
        print(f'{name}:')
        part = runs.part(config, name)
        with clocked(part) as clock:
            trained = runs.train(part, one)
            results[name] = runs.judged(trained, evaluate) | {'mu': config.mu if name == 'gaussians' else None}
        results[name]['seconds'] = clock.seconds
        curves[name] = curves_of(trained.seed(trained.shown))
    picture = run.path / 'discriminators.png'
    pictures.save_figure(picture, draw({name: runs.means(x) for name, x in results.items()}, curves))
    runs.write_json(run.path / 'results.json', results)
    print(report(config, results))
    print(f'picture {picture}, numbers {run.path / "results.json"}')
    return results


class Known(NamedTuple):
    """A pair on a grid, and the function to D's logits there."""

    x: np.ndarray
    log_p: np.ndarray
    log_q: np.ndarray
    logits: Callable[[gan_jax.TrainState], Array]


def study(config: Config, pair: Pair) -> runs.Study:
    """The training of D on one pair, with V(D) logged over training."""
    discriminator = networks.MLP((config.width, config.width, 1), activation=nn.silu, squeeze=True)
    game = games.adversarial(Identity(), discriminator, OBJECTIVES['minimax'](), latent=pair.q.sample)
    players = Optimizers(optax.set_to_zero(), optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps)))
    x = grid(pair)
    points = jnp.asarray(x, jnp.float32)[:, None]
    logits = compilation.jit(lambda state: discriminator.apply(state.discriminator.variables, points))
    known = Known(x, log_density(pair.p, x), log_density(pair.q, x), logits)

    def note(run: runs.RunDirectory) -> runs.Callback:
        def call(step: int, state: gan_jax.TrainState) -> None:
            first = state if config.seeds == 1 else jax.tree.map(lambda x: x[finite.first_of(state)], state)
            run.log(step, {'value': value(known.log_p, known.log_q, np.asarray(logits(first), np.float64), x)}, LOG)

        return runs.Callback(max(1, config.steps // 60), call)

    feed = data.generated(pair.p.sample, config.batch_size)
    trainer = gan_jax.trainer(game, players)
    return runs.Study(game, trainer, feed, jnp.zeros((1, 1)), notes=(note,), data=known, side_by_side=True)


LOG = 'values.jsonl'
"""V(D) of the first seed over training."""


def evaluate(trained: runs.Trained) -> dict[str, Any]:
    """The row of the pair in the table."""
    known: Known = trained.study.data
    return compare(known.log_p, known.log_q, np.asarray(known.logits(trained.state), np.float64), known.x)


def curves_of(trained: runs.Trained) -> dict[str, np.ndarray]:
    """The curves of the pair's panels."""
    x, log_p, log_q, logits = trained.study.data
    rows = trained.read_log(LOG)
    curves = {'x': x, 'p': np.exp(log_p), 'q': np.exp(log_q), 'D*': sigmoid(log_p - log_q)}
    curves['D'] = sigmoid(np.asarray(logits(trained.state), np.float64))
    return curves | {name: np.array([row[name] for row in rows]) for name in ('step', 'value')}


if __name__ == '__main__':
    runs.run_main(main, Config)
