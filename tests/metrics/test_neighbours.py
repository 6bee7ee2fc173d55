"""Nearest neighbours and the manifolds made of them: closed forms, and float64 brute force of all differences."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.metrics.kernel import kernel_distance
from gan_jax.metrics.manifolds import prdc
from gan_jax.metrics.neighbours import compare_distances, memorisation_test, nearest_neighbours
from gan_jax.metrics.pairwise import rounded_mean, smallest
from gan_jax.metrics.parzen import parzen_log_likelihood


def distances(x, y):
    """All distances in float64, from the differences, which know no cancellation."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return np.stack([np.linalg.norm(row - y, axis=1) for row in x])


def reference(real, fake, k, strict):
    """The four definitions, one after the other. An example is the nearest to itself, so sorting puts its k-th neighbour at k."""
    within = np.less if strict else np.less_equal
    real_radii, fake_radii = (np.sort(distances(x, x), 1)[:, k] for x in (real, fake))
    between = distances(real, fake)
    in_real, in_fake = within(between, real_radii[:, None]), within(between, fake_radii)
    return in_real.any(0).mean(), in_fake.any(1).mean(), in_real.sum() / (k * len(fake)), in_real.any(1).mean()


def integers(seed, n, d, high, offset=0):
    return np.random.default_rng(seed).integers(0, high, (n, d)).astype(np.float32) + offset


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_prdc_by_hand():
    # Radii are 1: the balls of 0 and 1 hold 0.5, and that of 2 holds neither; so do those of the fakes, 9.5 and 1, on their side.
    real, fake = np.array([[0.0], [1], [2], [3]]), np.array([[0.5], [1.5], [10], [11]])
    found = prdc(real, fake, 1)
    assert tuple(map(float, found)) == (0.5, 0.75, 1.0, 0.75) == reference(real, fake, 1, True)


@pytest.mark.parametrize('strict', [True, False])
@pytest.mark.parametrize('offset', [pytest.param(0, marks=pytest.mark.slow), 100])
@pytest.mark.parametrize(
    'n, m, d, high, k',
    [(60, 90, 2, 6, 3), (90, 60, 8, 2, 5), (2, 3, 3, 9, 1), (41, 40, 1, 20, 39), (70, 50, 2048, 3, 4)],
)
def test_prdc_of_integers_is_exact(n, m, d, high, k, offset, strict):
    """Most of these distances are tied, and many points repeated."""
    real, fake = integers(0, n, d, high, offset), integers(1, m, d, high, offset)
    found = prdc(real, fake, k, strict=strict, block=32)
    np.testing.assert_array_equal(found, np.float32(reference(real, fake, k, strict)))


@pytest.mark.parametrize('scale, offset', [(1, 0), (1, 100), (1e-3, 0.1), (1e4, 1e6)])
def test_prdc_of_features(scale, offset):
    """An offset of a hundred standard deviations, in any unit."""
    real, fake = (np.float32(scale * normal(seed, 120, 32) + offset) for seed in (0, 1))
    np.testing.assert_array_equal(prdc(real, fake, 3), np.float32(reference(real, fake, 3, True)))


def test_fidelity_is_not_variety():
    """Fakes all in one of two real modes: perfect precision, half the recall. Arguments in the wrong order swap the two."""
    one, other = normal(0, 200, 2), normal(1, 200, 2) + 50
    real, fake = np.concatenate([one, other]), 0.5 * normal(2, 400, 2)
    found, swapped = prdc(real, fake), prdc(fake, real)
    assert found.precision > 0.99 and found.recall < 0.5 and found.coverage < 0.5
    assert (swapped.precision, swapped.recall) == (found.recall, found.precision)


def test_law_of_one_distribution():
    """Density 1, and coverage 1 - prod (n - i) / (n + m - i), i = 1..k: the chance that, of a real example's neighbours among
    both sets, the k nearest are not all real. 200 repetitions."""
    n, m, k = 60, 80, 3
    real, fake = normal(0, 200, n, 4), normal(1, 200, m, 4)
    found = jax.jit(lambda r, f: jax.lax.map(lambda x: prdc(*x, k), (r, f)))(real, fake)
    coverage = 1 - math.prod((n - i) / (n + m - i) for i in range(1, k + 1))
    for values, expected in ((found.density, 1), (found.coverage, coverage)):
        assert abs(float(values.mean()) - expected) < 3.5 * float(values.std()) / 200**0.5
        assert float(values.std()) / 200**0.5 < 0.01


def test_prdc_of_a_set_and_itself():
    """Every ball holds its centre and the k - 1 neighbours within; its surface holds the k-th."""
    x = normal(0, 333, 20)
    np.testing.assert_array_equal(prdc(x, x, 4, block=100), [1, 1, 1, 1])
    np.testing.assert_array_equal(prdc(x, x, 4, strict=False, block=100), [1, 1, 1.25, 1])


@pytest.mark.parametrize('block', [1, 64])
def test_blocks_change_nothing(block):
    real, fake = normal(0, 150, 6), normal(1, 140, 6)
    np.testing.assert_array_equal(prdc(real, fake, 3, block=block), prdc(real, fake, 3))
    for a, b in zip(nearest_neighbours(real, fake, 3, block=block), nearest_neighbours(real, fake, 3), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize('k, m', [(1, 1), (1, 50), (3, 50), (7, 50), (50, 50), (49, 50), (2, 3)])
def test_smallest_is_a_stable_sort(k, m):
    values = np.random.default_rng(0).integers(0, 8, (20, m)).astype(np.float32)
    found, index = jax.jit(smallest, static_argnums=1)(values, k)
    np.testing.assert_array_equal(index, values.argsort(1, kind='stable')[:, :k])
    np.testing.assert_array_equal(found, np.sort(values, 1)[:, :k])


@pytest.mark.parametrize('values', [integers(0, 99, 3, 7, 100), integers(0, 99, 3, 2), normal(0, 99, 3) + 100])
def test_a_rounded_mean_is_subtracted_without_rounding(values):
    centre = np.asarray(rounded_mean(jnp.asarray(values)))
    assert (abs(centre - values.mean(0)) <= values.std(0)).all()
    np.testing.assert_array_equal(values - centre, values.astype(np.float64) - centre)
    constant = jnp.full((9, 2), 0.1)
    np.testing.assert_allclose(rounded_mean(constant), 0.1, rtol=1e-6)


@pytest.mark.parametrize('offset', [0, 100])
def test_nearest_neighbours(offset):
    query, bank = normal(0, 37, 3, 2) + offset, normal(1, 50, 3, 2) + offset
    found = nearest_neighbours(query, bank, 3, block=8)
    full = distances(query.reshape(37, 6), bank.reshape(50, 6))
    np.testing.assert_array_equal(found.index, full.argsort(1)[:, :3])
    np.testing.assert_allclose(found.distance, np.sort(full, 1)[:, :3], rtol=1e-5 if not offset else 1e-4)


def test_ties_go_to_the_lower_index():
    query, bank = integers(0, 40, 2, 5), integers(1, 60, 2, 5)
    found = nearest_neighbours(query, bank, 6, block=16)
    np.testing.assert_array_equal(found.index, distances(query, bank).argsort(1, kind='stable')[:, :6])


def test_a_set_and_itself():
    x = normal(0, 70, 5)
    x[9] = x[3]
    found = nearest_neighbours(x, x, block=16)
    np.testing.assert_array_equal(found.distance, 0)
    np.testing.assert_array_equal(found.index[:, 0], [3 if i == 9 else i for i in range(70)])
    others = distances(x, x)
    np.fill_diagonal(others, np.inf)
    found = nearest_neighbours(x, x, 2, exclude_self=True, block=16)
    np.testing.assert_array_equal(found.index, others.argsort(1)[:, :2])
    assert found.index[9, 0] == 3 and found.distance[9, 0] == 0


def test_copies_of_large_numbers_are_at_distance_zero():
    bank = 1000 * normal(0, 300, 2048) + 5000
    found = nearest_neighbours(bank[[7, 200]], bank)
    np.testing.assert_array_equal(found.index[:, 0], [7, 200])
    np.testing.assert_array_equal(found.distance, 0)
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    found = nearest_neighbours(images[5:6], images, 2)
    nearest = np.sort(distances(images[5:6].reshape(1, -1), images.reshape(20, -1)))[0, 1]
    np.testing.assert_allclose(found.distance[0], [0, nearest], rtol=1e-6)


def test_copies_have_a_small_ratio():
    train, held_out, fresh = normal(0, 200, 5), normal(1, 200, 5), normal(2, 200, 5)
    copied = memorisation_test(train[:100], train, held_out)
    assert copied.ratio == 0 and copied.p_value < 1e-10
    honest = memorisation_test(fresh, train, held_out)
    assert honest.ratio == pytest.approx(1, abs=0.15) and honest.p_value > 0.05
    far = memorisation_test(3 * fresh, train, held_out)
    assert far.ratio > 2 and far.p_value > 0.999  # one-sided
    assert np.isnan(memorisation_test(fresh, train, train).ratio)


def test_the_p_value_is_uniform_if_nothing_was_copied():
    """Under the null hypothesis, the share of p-values below .25 is .25; 150 repetitions, one training set."""
    train = normal(0, 60, 3)
    values = [memorisation_test(normal(2 * i + 1, 40, 3), train, normal(2 * i + 2, 50, 3)).p_value for i in range(150)]
    for level in (0.1, 0.25, 0.5):
        assert abs(np.mean(np.array(values) < level) - level) < 3.5 * (level * (1 - level) / 150) ** 0.5


def intermediates(jaxpr):
    """The shape of every array of a program, loops and calls included."""
    for equation in jaxpr.eqns:
        yield from (v.aval.shape for v in equation.outvars)
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, 'eqns') or hasattr(p, 'jaxpr')):
            inner = getattr(inner, 'jaxpr', inner)
            if hasattr(inner, 'eqns'):
                yield from intermediates(inner)


BLOCKED = {
    'kernel_distance': lambda x, y, block: kernel_distance(x, y, block=block),
    'prdc': lambda x, y, block: prdc(x, y, 5, block=block),
    'nearest_neighbours': lambda x, y, block: nearest_neighbours(x, y, 3, block=block),
    'parzen_log_likelihood': lambda x, y, block: parzen_log_likelihood(x, y, 0.5, block=block),
}


@pytest.mark.parametrize('name', BLOCKED)
def test_memory_is_a_block_of_rows(name):
    """No array of the program is larger than a block of rows of the matrix of pairs, so none is that matrix."""
    n, d, block = 2000, 3, 50
    x = jax.ShapeDtypeStruct((n, d), jnp.float32)
    largest = lambda block: max(
        math.prod(shape) for shape in intermediates(jax.make_jaxpr(lambda x, y: f(x, y, block))(x, x).jaxpr)
    )
    f = BLOCKED[name]
    assert largest(n) >= n * n  # what the test would see
    assert largest(block) <= 1.1 * block * n
    used = jax.jit(lambda x, y: f(x, y, block)).lower(x, x).compile().memory_analysis().temp_size_in_bytes
    assert used < 4 * n * n / 2


def test_bad_input():
    x = normal(0, 10, 3)
    holed = x.copy()
    holed[2] = np.nan
    for k in (0, 10):
        with pytest.raises(ValueError, match=f'neighbour k = {k} requires'):
            prdc(x, np.concatenate([x, x]), k)
        with pytest.raises(ValueError, match=f'neighbour k = {k} requires'):
            prdc(np.concatenate([x, x]), x, k)
    for bad, message in (
        (holed, 'fake contains 3 values that are not finite'),
        (x[:, :2], 'same dimension'),
        (x[0], 'fake must be a set'),
    ):
        with pytest.raises(ValueError, match=message):
            prdc(x, bad)
    assert np.isnan(jax.jit(lambda x, y: jnp.stack(prdc(x, y, 2)))(x, holed)).all()
    assert np.isnan(jax.jit(lambda x, y: jnp.stack(prdc(x, y, 2)))(holed, x)).all()
    for k, settings in ((0, {}), (11, {}), (10, {'exclude_self': True})):
        with pytest.raises(ValueError, match=f'candidates, got {k}'):
            nearest_neighbours(x, x, k, **settings)
    with pytest.raises(ValueError, match='to be the same set, got 10 and 5'):
        nearest_neighbours(x, x[:5], exclude_self=True)
    with pytest.raises(ValueError, match=r'same dimension, got query \(10, 3\) and bank \(10, 2\)'):
        nearest_neighbours(x, x[:, :2])
    with pytest.raises(ValueError, match='bank must be a set'):
        nearest_neighbours(x, x[:0])
    with pytest.raises(ValueError, match='query contains'):
        nearest_neighbours(holed, x)
    assert np.isnan(jax.jit(nearest_neighbours)(holed, x).distance[2]).all()
    assert np.isnan(jax.jit(nearest_neighbours)(x, holed).distance).all()


def test_a_few_copies_are_nearer_than_every_held_out_example():
    """The number of generated examples before the first held-out one, and its distribution, by all orders of 3 + 4 examples."""
    orders = list(itertools.combinations(range(7), 3))  # the ranks of the generated ones
    before = np.array([min(set(range(7)) - set(order)) for order in orders])
    for k in range(4):
        distances = np.array([*range(k), *range(10, 13 - k)], float)
        found = compare_distances(distances, np.array([5.0, 6, 7, 8]))
        assert found.nearer == k and found.nearer_p_value == pytest.approx((before >= k).mean(), rel=1e-9)
    # Medians and ranks miss 10 copies among 1,000; C(1990, 1000) / C(2000, 1000) is their probability, about 2^-10.
    train, held_out, new = np.random.default_rng(0).normal(size=(3, 1000, 5)).astype(np.float32)
    copied = np.concatenate([train[:10], new[10:]])
    found = memorisation_test(copied, train, held_out)
    assert found.nearer >= 10 and found.nearer_p_value < 1e-3 and found.p_value > 0.05
    found = memorisation_test(copied, train, np.concatenate([train[:1], held_out]))  # the data have a duplicate
    assert found.nearer == 0 and found.nearer_p_value == 1
