"""Codes and the bound of their information: L_I <= I(c; x) <= H(c), with equality where the papers have it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import codes, latents
from gan_jax.registry import build


@pytest.mark.parametrize('text', ['categorical:classes=3', 'uniform:low=-2,high=3,deviation=None', 'normal:deviation=0.5'])
def test_every_code_has_its_prior_and_a_density(text):
    code = build(codes.CODES, text)
    drawn = jax.vmap(code.draw)(jax.random.split(jax.random.key(0), 4000))
    assert drawn.shape == (4000, code.size)
    mean, variance = {'categorical': ([1 / 3] * 3, 2 / 9), 'uniform': ([0.5], 25 / 12), 'normal': ([0], 1)}[text.split(':')[0]]
    np.testing.assert_allclose(drawn.mean(0), mean, atol=5 * np.sqrt(variance / 4000))
    np.testing.assert_allclose(drawn.var(0), variance, rtol=0.15)
    parameters = jnp.broadcast_to(jnp.array([0.3, -0.7, 0.2][: code.parameters]), (4001, code.parameters))
    if code.size > 1:
        total = jnp.exp(code.log_posterior(jnp.eye(code.size), parameters[: code.size])).sum()
    else:
        x = jnp.linspace(-9, 9, 4001)[:, None]
        total = jnp.exp(code.log_posterior(x, parameters)).sum() * 18 / 4000
    assert float(total) == pytest.approx(1, abs=1e-5)


def test_every_code_of_the_table_is_here():
    assert set(codes.CODES) == {'categorical', 'uniform', 'normal'}


CHANNEL = np.array([[0.7, 0.2, 0.1, 0.0], [0.1, 0.5, 0.2, 0.2], [0.0, 0.0, 0.3, 0.7]])
"""P(x | c) of a generator with three equally likely categories and four examples."""


def exact_information(channel):
    """I(c; x) in nats, of equally likely c."""
    joint = channel / len(channel)
    ratio = np.where(joint > 0, joint / (joint.sum(0) * joint.sum(1, keepdims=True)), 1)
    return float((joint * np.log(ratio)).sum())


def bound(channel, logits):
    """L_I of a discrete generator, over every pair of a category and an example, with the posterior's logits for each example."""
    classes = len(channel)
    c, x = (index.ravel() for index in np.indices(channel.shape))
    found = codes.information([codes.categorical(classes)], jnp.eye(classes)[c], jnp.asarray(logits)[x])
    return float(found[0] @ (channel / classes).ravel())


def test_the_bound_of_a_category_is_its_information_where_q_is_the_posterior():
    posterior = CHANNEL / CHANNEL.sum(0)
    logits = np.log(np.maximum(posterior.T, 1e-30))
    information = exact_information(CHANNEL)
    assert bound(CHANNEL, logits) == pytest.approx(information, abs=1e-6)
    rng = np.random.default_rng(0)
    others = [bound(CHANNEL, logits + scale * rng.normal(size=logits.shape)) for scale in (0.1, 1, 3) for _ in range(20)]
    assert max(others) < information < np.log(3)


def test_the_information_of_a_category_is_its_entropy_where_examples_show_it():
    channel = np.array([[0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    logits = np.log(np.maximum((channel / channel.sum(0)).T, 1e-30))
    assert bound(channel, logits) == pytest.approx(np.log(3), abs=1e-6)
    nothing = np.full((3, 4), 0.25)
    assert bound(nothing, np.zeros((4, 3))) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize('noise', [0.1, 1.0, 3.0])
def test_the_bound_of_a_gaussian_channel_is_its_information(noise):
    # c ~ N(0, 1) and x = c + noise e: the posterior is N(x / (1 + noise^2), noise^2 / (1 + noise^2)), the information
    # log(1 + 1 / noise^2) / 2.
    nodes, weights = np.polynomial.hermite_e.hermegauss(9)
    c, e = (x.ravel() for x in np.meshgrid(nodes, nodes))
    weights = np.outer(weights, weights).ravel() / weights.sum() ** 2
    x, variance = c + noise * e, noise**2 / (1 + noise**2)
    exact = np.stack([x / (1 + noise**2), np.full_like(x, np.log(variance) / 2)], 1)
    fixed = codes.normal(deviation=float(np.sqrt(variance)))
    information = np.log(1 + 1 / noise**2) / 2
    for code, parameters in ((codes.normal(deviation=None), exact), (fixed, exact[:, :1])):
        of = lambda parameters, code=code: float(
            codes.information([code], jnp.asarray(c)[:, None], jnp.asarray(parameters))[0] @ weights
        )
        assert of(parameters) == pytest.approx(information, abs=1e-5)
        assert of(parameters + 0.1) < information - 1e-3
    # A single standard deviation of 1, as in the authors' code, is a bound as well.
    assert (
        float(codes.information([codes.normal()], jnp.asarray(c)[:, None], jnp.asarray(exact[:, :1]))[0] @ weights) < information
    )


def test_codes_come_in_order_before_the_rest():
    chosen = [codes.categorical(3), codes.uniform(4, 5), codes.normal()]
    draw = codes.joined(chosen, latents.uniform(2, 8, 9))
    z = jax.vmap(draw)(jax.random.split(jax.random.key(0), 50))
    assert z.shape == (50, 7)
    assert set(np.unique(z[:, :3])) == {0, 1} and (z[:, :3].sum(1) == 1).all()
    assert ((z[:, 3] >= 4) & (z[:, 3] < 5)).all() and ((z[:, 5:] >= 8) & (z[:, 5:] < 9)).all()
    parameters = jax.random.normal(jax.random.key(1), (50, 5))
    found = codes.information(chosen, z, parameters)
    for row, code, own, q in zip(
        found, chosen, (z[:, :3], z[:, 3:4], z[:, 4:5]), (slice(3), slice(3, 4), slice(4, 5)), strict=True
    ):
        np.testing.assert_allclose(row, code.log_posterior(own, parameters[:, q]) + code.entropy, rtol=1e-6)


def test_what_is_refused():
    for make in (functools.partial(codes.categorical, 1), functools.partial(codes.uniform, 1.0, 1.0), lambda: codes.normal(0.0)):
        with pytest.raises(ValueError, match=r'must be'):
            make()
    for latent, parameters in (((4, 2), (4, 3)), ((4, 3), (4, 2))):
        with pytest.raises(ValueError, match='latents of at least 3 entries and 3 parameters, got'):
            codes.information([codes.categorical(3)], jnp.zeros(latent), jnp.zeros(parameters))
