"""Generates images with any trained run, from random latents or from your own, into a folder.

    python -m experiments.generate runs/dcgan --number 1000 --out images
    python -m experiments.generate runs/conditional_gan --number 100 --of 3 7 --out threes_and_sevens
    python -m experiments.generate runs/sngan --truncation 0.7 --out typical
    python -m experiments.generate runs/dcgan --latents images/latents.npy --out again

The folder receives a PNG for each image, `latents.npy` with their latents and, for a run with labels or captions, `captions.csv`
with what each image shows. The images are those that the run's `sampler.bin` draws with the same seed. Runs that translate images
are handled by `experiments.translate`.
"""

import csv
import dataclasses
import io
import pathlib

import numpy as np
from tqdm import tqdm

from experiments.shared import generators
from gan_jax import runs
from gan_jax.errors import InputError
from gan_jax.files import new_folder
from gan_jax.ranges import Samples, Text
from gan_jax.runs import pictures


@dataclasses.dataclass(frozen=True)
class Config(generators.DrawOptions):
    """Images by a trained generator."""

    out: Text = 'images'
    """The folder for the images, which must not exist yet or must be empty."""
    number: Samples | None = None
    """Number of images; by default 100, and with --latents one for each."""


def main(config: Config) -> pathlib.Path:
    """Generates images and returns their folder. Raises `InputError`."""
    out = pathlib.Path(config.out)
    if config.number is not None and config.latents:
        raise InputError('--number cannot be combined with --latents, each of which makes one image')
    trained = config.load()
    own = config.own_latents(trained.made)
    latents, conditions = generators.latents_of(trained.made, config.seed, len(own) if own is not None else config.number or 100)
    latents = latents if own is None else own
    names = [f'{i:06d}.png' for i in range(len(latents))]
    with new_folder(out) as folder, tqdm(total=len(latents), unit='image', dynamic_ncols=True, leave=False) as bar:
        for images in generators.images_of(trained, latents, conditions):
            for image in images:
                pictures.save_picture(folder / names[bar.n], image)
                bar.update()
        np.save(folder / 'latents.npy', latents)
        if trained.made.conditions:
            told = [trained.made.conditions[i] for i in conditions]
            (folder / 'captions.csv').write_bytes(table(names, told).encode())
    print(f'{len(latents)} images by {config.run} at step {trained.step}, and their latents: {out}')
    return out


def table(names: list[str], told: list[str]) -> str:
    """A CSV of what each image shows, in the format of `data.captioned_folder`."""
    text = io.StringIO()
    csv.writer(text).writerows([('file', 'caption'), *zip(names, told, strict=True)])
    return text.getvalue()


if __name__ == '__main__':
    runs.run_main(main, Config)
