# %% [markdown]
# # A GAN in sixty lines
#
# A forger paints; a police officer looks at paintings, some real and some forged, and says how likely each is to be real. The
# officer learns to tell them apart, and the forger learns to be believed. Neither is given a likelihood, a reconstruction error
# or any other measure of quality: the officer *is* the measure, and it improves together with the forger. That is a generative
# adversarial network (Goodfellow et al. 2014).
#
# The forger is a network $G$ that maps noise $z$ to an example $G(z)$. The officer is a network $D$ that maps an example $x$ to a
# probability $D(x)$ of being real. They play for one value, which $D$ raises and $G$ lowers:
#
# $$\min_G \max_D V(G, D) = \mathbb{E}_{x \sim p}[\log D(x)] + \mathbb{E}_{z}[\log (1 - D(G(z)))]$$
#
# This page trains one on points in the plane, with JAX, Flax and Optax alone. If you know JAX, everything new is in the losses.
# If you know GANs, what is new is that a training step is a pure function: parameters and a random key go in, parameters come
# out.

# %%
import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from matplotlib.colors import LinearSegmentedColormap

# %% [markdown]
# **The data** are a spiral with a little noise. Random numbers in JAX are functions of a key, and a key that has been used is
# split, never used again.

# %%
STEPS = 6000
BATCH, LATENTS = 256, 16


def real_batch(key):
    turn_key, noise_key = jax.random.split(key)
    turn = jnp.sqrt(jax.random.uniform(turn_key, (BATCH, 1)))  # of a uniform number: the arm is equally dense all along
    angle = 4 * jnp.pi * turn
    arm = 2 * turn * jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=1)
    return arm + 0.05 * jax.random.normal(noise_key, (BATCH, 2))


# %% [markdown]
# **The players** are two small networks of one kind. A Flax module is a description: `init` makes its parameters, a pytree of
# arrays, and `apply` is a pure function of these and an input. $D$ returns a *logit* $l(x)$, and $D(x) = 1 / (1 + e^{-l(x)})$.


# %%
class MLP(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x):
        for _ in range(3):
            x = nn.leaky_relu(nn.Dense(128)(x), 0.2)
        return nn.Dense(self.outputs)(x)


generator, discriminator = MLP(outputs=2), MLP(outputs=1)


# %% [markdown]
# **The losses.** In terms of the logit, $-\log D = \mathrm{softplus}(-l)$ and $-\log(1 - D) = \mathrm{softplus}(l)$. Written like
# this nothing overflows; `jnp.log(sigmoid(l))` is minus infinity as soon as the officer is sure.
#
# $D$ minimises minus the value $V$. $G$ should minimise $V$, of which only the second term depends on it:
# $\mathbb{E}[\log(1 - D(G(z)))]$, the *minimax* loss. But early on $D$ recognises every forgery, $D(G(z))$ is near 0, and
# $\log(1 - D)$ is flat there. So $G$ maximises $\log D(G(z))$ instead, the *modified minimax* or *non-saturating* loss. It has
# the same equilibrium and pushes hardest where $G$ does worst. [Why it fails](why_it_fails.md) measures the difference.


# %%
def fake_batch(g, key):
    return generator.apply(g, jax.random.normal(key, (BATCH, LATENTS)))


def d_loss(d, real, fake):
    return (jax.nn.softplus(-discriminator.apply(d, real)) + jax.nn.softplus(discriminator.apply(d, fake))).mean()


def g_loss(g, d, key):
    return jax.nn.softplus(-discriminator.apply(d, fake_batch(g, key))).mean()


# %% [markdown]
# **A step** is Algorithm 1 of the paper with $k = 1$: one update of $D$ on a fresh batch, then one of $G$ against the new $D$.
# `jax.value_and_grad` differentiates in the first argument only, so that $D$'s update cannot move $G$, nor $G$'s move $D$. An
# optimizer in Optax is a pair of pure functions too, and its memory (Adam's moments) is part of the state. Adam's $\beta_1$ is
# .5: with the usual .9 the players chase where the other used to be.

# %%
optimizer = optax.adam(optax.cosine_decay_schedule(1e-3, STEPS), b1=0.5)


def step(state, key):
    g, d, g_memory, d_memory = state
    real_key, d_key, g_key = jax.random.split(key, 3)

    loss, gradient = jax.value_and_grad(d_loss)(d, real_batch(real_key), fake_batch(g, d_key))
    updates, d_memory = optimizer.update(gradient, d_memory)
    d = optax.apply_updates(d, updates)

    gradient = jax.grad(g_loss)(g, d, g_key)
    updates, g_memory = optimizer.update(gradient, g_memory)
    g = optax.apply_updates(g, updates)
    return (g, d, g_memory, d_memory), -loss


# %% [markdown]
# **Training.** `jax.lax.scan` runs the step over a stack of keys inside one compiled program, so that Python is out of the loop.
# The values of $V$ come back as an array.

# %%
train = jax.jit(lambda state, keys: jax.lax.scan(step, state, keys))

g_key, d_key, key = jax.random.split(jax.random.key(0), 3)
g = generator.init(g_key, jnp.zeros((1, LATENTS)))
d = discriminator.init(d_key, jnp.zeros((1, 2)))
states = [(g, d, optimizer.init(g), optimizer.init(d))]
values = []
for keys in jax.random.split(key, (24, STEPS // 24)):
    state, value = train(states[-1], keys)
    states.append(state)
    values.append(value)

# %% [markdown]
# That is all of it, and it is fewer than sixty lines. In the picture below the colour is $D(x)$, from forged (orange) through
# "either" (white) to real (blue). At first the officer knows nothing and the forger is pushed about at random. Then the officer
# finds the arm, and the forger's points move towards the blue. At the end the colour has faded along most of the arm: there the
# officer can no longer tell. What is still blue, at the centre of the spiral, is a part of the data that the forger has never
# painted, and the officer knows it.

# %%
ticks = np.linspace(-2.6, 2.6, 120)
plane = jnp.asarray(np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2))
real = np.concatenate([real_batch(k) for k in jax.random.split(jax.random.key(1), 4)])

suspicion = LinearSegmentedColormap.from_list('suspicion', ['#f4a259', 'white', '#5b8fd1'])
figure, axes = plt.subplots(1, 5, figsize=(13, 2.9), layout='constrained', num='The forger and the police')
for ax, moment in zip(axes, (0, 1, 3, 8, 24), strict=True):
    g, d, *_ = states[moment]
    belief = jax.nn.sigmoid(discriminator.apply(d, plane)).reshape(120, 120)
    colours = ax.contourf(ticks, ticks, belief, levels=np.linspace(0, 1, 21), cmap=suspicion)
    fake = np.concatenate([fake_batch(g, k) for k in jax.random.split(jax.random.key(2), 4)])
    ax.plot(*real.T, '.', ms=1.5, color='0.55', label='real')
    ax.plot(*fake.T, '.', ms=1.5, color='k', label='forged')
    ax.set(title=f'step {moment * (STEPS // 24)}', xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), xticks=[], yticks=[], aspect='equal')
axes[0].legend(markerscale=5, loc='lower left', fontsize=8)
figure.colorbar(colours, ax=axes, label='D(x)', ticks=[0, 0.5, 1], pad=0.01)
plt.show()

# %% [markdown]
# ## What the officer knows
#
# Suppose $G$ stands still, and its examples have density $q$. Then the best $D$ can be written down. At each $x$ the value is
# $p \log D + q \log (1 - D)$, which is greatest at
#
# $$D^*(x) = \frac{p(x)}{p(x) + q(x)}.$$
#
# So a trained officer knows the *ratio* of the densities, of which it has never seen either. Put back into the value, this is
#
# $$V(G, D^*) = -\log 4 + 2\, \mathrm{JSD}(p, q),$$
#
# the Jensen-Shannon divergence: 0 if the forgeries are perfect, and at most $\log 2$. At the end of the game $D^* = 1/2$
# everywhere and the value is $-\log 4 = -1.386$.
#
# Both are easy to check on the line. Below, $p$ is $N(0, 1)$ and $q$ comes nearer; in the middle panel, a network is trained as
# above, on samples, and lands on the formula.


# %%
D_STEPS = 1500
x = np.linspace(-5, 8, 1001)


def density(x, mean):
    return np.exp(-((x - mean) ** 2) / 2) / np.sqrt(2 * np.pi)


def d_step(state, key):
    d, memory = state
    real, fake = jax.random.normal(key, (2, BATCH, 1)) + jnp.array([0.0, 2.0])[:, None, None]
    updates, memory = d_optimizer.update(jax.grad(d_loss)(d, real, fake), memory)
    return (optax.apply_updates(d, updates), memory), None


d_optimizer = optax.adam(optax.cosine_decay_schedule(1e-3, D_STEPS))
d = discriminator.init(d_key, jnp.zeros((1, 1)))
(d, _), _ = jax.jit(lambda state: jax.lax.scan(d_step, state, jax.random.split(key, D_STEPS)))((d, d_optimizer.init(d)))
learned = jax.nn.sigmoid(discriminator.apply(d, jnp.asarray(x, jnp.float32)[:, None]))[:, 0]

figure, axes = plt.subplots(1, 3, figsize=(11, 2.6), sharey=True, layout='constrained', num='The optimal discriminator')
for ax, mean in zip(axes, (3.0, 2.0, 0.0), strict=True):
    p, q = density(x, 0.0), density(x, mean)
    best, half = p / (p + q), (p + q) / 2
    v = np.trapezoid(p * np.log(best) + q * np.log1p(-best), x)
    jsd = np.trapezoid(p * np.log(p / half) + q * np.log(q / half), x) / 2
    assert abs(v - (2 * jsd - np.log(4))) < 1e-6
    ax.fill_between(x, p, alpha=0.3, lw=0, color='C0', label='p, real')
    ax.fill_between(x, q, alpha=0.3, lw=0, color='C1', label='q, forged')
    ax.plot(x, best, color='k', lw=1, label='D* = p / (p + q)')
    if mean == 2.0:
        ax.plot(x, learned, color='C3', lw=3, alpha=0.5, label='D, trained on samples')
        off = np.trapezoid(half * np.abs(learned - best), x)
    ax.set(title=f'V(G, D*) = {v:.3f},  JSD = {jsd:.3f}', xlabel='x', xlim=(-4, 7))
axes[1].legend(fontsize=8, frameon=False, loc='upper right')
plt.show()
print(f'the trained D is off by {off:.3f} on average')
assert off < 0.02

# %% [markdown]
# In the game itself $q$ moves, and one step of $D$ for one of $G$ is enough only because $G$ moves little in each. On the spiral
# the value begins near $-\log 4$, because an officer who knows nothing says 1/2 to everything. It climbs once the officer has
# learned something, and comes down again as the forger does:

# %%
history = np.concatenate(values)
figure, ax = plt.subplots(figsize=(7, 2.4), layout='constrained', num='The value of the game')
ax.plot(history, lw=0.3, color='C0', alpha=0.5)
width = max(1, STEPS // 60)
smooth = np.convolve(history, np.ones(width) / width, 'valid')
ax.plot(np.arange(len(smooth)) + width / 2, smooth, color='C0', label='V, as D sees it on a batch')
ax.axhline(-np.log(4), color='k', lw=1, ls='--', label='-log 4')
ax.axhline(0, color='0.6', lw=1, ls=':', label='a perfect D')
ax.set(xlabel='step', ylabel='V(G, D)')
ax.legend(fontsize=8, frameon=False)
plt.show()
print(f'V over the last {width} steps: {smooth[-1]:.3f}, and -log 4 is {-np.log(4):.3f}')
assert -np.log(4) - 0.02 < smooth[-1] < -np.log(4) + 0.1

# %% [markdown]
# The curve ends a little above $-\log 4$, where the missing centre of the spiral keeps it. It also shows why this number is not a
# measure of quality. $V(G, D)$ is a *lower bound* on $V(G, D^*)$, as good as $D$ is: the same value stands for a perfect forger
# at the end and for an ignorant officer at the beginning. The loss of $G$ says even less, since an opponent who changes measures
# it. Look at samples, and [judge](judging.md) them.
#
# ## The same with gan_jax
#
# In the library the networks, the losses and the way of training are separate things, and each can be exchanged without the
# others noticing. The lines above become these:

# %%
import gan_jax
from gan_jax import games, latents, networks, objectives, optimizers

game = games.adversarial(
    networks.MLP((128, 128, 128, 2)),
    networks.MLP((128, 128, 128, 1), squeeze=True),
    objectives.non_saturating(),
    latent=latents.normal(LATENTS),
)
trainer = gan_jax.trainer(game, optimizers.adam(1e-3))
train = jax.jit(gan_jax.many_steps(trainer.step, lambda data, step: real_batch(jax.random.fold_in(key, step)), STEPS // 2))
state, metrics = train(trainer.init(jnp.zeros((1, 2)), jax.random.key(0)), (), STEPS // 2)
points = gan_jax.sample(game, state, 1000, jax.random.key(2))

# %%
figure, ax = plt.subplots(figsize=(2.8, 2.8), layout='constrained', num='The same with gan_jax')
ax.plot(*real.T, '.', ms=1.5, color='0.6')
ax.plot(*np.asarray(points).T, '.', ms=1.5, color='k')
ax.set(title=f'step {int(state.step)}, averaged G', xticks=[], yticks=[], aspect='equal')
plt.show()

# %% [markdown]
# With half of the steps, and learning rates that do not fall, more of the spiral is missing: one of the failures that the next
# page is about.
#
# What can now be exchanged: `objectives.wasserstein()` or any other in place of `non_saturating()`;
# `penalties=[penalties.r1(1.0)]`; `unroll_steps=5` for a generator that looks ahead; `optimizers.wgan_gp()` for five steps of $D$
# per step of $G$; `jax.vmap` for ten seeds at once, or `gan_jax.parallel.shard_map` for eight devices. The state also holds a
# moving average of $G$, which `gan_jax.sample` draws from. A `jax.jit` of your own on a CPU should follow
# `gan_jax.compilation.configure()`; its docstring says why.
#
# Next: [why it fails](why_it_fails.md).
