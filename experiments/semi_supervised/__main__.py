"""Semi-supervised learning by a GAN on permutation-invariant MNIST (Salimans et al. 2016, section 5), 100 labels of 60,000.

    python -m experiments.semi_supervised
    python -m experiments.semi_supervised --seeds 1 --steps 7000
    python -m experiments.semi_supervised --features --objective-weight 1 --minibatch discrimination

The first is the paper's protocol: 300 epochs, 10 seeds, feature matching; the last its other generator, with minibatch
discrimination. A seed has a labelled subset and initial weights of its own. Ends with the test images that each seed's averaged
classifier gets wrong, beside the same classifier trained on the same labels alone.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax

from experiments.semi_supervised import report
from experiments.semi_supervised.few_labels import few_labels
from experiments.shared import labelled
from gan_jax import data, games, latents, networks, runs
from gan_jax.errors import InputError
from gan_jax.games.adversarial import apply_network
from gan_jax.optimizers import Optimizers, average_parameters
from gan_jax.ranges import BatchSize, Count, Layers, SeedCount, Share, Weight, Width


@dataclasses.dataclass(frozen=True)
class Config(labelled.LabelledOptions):
    """A classifier that learns from few labels, and from telling unlabelled from generated images."""

    name: str = 'semi_supervised'
    seeds: SeedCount = 10
    """How many: --seed, the one after it, ..., all in one program. Each has its own labelled images."""
    labels: Count = 100
    """How many training images have one, equally many of each class; the paper has 20, 50, 100 and 200."""
    steps: Count = 180_000
    """300 epochs of MNIST."""
    batch_size: BatchSize = 100
    """Labelled images, unlabelled and generated ones, each."""
    objective: str = 'minimax'
    features: tuple[str, ...] = ('feature_matching:weight=0.004',)
    """Added to G's loss; 0.004 makes a mean over 250 units. None for the generator with minibatch discrimination."""
    objective_weight: Weight = 0.0
    unsupervised_weight: Weight = 1.0
    """Of the loss on unlabelled and generated images."""
    d_norm: str = 'weight'
    g_norm: str = 'batch'
    optimizers: str = 'improved_gan'
    own_minibatches: bool = True
    """G matches the features of unlabelled images that D has not seen in the same step, as in the authors' code."""
    average: Share = 1e-4
    """Rate of the parameters' average, by which test images are classified."""
    d_features: Layers = (1000, 500, 250, 250, 250)
    """Hidden layers of the classifier."""
    g_features: Layers = (500, 500)
    """Hidden layers of the generator."""
    latent_size: Width = 100
    """Uniform on [0, 1)."""
    start: Count = 500
    """Unlabelled images from which weight norm starts."""
    baseline_steps: Count = 3000
    """Of the classifier that has the labels alone."""
    evaluate_every: Count = 1000
    sample_every: Count = 1000
    checkpoint_every: Count = 1000

    renamed: ClassVar[dict[str, str]] = runs.GameOptions.renamed | {'--splits': '--seeds'}
    free: ClassVar[tuple[str, ...]] = (*runs.GameOptions.free, 'baseline_steps', 'evaluate_every')

    def check(self) -> None:
        """Refuses what cannot work, before anything is loaded or written."""
        if (self.d_norm, self.g_norm) != (Config.d_norm, Config.g_norm):
            raise InputError(f"these networks' norms are the paper's: --d-norm {Config.d_norm}, --g-norm {Config.g_norm}")
        super().check()

    def players(self) -> Optimizers:
        """The classifier keeps an average of its parameters."""
        pair = super().players()
        return pair._replace(discriminator=optax.chain(pair.discriminator, average_parameters(1 - self.average)))

    def classifier(self, classes: int) -> nn.Module:
        return networks.SemiSupervisedClassifier(self.d_features, classes, minibatch=self.minibatch)

    def generator(self, shape: list[int]) -> runs.Generator:
        """How a generator of images of this shape is drawn from."""
        network = networks.SemiSupervisedGenerator(tuple(shape), self.g_features)
        generate = lambda weights, z, _: apply_network(network, weights, z, train=False)[0]
        return runs.Generator(latents.uniform(self.latent_size, 0.0), generate, normal=False)


def study(config: Config) -> runs.Study:
    """The run of the options. Refuses what cannot work, before anything is written."""
    config.check()
    found = labelled.load(config)
    images, classes = found.train.images, found.train.classes
    shape, classifier = list(images.shape[1:]), config.classifier(len(classes))
    rules = functools.partial(games.semi_supervised, unsupervised_weight=config.unsupervised_weight)
    network = networks.SemiSupervisedGenerator(tuple(shape), config.g_features)
    game = config.game(network, classifier, latents.uniform(config.latent_size, 0.0), rules=rules)
    first = np.random.default_rng(0).permutation(len(images))[: config.start]
    feeds = {'labelled': few_labels(config, found.train), 'unlabelled': found.feed(config, labels=False)}
    return runs.Study(
        game,
        config.trainer(game),
        data.joined(feeds),
        {
            'labelled': {'image': jnp.zeros((1, *shape)), 'label': jnp.zeros(1, jnp.int32)},
            'unlabelled': data.to_float(jnp.asarray(images[first])),
        },
        generator=config.generator(shape),
        known={'shape': shape},
        judge=lambda: found.judge(config.dataset),
        notes=(lambda run: report.errors_over_training(config, classifier, found.test, run),),
        data=found,
        side_by_side=True,
    )


def main(config: Config) -> dict[str, Any]:
    """Trains every seed, classifies, and returns the errors of each: of the game, and of the labels alone."""
    results = runs.conclude(config, study(config), report.evaluate)
    if config.seeds > 1:
        print(report.beside_published(config, results))
    return results


if __name__ == '__main__':
    runs.run_main(main, Config)
