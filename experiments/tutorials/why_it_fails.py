# %% [markdown]
# # Why it fails
#
# A GAN can fail in three ways. The officer may be so good that the forger learns nothing; the two may run after each other for
# ever; and the forger may paint one picture again and again. Each has a cause that fits on a line or in a plane, and each has
# cures. This page shows the causes exactly, in formulas that are evaluated rather than trained, and then puts twelve methods side
# by side on a ring of eight Gaussians.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from jax.nn import sigmoid, softplus
from jax.scipy.stats import norm

import gan_jax
from gan_jax import augmentations, compilation, data, features, games, latents, networks, objectives, optimizers, penalties
from gan_jax.divergences import DIVERGENCES, quadrature
from gan_jax.metrics import mode_coverage

compilation.configure()

# %% [markdown]
# ## 1. The gradient vanishes
#
# Let the real density be $p = N(0, 1)$, and the forger's $q = N(\theta, 1)$, a distance $\theta$ away. With the best officer,
# whose logit is $l(x) = \log p(x) - \log q(x)$, how hard does each loss push the forger towards the data? The officer is frozen
# while the forger's gradient is taken; expectations are integrals on a grid.
#
# | loss of $G$ | on a forgery with logit $l$ | paper |
# |---|---|---|
# | minimax | $\log(1 - D) = -\mathrm{softplus}(l)$ | Goodfellow et al. 2014 |
# | non-saturating ("modified minimax") | $-\log D = \mathrm{softplus}(-l)$ | Goodfellow et al. 2014 |
# | least squares | $(D - 1)^2 / 2$, with an officer trained on squares | Mao et al. 2017 (LSGAN) |
# | Wasserstein | $-f$, with the steepest critic $f$ of slope at most 1 | Arjovsky et al. 2017 |
# | minimax, instance noise | as minimax; the officer sees $x$ plus noise of deviation $\sigma$ | Sønderby et al. 2017 |

# %%
grid = jnp.linspace(-20, 30, 20_001)
losses = {
    'minimax': lambda logit: -softplus(logit),
    'non-saturating': lambda logit: softplus(-logit),
    'least squares': lambda logit: (sigmoid(logit) - 1) ** 2 / 2,
}


def push(loss, theta, std=1.0):
    """The size of the forger's gradient at the distance theta, against the officer who is best there."""
    logit = norm.logpdf(grid, 0, std) - norm.logpdf(grid, theta, std)
    return jnp.abs(jax.grad(lambda t: jnp.trapezoid(norm.pdf(grid, t, std) * loss(logit), grid))(theta))


distances = jnp.linspace(0.1, 8, 80)
pushes = {name: jax.vmap(lambda theta, loss=loss: push(loss, theta))(distances) for name, loss in losses.items()}
pushes['minimax, instance noise of 2'] = jax.vmap(lambda theta: push(losses['minimax'], theta, 5**0.5))(distances)
pushes['Wasserstein'] = jnp.ones_like(distances)  # the best critic is f(x) = -x, everywhere

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout='constrained', num='The gradient of the forger')
logits = jnp.linspace(-6, 6, 200)
for i, (name, loss) in enumerate(losses.items()):
    left.plot(logits, loss(logits), color=f'C{i}', label=name)
left.plot(logits, -logits, color='C4', label='Wasserstein')
left.set(xlabel='log p / q at a forgery: recognised to the left, believed to the right', ylabel='loss of G', ylim=(-4, 4))
for i, (name, size) in enumerate(pushes.items()):
    right.semilogy(distances, size, color=f'C{i}', label=name)
right.set(xlabel='distance of q from p', ylabel='size of the gradient of G', ylim=(1e-4, 20))
right.legend(fontsize=8, frameon=False)
left.legend(fontsize=8, frameon=False)
plt.show()

for name, size in pushes.items():
    print(f'{name:<30} at distance 2: {size[jnp.argmin(jnp.abs(distances - 2))]:.3f}   at 8: {size[-1]:.1e}')
np.testing.assert_allclose(pushes['minimax'] + pushes['non-saturating'], distances, rtol=2e-3)

# %% [markdown]
# Minimax is flat where forgeries are recognised, so the better the officer, the less the forger learns: its gradient falls as
# $e^{-\theta^2/8}$. Least squares does not help against an officer at the optimum, whose output is $p / (p + q)$ too; its merit
# is that the output is linear, and far from saturated on the way there. The last line of the code checks an identity (Arjovsky
# and Bottou 2017): minimax descends $2\,\mathrm{JSD}(p, q)$, non-saturating descends $\mathrm{KL}(q, p) - 2\,\mathrm{JSD}(p, q)$,
# so that their gradients add up to that of the KL divergence, which here is $\theta$.
#
# The cures are those whose curves stay up: a loss that does not saturate, a critic whose slope is bounded (Wasserstein with
# clipped weights, a gradient penalty or spectral norm), or densities that overlap because both are blurred.
# `python -m experiments.vanishing_gradients` repeats this with networks on a ring.
#
# ## 2. The players cycle
#
# The smallest GAN has two parameters (Mescheder et al. 2018). All data are at 0, all forgeries at $\theta$, and the officer is a
# line, $l(x) = \psi x$. At the equilibrium both are 0. What follows is gradient descent of each player on its own loss, in JAX
# alone.


# %%
def gan_losses(theta, psi, gamma):
    """Minimax; `gamma / 2 |dl / dx|^2` is the penalty R1, and the slope of the officer is psi."""
    d = softplus(-psi * 0.0) + softplus(psi * theta) + gamma / 2 * psi**2
    return -softplus(psi * theta), d


def wgan_gp_losses(theta, psi, weight):
    return -psi * theta, psi * theta + weight * (jnp.abs(psi) - 1) ** 2


def field(losses, strength):
    """The direction in which each player moves, `[2]`."""

    def v(z):
        theta, psi = z
        g = jax.grad(lambda t: losses(t, psi, strength)[0])(theta)
        d = jax.grad(lambda p: losses(theta, p, strength)[1])(psi)
        return -jnp.stack([g, d])

    return v


def path(v, alternating, size=0.1, count=400):
    def move(z, _):
        if alternating:  # first the officer, then the forger against the new officer
            z = z + size * v(z) * jnp.array([0.0, 1.0])
            return (new := z + size * v(z) * jnp.array([1.0, 0.0])), new
        return (new := z + size * v(z)), new

    return jax.lax.scan(move, jnp.array([1.0, 0.5]), None, count)[1]


cases = {
    'simultaneous steps': (gan_losses, 0.0, False),
    'alternating steps': (gan_losses, 0.0, True),
    'R1, gamma = .5': (gan_losses, 0.5, False),
    'WGAN-GP': (wgan_gp_losses, 0.1, False),
}
figure, axes = plt.subplots(1, 4, figsize=(12, 3.2), sharey=True, layout='constrained', num='The Dirac GAN')
for ax, (name, (losses_of, strength, alternating)) in zip(axes, cases.items(), strict=True):
    v = field(losses_of, strength)
    steps = np.asarray(jax.jit(lambda v=v, alternating=alternating: path(v, alternating))())
    ticks = np.linspace(-2.4, 2.4, 13)
    arrows = jax.vmap(v)(jnp.asarray(np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)))
    ax.quiver(*np.meshgrid(ticks, ticks), *np.asarray(arrows).T, color='0.75', width=0.005)
    ax.plot(*steps.T, color='C0', lw=0.8)
    ax.plot(*steps[0], 'o', color='C0', ms=4, label='start')
    ax.plot(*steps[-1], 's', color='C3', ms=5, label=f'after {len(steps)} steps')
    ax.set(title=name, xlabel='forger, θ', xlim=(-2.7, 2.7), ylim=(-2.7, 2.7), aspect='equal')
axes[0].set_ylabel('officer, ψ')
axes[0].legend(fontsize=8, loc='lower left')
plt.show()

for gamma in (0.0, 0.5, 1.0, 2.0):
    found = np.linalg.eigvals(jax.jacfwd(field(gan_losses, gamma))(jnp.zeros(2)))
    root = np.sqrt(complex(gamma**2 / 4 - 1 / 4))
    np.testing.assert_allclose(np.poly(found).real, np.poly([-gamma / 2 - root, -gamma / 2 + root]).real, atol=1e-5)
    print(f'gamma = {gamma}: eigenvalues {", ".join(f"{z:.3f}" for z in found)}')

# %% [markdown]
# The field turns around the equilibrium instead of pointing to it: its eigenvalues there are $\pm i/2$. Simultaneous steps spiral
# outwards, alternating ones go round for ever, and no learning rate changes that. R1 gives the eigenvalues a negative real part,
# $-\gamma/2 \pm \sqrt{\gamma^2/4 - 1/4}$: the officer's slope is damped where the data are, so that it fades out when the forger
# has arrived. Instance noise and the regulariser of Roth et al. have the same effect. A gradient penalty towards slope *one*, as
# WGAN-GP's, does not: an officer who must keep a slope cannot come to rest at the equilibrium. `python -m experiments.dirac_gan`
# has all cases.
#
# ## 3. The forger collapses
#
# Which pictures a forger gives up first depends on what it minimises. Below, one Gaussian is fitted to a mixture of two by three
# $f$-divergences $D_f(p, q) = \mathbb{E}_q[f(p / q)]$. Each belongs to a GAN, whose officer estimates it from samples as
# $\max_T \mathbb{E}_p[T] - \mathbb{E}_q[f^*(T)]$ (f-GAN, Nowozin et al. 2016).

# %%
FIT_STEPS = 500
line = jnp.linspace(-6, 6, 1201)
log_p = jnp.logaddexp(jnp.log(0.3) + norm.logpdf(line, -1.8, 0.5), jnp.log(0.7) + norm.logpdf(line, 1.2, 0.7))


def fit(divergence):
    def value(params):
        mean, log_std = params
        return quadrature(divergence, log_p, norm.logpdf(line, mean, jnp.exp(log_std)), line)

    def move(state, _):
        params, memory = state
        updates, memory = adam.update(jax.grad(value)(params), memory)
        return (optax.apply_updates(params, updates), memory), None

    adam = optax.adam(0.02)
    start = jnp.array([0.0, jnp.log(2.0)])
    (params, _), _ = jax.lax.scan(move, (start, adam.init(start)), None, FIT_STEPS)
    return params[0], jnp.exp(params[1])


figure, ax = plt.subplots(figsize=(7, 2.6), layout='constrained', num='One Gaussian for two')
ax.fill_between(line, jnp.exp(log_p), color='0.8', lw=0, label='p')
fits = {}
for i, name in enumerate(('kl', 'jensen_shannon', 'reverse_kl')):
    mean, std = fits[name] = jax.jit(lambda name=name: fit(DIVERGENCES[name]()))()
    ax.plot(line, norm.pdf(line, mean, std), color=f'C{i}', label=f'{name.replace("_", " ")}: N({mean:.2f}, {std:.2f}²)')
ax.set(xlabel='x', yticks=[])
ax.legend(fontsize=8, frameon=False)
plt.show()
assert fits['kl'][1] > fits['jensen_shannon'][1] > fits['reverse_kl'][1]

# %% [markdown]
# KL covers everything, reverse KL seeks one mode, Jensen-Shannon lies between. But mode collapse in practice has another cause:
# the forger never meets the divergence, which would need the best officer, but only today's officer. Against a fixed $D$ the best
# reply is to paint the *one* picture that $D$ trusts most. $D$ then learns to distrust it, and the forger moves on. So most cures
# either show $D$ several examples at once, which makes repetition visible, or keep $D$ smooth, or let $G$ look ahead.
#
# Twelve ways to train one pair of small networks on a ring of eight narrow Gaussians. The networks and the simultaneous steps are
# those on which Metz et al. (2017) saw the plain game collapse; every panel changes what its name says, with nothing else tuned:
#
# | panel | what is different |
# |---|---|
# | minimax | nothing |
# | non-saturating | the forger's other loss |
# | least squares | LSGAN (Mao et al. 2017) |
# | reverse KL | the f-GAN of that divergence (Nowozin et al. 2016) |
# | energy (EBGAN) | $D$ is an autoencoder, its error an energy: low for real, high for forged examples (Zhao et al. 2017) |
# | instance noise | on what $D$ sees, falling to 0 |
# | k = 5 | five steps of $D$ for each of $G$, in turn |
# | Wasserstein, GP | a critic with a gradient penalty, five steps of $D$ in turn (Gulrajani et al. 2017) |
# | feature matching | $G$ matches the means of $D$'s hidden activations, and ignores its verdict (Salimans et al. 2016) |
# | minibatch discrimination | $D$ also sees how near each example is to the others of its batch (Salimans et al. 2016) |
# | packing | $D$ judges two examples at once (PacGAN, Lin et al. 2018) |
# | unrolled, K = 5 | $G$ replies to what $D$ will be five steps later (Metz et al. 2017; see [write a game](write_a_game.md)) |

# %%
STEPS = 2000
BATCH, LATENTS = 128, 64
ring = data.mixture('ring_unrolled')
init = jax.nn.initializers.orthogonal(0.8)
generator = networks.MLP((128, 128, 2), kernel_init=init)
officer = networks.MLP((128, 1), kernel_init=init, input_scale=0.25, squeeze=True)
adam = optimizers.adam(1e-3, beta1=0.5)


def decaying(players):
    """Both learning rates fall to a hundredth over the run, so that the points come to rest."""
    fall = lambda steps: optax.scale_by_schedule(optax.cosine_decay_schedule(1.0, steps, 0.01))
    g, d, k = players
    return optimizers.Optimizers(optax.chain(g, fall(STEPS)), optax.chain(d, fall(k * STEPS)), k)


def train(objective, *, players=adam, discriminator=officer, unroll_steps=0, seed=0, **options):
    """Points that the forger makes in the end, `[1000, 2]`."""
    game = games.adversarial(generator, discriminator, objective, latent=latents.normal(LATENTS), **options)
    at_once = players.discriminator_steps == 1
    trainer = gan_jax.trainer(game, decaying(players), simultaneous=at_once, unroll_steps=unroll_steps, ema_decay=0.0)
    feed = data.generated(ring.sample, BATCH, minibatches=trainer.minibatches)
    run = jax.jit(gan_jax.many_steps(trainer.step, feed.by(jax.random.key(seed + 1)), STEPS))
    state, _ = run(trainer.init(jnp.zeros((1, 2)), jax.random.key(seed)), feed.data, STEPS)
    return np.asarray(gan_jax.sample(game, state, 1000, jax.random.key(2)))


with_pairs = officer.clone(minibatch='discrimination:features=8,dimensions=3')
energy = networks.EnergyDiscriminator(networks.MLPAutoencoder((128, 64)))
slow = optimizers.adam(1e-3, beta1=0.0, beta2=0.9)

results = {
    'minimax': train(objectives.minimax()),
    'non-saturating': train(objectives.non_saturating()),
    'least squares': train(objectives.least_squares()),
    'reverse KL': train(objectives.f_gan('reverse_kl')),
    'energy (EBGAN)': train(objectives.energy_margin(1.0), discriminator=energy),
    'instance noise': train(objectives.non_saturating(), augmentation=augmentations.instance_noise(0.5, STEPS)),
    'k = 5': train(objectives.minimax(), players=adam._replace(discriminator_steps=5)),
    'Wasserstein, GP': train(
        objectives.wasserstein(), players=slow._replace(discriminator_steps=5), penalties=[penalties.wgan_gp(0.1)]
    ),
    'feature matching': train(objectives.non_saturating(), feature_losses=[features.feature_matching()], objective_weight=0.0),
    'minibatch discrimination': train(objectives.non_saturating(), discriminator=with_pairs),
    'packing': train(objectives.non_saturating(), augmentation=augmentations.packing(2)),
    'unrolled, K = 5': train(objectives.minimax(), unroll_steps=5),
}

# %%
figure, axes = plt.subplots(2, 6, figsize=(13, 4.8), layout='constrained', num='Twelve GANs on a ring')
modes = {}
for ax, (name, points) in zip(axes.flat, results.items(), strict=True):
    found = mode_coverage(points, ring.centres, ring.stds)
    modes[name] = int(found.modes)
    ax.plot(*ring.centres.T, 'o', ms=9, mfc='none', mec='0.6', mew=0.8)
    ax.plot(*points.T, '.', ms=1.5, color='C0')
    ax.set(xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[], aspect='equal')
    ax.set_title(f'{name}\n{modes[name]} of 8 modes', fontsize=9)
    print(f'{name:<26} {modes[name]} of 8 modes, {100 * found.high_quality:3.0f} % of the points within 3 sigma of one')
plt.show()
assert max(modes[name] for name in list(modes)[:6]) <= 2
assert min(modes[name] for name in ('k = 5', 'minibatch discrimination', 'unrolled, K = 5')) >= 6

# %% [markdown]
# In the upper row, changing the loss is not a cure. Whatever number the forger descends, all of its points are in one place, and
# that place moves: its gradients at all latents agree, because $D$ judges every point by itself and has one favourite direction.
# (Had the points come to rest on one mode, it would be the collapse of the textbooks; mostly they pass by.)
#
# In the lower row, the forger is made to notice how its points are distributed. Five steps of $D$ leave no favourite place for
# long, nor does looking five steps ahead. Minibatch discrimination and packing let $D$ see examples together, so that repetition
# gives a forgery away; matching the mean of features makes the spread itself the target; and a critic of bounded slope pulls each
# point to the data nearby. They spread out; how sharp the points are after so few steps is another matter, and one of rates, of
# batch sizes and of patience.
#
# What this picture does not show is a ranking. It is one seed of one recipe, on networks that were chosen to collapse; on others
# the losses of the upper row do well. `python -m experiments.mode_collapse` compares the cures over ten seeds, and
# `python -m experiments.ring --sweep` every objective under every penalty. There the relativistic loss with R1 and R2, the modern
# baseline and a subject of the next page, holds all eight modes in all ten seeds.
#
# Next: [images](images.md).
