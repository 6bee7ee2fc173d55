"""A film and a sheet of several runs, from pictures that lie in their directories."""

import json

import numpy as np
import pytest
from PIL import Image

from experiments import showcase
from gan_jax.errors import InputError
from gan_jax.runs import pictures


def a_run(path, steps, picture):
    """A run with a picture `picture(step)` of each step."""
    path.mkdir(parents=True)
    (path / 'config.json').write_text(json.dumps({}))
    for step in steps:
        pictures.save_picture(path / f'samples/step_{step:07d}.png', picture(step))
    return str(path)


def grid(step):
    """64 black images of 6 pixels: 8 * (6 + 2) + 2 = 66 pixels a side."""
    return pictures.image_grid(np.full((64, 6, 6, 1), min(step, 200), np.uint8))


def plain(step):
    """A picture without gaps, twice as wide as high, whose grey level is its step."""
    return np.full((50, 100, 3), min(step, 254), np.uint8)


def test_a_grid_is_cut_between_its_images_and_other_pictures_shrink():
    whole = np.repeat(grid(0), 3, -1)
    assert showcase.fitted(whole, 66) is whole
    # The first gap and k images with theirs are 2 + 8 k pixels.
    assert [showcase.fitted(whole, side).shape for side in (30, 34, 65)] == [(26, 26, 3), (34, 34, 3), (65, 65, 3)]
    assert showcase.fitted(plain(9), 20).shape == (10, 20, 3) and (showcase.fitted(plain(9), 20) == 9).all()


def test_points_are_drawn_where_they_lie(tmp_path):
    path = tmp_path / 'ring'
    a_run(path, (5,), plain)
    (path / 'config.json').write_text(json.dumps({'data': 'ring_veegan'}))  # radius 1, of which pictures reach to 1.4
    (path / 'points').mkdir()
    (path / 'points/0000005.json').write_text(json.dumps([[0.77, 0.77]] * 9 + [[9.0, 0.0]]))
    (file,) = showcase.drawn_by(path)
    light = showcase.cloud(file, 40)
    assert light.shape == (40, 40, 3)
    # Of 20 bins of .14, two pixels each: (.77 + 1.4) / .14 = 15.5 from the left, and (1.4 - .77) / .14 = 4.5 from above.
    assert {tuple(x) for x in np.argwhere(light[..., 0]).tolist()} == {(8, 30), (8, 31), (9, 30), (9, 31)}
    assert showcase.main(showcase.Config((str(path),), str(tmp_path / 'sheet.png'), side=40)).exists()


def test_a_film_goes_from_every_runs_first_picture_to_its_last(tmp_path):
    names = [a_run(tmp_path / 'runs/a', (0, 50, 100), plain), a_run(tmp_path / 'runs/b', range(0, 250, 10), plain)]
    out = showcase.main(showcase.Config(tuple(names), str(tmp_path / 'film.gif'), side=100, frames=3))
    with Image.open(out) as film:
        frames = [np.asarray((film.seek(i), film.convert('RGB'))[1]) for i in range(film.n_frames)]
    width = 2 * (100 + 4) + 4
    assert {x.shape for x in frames} == {(100 + showcase.TITLE + 8, width, 3)}
    middle = 4 + showcase.TITLE + 20
    levels = [(int(x[middle, 50, 0]), int(x[middle, 150, 0])) for x in frames[:3]]
    np.testing.assert_allclose(levels, [(0, 0), (50, 120), (100, 240)], atol=3)  # a GIF has 256 colours


def test_a_sheet_has_the_last_pictures_in_rows(tmp_path):
    names = [a_run(tmp_path / f'runs/{name}', (0, 10), plain) for name in 'abc']
    out = showcase.main(showcase.Config(tuple(names), str(tmp_path / 'sheet.png'), side=100, columns=2))
    sheet = np.asarray(Image.open(out))
    assert sheet.shape == (2 * (100 + showcase.TITLE + 4) + 4, 2 * 104 + 4, 3)
    assert (sheet[4 + showcase.TITLE + 20, 50] == 10).all()
    assert (sheet[4 + showcase.TITLE + 104 + showcase.TITLE + 20, 150] == 255).all()  # there is no fourth run


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'out': 'film.mp4'}, r'--out must end in .gif or .png'),
        ({'runs': ('nowhere',)}, 'nowhere is not a run'),
        ({'runs': ('empty',)}, 'no pictures in empty/samples'),
        ({'runs': ('torn',)}, 'cannot read torn/samples/step_0000000.png'),
        ({'runs': ('one', 'other/one')}, 'the same name'),
    ],
)
def test_what_cannot_be_composed_is_refused(change, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a_run(tmp_path / 'empty', (), plain)
    for name in ('one', 'other/one', 'torn'):
        a_run(tmp_path / name, (0,), plain)
    (tmp_path / 'torn/samples/step_0000000.png').write_bytes(b'')
    with pytest.raises(InputError, match=message):
        showcase.main(showcase.Config(**{'runs': ('one',), 'out': 'sheet.png'} | change))
    assert not list(tmp_path.glob('*.png'))
