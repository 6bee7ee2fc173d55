"""Translates images with a trained run of pix2pix or CycleGAN, or reconstructs them with one of VQGAN.

    python -m experiments.translate runs/pix2pix photographs translated
    python -m experiments.translate runs/cyclegan zebras horses --direction b_to_a

IN is a single image, or a folder of images, which may be nested. Each image is cropped to its central square, resized to the size
the run was trained on, and translated independently. OUT receives a PNG of the same name for each image.
"""

import dataclasses
import pathlib
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from tqdm import tqdm

from experiments.shared import generators
from gan_jax import compilation, data, runs
from gan_jax.averages import RelativeWidth
from gan_jax.data.reading import image_files, read_image
from gan_jax.errors import InputError
from gan_jax.files import new_folder
from gan_jax.ranges import Checked, Seed, Side, Text, Whole
from gan_jax.runs import pictures


@dataclasses.dataclass(frozen=True)
class Config(Checked):
    """New images through a trained translator."""

    run: Annotated[Text, tyro.conf.Positional]
    """The run's directory, such as runs/pix2pix."""
    source: Annotated[Text, tyro.conf.Positional, tyro.conf.arg(metavar='IN')]
    """A folder of images, or one image."""
    out: Annotated[Text, tyro.conf.Positional, tyro.conf.arg(metavar='OUT')]
    """The folder for the translations, which must not exist yet or must be empty."""
    direction: Literal['a_to_b', 'b_to_a'] | None = None
    """Direction of a CycleGAN; by default from A to B. A pix2pix has learned a single direction."""
    checkpoint: Whole | None = None
    """Step of the checkpoint to translate with; by default the newest."""
    ema_width: RelativeWidth | None = None
    """Relative width of the generator's average, for runs with --ema-widths, whose checkpoints it is reconstructed from."""
    size: Side | None = None
    """Height and width of the translations, if they differ from those the run was trained on. A CycleGAN requires multiples
    of 4."""
    seed: Seed = 0
    """Seed of pix2pix's dropout, its only source of noise."""


def main(config: Config) -> pathlib.Path:
    """Translates the images and returns the folder of the translations. Raises `InputError`."""
    out = pathlib.Path(config.out)
    path, width = pathlib.Path(config.run), config.ema_width
    trained = generators.load(path, 'translator', config.checkpoint, ema_width=width, direction=config.direction)
    translator: runs.Translator = trained.made
    size = translator.size if config.size is None else config.size
    files = named(pathlib.Path(config.source))
    translate = compilation.jit(lambda weights, pixels, key: translator.translate(weights, data.to_float(pixels[None]), key))
    key = jax.random.key(config.seed)
    shape = jax.ShapeDtypeStruct((size, size, translator.channels), jnp.uint8)
    jax.eval_shape(translate, trained.weights, shape, key)  # refuses sizes that the network does not support
    with new_folder(out) as folder:
        for number, (name, file) in enumerate(tqdm(files.items(), unit='image', dynamic_ncols=True, leave=False)):
            pixels = read_image(file, size, translator.channels)
            made = data.to_uint8(translate(trained.weights, pixels, jax.random.fold_in(key, number)))
            pictures.save_picture(folder / name, np.asarray(made)[0])
    print(f'{len(files)} images translated by {config.run} at step {trained.step}, {size} x {size} pixels: {out}')
    return out


def named(source: pathlib.Path) -> dict[pathlib.Path, pathlib.Path]:
    """Maps the name of each translation to its source image.

    Raises `InputError` if there are no images, or if two translations would have the same name.
    """
    if not source.exists():
        raise InputError(f'there is no folder or image {source}')
    folder = source if source.is_dir() else source.parent
    found: dict[pathlib.Path, pathlib.Path] = {}
    for file in image_files(source) if source.is_dir() else [source]:
        name = file.relative_to(folder).with_suffix('.png')
        if name in found:
            raise InputError(f'{found[name]} and {file} would both be translated to {name}')
        found[name] = file
    return found


if __name__ == '__main__':
    runs.run_main(main, Config)
