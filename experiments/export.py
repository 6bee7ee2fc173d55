"""Rewrites a run's sampler.bin and generator.bin, if they have expired or if the run has not ended.

    python -m experiments.export runs/dcgan
    python -m experiments.export runs/dcgan --checkpoint 8000
    python -m experiments.export runs/dcgan --ema-width 0.08

`jax.export` keeps its files readable for six months. The weights (generator.safetensors) and the configuration (config.json,
generator.json) next to them do not expire. This command rebuilds the exported files from them or, if the run has checkpoints,
from the newest or the selected checkpoint. A run with --ema-widths can be exported with an average of any width (EDM2's post-hoc
EMA): its profile is fitted to those of the averages in all checkpoints.
"""

import dataclasses
import pathlib

from experiments.shared import generators
from gan_jax import runs
from gan_jax.runs.generators import export_generator


@dataclasses.dataclass(frozen=True)
class Config(generators.TrainedOptions):
    """The exported files of a run."""


def main(config: Config) -> pathlib.Path:
    """Writes the files and returns the run's directory.

    Raises `InputError` for a directory that is not a trained run of a generator.
    """
    trained = config.load()
    print(
        f'step {trained.step}: ' + export_generator(trained.path, trained.made, trained.weights, trained.step, config.ema_width)
    )
    return trained.path


if __name__ == '__main__':
    runs.run_main(main, Config)
