"""R3GAN (Huang, Gokaslan, Kuleshov and Tompkin 2024): a relativistic loss, R1 and R2, and residual networks without norms.

    python -m experiments.r3gan
    python -m experiments.r3gan --dataset cifar10 --conditional
    python -m experiments.r3gan --dataset path/to/images --size 64
    python -m experiments.r3gan --preset cifar10 --dtype bfloat16

The networks are the paper's config E; narrow by default, so that a CPU trains them. A data set with labels, such as a folder with
a subfolder for each class, can be learned class by class with --conditional. The weight of the penalties, the learning rates,
Adam's second decay, the half-life of the averaged generator and, in the presets, the probability of augmentations follow half a
cosine over the images shown (--anneal).

The presets cifar10, ffhq64, ffhq256, imagenet32 and imagenet64 are the authors', who report FIDs of 1.96, 1.95, 2.75, 1.27 and
2.09 for them, with labels except on FFHQ; they take days of several GPUs. One thing differs here: images are not mirrored.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax.numpy as jnp

import gan_jax
from experiments.r3gan.presets import PRESETS
from experiments.shared import conditional, image_gan
from gan_jax import data, games, latents, runs
from gan_jax.errors import InputError
from gan_jax.networks import r3gan_presets
from gan_jax.ranges import Count, ImageSize, Text, Width


@dataclasses.dataclass(frozen=True)
class Config(image_gan.StageOptions):
    """R3GAN on images."""

    name: str = 'r3gan'
    preset: str = 'narrow'
    """Preset of options, which explicit flags override: narrow, or the authors' cifar10, ffhq64, ffhq256, imagenet32 or
    imagenet64."""
    dataset: Text = 'fashion_mnist'
    size: Annotated[int | str | None, ImageSize()] = None
    conditional: bool = False
    """Condition both networks on the labels of the data set."""
    steps: Count = 5000
    group_width: Width = 16
    """Channels in a group of the 3 x 3 convolutions, whose width is twice the stage's."""
    blocks: Count = 1
    """Residual blocks in a stage; the paper has 2."""
    latent_size: Width = 64
    dtype: Literal['float32', 'bfloat16'] = 'float32'
    """Dtype of the computations of the finest stages, at most four; the others, at least the smallest, are float32, and so are
    parameters, logits and losses."""
    objective: str = 'relativistic'
    penalties: tuple[str, ...] = ('r1_r2:gamma=1',)
    penalty_at: Literal['seen', 'original'] | None = 'original'
    optimizers: str = 'adam:learning_rate=1e-3,beta1=0'
    anneal: tuple[str, ...] = ('learning_rate', 'gamma', 'beta2', 'half_life:end=5e4')
    own_minibatches: bool = True
    sample_every: Count = 500

    @classmethod
    def defaults(cls, words: Sequence[str]) -> 'Config':
        """The options of the preset that the command line names. Raises `InputError` for an unknown one."""
        after = dict(itertools.pairwise(words)) | dict(word.split('=', 1) for word in words if '=' in word)
        after = {word.replace('_', '-'): value for word, value in after.items()}
        name, batch_size = after.get('--preset', cls.preset), after.get('--batch-size', '')
        chosen = preset(name)
        if name == 'narrow' or not batch_size.isdecimal() or not int(batch_size):
            return chosen
        return dataclasses.replace(chosen, steps=math.ceil(PRESETS[name].images / int(batch_size)))

    def networks(self, size: data.Size, channels: int, classes: int = 0) -> tuple[nn.Module, nn.Module]:
        widths = self.stages(size)
        groups = [max(1, 2 * width // self.group_width) for width in widths]
        how: dict[str, Any] = {'blocks': self.blocks, 'classes': classes, 'dtype': jnp.dtype(self.dtype)}
        return r3gan_presets.config_e(widths, groups, size, channels, **how)

    def make_game(self, size: data.Size, channels: int, classes: int = 0) -> gan_jax.Game:
        rules = games.conditional if classes else games.adversarial
        return self.game(*self.networks(size, channels, classes), latents.normal(self.latent_size), rules)

    def generator(
        self, size: data.Size | list[int], channels: int, classes: Sequence[str] = (), shares: Sequence[float] = ()
    ) -> runs.Generator:
        network, _ = self.networks(data.size_of(*size) if isinstance(size, list) else size, channels, len(classes))
        return conditional.generator_of(network, self.latent_size, classes, shares)

    def check(self) -> None:
        super().check()
        if self.preset.startswith('ffhq') and self.dataset == Config.dataset:
            raise InputError(f'--preset {self.preset} requires --dataset: a folder of the images of FFHQ')
        for name in ('d_norm', 'g_norm', 'minibatch'):
            if getattr(self, name) != 'none':
                raise InputError(f'the networks of R3GAN have no --{name.replace("_", "-")}')

    def check_size(self, size: data.Size) -> None:
        self.networks(size, 1)


def preset(name: str) -> Config:
    """The options of a preset, for `dataclasses.replace`. Raises `InputError` for an unknown name."""
    return Config() if name == 'narrow' else Config(**PRESETS[name].options(name))


def study(config: Config) -> runs.Study:
    """The run for these options. Raises `InputError` for what cannot work, before anything is written."""
    if not config.conditional:
        return image_gan.study(config)
    config.check()
    images = image_gan.load(config)
    source, train = images.source, images.train
    if train.labels is None:
        raise InputError(f'--conditional requires labels, and {config.dataset} has none; give --no-conditional')
    labels = data.check_labels(source.labels if isinstance(source, data.Images) else source.every_label(), len(source.classes))
    held = {'image': source.images, 'label': labels} if isinstance(source, data.Images) else source
    of_data = conditional.known(source.size, source.channels, source.classes, labels)
    judge = lambda: image_gan.judge(config.dataset, train)
    return conditional.study_of(config, held, of_data, labels, judge=judge, data=images)


def main(config: Config) -> dict[str, Any]:
    """Trains, draws and evaluates; returns the figures of the end table."""
    return runs.conclude(config, study(config), image_gan.evaluate)


if __name__ == '__main__':
    runs.run_main(main, Config)
