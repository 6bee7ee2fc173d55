"""The cures for mode collapse that `experiments.mode_collapse` compares. A new one is one entry in METHODS."""

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
"""Examples that AdaGAN weights, the same for all seeds; other methods draw afresh."""


class Setting(NamedTuple):
    """What every method is given."""

    make: Callable[..., tuple[nn.Module, nn.Module]]
    """`(minibatch=None, outputs=None) -> (generator, discriminator)`; with outputs the logits are `[batch, outputs]`."""
    latent: Callable[[Key], Array]
    batch_size: int
    """The recipe's."""
    learning_rate: float
    """For methods that bring an optimizer of their own."""
    unrolled: dict[str, Any]
    """Changes of the options that Metz et al. 2017 have on such data."""


class Trial(NamedTuple):
    """A method on a data set."""

    game: Callable[[runs.GameOptions], Game]
    """Of the recipe with the changes."""
    changes: Mapping[str, Any] = {}
    """Options that are not the recipe's."""
    others: Mapping[str, Any] = {}
    """What else of it is not the recipe's."""
    pick: Callable[[Any, Key], Array] = lambda play, key: play
    """`(play, key) -> examples [batch, ...]`"""
    components: int = 1
    """Of AdaGAN; they share the steps."""
    generator: nn.Module | None = None
    """None for a model of several."""

    @property
    def settings(self) -> dict[str, Any]:
        """What of it is not the recipe's."""
        return {**self.changes, **self.others}


Method = Callable[[Setting], Trial]


def standard(**changes: Any) -> Method:
    """The standard game under other `GameOptions`, in whose optimizers RATE stands for the setting's learning rate."""
    return lambda setting: _trial(setting, changes)


def _trial(setting: Setting, changes: dict[str, Any]) -> Trial:
    if 'optimizers' in changes:
        changes = changes | {'optimizers': changes['optimizers'].replace('RATE', f'{setting.learning_rate}')}
    generator, discriminator = setting.make(minibatch=changes.get('minibatch'))
    return Trial(lambda options: options.game(generator, discriminator, setting.latent), changes, generator=generator)


def gan() -> Method:
    """The recipe as it is, non-saturating."""
    return standard()


def unrolled(steps: UnrollSteps = 5) -> Method:
    """Metz et al. 2017: G looks K steps of D ahead."""
    return lambda setting: _trial(setting, {'unroll_steps': steps} | setting.unrolled)


def packing(size: Annotated[int, Range(1, 1000)] = 2, keep: Literal['examples', 'packs'] = 'examples') -> Method:
    """PacGAN (Lin et al. 2018). A batch has as many examples as any other's, and so fewer packs; or, as in the authors' code,
    with keep=packs as many packs as another's has examples."""
    packed = {'augmentations': (f'packing:size={size}',)}
    batches = 1 if keep == 'examples' else size
    return lambda setting: _trial(setting, packed | ({'batch_size': batches * setting.batch_size} if batches > 1 else {}))


def minibatch_discrimination(features: Width = 16, dimensions: Width = 5) -> Method:
    """Salimans et al. 2016, section 3.2."""
    return standard(minibatch=f'discrimination:features={features},dimensions={dimensions}')


def feature_matching(weight: Weight = 1.0) -> Method:
    """Salimans et al. 2016, section 3.1: G's only loss."""
    return standard(features=(f'feature_matching:weight={weight}',), objective_weight=0.0)


def historical_averaging(weight: Weight = 1.0) -> Method:
    """Salimans et al. 2016, section 3.3, of both players."""
    return standard(historical_averaging=weight)


def wasserstein(clip: Positive = 0.1) -> Method:
    """Arjovsky et al. 2017, algorithm 1: RMSProp, 5 steps of the critic, clipped weights."""
    return standard(objective='wasserstein', optimizers=f'wgan:learning_rate=RATE,clip={clip}')


def wasserstein_gp(weight: Weight = 0.1) -> Method:
    """Gulrajani et al. 2017: Adam(0, .9), 5 steps of the critic; the weight of their toy script."""
    return standard(objective='wasserstein', penalties=(f'wgan_gp:weight={weight}',), optimizers='wgan_gp:learning_rate=RATE')


def r3gan(objective: str, *penalties: str) -> Callable[..., Method]:
    """A row of the ablation of Huang et al. 2024: Adam without momentum, penalties on real and on generated examples."""

    def method(gamma: Weight = 1.0) -> Method:
        return standard(
            objective=objective,
            penalties=tuple(f'{name}:gamma={gamma}' for name in penalties),
            penalty_at='original',
            optimizers='adam:learning_rate=RATE,beta1=0.0,beta2=0.99',
        )

    return method


def madgan(generators: Annotated[int, Range(1, 100)] = 4) -> Method:
    """Ghosh et al. 2018: generators that share all layers but the last two, and a discriminator that tells them apart. Each
    makes a batch, so that D sees K generated ones for a real one. Its rate is K times theirs: at one rate D can not tell moving
    generators apart, and they merge."""

    def trial(setting: Setting) -> Trial:
        generator, discriminator = setting.make(outputs=generators + 1)
        layers: list[str] = []
        weighted: list[str] = []

        def build(key: Key) -> None:
            params = generator.init(key, setting.latent(key)[None], train=False)['params']
            layers.extend(params)
            weighted.extend(name for name in params if 'kernel' in params[name])

        jax.eval_shape(build, jax.random.key(0))  # whose results would have their names in alphabetical order
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
    """Tolstikhin et al. 2017: components trained one after the other, with a share of the steps each."""

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
        'rpgan_r1': r3gan('relativistic', 'r1'),
        'gan_r1_r2': r3gan('non_saturating', 'r1', 'r2'),
        'gan_r1': r3gan('non_saturating', 'r1'),
    },
)
"""Name -> factory of a `Method`; its keywords are the settings of the command line."""
