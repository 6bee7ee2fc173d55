"""Arrays of images as others write them, and files of arrays that are damaged, empty or of something else."""

import numpy as np
import pytest

from gan_jax import data
from gan_jax.data.arrays import as_images
from gan_jax.errors import InputError
from gan_jax.files import load_arrays
from gan_jax.metrics import sources

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
PIXELS[0, 0, 0] = 0, 128, 255
GREY = PIXELS[..., :1]

FORMS = {
    '[n, h, w, c]': (PIXELS, PIXELS),
    '[n, c, h, w]': (PIXELS.transpose(0, 3, 1, 2), PIXELS),
    '[n, h, w]': (GREY[..., 0], GREY),
    '[n, 1, h, w]': (GREY.transpose(0, 3, 1, 2), GREY),
    '[n, h, w, 1]': (GREY, GREY),
    'floats over [0, 1]': (PIXELS / 255, PIXELS),
    'floats over [-1, 1]': (PIXELS.astype(np.float32) / 127.5 - 1, PIXELS),
    'floats over [0, 255]': (PIXELS.astype(np.float32), PIXELS),
    'half precision, channels first': ((PIXELS / 255).transpose(0, 3, 1, 2).astype(np.float16), PIXELS),
    '16 bits': (PIXELS.astype(np.uint16) * 257, PIXELS),
    'integers': (PIXELS.astype(np.int64), PIXELS),
    'black and white': (GREY[..., 0] > 127, np.where(GREY > 127, 255, 0)),
    'big-endian': ((PIXELS.astype(np.uint16) * 257).astype('>u2'), PIXELS),
}


@pytest.mark.parametrize('form', FORMS)
def test_forms_of_arrays(form, tmp_path):
    array, expected = FORMS[form]
    found = as_images(array)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    np.save(tmp_path / 'a.npy', array)
    np.savez(tmp_path / 'a.npz', images=array, labels=np.arange(5), latents=np.zeros((5, 2)))
    for file in ('a.npy', 'a.npz'):
        np.testing.assert_array_equal(data.load(str(tmp_path / file)).images, expected)
        source = sources.open_source(str(tmp_path / file))
        np.testing.assert_array_equal(source.read([3, 1]), expected[[3, 1]])


REFUSED = {
    'from -3 to 3': np.linspace(-3, 3, 16).reshape(1, 4, 4),
    'from nan to nan': np.full((1, 4, 4), np.nan),
    'from 0 to 300': np.arange(0, 301, 20).reshape(1, 4, 4),
    'uint16 pixels from 0 to 255 may have 8 or 16 bits': PIXELS.astype(np.uint16),
    '1 or 3 channels in the last or second axis, not': np.zeros((2, 4, 4, 2), np.uint8),
    'images must be a non-empty .*, not': np.zeros((0, 4, 4, 3), np.uint8),
    'pixels must be numbers, not complex64': np.zeros((2, 4, 4, 3), np.complex64),
}


@pytest.mark.parametrize('message', REFUSED)
def test_arrays_that_could_mean_several_things_are_refused(message, tmp_path):
    with pytest.raises(ValueError, match=message):
        as_images(REFUSED[message])
    np.save(tmp_path / 'a.npy', REFUSED[message])
    with pytest.raises(InputError, match=rf'a\.npy: .*{message}') as error:
        sources.open_source(str(tmp_path / 'a.npy'))
    assert len(str(error.value).splitlines()) == 1


def archive(file, **arrays):
    np.savez(file, **arrays)
    return file.read_bytes()


def damaged(content: bytes, at: float) -> bytes:
    whole = bytearray(content)
    whole[int(at * len(whole))] ^= 0xFF
    return bytes(whole)


FILES = {
    'it is empty': lambda file: b'',
    'it is not a file of arrays': lambda file: b'no array' * 20,
    '(?i)not a zip file|bad magic|it is not a file': lambda file: archive(file, x=PIXELS)[:500],
    'Bad CRC': lambda file: damaged(archive(file, x=PIXELS), 0.5),
    'not a file of arrays of numbers': lambda file: archive(file, x=np.array([{}, 1], object)),
    'must have one array of images .*, not 0; it has nothing': lambda file: archive(file),
    'must have one array of images .*, not 0; it has x float64\\[3\\]': lambda file: archive(file, x=np.zeros(3)),
    'must have one array of images .*, not 2': lambda file: archive(file, x_train=PIXELS, x_test=PIXELS),
}


@pytest.mark.parametrize('message', FILES)
@pytest.mark.parametrize('suffix', ['npz', 'npy'])
def test_files_that_hold_no_images_get_one_line(message, suffix, tmp_path):
    file = tmp_path / f'a.{suffix}'
    file.write_bytes(FILES[message](tmp_path / 'made.npz'))
    for call in (sources.open_source, data.load):
        with pytest.raises(InputError, match=message) as error:
            call(str(file))
        assert len(str(error.value).splitlines()) == 1 and str(file) in str(error.value)


def test_a_header_that_asks_for_more_memory_than_there_is(tmp_path):
    np.save(tmp_path / 'a.npy', np.zeros((1, 1)))
    content = (tmp_path / 'a.npy').read_bytes().replace(b'(1, 1), }', b'(9**9, )}', 1)
    (tmp_path / 'a.npy').write_bytes(content)
    with pytest.raises(InputError, match=r'cannot read .*a\.npy'):
        load_arrays(tmp_path / 'a.npy')


def test_files_of_arrays_have_one_split_and_are_squares(tmp_path):
    np.save(tmp_path / 'a.npy', PIXELS[:, :6])
    with pytest.raises(InputError, match='6 x 8, not square: give a size'):
        data.load(str(tmp_path / 'a.npy'))
    assert data.load(str(tmp_path / 'a.npy'), size=4, channels=1).images.shape == (5, 4, 4, 1)
    with pytest.raises(InputError, match="has no split 'test': a file of arrays has no splits"):
        data.load(str(tmp_path / 'a.npy'), split='test')
    assert not data.has_test_set(str(tmp_path / 'a.npy')) and not data.has_test_set(str(tmp_path)) and data.has_test_set('mnist')


def test_rounding_does_not_change_the_range():
    x = np.random.default_rng(0).random((5, 8, 8, 3), dtype=np.float32)
    expected = as_images(x)
    over = x.copy()
    over[0, 0, 0, 0] = 1.0000001
    np.testing.assert_array_equal(as_images(over)[1:], expected[1:])
    assert as_images(over)[0, 0, 0, 0] == 255
    signed = 2 * x - 1
    signed[0, 0, 0, 0] = -1.0000001
    np.testing.assert_array_equal(as_images(signed)[1:], as_images(2 * x - 1)[1:])


@pytest.mark.parametrize(
    ('array', 'message'),
    [
        (np.zeros((16, 16, 3), np.uint8), 'may be a single image'),
        (np.zeros((16, 16, 4), np.uint8), 'may be a single image'),
        (np.full((2, 8, 8, 1), 1.5, np.float32), 'may be of 0 to 1 or of 0 to 255'),
    ],
)
def test_what_may_be_two_things_is_refused(array, message):
    with pytest.raises(ValueError, match=message):
        as_images(array)
