"""pix2pix (Isola et al. 2017): from label maps to photographs, or between the two images of any folder of pairs.

    python -m experiments.pix2pix --dataset facades
    python -m experiments.pix2pix --dataset PAIRS --direction a_to_b --size 256 --width 64 --receptive-field 70 --batch-size 1

`facades` is the unpacked folder of the authors' facades.tar.gz, with photographs on the left and labels on the right. The end
table has the L1 distance of translations from the validation photographs, next to those of the mean photograph and of a U-Net
trained on L1 alone.

Expected on facades at 64 pixels, with `--steps 4000 --seeds 3` and `--compare-features squeezenet:path=FILE`: 26 min on one core
of an AMD EPYC with AVX-512; L1 in [-1, 1] .326 +- .004 for pix2pix, .300 +- .005 for L1 alone and .325 for the mean photograph.
After these 40 epochs (the paper has 200), outputs are sharper than those of L1 alone, but textures are still wrong, and the
features of SqueezeNet prefer L1 alone.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from experiments.pix2pix.pairs import of_pairs
from experiments.pix2pix.report import evaluate, load
from experiments.shared.translation import TranslationOptions, save_progress
from gan_jax import hosts, networks, parallel, runs
from gan_jax.errors import InputError
from gan_jax.games.judgement import apply_network
from gan_jax.metrics.extractors import EXTRACTORS
from gan_jax.networks.translation import patch_outputs, unet_halvings
from gan_jax.ranges import Compared, Count, ShareBelow1, Side, Text, Weight, Width, refuse_given
from gan_jax.typing import Array, Key


@dataclasses.dataclass(frozen=True)
class Config(TranslationOptions):
    """pix2pix on a folder of pairs of images."""

    name: str = 'pix2pix'
    dataset: Text = 'facades'
    """A folder of pairs: images side by side, A to the left of B, or folders A and B with images of the same names. Folders
    train, val and test are splits; without them, every tenth pair is held out."""
    direction: Literal['a_to_b', 'b_to_a'] = 'b_to_a'
    """Direction of the translation; b_to_a turns the labels of facades into photographs."""
    size: Side = 64
    """Height and width, a power of two; the paper has 256. Training images are loaded at 286 / 256 of this size, cropped at
    random and mirrored."""
    steps: Count = 1_500
    width: Width = 24
    """Channels of the first layer of every network; the paper has 64."""
    l1_weight: Weight = 100.0
    """Weight, in G's loss, of the mean absolute difference from the target, in [-1, 1]."""
    receptive_field: Count = 34
    """Side of the square that one logit of D judges: 1, 16, 34, 70, 142 or 286. The paper has 70, at 256 pixels."""
    statistics: Literal['running', 'batch'] = 'batch'
    """Statistics of G's batch norm in translation: each image's own, like a test batch of one in the authors' test script, or
    running averages."""
    dropout: ShareBelow1 = 0.5
    """Dropout rate in the three innermost layers of the decoder, also in translation: G's only source of noise."""
    compare_l1: bool = True
    """Also train the same U-Net on L1 alone, unless --l1-weight is 0."""
    compare_features: str | None = None
    """Compare outputs with photographs in the features of this extractor of gan_jax.metrics, such as squeezenet:path=FILE,
    inception or pixels."""
    samples: Compared = 200
    """Maximal number of held-out pairs in the end table."""

    free: ClassVar[tuple[str, ...]] = (*TranslationOptions.free, 'compare_l1', 'compare_features')
    reconstructs: ClassVar[bool] = True
    renamed: ClassVar[dict[str, str]] = TranslationOptions.renamed | {'--validation': '--samples'}

    @property
    def l1_alone(self) -> bool:
        """Whether G is trained on L1 alone; D then has only a few weights and no effect."""
        return self.objective_weight == 0 and not self.features

    def check(self) -> None:
        """Raises `InputError` for options that cannot work, before anything is loaded or written."""
        if moved := next((text for text in self.features if text.partition(':')[0] in EXTRACTORS), None):
            raise InputError(f'--features {moved} is --compare-features {moved} now')
        super().check()
        if self.g_norm != 'batch':
            refuse_given(self, 'statistics', because=f'applies to batch norm, and --g-norm is {self.g_norm}')
        unet_halvings((self.size, self.size))
        if not self.l1_alone:
            patch_outputs(self.size, self.receptive_field)

    @property
    def has_losses(self) -> bool:
        return super().has_losses or bool(self.l1_weight)

    def network(self, channels: int) -> networks.UNet:
        """The generator of images with this number of channels."""
        dtype = jnp.dtype(self.dtype)
        options: dict[str, Any] = {'dropout': self.dropout, 'norm': self.g_norm, 'statistics': self.statistics}
        return networks.UNet(channels, self.width, dtype=dtype, **options)

    def translator(self, direction: str | None, channels: list[int]) -> runs.Translator:
        """How the trained generator translates; `channels` are those of the input and the output.

        Raises `InputError` for a direction that the run has not learned.
        """
        if direction not in (None, self.direction):
            raise InputError(f'this run has learned --direction {self.direction} only, not {direction}')
        network = self.network(channels[1])
        one = lambda weights: lambda x, key: apply_network(network, weights, x, train=False, noise=key)[0]
        translate = lambda weights, x, key: self.drawn(one(weights), x, key)
        return runs.Translator(translate, self.size, channels[0])

    def drawn(self, draw: Callable[[Array, Key], Array], x: Array, key: Key) -> Array:
        """`draw(x, key)`, applied to each image separately if batch norm uses the statistics of its input."""
        if self.g_norm != 'batch' or self.statistics == 'running':
            return draw(x, key)
        return jax.lax.map(lambda one: draw(one[0][None], one[1])[0], (x, parallel.example_keys(len(x), key)))


ALONE: dict[str, Any] = {
    'objective_weight': 0.0, 'features': (), 'penalties': (), 'augmentations': (), 'regularizers': (), 'unroll_steps': 0,
    'init_from': None,
}  # fmt: skip
"""The changes that turn a run into one on L1 alone."""


def study(config: Config) -> runs.Study:
    """The run for these options. Raises `InputError` for what cannot work, before anything is written."""
    config.check()
    return of_pairs(config, load(config))


def main(config: Config) -> dict[str, Any]:
    """Trains, draws and evaluates; returns the figures of the end table by model. Raises `InputError`."""
    one, alone = study(config), None
    trained = runs.train(config, one)
    hosts.agreed(lambda: save_progress(trained.run, ('input', 'output', 'target'), 1))
    if config.compare_l1 and config.l1_weight and not config.l1_alone:
        part = runs.part(config, 'l1', **ALONE)
        alone = runs.train(part, of_pairs(part, one.data)._replace(feed=one.feed))
        hosts.agreed(lambda: save_progress(alone.run, ('input', 'output', 'target'), 1))
    return runs.report(trained, lambda own: evaluate(own, alone))


if __name__ == '__main__':
    runs.run_main(main, Config)
