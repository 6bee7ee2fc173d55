"""The taxonomy of generative models (Goodfellow 2016), measured: VAE, MADE, RBM, denoising chain and GAN on binary images.

    python -m experiments.taxonomy
    python -m experiments.taxonomy --dataset digits --steps 2000
    python -m experiments.taxonomy --models vae gan

The first table shows what each model can state about log p(x), how many network passes and how much time a sample takes, and how
a classifier judges the samples. The second compares the exact distributions of small models of the same five kinds on bars and
stripes.

Every grey level is drawn as black or white with the corresponding probability, once for all models, as in the binarised MNIST of
Salakhutdinov and Murray (2008) and Larochelle and Murray (2011). Ours is not their draw, so likelihoods are comparable only to
within about a nat.

Expected with --seeds 3: 11 min 28 s on one core of an AMD EPYC with AVX-512. Test log-likelihoods in nats: MADE -109.2 +- .1
(exact), VAE at least -97.4 +- .4 (bound of 50 samples), RBM -94.5 +- 1.7 (annealed estimate). Percentage of samples recognised
with probability >= .9: RBM 89 +- 5, GAN 64 +- 3, GSN 63 +- 5, MADE 58 +- 5, VAE 45 +- 1.
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
from experiments.shared.image_gan import at_random
from experiments.taxonomy import gan, gsn, made, rbm, report, toy, vae
from experiments.taxonomy.common import Model
from experiments.taxonomy.images import Binary, black_and_white, intensities, load
from gan_jax import compilation, data, hosts, runs
from gan_jax.metrics.extractors.classifier import Classifier, classifier_scores, train_classifier
from gan_jax.metrics.parzen import parzen_bandwidth, parzen_log_likelihood
from gan_jax.ranges import BatchSize, Compared, Count, DataDir, Range, Samples, SomeNames, Text, Whole, Width
from gan_jax.registry import Table
from gan_jax.runs.training import check as study_check
from gan_jax.typing import AnyArray


@dataclasses.dataclass(frozen=True)
class Config(runs.TrainOptions):
    """Five generative models of binary images."""

    name: str = 'taxonomy'
    dataset: Text = 'mnist'
    """A TFDS name of labelled grey images, or 'digits' (offline)."""
    data_dir: DataDir | None = None
    """Directory of prepared TFDS data sets; by default TFDS_DATA_DIR."""
    size: Annotated[int, Range(4, 1024)] | None = None
    """Height and width; by default the data set's own (8 for the digits)."""
    models: SomeNames = ('vae', 'made', 'rbm', 'gsn', 'gan')
    """Models to compare. With --resume, models that have finished are not trained again."""
    steps: Count = 5000
    batch_size: BatchSize = 100
    hidden: Width = 500
    """Units in every hidden layer: one layer in the VAE's encoder and decoder, MADE, RBM and GSN, two in the GAN's players."""
    latent_size: Width = 20
    """Latent size of the VAE and the GAN."""
    importance_samples: Samples = 50
    """Samples in the VAE's importance-weighted bound."""
    gibbs_steps: Count = 1000
    """Gibbs steps of the RBM's chains, from noise to a sample."""
    denoising_steps: Count = 200
    """Steps of the GSN's chains, from noise to a sample."""
    noise: Annotated[float, Range(0, 1, above=True, below=True)] = 0.4
    """Share of pixels that the GSN replaces by the toss of a coin."""
    walkback: Count = 3
    """Steps of its own chain from which the GSN learns to return."""
    temperatures: Count = 5000
    """Temperatures of the annealing that estimates the RBM's partition function."""
    samples: Compared = 1000
    """Samples in the end table."""
    toy_steps: Whole = 4000
    """Steps on bars and stripes; 0 skips them."""

    def identity(self) -> dict[str, Any]:
        """Each model is a whole run, which cannot be extended to more steps; other models may be added."""
        values = {**super().identity(), 'steps': self.steps}  # rates also decay over all of them
        del values['models']
        return values

    def adam(self, rate: float, beta1: float = 0.9) -> optax.GradientTransformation:
        """Adam with a rate that a cosine takes to 0 over all steps."""
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
"""Name -> `(frequency of each pixel in the training set, [d], each between 0 and 1; config) -> model`."""


def main(config: Config) -> dict[str, Any]:
    """Trains every model that has not finished, prints the tables, and returns their figures. Raises `InputError`."""
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
    pixels, grey = (at_random(images, config.samples) for images in (test.pixels, train.grey))
    real = judged(judge, pixels, intensities(grey), validation, test)
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
    """Raises `InputError` for options that cannot work, before anything is loaded or written."""
    config.check()
    for name in config.models:
        MODELS[name]


def study(model: Model, feed: data.Feed, d: int) -> runs.Study:
    """The run of a model of vectors `[n, d]`."""
    step = lambda state, x: model.step(state, x.astype(jnp.float32))
    trainer = gan_jax.Trainer(lambda _, key: model.init(key), step, 1)
    return runs.Study(None, trainer, feed, jnp.zeros((1, d)), data=model, side_by_side=True)


def seconds_per_step(trained: runs.Trained) -> float:
    """The median over the logged lines, without the first, which includes compilation."""
    rates = [row['images_per_second'] for row in trained.read_log()]
    images = trained.config.batch_size * trained.config.seeds
    return float(np.median([images / rate for rate in rates[1:] or rates]))


def measure(trained: runs.Trained, test: Binary) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Likelihoods of the test set, samples and their timing for a trained model: its figures, and arrays to be drawn."""
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
    """Scores of samples by the classifier, and by a Parzen window.

    The classifier reads `pixels`; the Parzen window is fitted to `probabilities`, and its width is chosen on 1,000 validation
    images.
    """
    scores = classifier_scores(judge.probabilities(black_and_white(pixels)))
    width = parzen_bandwidth(probabilities, intensities(validation.grey[:1000])).sigma
    window = parzen_log_likelihood(probabilities, intensities(test.grey), width)
    return {'recognised': scores.confident, 'class_entropy': scores.class_entropy, 'parzen': float(window.value)}


def on_toy(config: Config, name: str) -> dict[str, dict[str, float]]:
    """Figures of a small model on bars and stripes, compared with the true distribution; one seed."""
    small = runs.part(config, f'{name}_toy', steps=config.toy_steps, seeds=1, **toy.SETTINGS)
    feed = data.generated(lambda key: toy.draw(key, 1)[0], config.batch_size)
    print(f'{report.TITLES[name]}, bars and stripes:')
    trained = runs.train(small, study(MODELS[name](np.full(toy.UNITS, 0.5), small), feed, toy.UNITS))
    return toy.measure(trained.study.data, trained.state, trained.key('measured'))


if __name__ == '__main__':
    runs.run_main(main, Config)
