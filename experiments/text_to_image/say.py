"""Draws eight samples per caption with a trained run of text to image.

    python -m experiments.text_to_image.say runs/text_to_image "a large red seven, top left"

The picture is written to `said` in the run's directory.
"""

import dataclasses
import pathlib
import re
import zlib
from typing import Annotated

import tyro

from experiments.text_to_image import caption_vectors, report
from experiments.text_to_image.options import ENCODER, CaptionOptions
from gan_jax import runs, text
from gan_jax.errors import InputError
from gan_jax.ranges import Checked, DataDir, Seed, Text
from gan_jax.runs import pictures

_SAMPLES = 8


@dataclasses.dataclass(frozen=True)
class Config(Checked):
    """Images of captions by a trained run."""

    run: Annotated[Text, tyro.conf.Positional]
    """The run's directory, such as runs/text_to_image."""
    captions: Annotated[tuple[str, ...], tyro.conf.Positional]
    """The captions to draw."""
    seed: Seed = 0
    """Seed of the samples."""
    data_dir: DataDir | None = None
    """Directory of prepared TFDS data sets; by default TFDS_DATA_DIR."""


def main(config: Config) -> pathlib.Path:
    """Draws the captions and returns the file of the picture.

    Raises `InputError` if there are no captions, if one cannot be encoded, or if the directory is not such a run.
    """
    if not config.captions:
        raise InputError('no captions are given; write them after RUN, in quotes')
    path, captions = pathlib.Path(config.run), list(config.captions)
    CaptionOptions.of_run(path)
    encoder = text.load(path / ENCODER)
    caption_vectors.tell_unknown(encoder, captions)
    encoder.encode(captions)  # raises for invalid captions before anything is built
    trained = runs.load(path, data_dir=config.data_dir)
    images = report.drawn(
        trained.seed(trained.shown), [caption for caption in captions for _ in range(_SAMPLES)], f'say {config.seed}'
    )
    said = zlib.crc32(repr((captions, config.seed)).encode())  # other captions may begin alike
    name = re.sub(r'\W+', '_', captions[0]).strip('_')[:60]
    file = path / 'said' / f'{name}_{said:08x}.png'
    pictures.save_figure(file, report.figure(captions, images.reshape(len(captions), _SAMPLES, *images.shape[1:])))
    print(f'drawn by {path} at step {trained.steps}: {file}')
    return file


if __name__ == '__main__':
    runs.run_main(main, Config)
