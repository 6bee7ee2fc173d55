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
from typing import Annotated, Any

import numpy as np
import optax

from experiments.shared.image_gan import at_random
from experiments.taxonomy import report, toy
from experiments.taxonomy.images import black_and_white, intensities, load
from experiments.taxonomy.measures import judged, measure, seconds_per_step
from experiments.taxonomy.models import MODELS, study
from gan_jax import data, hosts, runs
from gan_jax.metrics.extractors.classifier import train_classifier
from gan_jax.ranges import BatchSize, Compared, Count, DataDir, Range, Samples, SomeNames, Text, Whole, Width
from gan_jax.runs.training import check as study_check


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


def on_toy(config: Config, name: str) -> dict[str, dict[str, float]]:
    """Figures of a small model on bars and stripes, compared with the true distribution; one seed."""
    small = runs.part(config, f'{name}_toy', steps=config.toy_steps, seeds=1, **toy.SETTINGS)
    feed = data.generated(lambda key: toy.draw(key, 1)[0], config.batch_size)
    print(f'{report.TITLES[name]}, bars and stripes:')
    trained = runs.train(small, study(MODELS[name](np.full(toy.UNITS, 0.5), small), feed, toy.UNITS))
    return toy.measure(trained.study.data, trained.state, trained.key('measured'))


if __name__ == '__main__':
    runs.run_main(main, Config)
