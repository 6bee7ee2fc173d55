# %% [markdown]
# # Write a game
#
# A GAN in this library is a value of type `Game`: four pure functions, and nothing else.
#
# ```python
# class Game(NamedTuple):
#     init: ...  # (batch, key) -> (generator variables, discriminator variables)
#     play: ...  # (generator variables, batch, key, train=True) -> (play, generator state)
#     discriminator_loss: ...  # (discriminator variables, play, batch, key) -> (loss, (discriminator state, metrics))
#     generator_loss: ...  # (discriminator variables, play, batch, key) -> (loss, metrics)
# ```
#
# The *play* is what the generator's side puts on the table, of any structure. The generator's loss does not see the generator,
# only its play; that is what lets the library unroll a discriminator against a fixed play. Whatever returns a `Game` can be
# trained, unrolled, spread over devices, checkpointed and resumed. This page writes two: the smallest there is, to see what
# unrolling does, and one whose generator's side has two networks.

# %%
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import gan_jax
from gan_jax import compilation, data, games, latents, networks, objectives, optimizers, parallel
from gan_jax.metrics import mode_coverage
from gan_jax.optimizers import Optimizers

compilation.configure()

# %% [markdown]
# ## The smallest game
#
# Each player is one number. The generator $x$ minimises and the discriminator $y$ maximises
#
# $$f(x, y) = xy - \tfrac{c}{2} y^2.$$


# %%
def quadratic(c):
    def init(batch, key):
        return {'params': jnp.float32(1.0)}, {'params': jnp.float32(0.5)}

    def value(x, y):
        return x * y - c / 2 * y**2

    def play(variables, batch, key, *, train=True):
        return variables['params'], {}

    def discriminator_loss(variables, play, batch, key):
        return -value(play, variables['params']), ({}, {})

    def generator_loss(variables, play, batch, key):
        return value(play, variables['params']), {}

    return gan_jax.Game(init, play, discriminator_loss, generator_loss)


# %% [markdown]
# An unrolled generator (Metz et al. 2017) does not reply to $y$, but to what $y$ will be after $K$ more steps against the play,
# $y_{k+1} = y_k + \eta\, \partial f / \partial y$, and it differentiates *through* those steps: it knows that its own move will
# change the answer. Here everything can be written down. The gradient of $f(x, y_K(x))$ in $x$ is $y_{2K}$: looking $K$ steps
# ahead, with the derivative through them, the generator acts as if the discriminator were $2K$ steps further.

# %%
GAME_STEPS = 200
RATE = 0.1


def trajectory(game, k):
    trainer = gan_jax.trainer(game, Optimizers(optax.sgd(RATE), optax.sgd(RATE)), unroll_steps=k, simultaneous=True)
    state = trainer.init(jnp.zeros(1), jax.random.key(0))
    move = lambda state, _: (trainer.step(state, jnp.zeros(1))[0], (state.generator.params, state.discriminator.params))
    return np.stack(jax.jit(lambda state: jax.lax.scan(move, state, None, GAME_STEPS))(state)[1], 1)


c, x, y = 1.0, 1.0, 0.5
for k in (0, 1, 5):
    (_, _), (after, _) = trajectory(quadratic(c), k)[:2]
    shrink = (1 - RATE * c) ** (2 * k)
    closed_form = shrink * y + (1 - shrink) * x / c
    print(f'K = {k}: gradient {(x - after) / RATE:.5f}, y_2K {closed_form:.5f}')
    assert abs((x - after) / RATE - closed_form) < 1e-4

figure, axes = plt.subplots(
    1, 3, figsize=(9, 3.1), sharex=True, sharey=True, layout='constrained', num='Unrolling the bilinear game'
)
for ax, k in zip(axes, (0, 1, 5), strict=True):
    steps = trajectory(quadratic(0.0), k)
    ax.plot(*steps.T, lw=0.8)
    ax.plot(*steps[0], 'o', color='C0', ms=4, label='start')
    ax.plot(*steps[-1], 's', color='C3', ms=5, label=f'after {len(steps)} steps')
    ax.set(title=f'c = 0, K = {k}', xlabel='generator, x', xlim=(-4, 4), ylim=(-4, 4), aspect='equal')
axes[0].set_ylabel('discriminator, y')
axes[0].legend(fontsize=8, loc='lower left')
plt.show()

# %% [markdown]
# Without curvature ($c = 0$) simultaneous steps spiral outwards, as in [why it fails](why_it_fails.md). One step of foresight
# turns the spiral inwards: per step the squared distance from the equilibrium changes by the factor $1 - (2K - 1) \eta^2$, to
# second order in $\eta$.
#
# ## The same on eight Gaussians
#
# Networks and Adam do not change the code: $K$ is an argument of `trainer`, and Adam's memory is unrolled with the parameters.
# Both runs below are Metz et al.'s game, in which the generator minimises minus the whole loss of the unrolled discriminator.

# %%
RING_STEPS = 2400
ring = data.mixture('ring_unrolled')


def train_ring(k, moments=6):
    init = jax.nn.initializers.orthogonal(0.8)
    game = games.adversarial(
        networks.MLP((128, 128, 2), kernel_init=init),
        networks.MLP((128, 1), kernel_init=init, input_scale=0.25, squeeze=True),
        objectives.minimax(),
        latent=latents.normal(64),
    )
    trainer = gan_jax.trainer(game, optimizers.adam(1e-3), unroll_steps=k, simultaneous=True, ema_decay=0.0)
    feed = data.generated(ring.sample, 256)
    count = RING_STEPS // moments
    run = jax.jit(gan_jax.many_steps(trainer.step, feed.by(jax.random.key(1)), count))
    state = trainer.init(jnp.zeros((1, 2)), jax.random.key(0))
    for _ in range(moments):
        state, _ = run(state, feed.data, count)
        yield int(state.step), np.asarray(gan_jax.sample(game, state, 1000, jax.random.key(2)))


covered = {}
figure, axes = plt.subplots(2, 6, figsize=(13, 4.6), layout='constrained', num='Unrolling on a ring')
for row, k in zip(axes, (0, 5), strict=True):
    for ax, (step, points) in zip(row, train_ring(k), strict=True):
        found = mode_coverage(points, ring.centres, ring.stds)
        ax.plot(*ring.centres.T, 'o', ms=9, mfc='none', mec='0.6', mew=0.8)
        ax.plot(*points.T, '.', ms=1.5, color='C0')
        ax.set(xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[], aspect='equal')
        ax.set_title(f'K = {k}, step {step}', fontsize=9)
    covered[k] = int(found.modes)
    print(f'K = {k}: {covered[k]} of 8 modes at the end, {100 * found.high_quality:.0f} % of the points within 3 sigma of one')
plt.show()
assert covered[0] <= 1 and covered[5] == 8

# %% [markdown]
# Without foresight ($K = 0$) all points are in one place at any time, and run from mode to mode: whenever the discriminator has
# learned to distrust a mode, the generator moves on. The generator that looks five steps ahead knows that a single mode will not
# last, and spreads at once. `python -m experiments.unrolled_gan` is the paper's experiment with its rates, $K = 10$ and ten
# seeds.
#
# ## A game of your own
#
# A plain GAN has no way back: given an image, which latent makes it? A bidirectional GAN (Donahue et al. 2017; Dumoulin et al.
# 2017) adds an encoder $E$, and the officer judges *pairs*, of an example and a latent:
#
# $$(x, E(x)), \; x \text{ real}, \qquad \text{against} \qquad (G(z), z).$$
#
# Neither $G$ nor $E$ sees the other, but the only way in which all pairs look alike is that each inverts the other. On the
# generator's side there are two networks, and the play is not an image but a forged pair and the codes of the real batch.


# %%
class Play(NamedTuple):
    forged: jax.Array
    latent: jax.Array
    code: jax.Array


def bidirectional(generator, encoder, discriminator, objective, *, latent):
    """G and E against a D of pairs. `discriminator` takes an example and its latent, joined."""

    def init(batch, key):
        g_key, e_key, d_key, z_key = jax.random.split(key, 4)
        x, z = batch[:1], latent(z_key)[None]
        players = {'generator': generator.init(g_key, z)['params'], 'encoder': encoder.init(e_key, x)['params']}
        return {'params': players}, discriminator.init(d_key, jnp.concatenate([x, z], 1))

    def play(variables, batch, key, *, train=True):
        params = variables['params']
        z = jax.vmap(latent)(parallel.example_keys(len(batch), key))  # the same on one device and on many
        forged = generator.apply({'params': params['generator']}, z)
        return Play(forged, z, encoder.apply({'params': params['encoder']}, batch)), {}

    def logits(variables, play, batch):
        look = lambda x, z: discriminator.apply(variables, jnp.concatenate([x, z], 1))
        return look(batch, play.code), look(play.forged, play.latent)

    def discriminator_loss(variables, play, batch, key):
        return objective.discriminator(*logits(variables, play, batch)).mean(), ({}, {})

    def generator_loss(variables, play, batch, key):
        real, forged = logits(variables, play, batch)
        # G's pairs should pass for E's, and E's for G's.
        return (objective.generator(real, forged) + objective.generator(-forged, -real)).mean(), {}

    return gan_jax.Game(init, play, discriminator_loss, generator_loss)


# %% [markdown]
# That is all. It trains with everything that the library's own games train with. (One of those is `games.bidirectional`, the same
# game with penalties and augmentations.)

# %%
PAIR_STEPS = 4000
blobs = data.Mixture(ring.centres / 2, np.full(8, 0.1))
generator, encoder = networks.MLP((128, 128, 2)), networks.MLP((128, 128, 2))
game = bidirectional(
    generator,
    encoder,
    networks.MLP((128, 128, 1), squeeze=True),
    objectives.non_saturating(),
    latent=latents.normal(2),
)
trainer = gan_jax.trainer(game, optimizers.adam(1e-3), ema_decay=0.995)
feed = data.generated(blobs.sample, 256)
run = jax.jit(gan_jax.many_steps(trainer.step, feed.by(jax.random.key(1)), PAIR_STEPS))
state, _ = run(trainer.init(jnp.zeros((1, 2)), jax.random.key(0)), feed.data, PAIR_STEPS)

# %%
real = jax.vmap(blobs.sample)(jax.random.split(jax.random.key(3), 1600))
mode = jnp.argmin(jnp.linalg.norm(real[:, None] - blobs.centres, axis=-1), 1)
code = gan_jax.sample(game, state, real, jax.random.key(4)).code
again = generator.apply({'params': state.ema['params']['generator']}, code)
forged = gan_jax.sample(game, state, real, jax.random.key(4)).forged

figure, axes = plt.subplots(1, 4, figsize=(12, 3.3), layout='constrained', num='There and back')
panels = {'real, x': real, 'codes, E(x)': code, 'and back, G(E(x))': again, 'forged, G(z)': forged}
for ax, (name, points) in zip(axes, panels.items(), strict=True):
    colours = {'color': '0.3'} if 'z' in name else {'c': mode, 'cmap': 'Set1'}
    ax.scatter(*np.asarray(points).T, s=3, **colours)
    half = 3.5 if 'codes' in name else 1.6
    ax.set(title=name, xlim=(-half, half), ylim=(-half, half), aspect='equal')
plt.show()
apart = jnp.linalg.norm(real - again, axis=1).mean()
chance = jnp.linalg.norm(real - real[::-1], axis=1).mean()
print(f'x and G(E(x)) are {apart:.2f} apart on average; two real points {chance:.2f}')
assert apart < chance / 2

# %% [markdown]
# ## Smaller than a game
#
# Most ideas do not need one. An objective is two functions of logits, a penalty one function of a critic and of examples, an
# augmentation one of what $D$ sees; `games.adversarial` takes any of them. Two examples, each as long as its formula. R1 without
# second derivatives, by a finite difference in a random direction, as large models use it:
#
# $$\tfrac{\gamma}{2} \Big(\frac{D(x + \varepsilon n) - D(x)}{\varepsilon}\Big)^2, \qquad n \sim N(0, I).$$


# %%
def finite_difference_r1(gamma=1.0, size=0.01):
    def penalty(critic, real, fake, key):
        nudge = lambda key: jax.random.normal(key, real.shape[1:])
        n = jax.vmap(nudge)(parallel.example_keys(len(real), key))
        return gamma / 2 * ((critic(real + size * n) - critic(real)) / size) ** 2

    return penalty


def exponential():
    """A loss of one's own: AdaBoost's."""
    return objectives.Objective(lambda real, fake: jnp.exp(-real) + jnp.exp(fake), lambda real, fake: jnp.exp(-fake))


a = jnp.array([0.3, -0.4])  # of a linear critic a.x the mean over n is |a|^2, as R1's
many = finite_difference_r1()(lambda x: x @ a, jnp.zeros((20_000, 2)), None, jax.random.key(0))
print(f'finite difference {many.mean():.3f}, R1 {(a @ a) / 2:.3f}')
assert abs(many.mean() - (a @ a) / 2) < 0.005

game = games.adversarial(
    networks.MLP((64, 64, 2)),
    networks.MLP((64, 64, 1), squeeze=True),
    exponential(),
    latent=latents.normal(2),
    penalties=[finite_difference_r1()],
)
trainer = gan_jax.trainer(game, optimizers.adam(1e-3), unroll_steps=1)
state, metrics = jax.jit(trainer.step)(trainer.init(real[:64], jax.random.key(0)), real[:64])
print({name: round(float(value), 3) for name, value in metrics.items()})

# %% [markdown]
# To keep one, add the factory to its module and a line to its table: `objectives.OBJECTIVES`, `penalties.PENALTIES`. The flags of
# every experiment then have it, and the parametrised tests cover it. A game goes into one file in `gan_jax/games/`, and into the
# table of `tests/games/test_games.py`, which asks of each that one device and many give the same run, that it unrolls, and that
# it resumes bit for bit.
#
# Back to [the contents](README.md).
