"""Every penalty: what all have in common, closed forms for linear and quadratic critics, and schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from gan_jax import parallel, penalties
from gan_jax.penalties import PENALTIES

KEY = jax.random.key(0)
WEIGHTED = {name: ('weight' if name in ('wgan_gp', 'dragan') else 'gamma') for name in PENALTIES}
FINITE = ('finite_r1', 'finite_r2')
"""Whose differences of logits divided by epsilon have their rounding errors multiplied."""


def linear(a):
    return lambda x: (a * x).sum(tuple(range(1, x.ndim)))


def tanh_critic(params, x):
    return jnp.tanh(x.reshape(len(x), -1) @ params['w']) @ params['v']


PARAMS = {'w': jax.random.normal(jax.random.key(1), (4, 5)), 'v': jax.random.normal(jax.random.key(2), (5,))}
REAL, FAKE = jax.random.normal(jax.random.key(3), (2, 8, 2, 2))


@pytest.mark.parametrize('name', PENALTIES)
def test_common_contract(name):
    penalty = PENALTIES[name](**{WEIGHTED[name]: 2.0})

    def total(params, real=REAL, fake=FAKE):
        return penalty(lambda x: tanh_critic(params, x), real, fake, KEY)

    assert total(PARAMS).shape == (8,) and bool((total(PARAMS) >= 0).all())
    compiled = jax.jit(total)
    np.testing.assert_allclose(compiled(PARAMS), total(PARAMS), rtol=1e-2 if name in FINITE else 1e-4, atol=1e-6)
    compiled(jax.tree.map(lambda x: 2 * x, PARAMS))
    assert compiled._cache_size() == 1
    with jax.debug_nans(True):
        # Where the gradient is zero the norm has no derivative; and logits of any size.
        for params in (jax.tree.map(jnp.zeros_like, PARAMS), PARAMS | {'v': 1e4 * PARAMS['v']}):
            mean = lambda p: total(p).mean()
            once = jax.grad(mean)
            twice = jax.grad(lambda p, once=once: sum(jnp.square(x).sum() for x in jax.tree.leaves(once(p))))
            for tree in (mean(params), once(params), twice(params)):
                assert all(np.isfinite(x).all() for x in jax.tree.leaves(tree))
    with pytest.raises(ValueError, match=f'{WEIGHTED[name]} must be from 0 to 1000000, not -1'):
        PENALTIES[name](**{WEIGHTED[name]: -1.0})


@pytest.mark.parametrize('name', PENALTIES)
def test_one_device_and_many_agree(name):
    penalty = PENALTIES[name]()
    expected = penalty(lambda x: tanh_critic(PARAMS, x), REAL, FAKE, KEY)
    split = [x.reshape(4, 2, 2, 2) for x in (REAL, FAKE)]
    found = jax.vmap(lambda r, f: penalty(lambda x: tanh_critic(PARAMS, x), r, f, KEY), axis_name=parallel.AXIS)(*split)
    np.testing.assert_allclose(found.reshape(8), expected, rtol=1e-2 if name in FINITE else 1e-5, atol=1e-6)


@pytest.mark.parametrize('batch', [1, 4])
@pytest.mark.parametrize(
    ('name', 'settings', 'value'),
    [
        ('r1', {'gamma': 3.0}, 1.5 * 1.69),
        ('r2', {'gamma': 3.0}, 1.5 * 1.69),
        ('r1_r2', {'gamma': 3.0}, 3 * 1.69),
        ('wgan_gp', {'weight': 1.0}, 0.09),
        ('wgan_gp', {'weight': 10.0, 'one_sided': True}, 0.9),
        ('dragan', {'weight': 10.0}, 0.9),
    ],
)
def test_linear_critics(name, settings, value, batch):
    # |a| = 1.3, whatever the points: a norm over the whole batch gives 2.56 for .09 at 4 examples, one over channels another.
    a = jnp.array([[[0.3, -1.2], [0.4, 0.0]]])
    real, fake = jax.random.normal(KEY, (2, batch, 1, 2, 2))
    np.testing.assert_allclose(PENALTIES[name](**settings)(linear(a), real, fake, KEY), np.full(batch, value), rtol=1e-5)


def test_one_sided_lets_small_gradients_be():
    a = jnp.array([0.5])
    x = jnp.ones((3, 1))
    np.testing.assert_array_equal(penalties.wgan_gp(1.0, one_sided=True)(linear(a), x, x, KEY), np.zeros(3))
    np.testing.assert_allclose(penalties.wgan_gp(1.0)(linear(a), x, x, KEY), np.full(3, 0.25))


def test_quadratic_critic_against_numpy():
    # D(x) = x'Ax / 2 + b'x has gradient Ax + b. With real = fake, or no noise, every penalty is at a known point.
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        a, b, real, fake = rng.normal(size=(3, 3)), rng.normal(size=3), rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
        a = a + a.T
        critic = lambda x: jnp.einsum('ni,ij,nj->n', x, a, x) / 2 + x @ b
        value = lambda x: np.einsum('ni,ij,nj->n', x, a, x) / 2 + x @ b
        square = lambda x: ((x @ a + b) ** 2).sum(1)
        norm = lambda x: np.sqrt(square(x))
        share = {'real': special.expit(-value(real)) ** 2, 'fake': special.expit(value(fake)) ** 2}
        both = share['real'] * square(real) + share['fake'] * square(fake)
        expected = [
            (penalties.r1(0.7), fake, 0.35 * square(real)),
            (penalties.r2(0.7), fake, 0.35 * square(fake)),
            (penalties.r1_r2(0.7), fake, 0.35 * (square(real) + square(fake))),
            (penalties.roth(0.7), fake, 0.35 * both),
            (penalties.wgan_gp(0.7), real, 0.7 * (norm(real) - 1) ** 2),
            (penalties.dragan(0.7, scale=0.0), fake, 0.7 * (norm(real) - 1) ** 2),
        ]
        for penalty, other, reference in expected:
            np.testing.assert_allclose(penalty(critic, jnp.asarray(real), jnp.asarray(other), KEY), reference, rtol=1e-10)


@pytest.mark.parametrize('name', FINITE)
def test_finite_differences_are_the_derivative_in_a_random_direction(name):
    # D(x) = a'x has the derivative a'n, N(0, |a|^2): its square has the mean |a|^2 and the variance 2 |a|^4. A curvature c adds
    # epsilon |n|^2 c / 2 to it, which for n in one dimension is known exactly.
    a = jnp.array([0.3, -1.2, 0.4])
    x = {'real': jnp.zeros((4000, 3)), 'fake': jnp.ones((4000, 3))}
    points = (x['real'], x['fake']) if name == 'finite_r1' else (x['fake'], x['real'])
    found = PENALTIES[name](2.0)(linear(a), *points, KEY)
    assert float(found.mean()) == pytest.approx(1.69, rel=0.08)  # 3.6 standard errors
    assert float(found.std()) == pytest.approx(1.69 * np.sqrt(2), rel=0.15)
    with jax.enable_x64(True):
        curved = lambda x: x[:, 0] + 3 * x[:, 0] ** 2 / 2
        real, fake = jnp.zeros((5, 1)), jnp.full((5, 1), 2.0)
        n = jax.vmap(lambda key: jax.random.normal(key, (1,)))(parallel.example_keys(5, KEY))[:, 0]
        slope = 1 if name == 'finite_r1' else 7
        expected = (slope * n + 0.1 * 3 * n**2 / 2) ** 2
        np.testing.assert_allclose(PENALTIES[name](2.0, epsilon=0.1)(curved, real, fake, KEY), expected, rtol=1e-9)


def test_packs_of_examples_share_their_difference():
    packed = lambda x: linear(jnp.array([1.0, 2.0]))(x).reshape(-1, 2).sum(1)  # a logit for two examples
    found = penalties.finite_r1(2.0)(packed, jnp.zeros((6000, 2)), jnp.zeros((6000, 2)), KEY)
    exact = penalties.r1(2.0)(packed, jnp.zeros((2, 2)), jnp.zeros((2, 2)), KEY)
    assert found.shape == (6000,) and float(found.mean()) == pytest.approx(float(exact.mean()), rel=0.08)


def test_both_gradients_of_one_pass_are_those_of_two():
    def both(params, terms):
        return penalties.total(terms, lambda x: tanh_critic(params, x), REAL, FAKE, jnp.int32(0), KEY).mean()

    one, two = ([penalties.r1_r2(1.5)], [penalties.r1(1.5), penalties.r2(1.5)])
    values = [jax.value_and_grad(both)(PARAMS, terms) for terms in (one, two)]
    for a, b in zip(*map(jax.tree.leaves, values), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    passes = lambda terms: str(jax.make_jaxpr(lambda p: both(p, terms))(PARAMS)).count(' tanh ')
    assert 2 * passes(one) == passes(two)
    for batch in (REAL[:1], REAL[:2]):  # batches of other sizes take two
        found, expected = (
            sum(term(lambda x: tanh_critic(PARAMS, x), batch, FAKE, KEY).mean() for term in terms) for terms in (one, two)
        )
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def points_of(penalty, real, fake, key=KEY):
    """Where a penalty of weight 1 looks: D(x) = x^2 / 2 has gradient x, and (|x| - 1)^2 gives x > 1 away."""
    return 1 + jnp.sqrt(penalty(lambda x: jnp.square(x).sum(-1) / 2, real, fake, key))


def test_wgan_gp_looks_uniformly_between_real_and_generated():
    real, fake = jnp.full((4000, 1), 2.0), jnp.full((4000, 1), 5.0)
    x = np.sort(points_of(penalties.wgan_gp(1.0), real, fake))
    np.testing.assert_allclose(x, np.linspace(2, 5, 4000), atol=0.1)  # one number per example, U[0, 1]
    wide = jnp.stack([2.0 * jnp.ones(50), 3.0 * jnp.ones(50)], -1), jnp.stack([4.0 * jnp.ones(50), 7.0 * jnp.ones(50)], -1)
    square = penalties.wgan_gp(1.0)(lambda x: (x[:, 1] - 2 * x[:, 0]) ** 2 / 2, *wide, KEY)  # on the segment x1 = 2 x0 - 1
    np.testing.assert_allclose(square, np.full(50, (np.sqrt(5) - 1) ** 2), rtol=1e-3)


def test_dragan_looks_around_the_real_examples_only():
    real = jnp.tile(jnp.array([[2.0], [6.0]]), (1000, 1))  # standard deviation 2, so noise is up to .5 * 2, and one-sided
    x = points_of(penalties.dragan(1.0), real, jnp.full((2000, 1), 1e6)) - real[:, 0]
    assert 0 <= float(x.min()) < 0.01 and 0.9 < float(x.max()) < 1
    assert float(x.mean()) == pytest.approx(0.25, abs=0.02)  # U times U


def test_fresh_randomness_for_each_key():
    for name in ('wgan_gp', 'dragan'):
        critic = lambda x: tanh_critic(PARAMS, x)
        one, two = (PENALTIES[name]()(critic, REAL, FAKE, jax.random.key(i)) for i in (0, 1))
        assert not np.allclose(one, two)


def test_roth_closed_forms():
    # Card 10. A linear logit at D = 1/2: |a|^2 / 2. P = N(1, 1), Q = N(-1, 1) and l = 2x: .899199, half from each.
    a = jnp.array([0.5, 1.2])
    zero = jnp.zeros((3, 2))
    np.testing.assert_allclose(penalties.roth(2.0)(linear(a), zero, zero, KEY), np.full(3, 1.69 / 2), rtol=1e-6)
    with jax.enable_x64(True):
        x = jnp.linspace(-14, 14, 10_001)[:, None]
        far = jnp.full_like(x, 1e4)  # D(real) = 1 or D(fake) = 0 there: no weight
        density = lambda mu: jnp.exp(-((x[:, 0] - mu) ** 2) / 2) / jnp.sqrt(2 * jnp.pi)
        omega = penalties.roth(2.0)
        halves = omega(linear(2.0), x, -far, KEY) * density(1), omega(linear(2.0), far, x, KEY) * density(-1)
        values = [float(jnp.trapezoid(h, x[:, 0])) for h in halves]
        np.testing.assert_allclose(values, [0.449600, 0.449600], atol=1e-6)


def test_roth_wants_one_logit_for_each_example():
    with pytest.raises(ValueError, match='one logit per example'):
        penalties.roth()(lambda x: x, jnp.ones((2, 3)), jnp.ones((2, 3)), KEY)


def test_of_a_map_of_logits_the_gradient_is_that_of_the_sum():
    x = jnp.ones((2, 3))
    np.testing.assert_allclose(penalties.r1(2.0)(lambda x: 2 * x, x, x, KEY), np.full(2, 12.0))


def test_scheduled_penalties():
    x = jnp.ones((2, 1))
    critic = linear(jnp.array([2.0]))
    lazy = penalties.scheduled(penalties.r1(1.0), every=4, factor=penalties.annealing(0.01, 5))
    values = [float(lazy(critic, x, x, jnp.int32(n), KEY)[0]) for n in range(6)]
    # gamma / 2 |a|^2 = 2, four times as strong every fourth time, down to a hundredth at the last of 5 updates.
    np.testing.assert_allclose(values, [8, 0, 0, 0, 0.08, 0], rtol=1e-6)
    annealed = penalties.scheduled(penalties.r1(1.0), factor=penalties.annealing(0.01, 5))
    values = [float(annealed(critic, x, x, jnp.int32(n), KEY)[0]) for n in range(7)]
    np.testing.assert_allclose(values, 2 * 0.01 ** (np.array([0, 1, 2, 3, 4, 4, 4]) / 4), rtol=1e-5)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: penalties.scheduled(penalties.r1(), every=0), 'every must be at least 1'),
        (lambda: penalties.annealing(0.0, 10), r'a share in \(0, 1\]'),
        (lambda: penalties.annealing(0.1, 1), 'at least 2 updates'),
    ],
)
def test_impossible_schedules_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def lazily(counts, factor=lambda n: jnp.ones(())):
    """Of runs side by side, each after its own count of updates: the penalties of one critic, and their gradients in it."""
    lazy = penalties.scheduled(penalties.r1(1.0), every=4, factor=factor)
    mean = lambda a, n: lazy(linear(a), jnp.ones((2, 1)), jnp.ones((2, 1)), n, KEY).mean()
    return jax.vmap(jax.value_and_grad(mean), (None, 0))(jnp.array([2.0]), jnp.asarray(counts))


def test_a_lazy_penalty_of_runs_side_by_side_is_a_branch():
    assert ' cond[' in str(jax.make_jaxpr(lazily)(jnp.zeros(3, jnp.int32)))  # vmap makes a select of one by each run's count
    for counts, expected in [([0, 0, 0], [8, 8, 8]), ([3, 3, 3], [0, 0, 0]), ([4, 1, 8], [8, 0, 8])]:  # steps may differ, too
        value, gradient = lazily(jnp.asarray(counts))
        np.testing.assert_allclose(value, expected)
        np.testing.assert_allclose(gradient[:, 0], expected)  # d/da of 4 a^2 / 2 at 2


def test_the_work_of_a_lazy_penalty_is_not_done_between_its_turns():
    calls = []

    def counted(critic, real, fake, key):
        jax.debug.callback(lambda: calls.append(1))
        return jnp.square(critic(real))

    lazy = penalties.scheduled(counted, every=4)
    run = jax.jit(jax.vmap(lambda a, n: lazy(linear(a), jnp.ones((2, 1)), jnp.ones((2, 1)), n, KEY).sum()))
    for n in range(8):
        run(jnp.ones((3, 1)), jnp.full(3, n)).block_until_ready()
    jax.effects_barrier()
    assert len(calls) in (2, 2 * 3)  # at 0 and 4, of three runs
