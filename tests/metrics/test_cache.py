"""What is kept of reference images answers for the same pixels and the same program only."""

import functools
import os
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gan_jax import files
from gan_jax.errors import InputError
from gan_jax.metrics import command, protocols
from gan_jax.metrics.extractors import Extractor, Outputs, classifier, extraction
from gan_jax.metrics.extractors.extraction import identity
from gan_jax.metrics.frechet import frechet_distance_from_features

RNG = np.random.default_rng(0)
REAL, OTHER, FAKE = (RNG.integers(0, 256, (n, 3, 3, 3), np.uint8) for n in (20, 20, 25))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('GAN_JAX_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'statistics'


def write(folder, images):
    """Images as files that are all of one size, of one time and of one name each, whatever is in them."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        file = folder / f'{i:03}.bmp'
        Image.fromarray(image).save(file)
        os.utime(file, (1e9, 1e9))
    return str(folder)


def distance(real, fake, extractor='pixels', **options):
    (found,) = command.main(command.Config((str(real), str(fake)), extractor=extractor, measures=('frechet',), **options))
    return found.value


def expected(real, fake, f=lambda x: x):
    rows = lambda x: f(x.reshape(len(x), -1) / np.float32(127.5) - 1)
    return pytest.approx(float(frechet_distance_from_features(rows(real), rows(fake))), rel=2e-5)


def test_statistics_of_real_images_are_extracted_once():
    extracted, real_pixels = [], [REAL]

    def apply(images):
        return Outputs(jnp.asarray(images, jnp.float32).reshape(len(images), -1))

    real = protocols.ImageSet('real', lambda count: real_pixels, (3, 3, 3))
    fake = protocols.ImageSet('fake', lambda count: [FAKE], (3, 3, 3))
    wanted = {'f': protocols.Protocol(protocols.frechet(), None, extractor='pixels')}
    run = lambda: protocols.evaluate(wanted, lambda split: real, fake, extractors=lambda text: Extractor('e', apply))
    original = protocols.gather
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocols, 'gather', lambda *a, **k: extracted.append(a[2]) or original(*a, **k))
        first = run()
        assert run() == first and len(extracted) == 3  # both sides, and then the generated side alone
        real_pixels[0] = OTHER
        assert run() != first and len(extracted) == 5


def test_edited_pixels_of_the_same_size_and_time_are_other_images(tmp_path):
    real, fake = write(tmp_path / 'real', REAL), write(tmp_path / 'fake', FAKE)
    assert distance(real, fake) == expected(REAL, FAKE)
    write(tmp_path / 'real', OTHER)
    assert distance(real, fake) == expected(OTHER, FAKE)
    write(tmp_path / 'real', OTHER[::-1])  # in another order
    assert distance(real, fake) == expected(OTHER, FAKE)
    (tmp_path / 'real' / '019.bmp').write_bytes(b'no image')
    assert distance(real, fake, skip_broken=True) == expected(OTHER[1:], FAKE)
    assert distance(real, fake, skip_broken=True, seed=3, reals=8) != expected(OTHER[1:], FAKE)


def test_splits_of_a_folder_and_folders_of_one_name_are_other_images(tmp_path, monkeypatch):
    fake = write(tmp_path / 'fake', FAKE)
    for place, train, test in (('a', REAL, OTHER), ('b', OTHER, REAL)):
        write(tmp_path / place / 'photos' / 'train', train)
        write(tmp_path / place / 'photos' / 'test', test)
        monkeypatch.chdir(tmp_path / place)
        assert distance('photos', fake) == distance('photos:train', fake) == expected(train, FAKE)
        assert distance('photos:test', fake) == expected(test, FAKE)


@pytest.fixture
def own(monkeypatch):
    """A module whose functions can be edited."""
    module = types.ModuleType('own_extractors')
    monkeypatch.setitem(sys.modules, 'own_extractors', module)
    return module


flat = lambda x: x.reshape(len(x), -1) / 127.5 - 1


@pytest.mark.parametrize('kind', ['jax', 'numpy', 'torch', 'callback'])
def test_an_edited_function_is_another_one(own, tmp_path, kind):
    real, fake = write(tmp_path / 'real', REAL), write(tmp_path / 'fake', FAKE)

    def numpy(x, scale):
        assert type(x) is np.ndarray
        return scale * flat(x.astype(np.float32))

    def torch(x, scale):
        import torch

        return scale * flat(torch.from_numpy(x).float())

    def callback(x, scale):
        shape = jax.ShapeDtypeStruct((len(x), 27), jnp.float32)
        return jax.pure_callback(lambda x: scale * flat(np.asarray(x, np.float32)), shape, x)

    if kind == 'torch':
        pytest.importorskip('torch')
    f = {'jax': lambda x, scale: jnp.float32(scale) * flat(x), 'numpy': numpy, 'torch': torch, 'callback': callback}[kind]
    for scale in (1, 2, 3):
        own.f = lambda x, scale=scale: f(x, scale)
        found = [distance(real, fake, 'custom:function=own_extractors.f') for _ in range(2)]
        assert found == [expected(REAL, FAKE, lambda x, scale=scale: scale * x)] * 2


def test_constants_that_a_function_closes_over_are_part_of_it():
    weights = np.zeros((27, 600), np.float32)  # longer than what a printed program shows
    f = lambda: identity(Extractor('e', lambda x: Outputs(flat(x) @ weights)), (3, 3, 3))
    first = f()
    assert first == f()
    weights[20, 300] = 1e-3
    assert f() != first
    assert identity(Extractor('e', lambda x: Outputs(jax.jit(lambda y: flat(y) @ weights)(x))), (3, 3, 3)) != first


def test_programs_are_told_apart_by_every_constant_and_never_print_one(monkeypatch):
    """Wherever it is: in a branch, a loop, a nested program, of any type; and also by code that has the same constants."""
    of = lambda f: identity(Extractor('e', lambda x: Outputs(f(flat(x)))), (3, 3, 3))
    big, small = (jnp.full((27, 9), value, jnp.float32) for value in (1, 2))
    noisy = lambda key, x: x + jax.random.normal(key, x.shape)
    programs = {
        'scan': lambda w: lambda x: jax.lax.scan(lambda c, _: (c + (c @ w).sum(), None), x, None, length=2)[0],
        'cond': lambda w: lambda x: jax.lax.cond(x.sum() > 0, lambda y: y @ w, lambda y: 2 * (y @ w), x),
        'nested': lambda w: lambda x: jax.jit(lambda y: jax.nn.gelu(jax.jit(lambda z: z @ w)(y)))(x),
        'relu': lambda w: lambda x: jax.nn.relu(x @ w),
        'bfloat16': lambda w: lambda x: (x @ w.astype(jnp.bfloat16)).astype(jnp.float32),
        'key': lambda w: functools.partial(noisy, jax.random.key(int(w[0, 0]))),
        'level': lambda w: functools.partial(jnp.add, float(w[0, 0])),
        'tanh': lambda w: lambda x: jnp.tanh(x @ w),
    }
    found = {(name, i): of(f(w)) for name, f in programs.items() for i, w in enumerate((big, small))}
    assert len(set(found.values())) == 2 * len(programs) and None not in found.values()
    assert found == {(name, i): of(f(w)) for name, f in programs.items() for i, w in enumerate((big, small))}
    texts = []
    monkeypatch.setattr(extraction, 'fingerprint', lambda *parts: texts.extend(x for x in parts if isinstance(x, str)))
    of(lambda x: x @ jnp.arange(27 * 5000.0).reshape(27, 5000))
    assert sum(map(len, texts)) < 2000


def test_a_damaged_entry_is_computed_again(tmp_path, cache):
    real, fake = write(tmp_path / 'real', REAL), write(tmp_path / 'fake', FAKE)
    first = distance(real, fake)
    (entry,) = cache.iterdir()
    entry.write_bytes(entry.read_bytes()[:100])
    assert distance(real, fake) == first


def test_kept_classifiers_are_those_of_their_program(monkeypatch):
    images, labels = np.zeros((8, 8, 8, 1), np.uint8), np.arange(8) % 2
    train = lambda: classifier.train_classifier(images, labels, steps=1, batch_size=4, cache=True).extractor.name
    first = train()
    assert train() == first
    monkeypatch.setattr(classifier, '_shifted', lambda x, key: x)
    classifier._fitting.cache_clear()
    assert train() != first
    monkeypatch.undo()
    for file in (files.cache_directory() / 'classifiers').glob('*'):
        file.write_bytes(b'')
    assert train()


@pytest.mark.parametrize(
    ('f', 'message'),
    [
        (lambda x: np.ones(3), r'own_extractors.f must return one vector per image, but returns float32\[3\] for 64 images'),
        (lambda x: np.mean(np.asarray(x), (1, 2))[:1], r'returns float64\[1, 3\] for 64 images'),
        (lambda x: None, 'must return one vector per image'),
        (lambda x: x.missing(), 'own_extractors.f fails on images .*: AttributeError: .*missing'),
        (lambda x: np.full((len(x), 2), np.nan) * np.asarray(x).mean(), 'not finite for 20 of 20'),
        (lambda x: np.asarray(['a'] * len(x))[:, None] if type(x) is np.ndarray else x.no, 'returns <U1'),
        (3, "'own_extractors.f' must be a function"),
    ],
)
def test_functions_that_extract_nothing(own, tmp_path, f, message):
    real, fake = write(tmp_path / 'real', REAL), write(tmp_path / 'fake', FAKE)
    own.f = f
    with pytest.raises(InputError, match=message) as error:
        distance(real, fake, 'custom:function=own_extractors.f')
    assert '\n' not in str(error.value)


def test_only_what_is_asked_for_is_computed(own, tmp_path):
    real, fake = write(tmp_path / 'real', REAL[:6]), write(tmp_path / 'fake', FAKE[:6])
    own.f = lambda x: jnp.tile(x.reshape(len(x), -1) / 127.5, (1, 20_000))  # a covariance would take 2.3 TB
    options = {'extractor': 'custom:function=own_extractors.f', 'batch_size': 4}
    found = command.main(command.Config((real, fake), measures=('kernel',), **options))
    assert np.isfinite(found[0].value)
    with pytest.raises(InputError, match=r'frechet of 540,000 features per image require 9,331 GB, .*--resize N'):
        command.main(command.Config((real, fake), measures=('kernel', 'frechet'), **options))


def test_data_dir_reaches_the_extractor(monkeypatch, tmp_path):
    real, fake = write(tmp_path / 'real', REAL), write(tmp_path / 'fake', FAKE)
    seen = []
    monkeypatch.setattr('gan_jax.data.load', lambda *a, **options: seen.append((a, options)) or [][0])
    for text, told in (('classifier:dataset=mnist', 'here'), ("classifier:dataset=mnist,data_dir='there'", 'there')):
        with pytest.raises(IndexError):
            distance(real, fake, text, data_dir='here')
        assert seen[-1][0] == ('mnist',) and seen[-1][1]['data_dir'] == told
