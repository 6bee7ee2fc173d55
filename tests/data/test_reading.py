"""Image files mean what they say: every mode of Pillow, orientation, transparency, bombs, and what a folder holds."""

import pathlib
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from gan_jax import data
from gan_jax.data import reading
from gan_jax.errors import InputError
from gan_jax.metrics import sources

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def ramp(mode: str) -> Image.Image:
    """The 256 grey levels in a mode."""
    grey = Image.fromarray(RAMP)
    if mode.startswith('I'):
        deep = (RAMP.astype(np.uint16) * 257).astype('>u2' if mode.endswith('B') else '<u2')
        return Image.fromarray(deep.astype(np.int32)) if mode == 'I' else Image.fromarray(deep)
    if mode == 'F':
        return Image.fromarray(RAMP.astype(np.float32) / 255)
    if mode == 'LAB':
        profiles = (ImageCms.createProfile(name) for name in ('sRGB', 'LAB'))
        return ImageCms.profileToProfile(grey.convert('RGB'), *profiles, outputMode='LAB')
    if mode == 'PA':
        return grey.convert('LA').convert('PA')
    return (grey if mode in ('1', 'L', 'LA', 'P') else grey.convert('RGB')).convert(mode)


MODES = ('L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'RGBX', 'CMYK', 'YCbCr', 'HSV', 'LAB', 'I', 'I;16', 'I;16B', 'F')


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('channels', [1, 3])
def test_every_mode_shows_the_same_grey_levels(mode, channels):
    image = ramp(mode)
    assert image.mode == mode
    found = reading.to_array(reading.decode(image, channels))
    assert found.shape == (16, 16, channels) and found.dtype == np.uint8
    tolerance = {'CMYK': 1, 'YCbCr': 1, 'LAB': 3}.get(mode, 0)
    assert np.abs(found.astype(int) - RAMP[..., None]).max() <= tolerance


def test_black_and_white_and_premultiplied_modes():
    half = np.where(RAMP < 128, 0, 255)
    assert np.array_equal(reading.to_array(reading.decode(Image.fromarray(half > 0), 1))[..., 0], half)
    for mode in ('LA', 'RGBA'):
        image = ramp(mode)
        image.putalpha(128)
        premultiplied = image.convert({'LA': 'La', 'RGBA': 'RGBa'}[mode])
        plain, made = (np.asarray(reading.decode(x, 3), int) for x in (image, premultiplied))
        assert np.abs(plain - made).max() <= 1 and np.abs(plain[..., 0] - (RAMP.astype(int) + 255) / 2).max() <= 1


@pytest.mark.parametrize('mode', ['L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'LAB', 'I', 'I;16', 'I;16B', 'F'])
def test_files_of_a_mode_are_read_as_it(mode, tmp_path):
    suffix = 'tif' if mode in ('CMYK', 'LAB', 'I', 'I;16B', 'F') else 'png'
    file = tmp_path / f'a.{suffix}'
    ramp(mode).save(file)
    with Image.open(file) as saved:
        assert saved.mode == mode
    found = reading.read_image(file, None, 1)
    assert np.abs(found[..., 0].astype(int) - RAMP).max() <= (3 if mode == 'LAB' else 1 if mode == 'CMYK' else 0)


def test_sixteen_bits_of_a_pgm(tmp_path):
    levels = np.array([[0, 257, 32896, 65535]], '>u2')
    (tmp_path / 'a.pgm').write_bytes(b'P5 4 1 65535\n' + levels.tobytes())
    assert reading.read_image(tmp_path / 'a.pgm', None, 1)[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(
    'levels', [np.int32([[-1, 3]]), np.int32([[0, 70_000]]), np.float32([[0, 255]]), np.float32([[0, np.nan]])]
)
def test_levels_without_a_known_white_are_refused(levels, tmp_path):
    Image.fromarray(levels).save(tmp_path / 'a.tif')
    with pytest.raises(
        InputError, match=r'cannot read image .*a\.tif: its pixels range from .*, but must be from 0 to (1|65535)$'
    ):
        reading.read_image(tmp_path / 'a.tif', None, 1)


@pytest.mark.parametrize('mode', ['LA', 'RGBA', 'PA'])
def test_transparent_pixels_are_white_whatever_colour_they_hide(mode):
    image = Image.fromarray(np.array([[10, 200]], np.uint8)).convert({'PA': 'P'}.get(mode, mode))
    image.putalpha(Image.fromarray(np.array([[0, 255]], np.uint8)))
    assert image.mode == mode
    assert reading.to_array(reading.decode(image, 3))[0].tolist() == [[255] * 3, [200] * 3]


@pytest.mark.parametrize(('mode', 'key'), [('P', 10), ('L', 10), ('RGB', (10, 10, 10))])
def test_a_transparent_colour_is_white(mode, key, tmp_path):
    Image.fromarray(np.array([[10, 200]], np.uint8)).convert(mode).save(tmp_path / 'a.png', transparency=key)
    assert reading.read_image(tmp_path / 'a.png', None, 3)[0].tolist() == [[255] * 3, [200] * 3]


@pytest.mark.parametrize('mode', ['L', 'RGB', 'I;16'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_orientation(orientation, mode, tmp_path):
    """The upper left quarter is bright; an orientation says where it is to be shown."""
    pixels = np.zeros((4, 6), np.uint8)
    pixels[:2, :3] = 255
    image = Image.fromarray(pixels)
    image = Image.fromarray(pixels.astype(np.uint16) * 257) if mode == 'I;16' else image.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / 'a.png', exif=exif)
    found = reading.read_image(tmp_path / 'a.png', None, 1)[..., 0]
    # EXIF 2.3, tag 274: where the stored row 0 and column 0 are in the picture.
    row, column = {1: 'tl', 2: 'tr', 3: 'br', 4: 'bl', 5: 'lt', 6: 'rt', 7: 'rb', 8: 'lb'}[orientation]
    corner = (0 if 't' in row + column else -1, 0 if 'l' in row + column else -1)
    assert found.shape == ((4, 6) if orientation < 5 else (6, 4))
    assert found[corner] == 255 and found[-1 - corner[0], -1 - corner[1]] == 0


def test_a_photograph_on_its_side_is_upright_for_every_user(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 255  # stored lying down: its left half is the picture's upper one
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / 'a.png', exif=exif)
    (tmp_path / 'captions.csv').write_text('file,caption\na.png,a bird\n')
    read = {
        'training': data.load(str(tmp_path), size=8).images[0],
        'captions': data.captioned_folder(tmp_path, 8).images[0],
        'metrics': sources.open_source(str(tmp_path), size=8).read([0])[0],
        'unpaired': data.unpaired(tmp_path, tmp_path, 8)[0]['a'][0],
    }
    for user, image in read.items():
        assert image[0].min() > 250 and image[-1].max() < 5, user


def bomb(file: pathlib.Path, side: int) -> None:
    """A PNG of a few bytes that says it is `side x side`."""
    chunk = lambda kind, content: struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))
    header = struct.pack('>IIBBBBB', side, side, 8, 0, 0, 0, 0)
    file.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'')) + chunk(b'IEND', b''))


def noise(file):
    file.write_bytes(bytes(range(200)))


def torn(file, suffix='png', keep=0.5):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(file, suffix)
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content))])


DAMAGED = {
    'exceeds limit of': lambda file: bomb(file, 20_000),
    'the file is empty': lambda file: file.touch(),
    'not an image in a format that Pillow supports': noise,
    'truncated': torn,
    'No such file': lambda file: file.symlink_to('nowhere.png'),
    'truncated|not processed|broken': lambda file: torn(file, 'jpeg'),
    'not enough|truncated|decod|failed': lambda file: torn(file, 'webp'),
    'cut short|truncated|unpack|not enough': lambda file: torn(file, 'tiff', 0.9),
}


@pytest.mark.parametrize('message', DAMAGED)
def test_a_file_that_cannot_be_read_is_named_in_one_line(message, tmp_path):
    DAMAGED[message](tmp_path / 'odd.png')
    Image.fromarray(RAMP).save(tmp_path / 'z.png')
    for call in (
        lambda: data.load(str(tmp_path), size=8),
        lambda: data.unpaired(tmp_path, tmp_path, 8),
        lambda: data.pairs(tmp_path, 8),
        lambda: sources.open_source(str(tmp_path)).read([0]),
    ):
        with pytest.raises(InputError, match=rf'^cannot read image .*odd\.png: .*({message})') as error:
            call()
        assert len(str(error.value).splitlines()) == 1


def test_a_folder_holds_neither_hidden_files_nor_those_of_the_system(tmp_path):
    for name in ('a.png', 'sub/b.PNG'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(RAMP).save(tmp_path / name, 'png')
    for name in ('._a.png', 'sub/._b.png', '__MACOSX/a.png', '.cache/c.png', 'sub/.thumbs/d.png', 'notes.txt', 'Thumbs.db'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'no image')
    names = [file.relative_to(tmp_path).as_posix() for file in reading.image_files(tmp_path)]
    assert names == ['a.png', 'sub/b.PNG']
    assert len(data.load(str(tmp_path), size=8).images) == sources.open_source(str(tmp_path)).size == 2


def test_linked_folders_and_files_are_entered_once(tmp_path):
    (tmp_path / 'far').mkdir()
    Image.fromarray(RAMP).save(tmp_path / 'far' / 'a.png')
    root = tmp_path / 'root'
    root.mkdir()
    (root / 'link').symlink_to('../far')
    (root / 'loop').symlink_to('.')
    (root / 'b.png').symlink_to('../far/a.png')
    assert [file.name for file in reading.image_files(root)] == ['b.png', 'a.png']
    (tmp_path / 'whole').symlink_to('root')
    assert len(reading.image_files(tmp_path / 'whole')) == 2


def test_grey_folders_have_one_channel_and_mixed_ones_three(tmp_path):
    for mode in ('L', 'LA', 'P', 'I;16', '1'):
        ramp(mode).save(tmp_path / f'{mode}.png')
    found = data.load(str(tmp_path), size=16)
    assert found.images.shape == (5, 16, 16, 1)
    assert sources.open_source(str(tmp_path)).read([0]).shape == (1, 16, 16, 1)
    assert data.load(str(tmp_path), size=16, channels=3).images.shape == (5, 16, 16, 3)
    Image.fromarray(np.dstack([RAMP, RAMP, 255 - RAMP])).save(tmp_path / 'z.png')
    found = data.load(str(tmp_path), size=16)
    assert found.images.shape == (6, 16, 16, 3) and np.ptp(found.images[:5], axis=-1).max() == 0
    assert data.load(str(tmp_path), size=16, channels=1).images.shape == (6, 16, 16, 1)
