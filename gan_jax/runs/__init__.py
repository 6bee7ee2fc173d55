"""Runs: the training loop, run directories, checkpoints, pictures, and the command line of experiments."""

from gan_jax.commandline import run as run_main
from gan_jax.commandline import table
from gan_jax.errors import Diverged, Interrupted
from gan_jax.files import read_json, write_json, write_whole
from gan_jax.runs.directory import Options, RunDirectory, part, pictures_of, saved_identity
from gan_jax.runs.ensembles import boost, component_trainer
from gan_jax.runs.evaluation import conclude, judged, means, report
from gan_jax.runs.generators import Generator, Translator, describe, save_generator, save_translator
from gan_jax.runs.loop import CALL_STEPS, Advance, Callback, fit
from gan_jax.runs.options import DataOptions, GameOptions, MethodOptions, TrainOptions, check_fit, check_objective
from gan_jax.runs.sampler import save_sampler
from gan_jax.runs.scores import sample_scores
from gan_jax.runs.seeds import over_seeds, spread
from gan_jax.runs.study import Judge, Study
from gan_jax.runs.trained import Trained
from gan_jax.runs.training import load, train

__all__ = [
    'CALL_STEPS',
    'Advance',
    'Callback',
    'DataOptions',
    'Diverged',
    'GameOptions',
    'Generator',
    'Interrupted',
    'Judge',
    'MethodOptions',
    'Options',
    'RunDirectory',
    'Study',
    'TrainOptions',
    'Trained',
    'Translator',
    'boost',
    'check_fit',
    'check_objective',
    'component_trainer',
    'conclude',
    'describe',
    'fit',
    'judged',
    'load',
    'means',
    'over_seeds',
    'part',
    'pictures_of',
    'read_json',
    'report',
    'run_main',
    'sample_scores',
    'save_generator',
    'save_sampler',
    'save_translator',
    'saved_identity',
    'spread',
    'table',
    'train',
    'write_json',
    'write_whole',
]  # fmt: skip
