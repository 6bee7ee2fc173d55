"""Writes a run's sampler.bin and generator.bin anew: when those have expired, or from a run that has not ended.

    python -m experiments.export runs/dcgan
    python -m experiments.export runs/dcgan --checkpoint 8000

`jax.export` keeps its files readable for six months. The weights (generator.safetensors) and the configuration (config.json,
generator.json) beside them do not expire; this rebuilds the others from these or, where the run has checkpoints, from the newest
of them or the one that is asked for.
"""

import dataclasses
import pathlib
from typing import Annotated

import tyro

from experiments.shared import generators
from gan_jax import runs
from gan_jax.ranges import Checked, Text, Whole
from gan_jax.runs.generators import export_generator


@dataclasses.dataclass(frozen=True)
class Config(Checked):
    """The exported files of a run."""

    run: Annotated[Text, tyro.conf.Positional]
    """The run's directory, such as runs/dcgan."""
    checkpoint: Whole | None = None
    """The step of the checkpoint to export; the newest if it is not given."""


def main(config: Config) -> pathlib.Path:
    """Writes the files, and returns the run's directory."""
    trained = generators.load(pathlib.Path(config.run), 'generator', config.checkpoint)
    print(f'step {trained.step}: ' + export_generator(trained.path, trained.made, trained.weights, trained.step))
    return trained.path


if __name__ == '__main__':
    runs.run_main(main, Config)
