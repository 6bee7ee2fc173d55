"""The Vendi score: closed forms, and the eigenvalues of the whole similarity matrix in float64."""

import jax
import numpy as np
import pytest

from gan_jax.metrics.vendi import vendi_score


def reference(x, order):
    """From all n x n cosines, by definition, in float64."""
    x = np.asarray(x, np.float64)
    x = x / np.sqrt((x * x).sum(1))[:, None]
    p = np.linalg.svd(x / np.sqrt(len(x)), compute_uv=False) ** 2
    p = p[p > 1e-13]
    if order == 1:
        return np.exp(-(p * np.log(p)).sum())
    return 1 / p.max() if order == np.inf else (p**order).sum() ** (1 / (1 - order))


def test_closed_forms():
    assert vendi_score(np.eye(7)) == pytest.approx(7, rel=1e-12)
    assert vendi_score(np.arange(1, 6)[:, None] * np.ones(3)) == pytest.approx(1, rel=1e-12)  # one direction
    assert vendi_score(np.repeat(np.eye(4), 5, axis=0)) == pytest.approx(4, rel=1e-12)  # copies count once
    # Two vectors at an angle with cosine c have the eigenvalues (1 + c) / 2 and (1 - c) / 2.
    p = np.array([0.8, 0.2])
    two = np.array([[2, 0], [0.6, 0.8]])  # whatever their lengths
    assert vendi_score(two) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-12)
    assert vendi_score(two, order=2) == pytest.approx(1 / 0.68, rel=1e-12)
    assert vendi_score(two, order=np.inf) == pytest.approx(1 / 0.8, rel=1e-12)
    # Shares .7 and .3 of two orthogonal directions.
    many = np.repeat(np.eye(2), (70, 30), axis=0)
    assert vendi_score(many) == pytest.approx(np.exp(-0.7 * np.log(0.7) - 0.3 * np.log(0.3)), rel=1e-12)


@pytest.mark.parametrize('order', [0, 0.5, 0.51, 0.999, 1, 1.001, 1.49, 2, np.inf])
@pytest.mark.parametrize('offset', [0, 100])
@pytest.mark.parametrize('n, d, rank', [(50, 8, 8), (9, 30, 30), (40, 12, 3), (2, 5, 5)])
def test_float64_reference(n, d, rank, offset, order):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(n, rank)) @ rng.normal(size=(rank, d)) + offset).astype(np.float32).astype(np.float64)
    if rank < d:
        x = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, d))  # rounding to float32 would fill the rank
    expected = reference(x, order)
    assert vendi_score(x, order=order) == pytest.approx(expected, rel=1e-6 if order < 1 else 1e-9)
    if order >= 1:
        compiled = jax.jit(lambda x: vendi_score(x, order=order))(x.astype(np.float32))
        assert float(compiled) == pytest.approx(expected, rel=1e-5 if offset else 1e-4)
    np.testing.assert_allclose(vendi_score(x[::-1] * 3, order=order), expected, rtol=1e-6)


def test_orders_next_to_1_are_those_of_order_1():
    x = np.random.default_rng(0).normal(size=(60, 20))
    at_1 = vendi_score(x)
    slope = (reference(x, 1.001) - reference(x, 0.999)) / 0.002
    for distance in (1e-3, 1e-6, 1e-9, 1e-12, 2e-16):
        for order in (1 - distance, 1 + distance):
            assert vendi_score(x, order=order) == pytest.approx(at_1 + slope * (order - 1), rel=1e-6)
            compiled = jax.jit(lambda x, order=order: vendi_score(x, order=order))(x.astype(np.float32))
            assert float(compiled) == pytest.approx(at_1 + slope * (order - 1), rel=1e-4)


def test_bad_input():
    x = np.eye(3)
    for call, message in (
        (lambda: vendi_score(x[:1]), r'\[n >= 2, d\]'),
        (lambda: vendi_score(x * [[1], [0], [1]]), 'contains 1 rows of zeros'),
        (lambda: vendi_score(np.full((3, 3), np.inf)), 'are not finite'),
        (lambda: vendi_score(x, order=-1), 'at least 0, got -1'),
        (lambda: vendi_score(x, order=float('nan')), 'at least 0, got nan'),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize('order', [50, 1000])
def test_large_orders_do_not_underflow(order):
    assert vendi_score(np.eye(100), order=order) == pytest.approx(100, rel=1e-9)
