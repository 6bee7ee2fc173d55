"""Runs: the loop, its directory, checkpoints, pictures, and the command line of experiments."""

from gan_jax.runs.choices import GameOptions
from gan_jax.runs.commandline import run as run_main
from gan_jax.runs.commandline import table
from gan_jax.runs.directory import Options, RunDirectory, write_whole
from gan_jax.runs.loop import CALL_STEPS, Advance, Callback, Interrupted, fit
from gan_jax.runs.samples import image_samples
from gan_jax.runs.trainers import resident_trainer, stream_trainer

__all__ = [
    'CALL_STEPS', 'Advance', 'Callback', 'GameOptions', 'Interrupted', 'Options', 'RunDirectory', 'fit', 'image_samples',
    'resident_trainer', 'run_main', 'stream_trainer', 'table', 'write_whole',
]  # fmt: skip
