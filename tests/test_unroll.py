"""The unrolled gradient, against closed forms and finite differences. A stop-gradient variant fails each of them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend import core

import gan_jax
from gan_jax import games, latents, networks, objectives
from gan_jax.training import Player


def quadratic_game(c: float) -> gan_jax.Game:
    """f = x y - c y^2 / 2: the generator's x minimises, the discriminator's y maximises."""

    def value(y, x):
        return x * y - c * y**2 / 2

    return gan_jax.Game(
        init=lambda batch, key: ({'params': jnp.float64(1.0)}, {'params': jnp.float64(0.5)}),
        play=lambda variables, batch, key, *, train=True: (variables['params'], {}),
        discriminator_loss=lambda variables, x, batch, key: (-value(variables['params'], x), ({}, {})),
        generator_loss=lambda variables, x, batch, key: (value(variables['params'], x), {}),
    )


def unrolled_gradient(game: gan_jax.Game, eta: float, steps: int, x: float = 1.0, y: float = 0.5) -> float:
    optimizer = optax.sgd(eta)
    y_ = jnp.float64(y)
    player = Player(y_, {}, optimizer.init(y_))

    def loss(x):
        future = gan_jax.unroll(game, optimizer, player, x, None, jax.random.key(0), steps=steps)
        return game.generator_loss(future.variables, x, None, None)[0]

    return float(jax.grad(loss)(jnp.float64(x)))


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize('steps', [0, 1, 5, 10])
def test_quadratic_game_has_gradient_y_2k(steps):
    # In closed form, y_K = r^K y + (1 - r^K) x / c, r = 1 - eta c, and the full gradient is y_2K; without the path through the
    # updates it would be y_K. At K = 1, 5, 10: .595, .825661, .939212 against .55, .704755, ....
    r = 1 - 0.1
    expected = r ** (2 * steps) * 0.5 + (1 - r ** (2 * steps))
    assert unrolled_gradient(quadratic_game(1.0), 0.1, steps=steps) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize('steps', [1, 5])
def test_bilinear_game_has_twice_the_second_term(steps):
    # f = x y: y + 2 K eta x, and y + K eta x without the second term.
    assert unrolled_gradient(quadratic_game(0.0), 0.1, steps=steps) == pytest.approx(0.5 + 2 * steps * 0.1, abs=1e-6)


def small_game() -> gan_jax.Game:
    generator = networks.MLP((8, 2), activation=jnp.tanh, dtype=jnp.float64)
    discriminator = networks.MLP((8, 1), activation=jnp.tanh, squeeze=True, dtype=jnp.float64)
    return games.adversarial(generator, discriminator, objectives.minimax(), latent=latents.normal(3))


def to64(tree):
    return jax.tree.map(lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def warm_state(game: gan_jax.Game, optimizer: optax.GradientTransformation) -> tuple[gan_jax.TrainState, jax.Array]:
    batch = jax.random.normal(jax.random.key(5), (16, 2), jnp.float64)
    step = jax.jit(gan_jax.make_train_step(game, optimizer, optimizer))
    state = to64(gan_jax.init(game, optimizer, optimizer, batch, jax.random.key(6)))
    for _ in range(5):
        state, _ = step(state, batch)
    return state, batch


@pytest.mark.parametrize('steps', [pytest.param(1, marks=pytest.mark.slow), 3])
def test_gradient_through_a_warm_adam_equals_finite_differences(steps):
    # The paper unrolls Adam, moments and all; a fresh Adam would make the first step a sign, with no derivative.
    game = small_game()
    optimizer = optax.adam(1e-2, b1=0.5)
    state, batch = warm_state(game, optimizer)
    k1, k2, k3 = jax.random.split(jax.random.key(7), 3)

    @jax.jit
    def loss(params):
        play, _ = game.play({'params': params}, batch, k1)
        future = gan_jax.unroll(game, optimizer, state.discriminator, play, batch, k2, steps=steps)
        return game.generator_loss(future.variables, play, batch, k3)[0]

    @jax.jit
    def stopped(params):
        play, _ = game.play({'params': params}, batch, k1)
        future = gan_jax.unroll(game, optimizer, state.discriminator, jax.lax.stop_gradient(play), batch, k2, steps=steps)
        return game.generator_loss(future.variables, play, batch, k3)[0]

    params = state.generator.params
    direction = jax.tree.map(lambda x: jax.random.normal(jax.random.key(8), x.shape, x.dtype), params)

    def along(f: Callable) -> float:
        gradient = jax.grad(f)(params)
        return sum(float(jnp.vdot(g, d)) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True))

    epsilon = 1e-6
    ends = [jax.tree.map(lambda p, d, e=e: p + e * d, params, direction) for e in (epsilon, -epsilon)]
    numeric = float(loss(ends[0]) - loss(ends[1])) / (2 * epsilon)
    assert along(loss) == pytest.approx(numeric, rel=1e-5)
    assert along(stopped) != pytest.approx(numeric, rel=1e-2)  # the check can tell the two apart


def test_unrolling_leaves_the_discriminator_where_one_update_takes_it():
    game = small_game()
    optimizer = optax.adam(1e-2)
    state, batch = warm_state(game, optimizer)
    plain, _ = jax.jit(gan_jax.make_train_step(game, optimizer, optimizer))(state, batch)
    unrolled, _ = jax.jit(gan_jax.make_train_step(game, optimizer, optimizer, unroll_steps=3))(state, batch)
    jax.tree.map(np.testing.assert_array_equal, plain.discriminator, unrolled.discriminator)
    changed = jax.tree.map(lambda a, b: not np.array_equal(a, b), plain.generator.params, unrolled.generator.params)
    assert all(jax.tree.leaves(changed))


@pytest.mark.parametrize('simultaneous', [False, True])
def test_no_unrolling_is_the_vanilla_step_bit_for_bit(simultaneous):
    game = small_game()
    optimizer = optax.adam(1e-2)
    state, batch = warm_state(game, optimizer)
    stepped, _ = jax.jit(gan_jax.make_train_step(game, optimizer, optimizer, unroll_steps=0, simultaneous=simultaneous))(
        state, batch
    )

    @jax.jit
    def vanilla(state):
        d_key, g_key = jax.random.split(jax.random.fold_in(state.key, state.step))

        def d_loss(params, play):
            return game.discriminator_loss({'params': params}, play, batch, d_key)[0]

        def g_loss(params, discriminator):
            play, _ = game.play({'params': params}, batch, jax.random.split(g_key, 3)[0])
            return game.generator_loss({'params': discriminator}, play, batch, g_key)[0]

        def descend(gradient, player):
            updates, opt_state = optimizer.update(gradient, player.opt_state, player.params)
            return Player(optax.apply_updates(player.params, updates), {}, opt_state)

        g, d = state.generator, state.discriminator
        if simultaneous:
            play, _ = game.play(g.variables, batch, jax.random.split(g_key, 3)[0])
            return descend(jax.grad(g_loss)(g.params, d.params), g), descend(jax.grad(d_loss)(d.params, play), d)
        play, _ = game.play(g.variables, batch, jax.random.split(d_key)[0])
        new_d = descend(jax.grad(d_loss)(d.params, play), d)
        return descend(jax.grad(g_loss)(g.params, new_d.params), g), new_d

    generator, discriminator = vanilla(state)
    jax.tree.map(np.testing.assert_array_equal, stepped.generator, generator)
    jax.tree.map(np.testing.assert_array_equal, stepped.discriminator, discriminator)


def compiled_step(steps: int, width: int = 256, recompute: bool = False):
    generator = networks.MLP((32, 2))
    discriminator = networks.MLP((width, width, 1), squeeze=True)
    game = games.adversarial(generator, discriminator, objectives.minimax(), latent=latents.normal(8))
    optimizer = optax.adam(1e-3)
    batch = jnp.zeros((8, 2), jnp.float32)
    state = gan_jax.init(game, optimizer, optimizer, batch, jax.random.key(0))
    step = gan_jax.make_train_step(game, optimizer, optimizer, unroll_steps=steps, recompute=recompute)
    return jax.jit(step, donate_argnums=0).lower(state, batch).compile(), state.discriminator


@pytest.mark.slow
def test_recomputing_memory_grows_by_no_more_than_one_player_a_step():
    with jax.enable_x64(False):
        (few, player), (many, _) = compiled_step(4, recompute=True), compiled_step(20, recompute=True)
    growth = (many.memory_analysis().temp_size_in_bytes - few.memory_analysis().temp_size_in_bytes) / 16
    assert 0 < growth <= 1.02 * sum(leaf.nbytes for leaf in jax.tree.leaves(player))


def test_recomputing_changes_no_update():
    game, optimizer = small_game(), optax.adam(1e-2, b1=0.5)
    state, batch = warm_state(game, optimizer)
    stored, again = (
        jax.jit(gan_jax.make_train_step(game, optimizer, optimizer, unroll_steps=3, recompute=recompute))(state, batch)[0]
        for recompute in (False, True)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), stored.generator.params, again.generator.params)


def test_the_program_does_not_grow_with_the_number_of_steps():
    # Compile time within 1.2x of K = 3 at K = 32 is measured by experiments.benchmark; its cause is checked here.
    with jax.enable_x64(False):
        short, long = (compiled_step(k)[0].as_text().count('\n') for k in (3, 32))
    assert long <= 1.02 * short


def products(jaxpr: core.Jaxpr) -> int:
    """Matrix products that a program takes, each as often as the loop around it runs."""
    total = 0
    for equation in jaxpr.eqns:
        times = equation.params['length'] if equation.primitive.name == 'scan' else 1
        total += equation.primitive.name == 'dot_general'
        total += times * sum(products(inner) for inner in core.jaxprs_in_params(equation.params))
    return total


def test_the_first_unrolled_update_is_differentiated_in_the_play_alone():
    # Real examples are no part of its derivative, and neither are its parameters.
    game, optimizer = small_game(), optax.adam(1e-2, b1=0.5)
    state, batch = warm_state(game, optimizer)

    def count(steps: int) -> int:
        step = gan_jax.make_train_step(game, optimizer, optimizer, unroll_steps=steps)
        return products(jax.make_jaxpr(step)(state, batch).jaxpr)

    none, one, two, three = (count(steps) for steps in range(4))
    assert one - none < two - one == three - two


def test_it_equals_updates_of_a_plain_loop():
    game, optimizer = small_game(), optax.adam(1e-2, b1=0.5)
    state, batch = warm_state(game, optimizer)
    key = jax.random.key(7)

    def one_by_one(play):
        player = state.discriminator
        for k in jax.random.split(key, 3):

            def loss(params, player=player, k=k):
                return game.discriminator_loss({'params': params}, play, batch, k)[0]

            updates, opt_state = optimizer.update(jax.grad(loss)(player.params), player.opt_state, player.params)
            player = Player(optax.apply_updates(player.params, updates), {}, opt_state)
        return player

    def unrolled(play):
        return gan_jax.unroll(game, optimizer, state.discriminator, play, batch, key, steps=3)

    def gradient(future):
        return jax.jit(jax.grad(lambda play: game.generator_loss(future(play).variables, play, batch, key)[0]))

    play = jax.random.normal(jax.random.key(8), (16, 2), jnp.float64)
    check = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-12)
    jax.tree.map(check, jax.jit(one_by_one)(play), jax.jit(unrolled)(play))
    check(gradient(one_by_one)(play), gradient(unrolled)(play))
