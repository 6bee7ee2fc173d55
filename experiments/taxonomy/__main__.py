"""The taxonomy of generative models (Goodfellow 2016), measured: VAE, MADE, RBM, denoising chain and GAN on binary images.

    python -m experiments.taxonomy
    python -m experiments.taxonomy --dataset digits --steps 2000
    python -m experiments.taxonomy --models vae gan

Ends with what each can say of log p(x), how many network passes and how much time a sample takes, and what a classifier makes of
the samples; then with the exact distributions of small ones of the same five, on bars and stripes.

Every grey level is drawn as black or white with that probability, once and for all models, as on the binarised MNIST of
Salakhutdinov and Murray (2008) and Larochelle and Murray (2011); it is not their own draw, so likelihoods compare to a nat or so.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import gan_jax
from experiments.benchmark.timing import median_seconds
from experiments.taxonomy import gan, gsn, made, rbm, report, toy, vae
from experiments.taxonomy.common import Model
from experiments.taxonomy.images import Binary, black_and_white, intensities, load
from gan_jax import compilation, data, finite, runs
from gan_jax.metrics.classifier import Classifier, classifier_scores, train_classifier
from gan_jax.metrics.parzen import parzen_bandwidth, parzen_log_likelihood
from gan_jax.ranges import BatchSize, Compared, Count, Range, Samples, Seed, SomeNames, Text, Whole, Width
from gan_jax.registry import Table
from gan_jax.typing import AnyArray, Array, Key


@dataclasses.dataclass(frozen=True)
class Config(runs.Options):
    """Five generative models of binary images."""

    name: str = 'taxonomy'
    dataset: Text = 'mnist'
    """A TFDS name of labelled grey images, or 'digits' (offline)."""
    data_dir: Text | None = None
    """Where TFDS data sets are prepared; TFDS_DATA_DIR if it is not given."""
    size: Annotated[int, Range(4, 1024)] | None = None
    """Height and width; the data set's own if it is not given (8 for the digits)."""
    models: SomeNames = ('vae', 'made', 'rbm', 'gsn', 'gan')
    """With --resume, models that are done are not trained again."""
    steps: Count = 5000
    batch_size: BatchSize = 100
    hidden: Width = 500
    """Units of every hidden layer: one in VAE's encoder and decoder, MADE, RBM and GSN, two in the GAN's players."""
    latent_size: Width = 20
    """Of VAE and GAN."""
    importance_samples: Samples = 50
    """Of VAE's bound."""
    gibbs_steps: Count = 1000
    """Of the RBM's chains, from noise to a sample."""
    denoising_steps: Count = 200
    """Of the GSN's."""
    noise: Annotated[float, Range(0, 1, above=True, below=True)] = 0.4
    """The GSN's: the share of pixels that become the toss of a coin."""
    walkback: Count = 3
    """Steps of its own chain from which the GSN learns to return."""
    temperatures: Count = 5000
    """Of the annealing that estimates the RBM's partition function."""
    evaluate: Compared = 1000
    """Samples in the end table."""
    toy_steps: Whole = 4000
    """On bars and stripes; 0 leaves them out."""
    seed: Seed = 0

    def identity(self) -> dict[str, Any]:
        """Models are whole runs: they cannot go on to more steps, and others may join them."""
        values = {**super().identity(), 'steps': self.steps}
        del values['models']
        return values

    def adam(self, rate: float, beta1: float = 0.9) -> optax.GradientTransformation:
        return optax.adam(optax.cosine_decay_schedule(rate, self.steps), b1=beta1)


def _vae(marginals: AnyArray, c: Config) -> Model:
    return vae.model(len(marginals), hidden=c.hidden, latent=c.latent_size, optimizer=c.adam(2e-3), samples=c.importance_samples)


def _rbm(marginals: AnyArray, c: Config) -> Model:
    return rbm.model(
        marginals,
        hidden=c.hidden,
        optimizer=optax.sgd(optax.linear_schedule(0.1, 0, c.steps)),
        chains=c.batch_size,
        sampling_steps=c.gibbs_steps,
        temperatures=c.temperatures,
    )


def _gsn(marginals: AnyArray, c: Config) -> Model:
    return gsn.model(
        len(marginals),
        hidden=c.hidden,
        optimizer=c.adam(2e-3),
        noise=c.noise,
        walkback=c.walkback,
        sampling_steps=c.denoising_steps,
    )


MODELS: Table[Callable[[AnyArray, Config], Model]] = Table(
    'model',
    {
        'vae': _vae,
        'made': lambda marginals, c: made.model(len(marginals), hidden=(c.hidden,), optimizer=c.adam(2e-3)),
        'rbm': _rbm,
        'gsn': _gsn,
        'gan': lambda marginals, c: gan.model(len(marginals), hidden=c.hidden, latent=c.latent_size, optimizer=c.adam(5e-4, 0.5)),
    },
)
"""Of the pixels' frequencies in the training set, `[d]`, each between 0 and 1."""


def main(config: Config) -> dict[str, Any]:
    """Trains every model that is not done yet, prints the tables, and returns their figures."""
    check(config)
    train, validation, test = load(config.dataset, config.size, config.data_dir)
    feed = data.resident(train.pixels, config.batch_size, seed=config.seed)
    draw = lambda pixels, step: feed.draw(pixels, step).astype(jnp.float32)
    marginals = (train.pixels.sum(0) + 1) / (len(train.pixels) + 2)
    run = runs.RunDirectory(config)
    file = run.path / 'results.json'
    results: dict[str, Any] = runs.read_json(file) if file.exists() else {}
    judge = train_classifier(black_and_white(train.pixels), train.labels, name=f'binarised {config.dataset}', cache=True)
    for name in config.models:
        if name in results:
            continue
        model = MODELS[name](marginals, config)
        state, seconds = fit(model, draw, feed.data, config.steps, jax.random.key(config.seed), report.TITLES[name])
        figures, arrays = measure(config, model, state, test)
        scores = judged(judge, arrays['pixels'], arrays['probabilities'], validation, test)
        results[name] = {**figures, 'seconds_per_step': seconds, **scores}
        if config.toy_steps:
            results[name]['toy'] = on_toy(config, name)
        runs.write_whole(run.path / f'{name}.npz', report.zipped(arrays))
        runs.write_json(file, results)
    chosen = {name: results[name] for name in config.models}
    real = judged(judge, test.pixels[: config.evaluate], intensities(train.grey[: config.evaluate]), validation, test)
    title = f'{config.dataset}, binarised, {config.steps} steps of {config.batch_size}; {config.evaluate} samples'
    print(report.table(chosen, real, title))
    if config.toy_steps:
        toys = {report.TITLES[name]: figures['toy'] for name, figures in chosen.items()}
        print(toy.report(toys, config.toy_steps, config.seed))
    shown = {name: report.unzipped(run.path / f'{name}.npz') for name in chosen}
    shown['real'] = {'pixels': test.pixels, 'probabilities': intensities(test.grey)}
    names = report.draw(run.path, shown)
    print(f'pictures {", ".join(str(run.path / name) for name in names)}; numbers {file}')
    return {**chosen, 'real': real}


def check(config: Config) -> None:
    """Refuses what cannot work, before anything is loaded or written."""
    for name in config.models:
        MODELS[name]


def fit(model: Model, draw: Callable[[Any, Array], Array], source: Any, steps: int, key: Key, title: str) -> tuple[Any, float]:
    """The trained state, and the median time of a step in seconds. `draw(source, step)` is a batch."""
    from tqdm import tqdm

    many = compilation.jit(gan_jax.many_steps(model.step, draw, runs.CALL_STEPS), donate_argnums=0)
    state, seconds = compilation.jit(model.init)(key), []
    with tqdm(total=steps, unit='step', desc=title, dynamic_ncols=True, mininterval=1) as bar:
        while bar.n < steps:
            n, start = min(runs.CALL_STEPS, steps - bar.n), time.perf_counter()
            state, rows = many(state, source, jnp.int32(n))
            finite.check_losses({name: row[:n] for name, row in rows.items()}, bar.n, title)
            losses = {name: f'{float(row[n - 1]):.4g}' for name, row in rows.items() if name.endswith('loss')}
            seconds.append((time.perf_counter() - start) / n)
            bar.set_postfix(losses, refresh=False)
            bar.update(n)
    finite.check_state(state, steps, title)
    return state, float(np.median(seconds[1:] or seconds))  # the first call compiles


def measure(config: Config, model: Model, state: Any, test: Binary) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a trained model is asked: likelihoods of the test set, samples, and their time."""
    keys = jax.random.split(jax.random.key(config.seed + 1), 3)
    x = jnp.asarray(test.pixels, jnp.float32)
    likelihoods = {kind: compilation.jit(evaluate)(state, x, keys[0]) for kind, evaluate in model.evaluate.items()}
    sample = compilation.jit(model.sample, static_argnums=2)
    arrays = jax.tree.map(np.asarray, sample(state, keys[1], config.evaluate)._asdict())
    if model.walk is not None:
        arrays['walk'] = np.asarray(compilation.jit(model.walk)(state, keys[2]))
    wait = lambda n: jax.block_until_ready(sample(state, keys[2], n))
    timed: dict[str, Callable[[], Any]] = {str(n): functools.partial(wait, n) for n in (1, 100)}
    for call in timed.values():
        call()  # compiles
    one, hundred = median_seconds(timed, 3).values()
    return {
        'likelihoods': {kind: [float(value) for value in estimate] for kind, estimate in likelihoods.items()},
        'parameters': sum(leaf.size for leaf in jax.tree.leaves(model.parameters(state))),
        'passes': model.passes,
        'seconds_per_sample': one,
        'seconds_per_sample_of_100': hundred / 100,
    }, arrays


def judged(
    judge: Classifier, pixels: np.ndarray, probabilities: np.ndarray, validation: Binary, test: Binary
) -> dict[str, float]:
    """The classifier on the pixels; a Parzen window on the probabilities, its width chosen on a thousand validation images."""
    scores = classifier_scores(judge.probabilities(black_and_white(pixels)))
    width = parzen_bandwidth(probabilities, intensities(validation.grey[:1000])).sigma
    window = parzen_log_likelihood(probabilities, intensities(test.grey), width)
    return {'recognised': scores.confident, 'class_entropy': scores.class_entropy, 'parzen': float(window.value)}


def on_toy(config: Config, name: str) -> dict[str, dict[str, float]]:
    """A small model on bars and stripes, against the truth."""
    small = dataclasses.replace(config, steps=config.toy_steps, **toy.SETTINGS)
    model = MODELS[name](np.full(toy.UNITS, 0.5), small)
    key, data_key = jax.random.split(jax.random.key(config.seed))
    draw = lambda _, step: toy.draw(jax.random.fold_in(data_key, step), config.batch_size)
    state, _ = fit(model, draw, (), small.steps, key, f'{report.TITLES[name]}, bars and stripes')
    return toy.measure(model, state, jax.random.key(config.seed + 1))


if __name__ == '__main__':
    runs.run_main(main, Config)
