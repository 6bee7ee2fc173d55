"""What a run can do, every experiment that trains a game can do: one table, and every cell of it is run."""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import warnings

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from killed_main import a_judge_in_no_time
from PIL import Image

from experiments import generate
from experiments.results import runner
from experiments.results.protocol import PROTOCOL
from experiments.text_to_image import report
from gan_jax import runs
from gan_jax.commandline import module_of
from gan_jax.runs.generators import experiment_of

PIXELS = '--dataset digits --size 8 --batch-size 8 --samples 20 --sample-every 2 --checkpoint-every 2'
IMAGES = f'{PIXELS} --latent-size 3'
TRANSLATED = '--size 8 --width 2 --batch-size 4 --samples 4 --sample-every 2 --checkpoint-every 2 --receptive-field 1'
MIXTURES = '--width 4 --latent-size 2 --batch-size 8 --samples 50 --sample-every 2 --checkpoint-every 2'
STREAMED, SCORED, UNROLLED = '--memory-limit 0', '--score-every 2', '--unroll-steps 1'

TABLE = {
    # experiment: (options of a small run, what else it takes, whether it leaves a sampler)
    'dcgan': (f'{IMAGES} --width 2 --kernel-size 2', (STREAMED, SCORED, UNROLLED), 'generate'),
    'wgan_gp': (f'{IMAGES} --g-width 2 --d-width 2', (STREAMED, SCORED), 'generate'),
    'sngan': (f'{IMAGES} --g-width 2 --d-width 2 --discriminator-steps 1', (STREAMED, SCORED), 'generate'),
    'r3gan': (
        f'{IMAGES} --width 2 --group-width 2 --conditional --anneal gamma:images=99 half_life:end=9,images=99 '
        '--accumulate 2 --clip-gradients 1 --ema-widths 0.05 0.1',
        (STREAMED, SCORED),
        'generate',
    ),
    'stylegan2': (f'{IMAGES} --width 2 --mapping-layers 1 --path-weight 0', (STREAMED, SCORED), 'generate'),
    'biggan': (
        f'{IMAGES} --width 2 --embedding 2 --standing-batches 2 --label-sampling uniform --g-norm none --discriminator-steps 1',
        (STREAMED, SCORED),
        'generate',
    ),
    'bigan': (f'{IMAGES} --width 2 --kernel-size 2 --pair-width 2 --stochastic', (STREAMED, SCORED, UNROLLED), 'generate'),
    'infogan': (f'{IMAGES} --width 2 --kernel-size 2', (STREAMED, SCORED, UNROLLED), 'generate'),
    'lapgan': (
        f'{IMAGES} --halvings 1 --width 2 --coarse-width 4 --coarse-generator-width 4 --kernel-sizes 3 3 3',
        (STREAMED, SCORED, UNROLLED),
        'generate',
    ),
    'vae_gan': (f'{IMAGES} --width 2 --d-width 2 --no-compare-plain', (STREAMED, SCORED, UNROLLED), 'generate'),
    'adversarial_autoencoder': (f'{IMAGES} --width 2 --d-width 4 --no-compare-plain', (STREAMED, SCORED, UNROLLED), 'generate'),
    'vqgan': (
        f'{PIXELS} --width 2 --d-width 2 --codebook-size 4 --code-size 3 --start 1 --receptive-field 1 --no-compare-plain',
        (STREAMED, UNROLLED),
        'translate',
    ),
    'ebgan': (f'{IMAGES} --width 4', (STREAMED, SCORED, UNROLLED), 'generate'),
    'conditional_gan': (f'{IMAGES} --width 2 --kernel-size 2', (STREAMED, SCORED, UNROLLED), 'generate'),
    'semi_supervised': (
        f'{IMAGES} --labels 20 --d-features 8 8 --g-features 8 --start 20 --baseline-steps 2',
        (STREAMED, SCORED, UNROLLED),
        'generate',
    ),
    'text_to_image': (
        '--scenes 60 --encoder-steps 2 --encoder-size 4 --text-features 4 --width 2 --d-width 2 --batch-size 8 --latent-size 3 '
        '--samples 20 --sample-every 2 --checkpoint-every 2',
        (STREAMED, UNROLLED),
        'generate',
    ),
    'pix2pix': (f'--dataset pairs --no-compare-l1 {TRANSLATED}', (STREAMED, UNROLLED), 'translate'),
    'cyclegan': (f'--dataset digits --blocks 1 {TRANSLATED}', (STREAMED, UNROLLED), 'translate'),
    'ring': (f'{MIXTURES} --penalties r1 --penalty-decay 1', (UNROLLED,), None),
    'unrolled_gan': (f'--compare 0 1 {MIXTURES}', (), None),
    'adversarial_flow': (
        '--compare 0.05 --width 4 --batch-size 8 --samples 50 --sample-every 2 --checkpoint-every 2',
        (UNROLLED,),
        None,
    ),
    'adversarial_flow_images': (
        f'{PIXELS} --width 2 --kernel-size 2 --g-width 4 --flow-steps 2',
        (STREAMED, SCORED, UNROLLED),
        'generate',
    ),
    'mode_collapse': (
        '--methods gan adagan:components=2 --width 4 --latent-size 2 --batch-size 12 --samples 50 --evaluations 2',
        (),
        None,
    ),
    'f_gan': ('--divergences kl --width 4 --batch-size 8 --samples 50', (), None),
    'vanishing_gradients': ('--cases minimax --width 4 --batch-size 8 --minibatches 2', (), None),
    'optimal_discriminator': ('--pairs gaussians --width 4 --batch-size 8', (), None),
    'taxonomy': (
        '--dataset digits --size 8 --models gan --hidden 4 --latent-size 2 --batch-size 8 --samples 20 --toy-steps 0',
        (),
        None,
    ),
}
LEDGER = {
    'dcgan': 'dcgan_mnist',
    'wgan_gp': 'wgan_gp_fashion_mnist',
    'sngan': 'sngan_fashion_mnist',
    'lapgan': 'lapgan_fashion',
    'ebgan': 'ebgan_mnist',
    'conditional_gan': 'conditional_projection',
    'semi_supervised': 'few_labels',
    'text_to_image': 'text_to_image_cls',
    'cyclegan': 'cyclegan_mnist',
    'unrolled_gan': 'unrolled_ring',
    'mode_collapse': 'mode_collapse_ring',
    'f_gan': 'f_gan',
    'optimal_discriminator': 'optimal_discriminator',
}
"""Rows of the ledger, whose figures the results must have."""
FALL = {
    'wgan_gp',
    'sngan',
    'f_gan',
    'vanishing_gradients',
    'optimal_discriminator',
    'taxonomy',
    'mode_collapse',
    'adversarial_flow_images',
}
"""Whose rates fall over the whole run, or which are measured at its end: they cannot go on to more steps."""


def run(monkeypatch, module, flags):
    """What `python -m experiments.NAME FLAGS` says."""
    monkeypatch.setattr('sys.argv', ['x', *shlex.split(flags)])
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        runs.run_main(module.main, module.Config)
    return out.getvalue()


def write_pairs(folder):
    """Photographs beside their drawings, as pix2pix takes them."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(40):
        Image.fromarray(rng.integers(0, 256, (10, 20, 3), np.uint8)).save(folder / f'{i}.png')


ALIKE = {
    'dcgan': ('stylegan2', 'r3gan', 'infogan', 'bigan', 'ebgan', 'lapgan', 'adversarial_flow_images'),
    'sngan': ('wgan_gp',),
    'conditional_gan': ('biggan',),
    'vqgan': ('vae_gan', 'adversarial_autoencoder'),
    'pix2pix': ('cyclegan',),
    'ring': ('unrolled_gan',),
}
"""Rows of the same study and judgement, of which the first is always run; the others have tests of their own files."""
SLOW = {name for others in ALIKE.values() for name in others}


@pytest.mark.parametrize('name', [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in TABLE])
def test_every_experiment_takes_what_the_house_offers(name, tmp_path, monkeypatch):
    small, takes, leaves = TABLE[name]
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / 'pairs')
    monkeypatch.setattr(report, 'train_judge', a_judge_in_no_time)
    module = module_of(f'experiments.{name}')
    schedule = '' if name in FALL or 'schedule' not in module.Config.__dataclass_fields__ else '--schedule constant'
    flags = f'{small} {schedule} {" ".join(takes)} --seeds 2 --name r --runs-dir runs'
    said = run(monkeypatch, module, f'{flags} --steps 2')
    results = [json.loads(path.read_text()) for path in sorted((tmp_path / 'runs/r').rglob('results.json'))]
    assert results and 'seeds' in said
    if name in LEDGER:
        row, found = PROTOCOL[LEDGER[name]], runs.read_json(runner.results_file(tmp_path / 'runs/r'))
        paths = runner.by_seed(found, 2)
        lines = tuple(line for line in row.lines if not line.path or any(path.startswith(f'{line.path}/') for path in paths))
        runner.figures_of(dataclasses.replace(row, lines=lines or row.lines), found, 2)
    if SCORED in takes:
        scores = runs.directory.read_log(tmp_path / 'runs/r', 'scores.jsonl')
        assert [row['step'] for row in scores] == [0, 2]
    steps = 2 if name in FALL else 4
    said = run(monkeypatch, module, f'{flags} --steps {steps} --resume')
    assert 'resumed' in said or name in ('mode_collapse',)
    folder = tmp_path / 'runs/r'
    if leaves:
        assert experiment_of(folder) is module
    if leaves == 'generate':
        assert (folder / 'sampler.bin').exists() and (folder / 'samples.gif').exists()
        width = '--ema-width 0.07' if '--ema-widths' in flags else ''
        run(monkeypatch, generate, f'{folder} --number 5 --out made {width}')
        assert len(list((tmp_path / 'made').glob('*.png'))) == 5
    elif leaves == 'translate':
        assert (folder / 'generator.safetensors').exists()


def saved(folder):
    """All arrays of the newest checkpoint of each part of a run, by name."""
    is_key = lambda x: jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    found = {}
    for checkpoints in sorted(folder.rglob('checkpoints')):
        newest = max((path for path in checkpoints.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))
        with ocp.PyTreeCheckpointer() as reader, warnings.catch_warnings(action='ignore'):  # of where the arrays were
            state = reader.restore(newest / 'default')
        for path, leaf in jax.tree_util.tree_leaves_with_path(state):
            found[f'{checkpoints.relative_to(folder)}/{newest.name}{jax.tree_util.keystr(path)}'] = np.asarray(
                jax.random.key_data(leaf) if is_key(leaf) else leaf
            )
    return found


@pytest.mark.parametrize('name', [pytest.param(name, marks=[pytest.mark.slow] * (name != 'ring')) for name in TABLE])
def test_every_experiment_of_two_seeds_that_is_killed_goes_on_bit_for_bit(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / 'pairs')
    monkeypatch.setattr(report, 'train_judge', a_judge_in_no_time)
    module = module_of(f'experiments.{name}')
    given = '--checkpoint-every' in TABLE[name][0] or 'checkpoint_every' not in module.Config.__dataclass_fields__
    every = '' if given else '--checkpoint-every 2'
    flags = f'{TABLE[name][0]} {every} --seeds 2 --steps 4 --runs-dir runs'
    run(monkeypatch, module, f'{flags} --name whole')
    killed = subprocess.run(
        [sys.executable, pathlib.Path(__file__).parent / 'killed_main.py', name, *shlex.split(flags), '--name', 'killed'],
        cwd=tmp_path, env={**os.environ, 'PYTHONPATH': str(runner.ROOT)}, capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    run(monkeypatch, module, f'{flags} --name killed --resume')
    whole, resumed = (saved(tmp_path / 'runs' / which) for which in ('whole', 'killed'))
    assert whole.keys() == resumed.keys() and len(whole) > 4
    for leaf, value in whole.items():
        np.testing.assert_array_equal(resumed[leaf], value, err_msg=leaf)
