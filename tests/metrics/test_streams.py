"""Images of anyone's loader: their forms, what is refused, and sets that are merged."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import hosts
from gan_jax.errors import InputError
from gan_jax.metrics import EXTRACTORS, feature_moments, kernel_distance, moments, scores, streams
from gan_jax.metrics.extractors import Extractor, Outputs, extraction

IMAGES = np.random.default_rng(0).integers(0, 256, (13, 4, 5, 3), np.uint8)
UNIT = IMAGES / np.float32(255)


class Convertible:
    """What NumPy can convert, as a tensor of TensorFlow."""

    def __init__(self, x):
        self.x = x

    def __array__(self, dtype=None, copy=None):
        return self.x


FORMS = {
    'NumPy': (IMAGES, None),
    'JAX': (jnp.asarray(IMAGES), None),
    'channels first': (IMAGES.transpose(0, 3, 1, 2), None),
    'of another library': (Convertible(IMAGES), None),
    'floats from 0 to 1': (UNIT, (0, 1)),
    'float64': (UNIT.astype(np.float64), (0, 1)),
    'floats from -1 to 1': (2 * UNIT - 1, (-1, 1)),
    'bfloat16, of few levels': (jnp.asarray(UNIT, jnp.bfloat16), (0, 1)),
}


@pytest.mark.parametrize('form', FORMS)
def test_every_form_of_the_same_images_is_the_same(form):
    batch, span = FORMS[form]
    found = streams.as_levels(batch, span)
    assert found.dtype == np.uint8 and found.shape == IMAGES.shape
    np.testing.assert_allclose(found.astype(int), IMAGES, atol=1 if 'bfloat16' in form else 0)  # it has 8 bits


def test_tensors_of_pytorch():
    torch = pytest.importorskip('torch')
    first = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy())
    for batch, span in ((first, None), (first / 255, (0, 1)), ((first / 127.5 - 1).requires_grad_(), (-1, 1))):
        np.testing.assert_array_equal(streams.as_levels(batch, span), IMAGES)
    assert abs(streams.as_levels((first / 255).bfloat16(), (0, 1)).astype(int) - IMAGES).max() <= 1
    np.testing.assert_array_equal(streams.as_levels(torch.from_numpy(IMAGES)), IMAGES)
    # Of images 3 pixels wide, both axes could be channels.
    narrow = IMAGES[:, :, :3]
    np.testing.assert_array_equal(streams.as_levels(torch.from_numpy(narrow.transpose(0, 3, 1, 2).copy())), narrow)
    np.testing.assert_array_equal(streams.as_levels(narrow), narrow)
    with pytest.raises(InputError, match='images must be uint8, or floats with a span such as span='):
        streams.as_levels(first.long())
    with pytest.raises(ValueError, match=r'x must be an array of JAX or NumPy, not torch.Tensor; x.numpy\(force=True\) is one'):
        kernel_distance(torch.zeros(5, 2), torch.zeros(5, 2))
    with pytest.raises(ValueError, match=r'features must be an array of JAX or NumPy, not torch.Tensor'):
        feature_moments(torch.zeros(5, 2))


def test_a_pipeline_of_tensorflow():
    tf = pytest.importorskip('tensorflow')
    batches = tf.data.Dataset.from_tensor_slices(IMAGES).batch(5)
    np.testing.assert_array_equal(np.concatenate([streams.as_levels(batch) for batch in batches]), IMAGES)


@pytest.mark.parametrize(
    ('batch', 'span', 'message'),
    [
        (UNIT, None, r'float images require the values of black and white, span=\(0, 1\) or span=\(-1, 1\)'),
        (2 * UNIT - 1, (0, 1), r'pixels from -1 to 1 do not fit span=\(0, 1\)'),
        (UNIT * np.nan, (0, 1), 'pixels from nan to nan do not fit'),
        (UNIT, (1, 0), r'span must be the values of black and white in this order, not \(1, 0\)'),
        (IMAGES.astype(np.int64), None, 'images must be uint8, or floats with a span such as span=.*, not int64'),
        ([IMAGES, np.zeros(13)], None, 'must be an array of images, not a list: pass its images only'),
        ({'image': IMAGES}, None, 'not a dict'),
        (IMAGES[..., :2], None, '1 or 3 channels'),
        (IMAGES[0, 0], None, 'images must be a non-empty'),
        (IMAGES[:0], None, 'images must be a non-empty'),
    ],
)
def test_what_is_refused(batch, span, message):
    with pytest.raises(InputError, match=message) as caught:
        streams.as_levels(batch, span)
    assert '\n' not in str(caught.value)


def test_shares_of_a_stream_are_merged_to_the_whole():
    extractor = EXTRACTORS['pixels']()
    batches = [IMAGES[:4], 2 * UNIT[4:5] - 1, IMAGES[5:]]
    whole = streams.image_moments(extractor, batches, span=(-1, 1))
    features = IMAGES.reshape(13, -1).astype(np.float64) / 127.5 - 1
    assert whole.size == 13 and whole.mean.dtype == np.float64
    np.testing.assert_allclose(whole.mean, features.mean(0), atol=1e-6)
    np.testing.assert_allclose(whole.covariance, np.cov(features.T), atol=1e-6)
    halves = [streams.image_moments(extractor, [half]) for half in (IMAGES[:4], IMAGES[4:])]
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), moments.merge(*halves), whole)
    np.testing.assert_allclose(streams.image_features(extractor, batches, span=(-1, 1)), features, atol=1e-6)


def test_a_loop_compiles_its_extractor_once():
    traces = []
    extractor = Extractor('counted', lambda x: traces.append(x.shape) or Outputs(extraction.as_float(x).reshape(len(x), -1)))
    for _ in range(3):
        streams.image_moments(extractor, [IMAGES])
    assert len(traces) == 1


def test_a_share_of_a_set_may_be_a_single_image():
    extractor = Extractor('mean', lambda x: Outputs(extraction.as_float(x).mean((1, 2))))
    parts = [streams.image_moments(extractor, [rows]) for rows in (IMAGES[:1], IMAGES[1:])]
    whole = streams.image_moments(extractor, [IMAGES])
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-9), moments.merge(*parts), whole)
    assert len(streams.image_features(extractor, [IMAGES[:1]])) == 1
    with pytest.raises(InputError, match='at least 1 image, not 0'):
        streams.image_moments(extractor, [])


def test_callables_without_a_hash_are_extractors():
    class Unhashable:
        __hash__ = None

        def __call__(self, x):
            return Outputs(extraction.as_float(x).reshape(len(x), -1))

    found = streams.image_features(Extractor('unhashable', Unhashable()), [IMAGES])
    np.testing.assert_allclose(found, IMAGES.reshape(13, -1) / 127.5 - 1, atol=1e-6)


@pytest.fixture
def two_processes(monkeypatch):
    """What `hosts.shared` and `hosts.gathered` return in process 0, of what both hand in."""

    def both(first, second, merge):
        words, forms = [], []
        monkeypatch.setattr(hosts, 'count', lambda: 2)
        monkeypatch.setattr(hosts, 'shared', lambda x: forms.append(x) or [x, x])
        monkeypatch.setattr(hosts, 'gathered', lambda x: words.append(np.asarray(x)) or np.stack([x, x]))
        streams.over_processes(second, merge)
        replies = iter(words[:])
        monkeypatch.setattr(hosts, 'shared', lambda x: [x, *forms])
        padded = lambda x, size: np.pad(x, (0, max(size - len(x), 0)))  # as the process would, which knew its own size only
        monkeypatch.setattr(hosts, 'gathered', lambda x: np.stack([x, padded(next(replies), len(x))]))
        return streams.over_processes(first, merge)

    return both


def test_processes_merge_what_they_hold(two_processes):
    x = np.random.default_rng(0).normal(100, 1, (30, 3))
    assert streams.over_processes('alone') == 'alone'
    found = two_processes(feature_moments(x[:11]), feature_moments(x[11:]), moments.merge)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-9), found, feature_moments(x))
    logits = x.astype(np.float32)
    whole, *parts = (scores.update(scores.init(3), rows) for rows in (logits, logits[:11], logits[11:]))
    found = two_processes(*parts, scores.merge)
    np.testing.assert_allclose(scores.value(found), scores.value(whole), rtol=1e-6)
    join = lambda a, b: np.concatenate([a, b])
    for rows in (x, logits.astype(np.float16)[:, :1], np.arange(30, dtype=np.uint8)):  # of 2 x 15 and 15 bytes, too
        np.testing.assert_array_equal(two_processes(rows[:15], rows[15:], join), rows)
    for cut in (1, 11, 29):  # shares of different sizes
        np.testing.assert_array_equal(two_processes(x[:cut], x[cut:], join), x)
    rows = {'a': np.arange(3, dtype=np.uint8), 'b': x[:3]}  # one of which begins within a word
    found = two_processes(rows, rows, lambda a, b: {name: join(a[name], b[name]) for name in a})
    jax.tree.map(np.testing.assert_array_equal, found, {name: np.concatenate([x, x]) for name, x in rows.items()})


@pytest.mark.parametrize('other', [np.zeros((3, 4), np.float32), np.zeros((4, 3), np.int32)], ids=['shape', 'type'])
def test_processes_that_hold_different_states_are_refused(two_processes, other):
    """Although both have 12 words."""
    with pytest.raises(InputError, match=r'must hold sets of the same shapes and types, not float32\[n, 3\] and '):
        two_processes(np.zeros((4, 3), np.float32), other, np.add)
