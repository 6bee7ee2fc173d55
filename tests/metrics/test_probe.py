"""The linear probe, the smoothness of paths, paths and arithmetic of latents: closed forms and independent references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from gan_jax import latents
from gan_jax.errors import InputError
from gan_jax.metrics.paths import smoothness
from gan_jax.metrics.probe import linear_probe, pooled, pooled_features


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize('between', [latents.lerp, latents.slerp])
def test_a_path_goes_through_its_points(between):
    points = normal(0, 9, 12)
    path = latents.path(points, 5, between)
    assert path.shape == (8 * 5 + 1, 12)
    np.testing.assert_allclose(path[::5], points, atol=1e-6)


def test_steps_of_a_straight_path_are_equal():
    points = normal(1, 3, 4)
    steps = np.diff(latents.path(points, 4), axis=0)
    np.testing.assert_allclose(steps, np.repeat(np.diff(points, axis=0) / 4, 4, 0), atol=1e-6)


def test_an_arc_turns_at_constant_speed_on_its_sphere():
    # 90 degrees in 6 steps of 15, at radius 2; the point half-way of a straight line would be at radius sqrt 2.
    arc = np.asarray(latents.path(jnp.array([[2.0, 0.0], [0.0, 2.0]]), 6, latents.slerp))
    angles = np.deg2rad(15 * np.arange(7))
    np.testing.assert_allclose(arc, 2 * np.stack([np.cos(angles), np.sin(angles)], 1), atol=1e-6)


def test_an_arc_of_almost_no_angle_is_the_straight_line():
    a = normal(2, 20)
    for b in (a, 3 * a, 0 * a, a + 1e-4 * normal(3, 20)):
        found = latents.path(jnp.stack([a, b]), 4, latents.slerp)
        np.testing.assert_allclose(found, latents.path(jnp.stack([a, b]), 4), atol=1e-5)
    gradient = jax.grad(lambda t: latents.slerp(a, 3 * a, t).sum())(0.5)
    assert float(gradient) == pytest.approx(float(2 * a.sum()), rel=1e-4)


def test_arcs_keep_the_length_of_normal_latents():
    a, b = normal(4, 2, 2000)
    assert np.linalg.norm(latents.slerp(a, b, 0.5)) == pytest.approx(np.sqrt(2000), rel=0.05)
    assert np.linalg.norm(latents.lerp(a, b, 0.5)) == pytest.approx(np.sqrt(1000), rel=0.05)


def test_arithmetic_of_latents():
    a, b, c = normal(5, 3, 3, 4000)
    found = latents.analogy(a, b, c)
    np.testing.assert_allclose(found, a.mean(0) - b.mean(0) + c.mean(0))
    assert float(found.std()) == pytest.approx(1, rel=0.05)  # 3 means of variance 1/3
    np.testing.assert_allclose(latents.analogy(a, a, c), c.mean(0), atol=1e-6)


@pytest.mark.parametrize(('points', 'steps'), [(jnp.zeros((1, 3)), 2), (jnp.zeros((2, 3)), 0), (jnp.zeros(3), 2)])
def test_a_path_of_nothing_is_refused(points, steps):
    with pytest.raises(ValueError, match='at least 2 points'):
        latents.path(points, steps)


def test_smoothness_in_closed_form():
    even = smoothness(jnp.arange(9.0)[:, None, None] * jnp.ones((2, 3)))
    np.testing.assert_allclose(even.steps, np.ones(8), rtol=1e-6)
    assert float(even.ratio) == pytest.approx(1)
    jump = jnp.where(jnp.arange(9)[:, None] < 4, 0.0, 5.0) * jnp.ones(7)  # all of the change in one of 8 steps
    assert float(smoothness(jump).ratio) == pytest.approx(8)
    assert float(smoothness(3 * jump - 1).ratio) == pytest.approx(8)
    assert np.isnan(smoothness(jnp.zeros((4, 2))).ratio)
    with pytest.raises(ValueError, match='at least 3 images'):
        smoothness(jnp.zeros((2, 4)))


@pytest.mark.parametrize('size', [4, 7, 8, 14])
def test_pooled_cells(size):
    x = np.asarray(normal(6, 2, size, size, 3))
    expected = np.empty((2, 4, 4, 3), x.dtype)
    for i in range(4):
        for j in range(4):
            rows, columns = (slice(int(np.floor(k * size / 4)), int(np.ceil((k + 1) * size / 4))) for k in (i, j))
            expected[:, i, j] = x[:, rows, columns].max((1, 2))
    np.testing.assert_array_equal(pooled(jnp.asarray(x)), expected)


def test_the_papers_dimension_of_features():
    # Card 2: 16 * (64 + 128 + 256) = 7168 for three layers of 32-pixel images; a global pooling's output is left out.
    maps = [jnp.zeros((2, 16, 16, 64)), jnp.zeros((2, 8, 8, 128)), jnp.zeros((2, 4, 4, 256)), jnp.zeros((2, 256))]
    assert pooled_features(maps).shape == (2, 7168)
    for bad in ([jnp.zeros((2, 3, 8, 1))], [jnp.zeros((2, 9))]):
        with pytest.raises(ValueError, match='feature maps'):
            pooled_features(bad)


def three_classes(n, seed, d=6):
    """Overlapping Gaussians; the last feature is the largest and says nothing."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    x = rng.normal(size=(n, d)) + 1.5 * np.eye(d)[labels]
    x[:, -1] = 20 * rng.normal(size=n) + 5
    return x, labels


def exact(x, labels, cost):
    """The classes' weights and biases that minimise |w|^2 / 2 + cost * (squared hinge), by SciPy's BFGS in float64."""

    def objective(w, y):
        margin = np.maximum(0, 1 - y * (x @ w[:-1] + w[-1]))
        slope = -2 * cost * margin * y
        return w[:-1] @ w[:-1] / 2 + cost * (margin**2).sum(), np.append(w[:-1] + x.T @ slope, slope.sum())

    classes = [np.where(labels == k, 1.0, -1.0) for k in range(3)]
    fits = [optimize.minimize(objective, np.zeros(x.shape[1] + 1), (y,), jac=True, method='BFGS').x for y in classes]
    return np.stack(fits, 1)


def test_the_probe_is_the_exact_minimum():
    x, labels = three_classes(400, 1)
    test, test_labels = three_classes(300, 2)
    probe = linear_probe(x, labels, test, test_labels, costs=(0.5, 50.0), seed=3)
    order = np.random.default_rng(3).permutation(400)
    chosen, rest = order[:80], order[80:]
    centre = x.mean(0)
    scale = np.sqrt(((x - centre) ** 2).sum(1).mean())
    x, test = (x - centre) / scale, (test - centre) / scale

    def accuracy(rows, cost, x_test, y_test):
        w = exact(x[rows], labels[rows], cost)
        return ((x_test @ w[:-1] + w[-1]).argmax(1) == y_test).mean()

    held_out = [accuracy(rest, cost, x[chosen], labels[chosen]) for cost in (0.5, 50.0)]
    np.testing.assert_allclose(probe.held_out, held_out, atol=1 / 80 + 1e-6)  # one example on the border
    assert probe.cost == (0.5, 50.0)[int(np.argmax(probe.held_out))]
    assert probe.accuracy == pytest.approx(accuracy(order, probe.cost, test, test_labels), abs=2 / 300)
    assert probe.accuracy > 0.6
    again = linear_probe(1000 * x + 7, labels, 1000 * test + 7, test_labels, costs=(50.0, 0.5), seed=3)
    assert again.cost == probe.cost and again.accuracy == pytest.approx(probe.accuracy, abs=2 / 300)


def test_the_test_set_chooses_nothing():
    # Labels of the test set that contradict the training set leave the choice as it was.
    x, labels = three_classes(400, 4)
    costs = (0.01, 10.0)
    probe = linear_probe(x, labels, x, labels, costs=costs)
    wrong = linear_probe(x, labels, x, (labels + 1) % 3, costs=costs)
    assert (wrong.held_out, wrong.cost) == (probe.held_out, probe.cost) and wrong.accuracy < 1 - probe.accuracy + 1e-6


def test_labels_that_do_not_suffice_are_refused():
    x, labels = three_classes(40, 5)
    with pytest.raises(InputError, match='the others do not contain classes: 3'):
        linear_probe(x, labels, x[:1], np.array([3]))
    with pytest.raises(InputError, match='at least 2 classes'):
        linear_probe(x, 0 * labels, x, 0 * labels)
    with pytest.raises(InputError, match='too few'):
        linear_probe(x[:2], labels[:2], x, labels)
    with pytest.raises(ValueError, match='same dimension'):
        linear_probe(x, labels, x[:, :2], labels)
    for train, test in ((np.tile(labels, 2), labels), (labels - 1, labels), (labels, labels[:-1]), (labels, labels + 0.5)):
        with pytest.raises(InputError, match=rf'labels of (train|test) must be {len(x)} integers from 0 on'):
            linear_probe(x, train, x, test)
