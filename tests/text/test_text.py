"""From texts to vectors: words, bags of them, files, and the joint embedding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import text
from gan_jax.errors import InputError
from gan_jax.text import joint
from gan_jax.text.words import PADDING, UNKNOWN

TEXTS = ["A dog's bone, a DOG!", 'two dogs']


def test_words_have_no_case_and_no_punctuation():
    assert text.tokens("A dog's bone -- a DOG, 7!") == ['a', "dog's", 'bone', 'a', 'dog', '7']
    for empty in ('', '  ', '...!'):
        with pytest.raises(InputError, match='has no words'):
            text.tokens(empty)


def test_a_vocabulary_keeps_the_most_frequent_words():
    words = text.vocabulary(TEXTS)
    assert words.words == ('a', 'bone', 'dog', "dog's", 'dogs', 'two') and words.size == 8
    assert text.vocabulary(TEXTS, min_count=2).words == ('a',)
    assert text.vocabulary(TEXTS, limit=2).words == ('a', 'bone')


def test_ids_pad_and_have_one_number_for_all_unknown_words():
    words = text.Vocabulary(('a', 'dog'))
    np.testing.assert_array_equal(words.ids(['a dog a', 'cat', 'a cow']), [[2, 3, 2], [UNKNOWN, 0, 0], [2, UNKNOWN, PADDING]])
    assert words.ids(['a'], length=4).tolist() == [[2, 0, 0, 0]]
    assert words.unknown(['a cow', 'cow, Cat, cow']) == ['cow', 'cat']
    with pytest.raises(ValueError, match='3 words does not fit into a length of 2'):
        words.ids(['a dog a'], length=2)


def test_a_bag_of_words_counts():
    encoder = text.bag_of_words(['red', 'red seven'])
    found = encoder.encode(['seven red red', 'unseen red word'])
    counts = np.array([[0, 2, 1], [2, 1, 0]])  # unknown, red, seven
    np.testing.assert_allclose(found, counts * (3 / 5) ** 0.5, rtol=1e-6)
    assert encoder.size == 3 and found.dtype == np.float32 and encoder.unknown(['a red Cow']) == ['a', 'cow']


def test_vectors_from_a_file(tmp_path):
    vectors = np.arange(6.0).reshape(2, 3)
    np.savez(tmp_path / 'v.npz', captions=np.array(['A red seven.', 'a six']), vectors=vectors)
    encoder = text.precomputed(tmp_path / 'v.npz')
    np.testing.assert_array_equal(encoder.encode(['a six', 'a RED seven', 'a six']), vectors[[1, 0, 1]])
    with pytest.raises(InputError, match=r"v\.npz has no vector for 'a blue seven' and 1 more"):
        encoder.encode(['a six', 'a blue seven', 'b'])


@pytest.mark.parametrize(
    ('arrays', 'message'),
    [
        ({'a': np.zeros(2)}, 'holds a; precomputed vectors require'),
        ({'captions': np.array(['a']), 'vectors': np.zeros((2, 3))}, r'captions must be n strings and vectors \[n, size\]'),
        ({'captions': np.array(['a', 'b']), 'vectors': np.array([[0, 1], [np.nan, 0]])}, 'not finite'),
        ({'captions': np.array([3, 4]), 'vectors': np.zeros((2, 3))}, 'n strings'),
    ],
)
def test_a_file_of_something_else_is_refused(arrays, message, tmp_path):
    np.savez(tmp_path / 'v.npz', **arrays)
    with pytest.raises(InputError, match=message):
        text.precomputed(tmp_path / 'v.npz')
    (tmp_path / 'torn.npz').write_bytes(b'PK')
    for file in ('torn.npz', 'none.npz'):
        with pytest.raises(InputError, match=f'cannot read .*{file}'):
            text.precomputed(tmp_path / file)


def test_the_structured_loss_by_loops():
    # Reed et al., CVPR 2016, eqs. 5 and 6, over the texts and images of the batch, with a sum for the maximum.
    scores = np.asarray(jax.random.normal(jax.random.key(0), (5, 5))) * 2
    labels = [0, 1, 0, 2, 3]
    expected = []
    for i in range(5):
        others = [j for j in range(5) if labels[j] != labels[i]]
        of_image = sum(max(0, 1 + scores[i, j] - scores[i, i]) for j in others)
        of_text = sum(max(0, 1 + scores[j, i] - scores[i, i]) for j in others)
        expected.append((of_image + of_text) / len(others))
    loss = jax.jit(text.structured_loss)
    np.testing.assert_allclose(loss(scores, jnp.array(labels)), expected, rtol=1e-5)
    ahead = 1.01 * jnp.eye(5)  # by the margin, and by less
    assert not loss(ahead, jnp.arange(5)).any() and loss(0.9 * ahead, jnp.arange(5)).all()
    assert not loss(scores, jnp.zeros(5, int)).any()
    with pytest.raises(ValueError, match=r'\[n, n\]'):
        text.structured_loss(jnp.zeros((2, 3)), jnp.zeros(2))


def test_padding_is_neither_read_nor_averaged():
    network = joint.TextNetwork(9, features=4, width=4)
    ids = jnp.array([[2, 3, 4], [5, 6, 0]])
    variables, apply = jax.jit(network.init)(jax.random.key(0), ids), jax.jit(network.apply)
    found = apply(variables, ids)
    np.testing.assert_allclose(apply(variables, jnp.pad(ids, ((0, 0), (0, 3)))), found, atol=1e-6)
    backwards = jnp.array([[4, 3, 2], [6, 5, 0]])
    assert np.abs(apply(variables, backwards) - found).max(1).min() > 1e-3
    np.testing.assert_allclose(found.mean(1), 0, atol=1e-6)


def coloured(n, seed):
    """Images of one of three colours, with captions that say so."""
    rng, names = np.random.default_rng(seed), ('red', 'green', 'blue')
    labels = rng.integers(0, 3, n)
    images = rng.integers(0, 60, (n, 8, 8, 3))
    images[np.arange(n), :, :, labels] += 190
    captions = [[f'a {names[y]} square', f'it is {names[y]}'] for y in labels]
    return images.astype(np.uint8), captions, labels.astype(np.int32)


@pytest.mark.slow
def test_a_joint_embedding_learns_what_captions_say(tmp_path):
    told = []
    encoder = text.joint_embedding(*coloured(60, 0), features=8, steps=150, batch_size=12, learning_rate=1e-2, report=told.append)
    found = encoder.encode(['a red square', 'it is red', 'it is blue', 'a blue square'])
    alike = found @ found.T / 8
    assert min(alike[0, 1], alike[2, 3]) > alike[:2, 2:].max() + 0.3
    assert '7 words' in told[0] and encoder.unknown(['a pink square']) == ['pink']
    assert np.isfinite(encoder.encode(['some other words'])).all()
    text.save(tmp_path / 'e.npz', encoder)
    np.testing.assert_array_equal(text.load(tmp_path / 'e.npz').encode(['it is red']), encoder.encode(['it is red']))


def test_images_without_captions_are_refused():
    images, captions, labels = coloured(4, 0)
    with pytest.raises(ValueError, match='non-empty lists'):
        text.joint_embedding(images, [*captions[:3], []], labels)


def test_encoders_come_back_from_files(tmp_path):
    np.savez(tmp_path / 'v.npz', captions=np.array(['red seven', 'six']), vectors=np.eye(2))
    for encoder in (text.bag_of_words(['red seven', 'six']), text.precomputed(tmp_path / 'v.npz')):
        text.save(tmp_path / 'e.npz', encoder)
        again = text.load(tmp_path / 'e.npz')
        np.testing.assert_array_equal(again.encode(['six', 'red seven']), encoder.encode(['six', 'red seven']))
        assert again.size == encoder.size and again.unknown(['six cows']) == encoder.unknown(['six cows'])
    with pytest.raises(InputError, match='does not hold a text encoder'):
        text.load(tmp_path / 'v.npz')
