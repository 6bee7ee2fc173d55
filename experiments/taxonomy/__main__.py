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
from gan_jax import compilation, data, hosts, runs
from gan_jax.metrics.extractors.classifier import Classifier, classifier_scores, train_classifier
from gan_jax.metrics.parzen import parzen_bandwidth, parzen_log_likelihood
from gan_jax.ranges import BatchSize, Compared, Count, DataDir, Range, Samples, SomeNames, Text, Whole, Width
from gan_jax.registry import Table
from gan_jax.runs.study import check as study_check
from gan_jax.typing import AnyArray


@dataclasses.dataclass(frozen=True)
class Config(runs.TrainOptions):
    """Five generative models of binary images."""

    name: str = 'taxonomy'
    dataset: Text = 'mnist'
    """A TFDS name of labelled grey images, or 'digits' (offline)."""
    data_dir: DataDir | None = None
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
    samples: Compared = 1000
    """In the end table."""
    toy_steps: Whole = 4000
    """On bars and stripes; 0 leaves them out."""

    def identity(self) -> dict[str, Any]:
        """Models are whole runs: they cannot go on to more steps, and others may join them."""
        values = {**super().identity(), 'steps': self.steps}  # and rates fall over all of them
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
    feed = data.resident(train.pixels, config.batch_size)
    marginals = (train.pixels.sum(0) + 1) / (len(train.pixels) + 2)
    studies = {name: study(MODELS[name](marginals, config), feed, len(marginals)) for name in config.models}
    for one in studies.values():
        study_check(config, one)
    run = runs.RunDirectory(config)
    judge = train_classifier(black_and_white(train.pixels), train.labels, name=f'binarised {config.dataset}', cache=True)
    results, shown = {}, {}
    for name, one in studies.items():
        print(f'{report.TITLES[name]}:')
        trained = runs.train(runs.part(config, name), one)
        toys = on_toy(config, name) if config.toy_steps else None
        arrays: dict[str, np.ndarray] = {}

        def evaluate(trained: runs.Trained, arrays: dict[str, np.ndarray] = arrays) -> dict[str, Any]:
            figures, found = measure(trained, test)
            if trained.first:
                arrays |= found
            return figures | judged(judge, found['pixels'], found['probabilities'], validation, test)

        results[name] = runs.judged(trained, evaluate) | {'seconds_per_step': seconds_per_step(trained)}
        results[name] |= {} if toys is None else {'toy': toys}
        shown[name] = arrays
        runs.write_json(run.path / 'results.json', results)
    chosen = {name: runs.means(found) | found for name, found in results.items()}
    real = judged(judge, test.pixels[: config.samples], intensities(train.grey[: config.samples]), validation, test)
    several = f'; means over {config.seeds} seeds' if config.seeds > 1 else ''
    title = f'{config.dataset}, binarised, {config.steps} steps of {config.batch_size}; {config.samples} samples{several}'
    print(report.table(chosen, real, title))
    if config.toy_steps:
        toys_of = {report.TITLES[name]: figures['toy'] for name, figures in chosen.items()}
        print(toy.report(toys_of, config.toy_steps, config.seed))
    shown['real'] = {'pixels': test.pixels, 'probabilities': intensities(test.grey)}
    names = hosts.agreed(lambda: report.draw(run.path, shown))
    print(f'pictures {", ".join(str(run.path / name) for name in names)}; numbers {run.path / "results.json"}')
    return {**chosen, 'real': real}


def check(config: Config) -> None:
    """Refuses what cannot work, before anything is loaded or written."""
    config.check()
    for name in config.models:
        MODELS[name]


def study(model: Model, feed: data.Feed, d: int) -> runs.Study:
    """A model of vectors of d units."""
    step = lambda state, x: model.step(state, x.astype(jnp.float32))
    trainer = gan_jax.Trainer(lambda _, key: model.init(key), step, 1)
    return runs.Study(None, trainer, feed, jnp.zeros((1, d)), data=model, side_by_side=True)


def seconds_per_step(trained: runs.Trained) -> float:
    """The median over what was logged; the first line compiles."""
    rates = [row['images_per_second'] for row in trained.read_log()]
    images = trained.config.batch_size * trained.config.seeds
    return float(np.median([images / rate for rate in rates[1:] or rates]))


def measure(trained: runs.Trained, test: Binary) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a trained model is asked: likelihoods of the test set, samples, and their time."""
    config: Any = trained.config
    model, state = trained.study.data, trained.state
    x = jnp.asarray(test.pixels, jnp.float32)
    likelihoods = {
        kind: compilation.jit(evaluate)(state, x, trained.key('likelihood')) for kind, evaluate in model.evaluate.items()
    }
    sample = compilation.jit(model.sample, static_argnums=2)
    arrays = jax.tree.map(np.asarray, sample(state, trained.key('table'), config.samples)._asdict())
    if model.walk is not None:
        arrays['walk'] = np.asarray(compilation.jit(model.walk)(state, trained.key('walk')))
    wait = lambda n: jax.block_until_ready(sample(state, trained.key('timed'), n))
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
    """A small model on bars and stripes, against the truth; one seed."""
    small = runs.part(config, f'{name}_toy', steps=config.toy_steps, seeds=1, **toy.SETTINGS)
    feed = data.generated(lambda key: toy.draw(key, 1)[0], config.batch_size)
    print(f'{report.TITLES[name]}, bars and stripes:')
    trained = runs.train(small, study(MODELS[name](np.full(toy.UNITS, 0.5), small), feed, toy.UNITS))
    return toy.measure(trained.study.data, trained.state, trained.key('measured'))


if __name__ == '__main__':
    runs.run_main(main, Config)
