"""Sources of images, and what they refuse: samplers, steps, sizes, splits, damaged files, flags."""

import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gan_jax import data, runs
from gan_jax.errors import InputError
from gan_jax.metrics import __main__ as program
from gan_jax.metrics import command, sources
from gan_jax.runs import sampler

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 4, 4, 1), np.uint8)


def write(folder, images):
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image.squeeze()).save(folder / f'{i:03}.png')
    return str(folder)


def draw(key):
    return jnp.tanh(jax.random.normal(key, (4, 4, 4, 1)))


def test_a_sampler_says_its_step_and_an_older_one_is_not_scored_in_silence(tmp_path, capsys):
    sampler.save_sampler(tmp_path / 'run', draw, 8000)
    source = sources.open_source(str(tmp_path / 'run'))
    assert source.step == 8000 and source.note == '' and source.shape == (4, 4, 1)
    (tmp_path / 'run' / 'checkpoints' / '8000').mkdir(parents=True)
    assert sources.open_source(str(tmp_path / 'run')).note == ''
    (tmp_path / 'run' / 'checkpoints' / '9000').mkdir()
    real = write(tmp_path / 'real', IMAGES)
    command.main(command.Config((real, str(tmp_path / 'run')), extractor='pixels', measures=('frechet',), samples=9))
    out = capsys.readouterr().out
    assert 'the samples are from step 8000' in out
    assert f'note: {tmp_path}/run/sampler.bin is from step 8000, and the newest checkpoint is from step 9000: ' in out
    assert f'experiments.evaluate {tmp_path}/run --checkpoint 9000' in out


def test_samplers_without_a_step_say_so(tmp_path):
    number = jax.ShapeDtypeStruct((), jnp.uint32)
    block = lambda seed, number: data.to_uint8(draw(jax.random.fold_in(jax.random.key(seed), number)))
    sampler.export(tmp_path / 'sampler.bin', block, number, number)
    (tmp_path / 'checkpoints' / '5').mkdir(parents=True)
    source = sources.open_source(str(tmp_path))
    assert source.step is None and 'does not record its step, and the newest checkpoint is from step 5' in source.note


def test_images_that_are_not_finite_are_refused(tmp_path):
    images = np.zeros((3, 2, 2, 1), np.float32)
    np.testing.assert_array_equal(data.to_uint8(images), 128)
    images[1, 0, 0, 0] = np.nan
    for x in (images, jnp.asarray(images), jnp.asarray(images, jnp.bfloat16), images + np.float32(np.inf)):
        with pytest.raises(InputError, match='of 3 images are not finite: the generator has diverged'):
            data.to_uint8(x)
    with pytest.raises(InputError, match='4 of 4 images are not finite'):
        sampler.save_sampler(tmp_path, lambda key: draw(key) * jnp.inf - jnp.inf, 1)
    assert not list(tmp_path.iterdir())
    np.save(tmp_path / 'x.npy', images)
    with pytest.raises(InputError, match=r'x\.npy: .*from nan'):
        sources.open_source(str(tmp_path / 'x.npy'))


def test_images_of_other_shapes_are_not_compared(tmp_path):
    real, small = write(tmp_path / 'real', IMAGES), write(tmp_path / 'small', IMAGES[:, :3, :3])
    colour = write(tmp_path / 'colour', IMAGES.repeat(3, 3) ^ np.uint8([1, 2, 4]))
    sampler.save_sampler(tmp_path / 'run', lambda key: jnp.zeros((2, 8, 8, 1)), 1)
    score = lambda a, b, **o: command.main(
        command.Config((a, b), extractor='pixels', measures=('frechet',), **{'samples': 20, **o})
    )
    for a, b, shapes, flags in (
        (real, small, '4 x 4 x 1 and .* 3 x 3 x 1', 'use --resize N'),
        (small, real, '3 x 3 x 1 and .* 4 x 4 x 1', 'use --resize N'),
        (real, str(tmp_path / 'run'), '4 x 4 x 1 and .* 8 x 8 x 1', 'use --resize N'),
        (colour, real, '4 x 4 x 3 and .* 4 x 4 x 1', 'use --channels 1 or 3'),
        (colour, small, '4 x 4 x 3 and .* 3 x 3 x 1', 'use --resize N and --channels 1 or 3'),
    ):
        with pytest.raises(InputError, match=f'cannot be compared: .*{shapes}; {flags}'):
            score(a, b)
        assert score(a, b, resize=4, channels=1)[0].value >= 0


def test_splits_and_versions_by_name():
    named = {
        'mnist': ('mnist', ''),
        'mnist:test': ('mnist', 'test'),
        'mnist:3.0.1': ('mnist:3.0.1', ''),
        'mnist:3.*': ('mnist:3.*', ''),
        'mnist:3.0.1:test': ('mnist:3.0.1', 'test'),
        'photos/birds:train': ('photos/birds', 'train'),
        'digits:test': ('digits', 'test'),
    }
    assert {text: sources.named_split(text) for text in named} == named


def test_a_folder_is_read_by_the_reader_of_training(tmp_path):
    write(tmp_path / 'f' / 'train', IMAGES[:10])
    write(tmp_path / 'f' / 'val', IMAGES[10:])
    read = lambda text, **o: np.concatenate(list(sources.batches(sources.open_source(text, **o), None)))
    path = str(tmp_path / 'f')
    np.testing.assert_array_equal(read(path), data.FolderSource(path, 4).load().images)
    np.testing.assert_array_equal(read(path, split='test'), IMAGES[10:])
    np.testing.assert_array_equal(read(f'{path}:val'), IMAGES[10:])
    np.testing.assert_array_equal(read(f'{path}/val', split='test'), IMAGES[10:])  # has no splits: it is all there is
    with pytest.raises(InputError, match="has no split 'test'; it has no folders train and test"):
        sources.open_source(f'{path}/val:test')
    with pytest.raises(InputError, match='no folder'):
        sources.open_source(f'{path}/none')


def line_of(capsys, monkeypatch, *flags):
    """The one line that the command prints before it exits with 2."""
    monkeypatch.setattr(sys, 'argv', ['metrics', *map(str, flags)])
    with pytest.raises(SystemExit) as stop:
        runs.run_main(program.main, program.Config)
    *before, line = capsys.readouterr().err.split('\r')[-1].strip().splitlines()
    assert stop.value.code == 2 and line.startswith('python -m gan_jax.metrics: ')
    assert all('image/s' in text for text in before)  # what a progress bar has shown
    return line


def test_flags_that_mean_nothing(tmp_path, capsys, monkeypatch):
    real, file = write(tmp_path / 'real', IMAGES), tmp_path / 'file'
    file.write_bytes(b'')
    for flags, message in (
        (['--batch-size', '0'], '--batch-size must be from 1 to 1000000, not 0'),
        (['--batch-size=-3'], '--batch-size must be from 1 to 1000000, not -3'),
        (['--seed=-1'], '--seed must be from 0 to 4294967295, not -1'),
        (['--seed', '99999999999999999999'], '--seed must be from 0 to'),
        (['--resize', '0'], '--resize must be from 1'),
        (['--resize', '0', '--protocol', 'fid5k'], '--resize must be from 1'),
        (['--reals=-2'], '--reals must be from 2 to 10000000, not -2'),
        (['--samples', '0', '--protocol', 'fid5k'], '--samples must be from 2'),
        (['--channels', '2'], "invalid choice '2'"),
        (['--json', tmp_path], f'{str(tmp_path)!r} is a folder'),
        (['--json', file / 'scores.json'], f'{file} is a file'),
        (['--measures', 'prdc:k=0'], 'k must be at least 1, not 0'),
        (['--measures', 'kernel_subsets:size=0'], 'size must be from 2'),
        (['--measures', 'kernel_subsets:subsets=0'], 'subsets must be at least 1, not 0'),
        (['--measures', 'score:splits=0'], 'splits must be at least 1, not 0'),
        (['--measures', 'score'], 'pixels does not predict classes'),
        (['--measures', 'prdc:k=30'], '30'),
    ):
        assert message in line_of(capsys, monkeypatch, real, real, '--extractor', 'pixels', *flags), flags


def test_files_that_are_damaged_empty_or_foreign(tmp_path, capsys, monkeypatch):
    real, run = write(tmp_path / 'real', IMAGES), tmp_path / 'run'
    sampler.save_sampler(run, draw, 1)
    whole = (run / 'sampler.bin').read_bytes()
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    sampler.export(tmp_path / 'other.bin', lambda x: x + 1, scalar)
    number = jax.ShapeDtypeStruct((), jnp.uint32)
    sampler.export(tmp_path / 'floats.bin', lambda seed, block: jnp.zeros((2, 4, 4, 1)), number, number)
    line = lambda *flags: line_of(capsys, monkeypatch, *flags, '--extractor', 'pixels')
    for content in (b'', b'expired', bytes(1000), whole[:200], whole[:-100], whole[100:]):
        (run / 'sampler.bin').write_bytes(content)
        assert f'cannot read {run}/sampler.bin: it is damaged, or too old' in line(real, run)
    for name in ('other', 'floats'):
        (run / 'sampler.bin').write_bytes((tmp_path / f'{name}.bin').read_bytes())
        assert 'is not a sampler' in line(real, run)
    np.savez(tmp_path / 'ok.npz', x=IMAGES)
    np.savez(tmp_path / 'mu.npz', mu=np.zeros(3))
    np.savez(tmp_path / 'text.npz', mu=np.array(['a']), sigma=np.array([['b']]))
    np.savez(tmp_path / 'objects.npz', x=np.array([{}], object))
    np.save(tmp_path / 'object.npy', np.array([{}], object))
    (tmp_path / 'cut.npz').write_bytes((tmp_path / 'ok.npz').read_bytes()[:300])
    (tmp_path / 'empty.npz').write_bytes(b'')
    (tmp_path / 'empty.npy').write_bytes(b'')
    (tmp_path / 'foreign.npz').write_bytes(b'\x89PNG\r\n')
    (tmp_path / 'folder.npz').mkdir()
    with zipfile.ZipFile(tmp_path / 'zip.npz', 'w') as other:
        other.writestr('a', 'b')
    expected = {
        'mu.npz': 'is not an npz file of statistics',
        'text.npz': 'is not an npz file of statistics',
        'objects.npz': 'cannot read',
        'object.npy': 'cannot read',
        'cut.npz': 'cannot read',
        'empty.npz': 'it is empty',
        'empty.npy': 'it is empty',
        'foreign.npz': 'cannot read',
        'zip.npz': 'its member a is not an array',
        'none.npz': 'No such file',
        'none.npy': 'No such file',
        'folder.npz': 'Is a directory',
    }
    for name, message in expected.items():
        assert message in line(tmp_path / name, real), name
        if 'mu' not in name and 'text' not in name:
            assert message in line(real, tmp_path / name), name


@pytest.mark.parametrize('name', ['digits', 'mnist'])
def test_a_run_that_is_called_as_a_data_set_is_must_be_a_path(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    (tmp_path / name / 'config.json').write_text('{}')
    with pytest.raises(InputError, match=rf'{name} is a data set, and a run in this folder: write \./{name} for the run'):
        sources.open_source(name)
    with pytest.raises(InputError, match='is a run without sampler'):
        sources.open_source(f'./{name}')
