"""The methods that `experiments.mode_collapse` compares. To add one, write its factory and an entry in `METHODS`."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import flax.linen as nn
import jax

from gan_jax import Game, runs
from gan_jax.games.multi_generator import mixture, multi_generator
from gan_jax.ranges import Positive, Range, UnrollSteps, Weight, Width
from gan_jax.registry import Table
from gan_jax.typing import Array, Key

BOOSTED = 20_000
"""Number of examples that AdaGAN weights, the same for all seeds; other methods draw fresh ones."""


class Setting(NamedTuple):
    """The arguments of every method."""

    make: Callable[..., tuple[nn.Module, nn.Module]]
    """`(minibatch=None, outputs=None) -> (generator, discriminator)`; with `outputs`, logits are `[batch, outputs]`."""
    latent: Callable[[Key], Array]
    batch_size: int
    """The recipe's batch size."""
    learning_rate: float
    """Learning rate of methods that bring their own optimizer."""
    unrolled: dict[str, Any]
    """Changes to the options that Metz et al. 2017 make on such data."""


class Trial(NamedTuple):
    """A method on a data set."""

    game: Callable[[runs.GameOptions], Game]
    """The game for the recipe's options with the changes."""
    changes: Mapping[str, Any] = {}
    """Options that differ from the recipe's."""
    others: Mapping[str, Any] = {}
    """Other differences from the recipe."""
    pick: Callable[[Any, Key], Array] = lambda play, key: play
    """`(play, key) -> examples [batch, ...]`"""
    components: int = 1
    """Number of AdaGAN's components, which share the steps."""
    generator: nn.Module | None = None
    """None for a model of several generators."""

    @property
    def settings(self) -> dict[str, Any]:
        """All differences from the recipe."""
        return {**self.changes, **self.others}


Method = Callable[[Setting], Trial]


def standard(**changes: Any) -> Method:
    """The standard game with other `GameOptions`. RATE in its optimizers stands for the setting's learning rate."""
    return lambda setting: _trial(setting, changes)


def _trial(setting: Setting, changes: dict[str, Any]) -> Trial:
    if 'optimizers' in changes:
        changes = changes | {'optimizers': changes['optimizers'].replace('RATE', f'{setting.learning_rate}')}
    generator, discriminator = setting.make(minibatch=changes.get('minibatch'))
    return Trial(lambda options: options.game(generator, discriminator, setting.latent), changes, generator=generator)


def gan() -> Method:
    """The unchanged recipe, with the non-saturating loss."""
    return standard()


def unrolled(steps: UnrollSteps = 5) -> Method:
    """Metz et al. 2017: G looks K steps of D ahead."""
    return lambda setting: _trial(setting, {'unroll_steps': steps} | setting.unrolled)


def packing(size: Annotated[int, Range(1, 1000)] = 2, keep: Literal['examples', 'packs'] = 'examples') -> Method:
    """PacGAN (Lin et al. 2018).

    By default, a batch has the same number of examples as for other methods, and therefore fewer packs. With keep=packs, it has
    as many packs as other methods have examples, as in the authors' code.
    """
    packed = {'augmentations': (f'packing:size={size}',)}
    batches = 1 if keep == 'examples' else size
    return lambda setting: _trial(setting, packed | ({'batch_size': batches * setting.batch_size} if batches > 1 else {}))


def minibatch_discrimination(features: Width = 16, dimensions: Width = 5) -> Method:
    """Minibatch discrimination in D (Salimans et al. 2016, section 3.2)."""
    return standard(minibatch=f'discrimination:features={features},dimensions={dimensions}')


def feature_matching(weight: Weight = 1.0) -> Method:
    """Feature matching as G's only loss (Salimans et al. 2016, section 3.1)."""
    return standard(features=(f'feature_matching:weight={weight}',), objective_weight=0.0)


def historical_averaging(weight: Weight = 1.0) -> Method:
    """Historical averaging for both players (Salimans et al. 2016, section 3.3)."""
    return standard(historical_averaging=weight)


def wasserstein(clip: Positive = 0.1) -> Method:
    """Arjovsky et al. 2017, algorithm 1: RMSProp, 5 steps of the critic and clipped weights."""
    return standard(objective='wasserstein', optimizers=f'wgan:learning_rate=RATE,clip={clip}')


def wasserstein_gp(weight: Weight = 0.1) -> Method:
    """Gulrajani et al. 2017: Adam(0, .9), 5 steps of the critic, and the penalty's weight from their toy script."""
    return standard(objective='wasserstein', penalties=(f'wgan_gp:weight={weight}',), optimizers='wgan_gp:learning_rate=RATE')


def r3gan(objective: str, *penalties: str) -> Callable[..., Method]:
    """A row of the ablation of Huang et al. 2024: Adam without momentum, penalties on real and generated examples."""

    def method(gamma: Weight = 1.0) -> Method:
        return standard(
            objective=objective,
            penalties=tuple(f'{name}:gamma={gamma}' for name in penalties),
            penalty_at='original',
            optimizers='adam:learning_rate=RATE,beta1=0.0,beta2=0.99',
        )

    return method


def madgan(generators: Annotated[int, Range(1, 100)] = 4) -> Method:
    """Ghosh et al. 2018: generators that share all but their last two layers, and a discriminator that identifies them.

    Each generator makes a batch, so D sees K generated examples for each real one. D's learning rate is K times that of the
    generators: at equal rates, D cannot distinguish moving generators, and they merge.
    """

    def trial(setting: Setting) -> Trial:
        generator, discriminator = setting.make(outputs=generators + 1)
        layers: list[str] = []
        weighted: list[str] = []

        def build(key: Key) -> None:
            params = generator.init(key, setting.latent(key)[None], train=False)['params']
            layers.extend(params)
            weighted.extend(name for name in params if 'kernel' in params[name])

        jax.eval_shape(build, jax.random.key(0))  # its results would list the names in alphabetical order
        trunk = layers[: layers.index(weighted[-2])]
        game = multi_generator(
            generator,
            discriminator,
            generators=generators,
            latent=setting.latent,
            shared=tuple(trunk),
            non_saturating=True,
        )
        rate = setting.learning_rate
        optimizers = f'adam:learning_rate={rate},beta1=0.5,discriminator_rate={generators * rate}'
        return Trial(lambda options: game, {'optimizers': optimizers}, {'generators': generators}, pick=mixture)

    return trial


def adagan(components: Annotated[int, Range(1, 1000)] = 4) -> Method:
    """Tolstikhin et al. 2017: components trained one after another, each with an equal share of the steps."""

    def trial(setting: Setting) -> Trial:
        game = lambda options: options.game(*setting.make(), setting.latent)
        return Trial(game, others={'components': components, 'examples': BOOSTED}, components=components)

    return trial


METHODS: Table[Callable[..., Method]] = Table(
    'method',
    {
        'gan': gan,
        'unrolled': unrolled,
        'packing': packing,
        'minibatch_discrimination': minibatch_discrimination,
        'feature_matching': feature_matching,
        'historical_averaging': historical_averaging,
        'wasserstein': wasserstein,
        'wasserstein_gp': wasserstein_gp,
        'madgan': madgan,
        'adagan': adagan,
        'rpgan_r1_r2': r3gan('relativistic', 'r1', 'r2'),
        'rpgan_one_pass': r3gan('relativistic', 'r1_r2'),
        'rpgan_finite': r3gan('relativistic', 'finite_r1', 'finite_r2'),
        'rpgan_r1': r3gan('relativistic', 'r1'),
        'gan_r1_r2': r3gan('non_saturating', 'r1', 'r2'),
        'gan_r1': r3gan('non_saturating', 'r1'),
    },
)
"""Name -> factory of a `Method`, whose keywords are its settings on the command line."""
