"""The Inception score: closed forms, a float64 reference, and independence of how the samples arrive."""

import jax
import numpy as np
import pytest
from scipy import special

from gan_jax import parallel
from gan_jax.metrics import scores
from gan_jax.metrics.scores import inception_score, inception_score_infinity

update = jax.jit(scores.update)
value = jax.jit(scores.value)


def samples(n, classes, scale=2.0, seed=0):
    return (scale * np.random.default_rng(seed).normal(size=(n, classes))).astype(np.float32)


def reference(logits):
    """exp E KL(p(y|x) || p(y)) in float64."""
    log_p = special.log_softmax(logits.astype(np.float64), 1)
    p = np.exp(log_p)
    return np.exp((p * (log_p - np.log(p.mean(0)))).sum(1).mean())


def streamed(logits, batch):
    """In batches of one size, the last filled up with what is not a number."""
    moments = scores.init(logits.shape[1])
    for start in range(0, len(logits), batch):
        rows = np.full((batch, logits.shape[1]), np.nan, np.float32)
        part = logits[start : start + batch]
        rows[: len(part)] = part
        moments = update(moments, rows, np.arange(batch) < len(part))
    return moments


@pytest.mark.parametrize('score', [lambda x: inception_score(x, 1).mean, lambda x: value(streamed(x, 3))])
def test_closed_forms(score):
    # Certain of each of K classes equally often: K. As large as logits come, where p log p of p is not a number.
    assert float(score(np.tile(1e4 * np.eye(7, dtype=np.float32), (5, 1)))) == pytest.approx(7, rel=1e-6)
    # The same prediction for all: 1.
    assert float(score(np.tile(samples(1, 7), (20, 1)))) == pytest.approx(1, abs=1e-6)
    # exp of the capacity of the binary symmetric channel with error .2, log 2 - h(.2): 1.212573.
    assert float(score(np.log(np.array([[0.8, 0.2], [0.2, 0.8]], np.float32)))) == pytest.approx(1.212573, abs=1e-6)


@pytest.mark.parametrize(
    ('n', 'classes', 'scale', 'splits'), [(1003, 10, 3, 10), (500, 1008, 3, 4), (400, 5, 0.05, 1), (9, 3, 1, 4)]
)
def test_splits_against_float64(n, classes, scale, splits):
    logits = samples(n, classes, scale)
    slices = [logits[i * n // splits : (i + 1) * n // splits] for i in range(splits)]
    expected = np.array([reference(part) for part in slices])
    for found in (inception_score(logits, splits), jax.jit(inception_score, static_argnums=1)(logits, splits)):
        np.testing.assert_allclose(found.splits, expected, rtol=1e-6)
        assert float(found.mean) == pytest.approx(expected.mean(), rel=1e-6)
        assert float(found.std) == pytest.approx(expected.std(), rel=1e-4, abs=1e-6)  # ddof 0
    assert float(value(streamed(logits, 100))) == pytest.approx(reference(logits), rel=1e-6)


def test_the_order_matters_between_splits_only():
    logits = samples(60, 4)
    shuffled = np.random.default_rng(1).permutation(logits)
    once, again = (inception_score(x, 3).splits for x in (logits, shuffled))
    assert np.abs(once - again).max() > 1e-3
    assert float(inception_score(logits, 1).mean) == pytest.approx(float(inception_score(shuffled, 1).mean), rel=1e-6)


def test_any_batches_give_one_score():
    logits = samples(100, 6)
    expected = reference(logits)
    for batch in (1, 7, 100, 128):
        moments = streamed(logits, batch)
        assert int(moments.size) == 100
        assert float(value(moments)) == pytest.approx(expected, rel=1e-6)
    a, b, c = (scores.update(scores.init(6), logits[s]) for s in (slice(5), slice(5, 70), slice(70, None)))
    for joined in (scores.merge(scores.merge(a, b), c), scores.merge(a, scores.merge(b, c))):
        assert float(value(joined)) == pytest.approx(expected, rel=1e-6)
    jax.tree.map(np.testing.assert_array_equal, scores.merge(scores.init(6), a), a)
    jax.tree.map(np.testing.assert_array_equal, scores.merge(a, scores.init(6)), a)


def test_devices_share_the_samples_in_uneven_parts():
    logits = samples(21, 6)
    rows = np.full((4, 8, 6), np.nan, np.float32)
    mask = np.zeros((4, 8), bool)
    mask[0], mask[1, :3], mask[2, ::2], mask[3, 2:] = True, True, True, True
    rows[mask] = logits
    reduced = lambda x, m: scores.all_reduce(scores.update(scores.init(6), x, m))
    for run in (jax.pmap(reduced, parallel.AXIS), jax.vmap(reduced, axis_name=parallel.AXIS)):
        found = run(rows, mask)
        np.testing.assert_array_equal(found.size, [21] * 4)
        np.testing.assert_allclose(jax.vmap(scores.value)(found), reference(logits), rtol=1e-6)


def test_bad_input():
    logits = samples(6, 3)
    logits[2, 1] = np.nan
    with pytest.raises(ValueError, match='logits contains 1 values that are not finite'):
        inception_score(logits, 2)
    with pytest.raises(ValueError, match='6 rows cannot be divided into 7 splits'):
        inception_score(samples(6, 3), 7)
    with pytest.raises(ValueError, match='6 rows cannot be divided into 0 splits'):
        inception_score(samples(6, 3), 0)
    with pytest.raises(ValueError, match='logits'):
        inception_score(np.zeros(6))
    with pytest.raises(ValueError, match=r'logits must be \[n, 4\]'):
        scores.update(scores.init(4), logits)
    with pytest.raises(ValueError, match=r'under a mask \(5,\)'):
        scores.update(scores.init(3), logits, np.ones(5, bool))
    assert np.isnan(value(scores.init(3))) and np.isnan(value(update(scores.init(3), logits)))


def test_the_score_of_infinitely_many_samples():
    """Logits are one of three rows with probabilities .5, .3 and .2, so the score of the distribution is known."""
    rng, choices = np.random.default_rng(0), samples(3, 5)
    shares = np.array([0.5, 0.3, 0.2])
    p = special.softmax(choices.astype(np.float64), 1)
    exact = np.exp((shares[:, None] * p * (np.log(p) - np.log(shares @ p))).sum())
    found = [inception_score_infinity(choices[rng.choice(3, 400, p=shares)], jax.random.key(i), points=8) for i in range(60)]
    values, errors = (np.array([float(getattr(f, name)) for f in found]) for name in ('value', 'standard_error'))
    assert abs(values.mean() - exact) < 3 * values.std() / 60**0.5 < 0.02 * exact
    assert np.sqrt(np.mean(errors**2)) / values.std() == pytest.approx(1, abs=0.25)
    # Finite samples have too low a score, and the line rises towards the left.
    assert np.mean([f.values[0] for f in found]) < np.mean([f.values[-1] for f in found]) < exact
    assert np.mean([f.slope for f in found]) < 0


def test_extrapolated_values_are_scores_of_subsets():
    logits = samples(300, 7)
    found = inception_score_infinity(logits, jax.random.key(0), points=5)
    np.testing.assert_array_equal(found.sizes, np.linspace(30, 300, 5).astype(int))
    assert found.values[-1] == pytest.approx(reference(logits), rel=1e-6)
    slope, intercept = np.polyfit(1 / found.sizes, found.values, 1)
    assert (found.value, found.slope) == pytest.approx((intercept, slope), rel=1e-6)
    compiled = jax.jit(lambda x, key: inception_score_infinity(x, key, points=5))(logits, jax.random.key(0))
    np.testing.assert_allclose(compiled.values, found.values, rtol=1e-5)
    for bad, points in ((logits[:19], 5), (logits, 2)):
        with pytest.raises(ValueError, match=r'need >= 3 points and logits \[n >= 20, classes\]'):
            inception_score_infinity(bad, jax.random.key(0), points=points)
