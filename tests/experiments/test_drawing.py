"""Trained runs put to use: generate, interpolate, translate and export, from runs that were begun and not trained."""

import csv
import datetime
import json
import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import export, generate, interpolate, translate
from experiments.cyclegan import __main__ as cyclegan
from experiments.dcgan import __main__ as dcgan
from experiments.lapgan import __main__ as lapgan
from experiments.pix2pix import __main__ as pix2pix
from experiments.shared import generators as drawn_runs
from gan_jax import averages, codes, data, latents, runs
from gan_jax.data.reading import read_image
from gan_jax.errors import InputError
from gan_jax.files import new_folder
from gan_jax.keys import roots
from gan_jax.metrics import sources
from gan_jax.runs import generators, pictures, weights
from gan_jax.runs.advance import first_state
from gan_jax.runs.checkpoints import Checkpoints

TINY = {'dataset': 'digits', 'size': 8, 'width': 2, 'latent_size': 3, 'batch_size': 8}


def kept(config, study, state, steps):
    """A run's directory with checkpoints of a state, whose average is another at each step."""
    run = runs.RunDirectory(config)
    runs.describe(run, config, **study.known)
    with Checkpoints(run.path / 'checkpoints') as checkpoints:
        for step in steps:
            moved = jax.tree.map(lambda x, by=step / 100: x + by if x.dtype == jnp.float32 else x, state.ema)
            checkpoints.save(step, state.replace(step=jnp.int32(step), ema=moved))
    return run


@pytest.fixture(scope='module')
def gan(tmp_path_factory):
    """A DCGAN with checkpoints 1 and 2, and its state."""
    config = dcgan.Config(runs_dir=str(tmp_path_factory.mktemp('runs')), clusters=0, **TINY)
    study = dcgan.study(config)
    state = first_state(config, study, roots(0, 1))
    return kept(config, study, state, (1, 2)), study.generator, state


def pictures_in(folder):
    return np.stack([np.asarray(Image.open(file)) for file in sorted(folder.glob('*.png'))])


# Generate.


def test_generated_images_are_those_of_the_exported_sampler(gan, tmp_path):
    run, *_ = gan
    folder = generate.main(generate.Config(str(run.path), number=103, seed=5, out=str(tmp_path / 'out')))
    export.main(export.Config(str(run.path)))
    drawn = np.concatenate(list(sources.batches(sources.open_source(str(run.path), seed=5), 103)))
    np.testing.assert_array_equal(pictures_in(folder), drawn[..., 0])
    few = generate.main(generate.Config(str(run.path), number=3, seed=5, out=str(tmp_path / 'few')))
    np.testing.assert_array_equal(pictures_in(few), drawn[:3, ..., 0])
    assert len(list(few.iterdir())) == 4 and np.load(few / 'latents.npy').shape == (3, 3)


def test_a_checkpoint_draws_what_its_average_does(gan, tmp_path):
    run, generator, state = gan
    folder = generate.main(generate.Config(str(run.path), number=2, checkpoint=1, out=str(tmp_path / 'out')))
    moved = jax.tree.map(lambda x: x + 1 / 100 if x.dtype == jnp.float32 else x, state.ema)
    expected = data.to_uint8(generator.generate(moved, jnp.asarray(np.load(folder / 'latents.npy')), jnp.zeros(2, jnp.int32)))
    assert np.abs(pictures_in(folder).astype(int) - np.asarray(expected)[..., 0]).max() <= 1
    newest = generate.main(generate.Config(str(run.path), number=2, out=str(tmp_path / 'newest')))
    assert not np.array_equal(pictures_in(folder), pictures_in(newest))


def test_of_several_seeds_the_first_that_has_not_diverged_draws(tmp_path):
    config = dcgan.Config(runs_dir=str(tmp_path), seeds=3, clusters=0, **TINY)
    study = dcgan.study(config)
    state = first_state(config, study, roots(0, 3))
    lost = jax.tree.map(lambda x: x.at[0].set(np.nan) if x.dtype == jnp.float32 else x, state.discriminator)
    run = kept(config, study, state.replace(discriminator=lost), (1,))
    folder = generate.main(generate.Config(str(run.path), number=2, out=str(tmp_path / 'out')))
    second = jax.tree.map(lambda x: x[1] + 1 / 100 if x.dtype == jnp.float32 else x[1], state.ema)
    z = jnp.asarray(np.load(folder / 'latents.npy'))
    expected = data.to_uint8(study.generator.generate(second, z, jnp.zeros(2, jnp.int32)))
    assert np.abs(pictures_in(folder).astype(int) - np.asarray(expected)[..., 0]).max() <= 1


def test_an_average_of_another_width_is_reconstructed_from_every_checkpoint(tmp_path):
    config = dcgan.Config(runs_dir=str(tmp_path), seeds=2, ema_widths=(0.05, 0.1), clusters=0, **TINY)
    study = dcgan.study(config)
    state = first_state(config, study, roots(0, 2))
    run, seen = runs.RunDirectory(config), []
    runs.describe(run, config, **study.known)
    update = jax.vmap(lambda average, new, t: average.updated(new, t), (0, 0, None))
    with Checkpoints(run.path / 'checkpoints', keep=None) as checkpoints:
        checkpoints.save(0, state)  # as of a run that was stopped before its first step, which has no average yet
        for step in range(1, 6):
            moved = jax.tree.map(lambda x, by=step / 100: x + by if x.dtype == jnp.float32 else x, state.ema)
            state = state.replace(averages=tuple(update(average, moved, step) for average in state.averages))
            checkpoints.save(step, state.replace(step=jnp.int32(step)))
            seen += [(step, jax.tree.map(lambda x: x[0], average)) for average in state.averages]

    def loaded(width, checkpoint=None):
        return drawn_runs.load(run.path, 'generator', checkpoint, ema_width=width)

    def assert_close(found, expected):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)

    newest = loaded(0.1)
    assert newest.step == 5
    assert_close(newest.weights, seen[-1][1].average)
    assert_close(loaded(0.05, 3).weights, seen[4][1].average)
    known = [(at, (0.05, 0.1)[number % 2]) for number, (at, _) in enumerate(seen)]
    expected = averages.reconstructed(known, lambda numbers: (seen[i][1].average for i in numbers), 5, 0.2)
    assert_close(loaded(0.2).weights, expected)
    with pytest.raises(InputError, match='no snapshot of 0 updates'):
        loaded(0.2, 0)
    generate.main(generate.Config(str(run.path), number=2, ema_width=0.2, out=str(tmp_path / 'out')))
    export.main(export.Config(str(run.path), ema_width=0.2))
    _, exported = weights.load_weights(run.path / 'generator.safetensors')
    assert_close(exported, loaded(0.2).weights)


def test_a_run_without_averages_has_no_other_width(gan):
    with pytest.raises(InputError, match=r'requires a run with averages; .* was trained without --ema-widths'):
        drawn_runs.load(gan[0].path, 'generator', ema_width=0.1)


def test_own_latents_make_the_same_images_here_and_in_the_exported_generator(gan, tmp_path):
    run, *_ = gan
    first = generate.main(generate.Config(str(run.path), number=5, out=str(tmp_path / 'first')))
    z = np.load(first / 'latents.npy')
    np.save(tmp_path / 'z.npy', z[[4, 0]])
    again = generate.main(generate.Config(str(run.path), latents=str(tmp_path / 'z.npy'), out=str(tmp_path / 'again')))
    np.testing.assert_array_equal(pictures_in(again), pictures_in(first)[[4, 0]])
    export.main(export.Config(str(run.path)))
    exported = jax.export.deserialize(bytearray((run.path / 'generator.bin').read_bytes()))
    rows = np.zeros((generators.BLOCK, 3), np.float32)
    rows[:5] = z
    images = np.asarray(exported.call(rows, np.zeros(generators.BLOCK, np.int32)))[:5, ..., 0]
    np.testing.assert_array_equal(images, pictures_in(first))


def test_truncated_latents_lie_within_the_limit(gan, tmp_path):
    run, *_ = gan
    folder = generate.main(generate.Config(str(run.path), number=100, truncation=0.5, out=str(tmp_path / 'out')))
    z = np.load(folder / 'latents.npy')
    assert np.abs(z).max() <= 0.5 and z.std() == pytest.approx(0.2837, abs=0.03)
    # The deviation of a normal variable within +-t: 1 - 2 t phi(t) / (2 Phi(t) - 1) is its square, .0805 at t = .5.
    with pytest.raises(ValueError, match='above 0, got 0'):
        latents.truncated_normal(3, 0)


CONDITIONS = runs.Generator(
    latents.normal(2),
    lambda weights, z, which: jnp.broadcast_to(weights['level'][which][:, None, None, None], (len(z), 4, 4, 1)),
    ('dark', 'grey', 'a "bright" one, say'),
    (0.5, 0.25, 0.25),
)


def test_conditions_are_drawn_as_often_as_their_shares_and_told(monkeypatch, tmp_path):
    run = drawn_runs.Drawable(tmp_path, CONDITIONS, {'level': jnp.array([-1.0, 0.0, 1.0])}, 7)
    monkeypatch.setattr(drawn_runs, 'load', lambda *_, **__: run)
    folder = generate.main(generate.Config('run', number=400, out=str(tmp_path / 'out')))
    with open(folder / 'captions.csv', newline='') as file:
        (_, *rows) = csv.reader(file)
    named = [CONDITIONS.conditions.index(caption) for _, caption in rows]
    np.testing.assert_array_equal(pictures_in(folder)[:, 0, 0], np.array([0, 128, 255])[named])
    np.testing.assert_allclose(np.bincount(named) / 400, CONDITIONS.shares, atol=0.07)
    some = generate.main(generate.Config('run', number=50, of=('dark', 'grey'), out=str(tmp_path / 'some')))
    assert set(pictures_in(some)[:, 0, 0].tolist()) == {0, 128}
    with pytest.raises(InputError, match='run does not know \'gray\'; it knows dark, grey, a "bright" one'):
        generate.main(generate.Config('run', of=('gray',), out=str(tmp_path / 'none')))


STYLES = generators.Styles(
    lambda weights, z: jnp.exp(z),
    lambda weights, w, which: weights['scale'] * jnp.broadcast_to(w.sum(1)[:, None, None, None] / 16 - 1, (len(w), 4, 4, 1)),
    lambda weights: weights['mean'],
)
STYLED = runs.Generator(latents.normal(2), STYLES.generate, styles=STYLES)


def test_style_based_generators_are_truncated_in_w(monkeypatch, tmp_path):
    weights = {'scale': jnp.float32(1), 'mean': jnp.array([9.0, 3.0])}
    monkeypatch.setattr(drawn_runs, 'load', lambda *_, **__: drawn_runs.Drawable(tmp_path, STYLED, weights, 7))
    np.save(tmp_path / 'z.npy', z := np.array([[0.0, 1.0], [1.0, 2.0], [-1.0, 0.5]], np.float32))
    grey = lambda w: np.clip(np.rint(127.5 * w.sum(1) / 16), 0, 255)  # of the mean 95.6, of the latents about 30, 80 and 16
    for truncation in (None, 0.0, 0.5, 1.0):
        options = {'latents': str(tmp_path / 'z.npy'), 'truncation': truncation, 'out': str(tmp_path / f'{truncation}')}
        found = pictures_in(generate.main(generate.Config('run', **options)))[:, 0, 0]
        psi = 1.0 if truncation is None else truncation
        np.testing.assert_allclose(found, grey(weights['mean'] + psi * (np.exp(z) - weights['mean'])), atol=1)
    np.testing.assert_array_equal(pictures_in(tmp_path / 'None'), pictures_in(tmp_path / '1.0'))


SHOWN = lambda _, z, __: jnp.broadcast_to(z[:, None, None, :], (len(z), 4, 4, z.shape[1]))


def test_every_prior_of_independent_entries_is_truncated():
    drawn = lambda generator, limit: np.asarray(generator.sample(None, 4000, jax.random.key(0), truncation=limit))[:, 0, 0]
    for latent, prior, std in (
        (latents.normal(3), 'normal', 0.2837),
        (latents.uniform(3), 'uniform', 0.5 / 3**0.5),
        (latents.uniform(3, 0.0), 'uniform', 0.25 / 3**0.5),
    ):
        z = drawn(runs.Generator(latent, SHOWN, prior=prior), 0.5)
        assert np.abs(z).max() <= 0.5 and z.std() == pytest.approx(std, abs=0.01)
    np.testing.assert_array_equal(*(drawn(runs.Generator(latents.uniform(3), SHOWN, prior='uniform'), t) for t in (1.0, None)))
    joined = codes.joined([codes.uniform()] * 2, latents.normal(3))
    z = drawn(runs.Generator(joined, SHOWN, codes=2), 0.1)
    np.testing.assert_array_equal(z[:, :2], drawn(runs.Generator(joined, SHOWN, codes=2), None)[:, :2])
    assert np.abs(z[:, 2:]).max() <= 0.1 and abs(z.mean()) < 0.02
    clustered = runs.Generator(latents.clustered(3, 5), SHOWN, codes=5)
    z = drawn(clustered, 0.1)
    assert set(np.unique(z[:, :5])) == {0, 3} and np.abs(z[:, 5:]).max() <= 0.1
    for prior, limit, message in (
        ('mixture', 1.0, 'not to those of a mixture'),
        ('normal', 0.0, 'above 0'),
        ('normal', -1.0, 'above 0'),
    ):
        with pytest.raises(ValueError, match=message):
            runs.Generator(latents.normal(3), SHOWN, prior=prior).sample(None, 2, jax.random.key(0), truncation=limit)


def test_arcs_are_lines_between_codes():
    generator = runs.Generator(latents.normal(4), SHOWN, codes=1)
    a, b = jnp.array([-1.0, 2.0, 0.0, 0.0]), jnp.array([1.0, 0.0, 2.0, 0.0])
    np.testing.assert_allclose(generator.arc(a, b, jnp.float32(0.5)), [0, 2**0.5, 2**0.5, 0], atol=1e-6)


def test_paths_of_style_based_generators_are_lines_in_w(tmp_path):
    weights = {'scale': jnp.float32(1), 'mean': jnp.zeros(2)}
    trained = drawn_runs.Drawable(tmp_path, STYLED, weights, 7)
    space, arcs = drawn_runs.space_of(trained, None), drawn_runs.space_of(trained, 'arc')
    z = np.array([[0.0, 1.0], [1.0, 2.0]], np.float32)
    assert (space.way, arcs.way) == ('w', 'arc') and space.between is latents.lerp and arcs.between == STYLED.arc
    np.testing.assert_allclose(space.points(z), np.exp(z), rtol=1e-6)
    which = jnp.zeros(2, jnp.int32)
    expected = STYLED.generate(weights, z, which)
    for one in (space, arcs):
        np.testing.assert_allclose(one.trained.made.generate(weights, one.points(z), which), expected, rtol=1e-6)


def test_latents_of_all_levels_make_the_cascade(tmp_path):
    # One vector of all levels' latents, against the game's own cascade on what its keys draw.
    config = lapgan.Config(**{**TINY, 'halvings': 1, 'penalties': ()}, coarse_width=4, coarse_generator_width=4)
    game, generator = config.make_game(8, 1), config.generator(8, 1)
    variables = jax.jit(lambda key: game.init(jnp.zeros((1, 8, 8, 1)), key)[0])(jax.random.key(0))
    key = jax.random.key(1)
    drawn = [
        jax.vmap(latents.uniform(n))(jax.vmap(jax.random.fold_in, (None, 0))(k, jnp.arange(2)))
        for k, n in zip(jax.random.split(key), (64, 3), strict=True)
    ]
    expected = game.play(variables, jnp.zeros(2), key, train=False)[0][0]
    np.testing.assert_allclose(generator.generate(variables, jnp.concatenate(drawn, 1), None), expected, atol=1e-6)
    assert jax.eval_shape(generator.latent, key).shape == (67,) and generator.prior == 'uniform'


# Interpolate.


def test_a_film_comes_back_to_its_first_latents(gan, tmp_path):
    run, generator, _ = gan
    config = interpolate.Config(str(run.path), panels=3, points=2, steps=3, out=str(tmp_path / 'film.gif'))
    with Image.open(interpolate.main(config)) as film:
        assert film.n_frames == 6 and film.size == (2 * 66 + 2, 2 * 66 + 2)  # 3 panels of 8 x 8, enlarged, two in a row
        assert film.info['duration'] == 70  # the nearest hundredth to 1 / 15 of a second
    points, _ = interpolate.route(config, generator)
    assert points.shape == (3, 2, 3) and len(np.unique(points)) == 18
    with pytest.raises(InputError, match=r'film\.gif exists; choose another --out'):
        interpolate.main(config)
    np.save(tmp_path / 'z.npy', points[0])
    own = interpolate.Config(str(run.path), steps=1, latents=str(tmp_path / 'z.npy'))
    with Image.open(interpolate.main(own)) as film:
        assert film.size == (260, 260)  # one panel of 8 x 8, enlarged to 256
    assert (run.path / 'film.gif').exists()


# Translate.


def write(file, shape, seed=0):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(file)
    return file


def begun(config, study) -> runs.Trained:
    """A run of no step."""
    return runs.load(kept(config, study, first_state(config, study, roots(0, 1)), (0,)).path)


@pytest.fixture(scope='module')
def cycle(tmp_path_factory):
    """A CycleGAN between grey and coloured images of 8 x 8."""
    options = {'task': 'coloured', 'size': 8, 'width': 2, 'blocks': 1, 'batch_size': 4}
    config = cyclegan.Config(runs_dir=str(tmp_path_factory.mktemp('runs')), **options)
    return begun(config, cyclegan.study(config))


def test_a_cyclegan_translates_both_ways(cycle, tmp_path):
    files = [write(tmp_path / 'in/x.jpg', (10, 14, 3)), write(tmp_path / 'in/deep/y.png', (8, 8), 1)]
    for direction, side, channels, mode in ((None, 'a', 1, 'RGB'), ('b_to_a', 'b', 3, 'L')):
        out = tmp_path / str(direction)
        translate.main(translate.Config(str(cycle.path), str(tmp_path / 'in'), str(out), direction=direction))
        sources = {'a': np.zeros((2, 8, 8, 1), np.uint8), 'b': np.zeros((2, 8, 8, 3), np.uint8)}
        sources[side] = np.stack([read_image(file, 8, channels) for file in files])
        made = cycle.plays(sources, block=2)
        expected = np.asarray(data.to_uint8(made.fake_b if side == 'a' else made.fake_a))
        for name, image in zip(('x.png', 'deep/y.png'), expected, strict=True):
            with Image.open(out / name) as found:
                assert found.mode == mode
                assert np.abs(np.asarray(found).reshape(image.shape).astype(int) - image).max() <= 1
    one = translate.main(translate.Config(str(cycle.path), str(files[0]), str(tmp_path / 'one'), size=12))
    assert [file.name for file in one.iterdir()] == ['x.png'] and pictures_in(one).shape == (1, 12, 12, 3)


def test_a_pix2pix_translates_in_its_direction(tmp_path):
    for i in range(20):
        write(tmp_path / f'pairs/{i:02}.png', (9, 18, 3), i)
    options = {'size': 8, 'width': 2, 'receptive_field': 1, 'batch_size': 4, 'dropout': 0.0}
    config = pix2pix.Config(runs_dir=str(tmp_path), dataset=f'{tmp_path}/pairs', **options)
    trained = begun(config, pix2pix.study(config))
    file = write(tmp_path / 'in.png', (8, 8, 3))
    out = translate.main(translate.Config(str(trained.path), str(file), str(tmp_path / 'out')))
    expected = data.to_uint8(trained.translated(read_image(file, 8, 3)[None], block=1))[0]
    assert np.abs(np.asarray(Image.open(out / 'in.png')).astype(int) - np.asarray(expected)).max() <= 1
    with pytest.raises(InputError, match='has learned --direction b_to_a only, not a_to_b'):
        translate.main(translate.Config(str(trained.path), str(file), str(tmp_path / 'other'), direction='a_to_b'))


# What lasts.


def test_what_expired_is_rebuilt_from_the_weights_that_were_kept(gan, tmp_path, capsys):
    run, generator, state = gan
    copy = tmp_path / 'copy'
    copy.mkdir()
    (copy / 'config.json').write_text((run.path / 'config.json').read_text())
    own = runs.RunDirectory.__new__(runs.RunDirectory)
    own.resume = False
    own.path = copy
    runs.describe(own, dcgan.Config(), size=8, channels=1)
    runs.save_generator(own, generator, state.replace(step=jnp.int32(9)))
    before = {name: (copy / name).read_bytes() for name in ('sampler.bin', 'generator.bin')}
    for name in before:
        (copy / name).write_bytes(b'expired')
    export.main(export.Config(str(copy)))
    out = capsys.readouterr().out
    draw = lambda content: np.asarray(jax.export.deserialize(bytearray(content)).call(np.uint32(1), np.uint32(2)))
    np.testing.assert_array_equal(draw((copy / 'sampler.bin').read_bytes()), draw(before['sampler.bin']))
    noted = json.loads((copy / 'generator.json').read_text())
    exported, until = (datetime.date.fromisoformat(noted[name]) for name in ('exported', 'readable_until'))
    assert (until - exported).days == 180 and noted['step'] == 9 and noted['experiment'] == 'experiments.dcgan'
    assert out.count(f'readable until {until}; python -m experiments.export {copy} updates them') == 2 and 'step 9' in out


def test_weights_come_back_whatever_their_names(tmp_path):
    written = {'params': {'WeightNorm_0': {'Dense_1/kernel/scale': np.arange(3.0)}}, 'count': {'n': np.int32(4)}}
    weights.save_weights(tmp_path / 'w', written, 12)
    step, found = weights.load_weights(tmp_path / 'w')
    assert step == 12 and jax.tree.structure(found) == jax.tree.structure(written)
    jax.tree.map(np.testing.assert_array_equal, found, written)


# What is refused.


def line_of(capsys, monkeypatch, tool, *flags) -> str:
    """The one line that the command prints before it exits with 2."""
    monkeypatch.setattr(sys, 'argv', ['tool', *map(str, flags)])
    with pytest.raises(SystemExit) as stop:
        runs.run_main(tool.main, tool.Config)
    line = capsys.readouterr().err.split('\r')[-1].strip()  # whatever a progress bar has shown before
    assert stop.value.code == 2 and len(line.splitlines()) == 1, line
    return line


@pytest.mark.filterwarnings('default')
def test_runs_that_cannot_be_drawn_with(capsys, monkeypatch, tmp_path, gan, cycle):
    (run, *_), other = gan, cycle
    line = lambda *flags: line_of(capsys, monkeypatch, generate, *flags, '--out', tmp_path / 'out')
    assert f'there is no run {tmp_path}/none' in line(tmp_path / 'none')
    bare = tmp_path / 'bare'
    bare.mkdir()
    assert 'is not a run: it does not contain config.json' in line(bare)
    (bare / 'config.json').write_text((run.path / 'config.json').read_text())
    assert 'is not a run that generates images: it does not contain generator.json' in line(bare)
    (bare / 'below').mkdir()
    (bare / 'below/generator.json').write_text('{}')
    assert f'it contains the runs {bare}/below' in line(bare)
    described = json.loads((run.path / 'generator.json').read_text())
    for content, message in (
        ('{"experiment', 'generator.json is damaged'),
        ('[]', 'generator.json is damaged'),
        (json.dumps({**described, 'experiment': 'os'}), "names 'os', which is not an experiment"),
        (json.dumps({**described, 'experiment': 'experiments.nope'}), 'which this version does not have'),
        (json.dumps({**described, 'data': {'side': 8}}), 'generator.json was written by another version'),
        (json.dumps(described), 'has no checkpoint yet'),
    ):
        (bare / 'generator.json').write_text(content)
        assert message in line(bare)
    (bare / 'generator.safetensors').write_bytes(b'nothing')
    assert 'cannot read' in line(bare) and 'generator.safetensors' in line(bare)
    assert 'has no checkpoint of step 7; available steps are 1, 2' in line(run.path, '--checkpoint', '7')
    assert 'its images are made by python -m experiments.translate' in line(other.path)
    assert not (tmp_path / 'out').exists()


@pytest.mark.filterwarnings('default')
@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--number', '0'], '--number must be from 1 to 10000000, not 0'),
        (['--seed', '-1'], '--seed must be from 0 to'),
        (['--seed', '99999999999999999999'], '--seed must be from 0 to'),
        (['--truncation', '0'], 'truncation must be above 0, not 0.0'),
        (['--truncation', 'nan'], '--truncation must be at least 0, not nan'),
        (['--of', '3'], '--of requires a run with labels or captions'),
        (['--latents', 'none.npy'], 'cannot read none.npy: No such file'),
        (['--latents', 'z.npy', '--number', '3'], 'cannot be combined with --latents'),
        (['--latents', 'z.npy', '--truncation', '1'], 'not to those of --latents'),
        (['--latents', 'wide.npy'], 'wide.npy has [2, 4] float64; latents of'),
        (['--latents', 'nan.npy'], 'nan.npy has [3] float64; latents of'),
        (['--latents', 'text.npy'], 'text.npy has [3] <U1; latents of'),
        (['--latents', 'several.npz'], 'several.npz holds 2 arrays (a, b); latents are a single array'),
        (['--latents', '.'], 'cannot read .: Is a directory'),
        (['--out', 'full'], 'full exists and is not empty'),
        (['--out', 'z.npy'], 'z.npy exists and is a file'),
        (['--out', 'z.npy/below'], 'cannot create the folder'),
    ],
)
def test_generate_on_bad_input(capsys, monkeypatch, tmp_path, gan, flags, message):
    monkeypatch.chdir(tmp_path)
    np.save('z.npy', np.zeros((2, 3)))
    np.save('wide.npy', np.zeros((2, 4)))
    np.save('nan.npy', np.array([0, np.nan, 0]))
    np.save('text.npy', np.array(['a', 'b', 'c']))
    np.savez('several.npz', a=np.zeros(3), b=np.zeros(3))
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full/mine.txt').write_text('keep')
    before = sorted(tmp_path.rglob('*'))
    out = [] if '--out' in flags else ['--out', 'out']
    assert message in line_of(capsys, monkeypatch, generate, gan[0].path, *flags, *out)
    assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.filterwarnings('default')
@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--panels', '0'], '--panels must be from 1 to 1000, not 0'),
        (['--points', '1'], '--points must be from 2 to 1000, not 1'),
        (['--steps', '0'], '--steps must be from 1 to 1000, not 0'),
        (['--rate', 'nan'], '--rate must be from 0.01 to 50, not nan'),
        (['--rate', '99'], '--rate must be from 0.01 to 50'),
        (['--out', 'film.mp4'], '--out must be a .gif, not film.mp4'),
        (['--way', 'detour'], "invalid choice 'detour'"),
        (['--way', 'w'], '--way w requires a style-based generator'),
        (['--latents', 'one.npy'], 'one.npy has one latent'),
    ],
)
def test_interpolate_on_bad_input(capsys, monkeypatch, tmp_path, gan, flags, message):
    monkeypatch.chdir(tmp_path)
    np.save('one.npy', np.zeros(3))
    assert message in line_of(capsys, monkeypatch, interpolate, gan[0].path, *flags)


@pytest.mark.filterwarnings('default')
def test_translate_on_bad_input(capsys, monkeypatch, tmp_path, gan, cycle):
    monkeypatch.chdir(tmp_path)
    run = cycle.path
    line = lambda *flags: line_of(capsys, monkeypatch, translate, *flags)
    write(tmp_path / 'in/x.png', (8, 8))
    assert 'its images are made by python -m experiments.generate' in line(gan[0].path, 'in', 'out')
    assert 'there is no folder or image nowhere' in line(run, 'nowhere', 'out')
    (tmp_path / 'empty').mkdir()
    assert 'no images in empty' in line(run, 'empty', 'out')
    assert 'image size 6 is not supported' in line(run, 'in', 'out', '--size', '6')
    assert '--size must be from 1 to 8192, not 0' in line(run, 'in', 'out', '--size', '0')
    assert 'in exists and is not empty' in line(run, 'in', 'in')
    write(tmp_path / 'in/x.jpg', (8, 8))
    assert 'in/x.jpg and in/x.png would both be translated to x.png' in line(run, 'in', 'out')
    (tmp_path / 'in/x.jpg').unlink()
    (tmp_path / 'in/y.png').write_bytes(b'\x89PNG')  # found when x has been translated
    assert 'cannot read image in/y.png' in line(run, 'in', 'out')
    assert 'cannot read image in/y.png' in line(run, 'in/y.png', 'out')
    assert sorted(file.name for file in tmp_path.iterdir()) == ['empty', 'in']


def test_a_folder_is_whole_or_not_there(tmp_path):
    with pytest.raises(RuntimeError), new_folder(tmp_path / 'a') as folder:
        (folder / 'half').write_text('x')
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    (tmp_path / 'a').mkdir()
    with new_folder(tmp_path / 'a') as folder:
        (folder / 'whole').write_text('x')
    assert [file.name for file in (tmp_path / 'a').iterdir()] == ['whole'] and len(list(tmp_path.iterdir())) == 1


def test_a_generator_that_is_not_finite_is_refused(tmp_path):
    config = dcgan.Config(runs_dir=str(tmp_path), clusters=0, **TINY)
    run = runs.RunDirectory(config)
    runs.describe(run, config, size=8, channels=1)
    weights.save_weights(run.path / generators.WEIGHTS, {'params': {'w': np.array([1, np.nan])}}, 3)
    with pytest.raises(InputError, match='is not finite at step 3: the run has diverged'):
        generate.main(generate.Config(str(run.path), out=str(tmp_path / 'out')))


def test_a_new_folder_may_be_a_link_and_is_of_one_process(tmp_path):
    (tmp_path / 'big').mkdir()
    (tmp_path / 'out').symlink_to(tmp_path / 'big')
    (tmp_path / 'big/.big.999999999.part').mkdir()  # of a process that was killed
    with new_folder(tmp_path / 'out') as folder:
        (folder / 'a.png').write_text('a')
    assert (tmp_path / 'out').is_symlink() and [file.name for file in (tmp_path / 'big').iterdir()] == ['a.png']
    with new_folder(tmp_path / 'new') as mine:
        theirs = mine.with_name(f'.new.{os.getppid()}.part')
        theirs.mkdir()
        (theirs / 'b.png').write_text('b')
        with new_folder(tmp_path / 'other'):
            pass
        (mine / 'a.png').write_text('a')
    assert [file.name for file in (tmp_path / 'new').iterdir()] == ['a.png'] and (theirs / 'b.png').exists()


def test_a_slow_film_has_the_longest_pause_that_a_gif_can_have(tmp_path):
    pictures.save_film(tmp_path / 'a.gif', [np.zeros((4, 4, 1), np.uint8), np.ones((4, 4, 1), np.uint8)], 1e-4)
    with Image.open(tmp_path / 'a.gif') as film:
        assert film.n_frames == 2 and film.info['duration'] == 655_350
