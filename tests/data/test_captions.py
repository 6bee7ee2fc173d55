"""Images with captions: digits in colours and places, folders with a CSV, and data sets with a folder of text files."""

import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from gan_jax import data
from gan_jax.data import captioned_digits as scenes
from gan_jax.data.captions import FILE_NAMES, captioned_source
from gan_jax.errors import InputError


@pytest.fixture(scope='module')
def digits():
    return data.load('digits')


def test_scenes_show_what_their_captions_say(digits):
    found = data.captioned_scenes(digits, 300, seed=0)
    images = found.data.images
    assert images.shape == (300, 32, 32, 3) and images.dtype == np.uint8
    for image, captions, (digit, colour, position, size) in zip(images, found.data.captions, found.scenes, strict=True):
        drawn = image.max(-1) > 90
        rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
        extent = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
        side = list(scenes.SIZES.values())[size]
        assert side - 1 <= extent <= side
        middle = np.array([rows[[0, -1]].mean(), columns[[0, -1]].mean()])
        assert np.abs(middle - list(scenes.POSITIONS.values())[position]).max() <= 2
        shade = image[drawn].mean(0)
        palette = np.array(list(scenes.COLOURS.values()))
        assert (shade @ palette.T / np.linalg.norm(palette, axis=1)).argmax() == colour
        assert len(set(captions)) == 5 and all(list(scenes.COLOURS)[colour] in caption for caption in captions)
        assert all(scenes.DIGITS[digit] in caption or str(digit) in caption for caption in captions)


def test_the_plain_caption():
    assert scenes.caption(np.array([7, 0, 0, 1])) == 'a large red seven, top left'
    assert scenes.caption(np.array([0, 5, 4, 0]), phrasing=2) == 'centre: a small white zero'


def test_combinations_are_held_out_and_every_other_is_seen(digits):
    rng = np.random.default_rng(0)
    seen, unseen = (scenes.draw_scenes(20_000, rng, unseen=unseen) for unseen in (False, True))
    pairs = lambda rows: set(map(tuple, rows[:, :2].tolist()))
    assert not pairs(seen) & pairs(unseen) and len(pairs(seen)) == 50 and len(pairs(unseen)) == 10
    assert len(np.unique(seen, axis=0)) == 500 and len(np.unique(unseen, axis=0)) == 100
    assert {digit for digit, _ in pairs(unseen)} == set(range(10)) and {colour for _, colour in pairs(unseen)} == set(range(6))
    found = data.captioned_scenes(digits, 50, seed=3, unseen=True)
    assert pairs(found.scenes) <= pairs(unseen)


def test_scenes_are_drawn_by_the_seed_and_labelled_by_combination(digits):
    a, b, c = (data.captioned_scenes(digits, 40, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a.data.images, b.data.images)
    assert a.data.captions == b.data.captions and a.data.captions != c.data.captions
    alike = (a.scenes[:, None] == a.scenes).all(-1)
    np.testing.assert_array_equal(a.data.labels[:, None] == a.data.labels, alike)


def test_wrong_captions_are_true_but_for_one_attribute(digits):
    rng = np.random.default_rng(0)
    shown = scenes.draw_scenes(3000, rng, unseen=False)
    for attribute, values in enumerate((10, 6, 5, 2)):
        others = scenes.change(shown, attribute, rng)
        np.testing.assert_array_equal((others != shown).nonzero()[1], attribute)
        assert (others != shown).sum() == 3000 and not scenes.is_held_out(others).any()
        assert len(np.unique(others[:, attribute])) == values
    found = data.captioned_scenes(digits, 40, seed=0)
    names = [list(table) for table in (scenes.DIGITS, scenes.COLOURS)]
    assert found.data.wrong is not None and len(found.data.wrong) == 40
    for (digit, colour, _, _), wrong in zip(found.scenes, found.data.wrong, strict=True):
        tells = [{names[0][digit], str(digit)} & set(re.findall(r'\w+', caption)) != set() for caption in wrong]
        coloured = [names[1][colour] in caption for caption in wrong]
        assert tells == [False, True, True, True] and coloured == [True, False, True, True]
    assert data.captioned_scenes(digits, 4, seed=0, unseen=True).data.wrong is None
    assert found.data.take(np.array([3, 1])).wrong == [found.data.wrong[3], found.data.wrong[1]]


def test_ink_fills_the_square():
    image = np.zeros((8, 8, 1), np.uint8)
    image[1:7, 3:5] = 200
    cut = scenes.ink(image, 6)
    assert cut.shape == (6, 6, 1) and (cut[:, 2:4] == 200).all() and not cut[:, :2].any() and not cut[:, 4:].any()
    with pytest.raises(InputError, match='blank'):
        scenes.ink(np.zeros_like(image), 6)


def test_digits_that_are_none_are_refused(digits):
    for bad in (digits._replace(labels=None), digits._replace(labels=digits.labels + 1)):
        with pytest.raises(InputError, match='labelled 0 to 9'):
            data.captioned_scenes(bad, 2, seed=0)


# Folders.


def write(folder: pathlib.Path, rows: str, images: dict[str, int]) -> pathlib.Path:
    for name, value in images.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((10, 14, 3), value, np.uint8)).save(folder / name)
    (folder / 'captions.csv').write_text(rows)
    return folder


def test_a_folder_with_a_csv(tmp_path):
    rows = 'image,number,caption\nb.png,0,"A dog, running."\na.png,0,a cat\n\nb.png,1, two dogs \n'
    found = data.captioned_folder(write(tmp_path, rows, {'images/b.png': 20, 'a.png': 10, 'c.png': 30}), 8)
    assert found.captions == [['A dog, running.', 'two dogs'], ['a cat']]
    assert found.images.shape == (2, 8, 8, 3) and found.images[:, 0, 0, 0].tolist() == [20, 10]
    assert found.labels.tolist() == [0, 1]
    assert found.take(np.array([1])).captions == [['a cat']]


def test_images_that_cannot_be_read_are_left_out_with_their_captions(tmp_path):
    rows = 'file,caption\na.png,a cat\nb.png,a dog\na.png,black\nc.png,a cow\nc.png,brown\n'
    write(tmp_path, rows, {'a.png': 10, 'b.png': 20, 'c.png': 30})
    (tmp_path / 'b.png').write_bytes(b'')
    for _ in range(2):  # the second time from the cache
        found = data.captioned_folder(tmp_path, 8, skip_broken=True)
        assert found.captions == [['a cat', 'black'], ['a cow', 'brown']] and found.labels.tolist() == [0, 1]
        assert found.images[:, 0, 0, 0].tolist() == [10, 30] and found.broken == (f'{tmp_path}/b.png',)
    with pytest.raises(InputError, match=r'cannot read image .*b\.png: the file is empty'):
        data.captioned_folder(tmp_path, 8)
    (tmp_path / 'captions.csv').write_text('file,caption\nb.png,a dog\n')
    with pytest.raises(InputError, match='none of the 1 images in'):
        data.captioned_folder(tmp_path, 8, skip_broken=True)


COMMAS = {
    'file,caption\na.png,a small bird, with red wings\n': 'a small bird, with red wings',
    'file,caption\na.png,"a small bird, with red wings"\n': 'a small bird, with red wings',
    'number,file,caption\n0,a.png,red, green,and blue \n': 'red, green,and blue',
    'file,caption\na.png,a "red" bird, or two\n': 'a "red" bird, or two',
    'file,caption\na.png,"a ""red"" bird"\n': 'a "red" bird',
    'caption,file\n"a bird, red",a.png\n': 'a bird, red',
    '\ufefffile,caption\r\na.png,a bird, red\r\n,\r\n': 'a bird, red',
    'file,caption\na.png,"a bird\non two, lines"\n': 'a bird\non two, lines',
}


@pytest.mark.parametrize('rows', COMMAS)
def test_captions_with_commas_are_whole(rows, tmp_path):
    found = data.captioned_folder(write(tmp_path, rows, {'a.png': 1}), 8)
    assert found.captions == [[COMMAS[rows]]]


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        ('file,caption\na.png,a cat\nz.png,a dog\n', r"captions\.csv line 3: no image 'z\.png' in "),
        ('file,caption\na.png,a cat\na.png,\n', r'captions\.csv line 3: the caption of a\.png is empty'),
        ('file,caption\na.png, ... \n', r'captions\.csv line 2: the caption of a\.png is empty'),
        ('file,caption\na.png\n', r'captions\.csv line 2: the caption of a\.png is empty'),
        ('file,caption\n,a cat\n', r'captions\.csv line 2: the file name is empty'),
        ('picture,caption\na.png,a cat\n', "must have columns 'file' and 'caption'; its columns: picture, caption"),
        ('file,text\na.png,a cat\n', 'its columns: file, text'),
        ('file,caption\n', 'has no rows'),
        ('', 'its columns: none'),
        ('file,caption\ntorn.png,a cat\n', r'cannot read image .*torn\.png'),
        ('caption,file\na bird, red,a.png\n', r'line 2: 3 columns instead of 2; captions with a comma must be quoted'),
        ('file,caption,n\na.png,a bird, red,1\n', r'line 2: 4 columns instead of 3'),
        ('file,caption\na.png,a cat\na.png,"a dog\na.png,a cow\n', r'captions\.csv line 3: a quote is not closed'),
        ('file,caption\na.png,"a dog\na.png,"a cow"\n', r'captions\.csv line 2: a quote is not closed'),
        ('file,caption\na.png,"a dog\na.png,a cow"\n', r'captions\.csv line 2: the caption of a\.png continues into other rows'),
        ('file,caption\na.png,"red" bird\n', r'captions\.csv line 2: a quote is not closed, or text follows'),
        ('"file,caption\na.png,a cat\n', r'captions\.csv line 1: a quote is not closed'),
        (f'file,caption\na.png,a {"x" * 200_000}\n', r'captions\.csv line 2: field larger than'),
    ],
)
def test_a_folder_that_does_not_fit_gets_one_line(rows, message, tmp_path):
    write(tmp_path, rows, {'a.png': 1})
    (tmp_path / 'torn.png').write_bytes(b'\x89PNG')
    with pytest.raises(InputError, match=message) as error:
        data.captioned_folder(tmp_path, 8)
    assert len(str(error.value).splitlines()) == 1


def test_folders_and_csvs_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match='no folder'):
        data.captioned_folder(tmp_path / 'none', 8)
    with pytest.raises(InputError, match=r'cannot read captions .*captions\.csv'):
        data.captioned_folder(tmp_path, 8)
    (tmp_path / 'captions.csv').write_bytes(b'file,caption\n\xff\xfe,a\n')
    with pytest.raises(InputError, match=r'cannot read captions .*captions\.csv'):
        data.captioned_folder(tmp_path, 8)


# Data sets with captions from elsewhere.


class Source:
    """As `data.TfdsSource`."""

    names = ('CUB/images/001.Albatross/Bird_1.jpg', b'002.Wren/Bird_2.jpg')

    def __len__(self):
        return 2

    def read(self, indices):
        return {'image': np.stack([np.full((4, 4, 3), i, np.uint8) for i in indices]), 'label': np.array([7, 9])[indices]}

    def column(self, name):
        return list(self.names) if name == 'image/filename' else None


def test_captions_join_a_data_set_by_file_name(tmp_path):
    (tmp_path / '__MACOSX').mkdir()
    (tmp_path / '__MACOSX/Bird_2.txt').write_text('another')  # no second file of captions
    for name, lines in {'x/Bird_2': 'a wren\n\nit is brown\n', 'y/Bird_1': ' an albatross \n', 'Bird_3': 'not asked for'}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f'{name}.txt').write_text(lines)
    found = captioned_source(Source(), tmp_path, FILE_NAMES['caltech_birds2011'])
    assert found.captions == [['an albatross'], ['a wren', 'it is brown']]
    assert found.labels.tolist() == [7, 9] and found.images[1, 0, 0, 0] == 1
    (tmp_path / 'x/Bird_2.txt').write_text('\n ... \n')
    with pytest.raises(InputError, match=r'Bird_2\.txt has no captions'):
        captioned_source(Source(), tmp_path, 'image/filename')
    (tmp_path / 'x/Bird_1.txt').write_text('again')
    with pytest.raises(InputError, match='are captions of the same name'):
        captioned_source(Source(), tmp_path, 'image/filename')


def test_images_without_captions_are_named(tmp_path):
    with pytest.raises(InputError, match='no text files'):
        captioned_source(Source(), tmp_path, 'image/filename')
    (tmp_path / 'Bird_2.txt').write_text('a wren')
    with pytest.raises(InputError, match=r'no captions in .* for CUB/images/001\.Albatross/Bird_1\.jpg$'):
        captioned_source(Source(), tmp_path, 'image/filename')


def test_the_two_sets_name_their_files(tmp_path):
    import tensorflow_datasets as tfds

    for name, feature in FILE_NAMES.items():
        features = tfds.builder_cls(name)(data_dir=tmp_path).info.features
        assert isinstance(features[feature], tfds.features.Text) and isinstance(features['label'], tfds.features.ClassLabel)


def test_columns_may_have_spaces_and_captions_many_lines(tmp_path):
    Image.new('RGB', (8, 8)).save(tmp_path / '0.png')
    caption = 'a bird\n' + 'with very long feathers ' * 20
    (tmp_path / 'captions.csv').write_text(f'file, caption\n0.png,"{caption}"\n')
    assert data.captioned_folder(tmp_path, 8).captions == [[caption.strip()]]
    (tmp_path / 'captions.csv').write_text('file,caption,caption\n0.png,a bird,a cat\n')
    with pytest.raises(InputError, match="has several columns 'caption'"):
        data.captioned_folder(tmp_path, 8)
