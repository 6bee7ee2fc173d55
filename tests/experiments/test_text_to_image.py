"""Text to image from its command line: runs, what is said to bad input, and captions of one's own."""

import dataclasses
import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from study_checks import check_seeds

from experiments.text_to_image import __main__ as text_to_image
from experiments.text_to_image import caption_vectors, captioned, report, say
from gan_jax import data, runs, text
from gan_jax.data import captioned_digits as scenes
from gan_jax.errors import InputError
from gan_jax.runs import run_main

TINY = {
    'steps': 2, 'width': 2, 'd_width': 2, 'text_features': 3, 'latent_size': 3, 'batch_size': 8, 'samples': 30,
    'sample_every': 1, 'penalties': (), 'schedule': 'constant',
}  # fmt: skip


def folder(path, captions):
    path.mkdir()
    rows = ['file,caption']
    for i, caption in enumerate(captions):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (12, 14, 3), np.uint8)).save(path / f'{i}.png')
        rows += [f'{i}.png,{caption}', f'{i}.png,again {caption}']
    (path / 'captions.csv').write_text('\n'.join(rows))
    return path


def small(tmp_path, **options) -> text_to_image.Config:
    of_folders = {'size': 8, 'held_out': 2} if 'data' in options else {}
    return text_to_image.Config(runs_dir=str(tmp_path / 'runs'), **{**TINY, **of_folders, **options})


@pytest.mark.slow
def test_a_folder_from_training_to_a_caption_of_ones_own(tmp_path, capsys, monkeypatch):
    images = folder(tmp_path / 'images', [f'cat number {i}' for i in range(10)])
    config = small(tmp_path, data=str(images), method='cls_int', averaged=2, seeds=2, memory_limit=0, unroll_steps=1)
    config = dataclasses.replace(config, encoder_steps=2, encoder_size=4)
    assert text_to_image.main(config) == {'seeds': [{}, {}], 'figures': {}}
    run = tmp_path / 'runs/text_to_image'
    assert {path.name for path in run.iterdir()} >= {'config.json', 'encoder.npz', 'samples.png', 'samples.gif', 'results.json'}
    assert 'words that the text encoder does not know, read as one' in capsys.readouterr().out  # those of what is held out
    file = say.main(say.Config(str(run), ('a pink dragon, again', 'cat')))
    assert file.parent == run / 'said' and re.fullmatch(r'a_pink_dragon_again_[0-9a-f]{8}\.png', file.name)
    with Image.open(file) as picture:
        assert picture.size[0] > 100
    out = capsys.readouterr().out
    assert out.count('dragon') == 2 and str(file) in out and 'at step 2' in out  # told once, and in the file's name
    assert say.main(say.Config(str(run), ('a pink dragon, again', 'cat'), seed=1)) != file
    with pytest.raises(InputError, match=r"caption '\.\.\.' has no words"):
        say.main(say.Config(str(run), ('...',)))
    with pytest.raises(InputError, match='already contains this run'):  # before an encoder is learned
        monkeypatch.setattr(captioned, 'learned_encoder', None)
        text_to_image.main(config)
    text_to_image.main(dataclasses.replace(config, resume=True, steps=3))  # by the encoder that it has
    assert 'resumed' in capsys.readouterr().out


@pytest.mark.slow
def test_seeds_go_on_and_are_what_they_are_alone(tmp_path):
    images = folder(tmp_path / 'images', [f'cat number {i}' for i in range(10)])

    def train(config):
        found = captioned.load(config)
        return runs.train(config, text_to_image.study_of(config, found, captioned.fixed_encoder(config, found.train)))

    options = {'encoder': 'bag_of_words', 'optimizers': 'improved_gan', 'sample_every': 100}
    check_seeds(train, small(tmp_path, data=str(images), **options))


def test_scores_are_in_the_features_of_a_classifier_of_the_digit(monkeypatch, tmp_path):
    drawn = data.captioned_scenes(data.load('digits'), 50, seed=3)
    monkeypatch.setattr(captioned.image_gan, 'judge', lambda name, images: (name, images))
    name, images = captioned.judge(small(tmp_path), drawn.data)
    assert name == 'captioned digits'
    np.testing.assert_array_equal(images.labels, drawn.scenes[:, 0])
    np.testing.assert_array_equal(images.images, drawn.data.images)


class OfTheDigit:
    """A judge that knows the digit."""

    def __init__(self, labels):
        self.labels = labels

    def probabilities(self, images):
        return np.eye(10)[self.labels]


@pytest.mark.slow
def test_captioned_digits(tmp_path, capsys, monkeypatch):
    class Zero:
        probabilities = staticmethod(lambda images: np.eye(10)[np.zeros(len(images), int)])

    monkeypatch.setattr(report, 'train_judge', lambda digits, name: Zero)
    results = text_to_image.main(small(tmp_path, steps=1, encoder='bag_of_words', scenes=100, samples=100))
    assert set(results) == {'samples seen', 'real seen', 'samples unseen', 'real unseen'}
    for name in ('colour', 'position', 'size'):
        assert results['real seen'][name] > 0.98 and results['real unseen'][name] > 0.98
    for values in results.values():
        assert values['digit'] < 0.3 and values['all four'] <= min(values.values())
    assert json.loads((tmp_path / 'runs/text_to_image/results.json').read_text()) == results
    assert 'by chance' in capsys.readouterr().out


def test_pixels_tell_colour_position_and_size():
    drawn = data.captioned_scenes(data.load('digits', split='test'), 400, seed=9)
    found = report.read_scenes(OfTheDigit(drawn.scenes[:, 0]), drawn.data.images)
    assert ((found == drawn.scenes).mean(0) >= [1, 0.995, 0.995, 0.995]).all()
    moved = np.roll(drawn.data.images[drawn.scenes[:, 2] == list(scenes.POSITIONS).index('top left')], 14, axis=2)
    assert (report.read_scenes(OfTheDigit(np.zeros(len(moved), int)), moved)[:, 2] == 1).all()  # top right
    assert report.read_scenes(OfTheDigit([0]), np.zeros((1, 32, 32, 3), np.uint8)).shape == (1, 4)  # nothing at all


def with_captions(captions, wrong=None):
    n = len(captions)
    return data.Captioned(np.zeros((n, 1, 1, 3), np.uint8), captions, np.arange(n, dtype=np.int32), wrong)


def test_a_step_sees_one_of_the_wrong_captions():
    encoder = text.bag_of_words(['a b c d e f'])
    vectors = caption_vectors.caption_vectors(encoder, with_captions([['a'], ['b']], [['c', 'd'], ['e', 'f']]))
    assert vectors['wrong'].shape == (2, 2, encoder.size)
    example = {name: jnp.asarray(value[1]) for name, value in vectors.items()} | {'image': jnp.zeros(1), 'label': jnp.int32(1)}
    draw = jax.jit(jax.vmap(lambda key: caption_vectors.one_text(example, key, 1)['mismatched']))
    share = (np.asarray(draw(jax.random.split(jax.random.key(0), 300))) > 0).mean(0)
    assert (share[:-2] == 0).all() and np.abs(share[-2:] - 0.5).max() < 0.1  # a to d never, e and f


def test_a_step_sees_the_mean_of_captions_drawn_without_replacement():
    encoder = text.bag_of_words(['a b c d'])
    vectors = caption_vectors.caption_vectors(encoder, with_captions([['a', 'b', 'c'], ['d']]))
    assert vectors['texts'].shape == (2, 3, encoder.size) and vectors['captions'].tolist() == [3, 1]
    example = {'image': jnp.zeros(1), 'label': jnp.int32(0), 'texts': jnp.asarray(vectors['texts'][0]), 'captions': jnp.int32(3)}
    draw = jax.jit(lambda averaged, keys: jax.vmap(lambda key: caption_vectors.one_text(example, key, averaged)['text'])(keys))
    keys = jax.random.split(jax.random.key(0), 300)
    one, two, all_three = (np.asarray(draw(n, keys))[:, 1:4] / encoder.size**0.5 for n in (1, 2, 5))
    assert (np.sort(one, 1) == [0, 0, 1]).all() and np.abs(one.mean(0) - 1 / 3).max() < 0.1
    np.testing.assert_allclose(np.sort(two, 1), [[0, 0.5, 0.5]] * 300, atol=1e-6)
    np.testing.assert_allclose(all_three, 1 / 3, atol=1e-6)
    short = {**example, 'texts': jnp.asarray(vectors['texts'][1]), 'captions': jnp.int32(1)}
    for key in keys[:5]:
        np.testing.assert_array_equal(caption_vectors.one_text(short, key, 2)['text'], vectors['texts'][1, 0])


@pytest.mark.filterwarnings('default')
@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--method', 'clss'], "unknown method 'clss'; did you mean cls"),
        (['--encoder', 'jont'], "unknown encoder 'jont'; known: joint, bag_of_words, or a file"),
        (['--encoder', 'none.npz', '--scenes', '8', '--batch-size', '8'], r'cannot read none\.npz'),
        (['--data', 'nothing'], "--data 'nothing' is neither a folder nor one of captioned_digits"),
        (['--data', './nothing'], 'no folder nothing'),
        (['--data', 'oxford_flowers102'], 'requires --captions'),
        (['--mismatches', 'nearly'], "unknown mismatches 'nearly'; known: any, near"),
        (['--data', '.', '--mismatches', 'near'], "unknown mismatches 'near'; known: any"),
        (['--method', 'gan', '--mismatches', 'any'], '--mismatches applies to cls and cls_int, not to gan'),
        (['--size', '64'], 'captioned digits have 32 pixels, not 64'),
        (['--data', '.', '--size', '28'], 'image size 28 is not supported'),
        (['--width', '0'], '--width must be from 1 to 65536'),
        (['--method', 'int', '--batch-size', '4'], 'captions are interpolated in pairs; --batch-size 4'),
        (['--augmentations', 'packing'], 'packing joins images of different texts'),
        (['--data', '.', '--score-every', '1'], '--score-every requires captioned digits'),
        (['--scenes', '8', '--batch-size', '16'], 'batch size 16 is more than the 8 examples'),
        (['--init-from', 'nowhere', '--scenes', '16'], 'nowhere has no checkpoint yet'),
        (['--say', 'a seven'], r'--say is now python -m experiments.text_to_image.say RUN CAPTION \.\.\.'),
    ],
)
def test_bad_input_gets_one_line(flags, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['text_to_image', *flags])
    with pytest.raises(SystemExit) as stop:
        run_main(text_to_image.main, text_to_image.Config)
    line = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and len(line.splitlines()) == 1 and re.search(message, line), line
    assert not list(tmp_path.iterdir())  # nothing half-written


def test_what_cannot_be_said(tmp_path):
    with pytest.raises(InputError, match='nowhere is not a run: it does not contain config'):
        say.main(say.Config(str(tmp_path / 'nowhere'), ('a seven',)))


def test_a_folder_has_to_leave_something_to_learn_from(tmp_path):
    images = folder(tmp_path / 'images', ['a', 'b'])
    with pytest.raises(InputError, match='--held-out 2 of 2 labels leaves nothing'):
        text_to_image.main(small(tmp_path, data=str(images)))
    assert not (tmp_path / 'runs').exists()


def test_broken_images_are_left_out_and_counted(tmp_path, capsys):
    images = folder(tmp_path / 'images', ['a', 'b', 'c', 'd'])
    (images / '2.png').write_bytes(b'')
    train, unseen = captioned.load(small(tmp_path, data=str(images), skip_broken=True))
    assert sorted([*train.captions, *unseen.captions]) == [[name, f'again {name}'] for name in 'abd']
    said = f'3 images with 6 captions, of which 2 images are held out; unreadable files left out: 1 (first: {images}/2.png)\n'
    assert capsys.readouterr().out == f'{images}: {said}'
    with pytest.raises(InputError, match=r'cannot read image .*2\.png'):
        captioned.load(small(tmp_path, data=str(images)))
