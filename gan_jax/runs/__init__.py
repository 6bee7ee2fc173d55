"""Runs: the loop, its directory, checkpoints, pictures, and the command line of experiments."""

from gan_jax.commandline import run as run_main
from gan_jax.commandline import table
from gan_jax.errors import Diverged, Interrupted
from gan_jax.files import read_json, write_json, write_whole
from gan_jax.runs.boosting import boost, component_trainer
from gan_jax.runs.choices import GameOptions, check_fit, check_objective
from gan_jax.runs.directory import Options, RunDirectory, saved_identity
from gan_jax.runs.generators import Generator, Translator, describe, save_generator, save_translator
from gan_jax.runs.loop import CALL_STEPS, Advance, Callback, fit
from gan_jax.runs.sampler import save_sampler
from gan_jax.runs.samples import image_samples
from gan_jax.runs.scores import sample_scores
from gan_jax.runs.trainers import resident_trainer, stream_trainer
from gan_jax.runs.weights import first_state

__all__ = [
    'CALL_STEPS', 'Advance', 'Callback', 'Diverged', 'GameOptions', 'Generator', 'Interrupted', 'Options', 'RunDirectory',
    'Translator', 'boost', 'check_fit', 'check_objective', 'component_trainer', 'describe', 'first_state', 'fit',
    'image_samples', 'read_json', 'resident_trainer', 'run_main', 'sample_scores', 'save_generator', 'save_sampler',
    'save_translator', 'saved_identity', 'stream_trainer', 'table', 'write_json', 'write_whole',
]  # fmt: skip
