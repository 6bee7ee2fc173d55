# %% [markdown]
# # Images: from DCGAN to a modern baseline
#
# The forger of [the first tutorial](gan_in_sixty_lines.md) painted points. For images nothing changes but the networks, and most
# of the work of the field's first years went into networks and losses with which the game does not fall apart. This page walks
# that road on scikit-learn's handwritten digits: 1,437 training images of 8 x 8 pixels, and 360 held out. They need no download.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import gan_jax
from gan_jax import compilation, data, features, games, latents, networks, objectives, optimizers, penalties
from gan_jax.runs.pictures import image_grid

compilation.configure(cache=False)

train_set = data.digits('train')
real, held_out = (data.to_float(jnp.asarray(data.digits(split).images)) for split in ('train', 'test'))  # in [-1, 1]


def show(ax, images, title, columns=10):
    enlarged = data.resize(np.asarray(data.to_uint8(images)), 32)  # for the eye
    ax.imshow(image_grid(enlarged, columns=columns)[..., 0], cmap='gray', vmin=0, vmax=255)
    ax.set_title(title, fontsize=9)
    ax.axis('off')


# %% [markdown]
# ## DCGAN's rules
#
# Radford, Metz and Chintala (2016) found a family of convolutional networks that trains, and stated it as rules: no pooling but
# strided convolutions, fractionally strided ones in the generator; no hidden fully connected layers; batch norm everywhere but at
# $G$'s output and $D$'s input; ReLU in $G$ and tanh at its end, LeakyReLU in $D$; Adam with $\beta_1 = .5$. Each halving of the
# image doubles the channels. For 8 x 8 pixels there is one halving, from 8 to 4:

# %%
BATCH, LATENTS, WIDTH = 32, 16, 64
generator = networks.DCGANGenerator(size=8, channels=1, width=WIDTH, kernel_size=4)
discriminator = networks.DCGANDiscriminator(width=WIDTH, kernel_size=4)


def describe(name, network, example):
    shapes = jax.eval_shape(network.init, jax.random.key(0), example)
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes['params']):
        if leaf.ndim > 1:
            print(f'{name}  {"/".join(key.key for key in path):<24} {leaf.shape}')


describe('G', generator, jnp.zeros((1, LATENTS)))
describe('D', discriminator, jnp.zeros((1, 8, 8, 1)))

# %% [markdown]
# A run is a game, two optimizers and a feed. `many_steps` takes many steps in one call of a compiled program; between calls
# Python looks at what has been learned. What is worth a look is not the loss but the officer's opinion of three kinds of images:
# those it is trained on, forgeries, and *held-out real ones*, which it has never seen.

# %%
STEPS = 2400
MOMENTS = 12


def train(discriminator, objective, players, generator=generator, images=train_set.images, **options):
    """The state at the end, and at each of `MOMENTS`: the step, samples, and D's mean output on all three kinds."""
    game = games.adversarial(generator, discriminator, objective, latent=latents.normal(LATENTS), **options)
    trainer = gan_jax.trainer(game, players, ema_decay=0.99)
    feed = data.feed(images, BATCH)
    seen = data.to_float(jnp.asarray(images))
    count = STEPS // MOMENTS
    run = compilation.jit(gan_jax.many_steps(trainer.step, feed.by(jax.random.key(1)), count), cached=False)

    @compilation.jit
    def look(state):
        samples = gan_jax.sample(game, state, 360, jax.random.key(2))
        opinion = lambda x: discriminator.apply(state.discriminator.variables, x, train=False).mean()
        return samples, jnp.stack([opinion(seen), opinion(held_out), opinion(samples)])

    state = trainer.init(jnp.zeros((1, 8, 8, 1)), jax.random.key(0))
    moments = []
    for _ in range(MOMENTS):
        state, _ = run(state, feed.data, count)
        moments.append((int(state.step), *look(state)))
    return state, moments


# %% [markdown]
# Two recipes. The first is DCGAN's. The second is that of R3GAN (Huang et al. 2024), which asks what is left if everything goes
# that only experience recommends: no batch norm in $D$, no momentum, and a loss with a proof of local convergence. $D$ does not
# classify, it compares a real image with a forged one (*relativistic*, Jolicoeur-Martineau 2019), and gradient penalties keep it
# smooth at real images (R1) and at forgeries (R2):
#
# $$L_D = \mathrm{softplus}(l(G(z)) - l(x)) + \tfrac{\gamma}{2} |\nabla l(x)|^2 + \tfrac{\gamma}{2} |\nabla l(G(z))|^2$$
#
# $$L_G = \mathrm{softplus}(l(x) - l(G(z)))$$

# %%
recipes = {
    'DCGAN': {
        'discriminator': discriminator,
        'objective': objectives.non_saturating(),
        'players': optimizers.adam(1e-3, beta1=0.5),
    },
    'relativistic, R1 + R2': {
        'discriminator': networks.DCGANDiscriminator(width=WIDTH, kernel_size=4, norm='none'),
        'objective': objectives.relativistic(),
        'players': optimizers.adam(1e-3, beta1=0.0, beta2=0.99),
        'penalties': [penalties.r1(1.0), penalties.r2(1.0)],
    },
}
runs = {name: train(**recipe) for name, recipe in recipes.items()}

figure, axes = plt.subplots(2, 4, figsize=(12, 3.9), layout='constrained', num='Two recipes over training')
for row, (name, (_, moments)) in zip(axes, runs.items(), strict=True):
    for ax, i in zip(row, (0, 3, MOMENTS - 1), strict=False):
        step, samples, _ = moments[i]
        show(ax, samples[:32], f'{name}, step {step}', columns=8)
    show(row[-1], real[:32], 'training images', columns=8)
plt.show()

# %% [markdown]
# Both find strokes within 200 steps and digits within 2,400, among them some that are not digits at all. At this length the eye
# sees little difference. What its authors claim for the second recipe is that it trains to the end without tricks. Only its loss
# is used here; the residual networks that go with it are in `gan_jax/networks/r3gan.py`.
#
# ## What D learns by heart
#
# With few images $D$ need not learn what digits look like: it can learn *these images* by heart. Then it calls real images that
# it has not seen forgeries, and its gradient no longer leads to digits but to copies. The gap between its opinions of training
# and of held-out images shows this long before the samples do. Here are both recipes on 100 training images.

# %%
few = {name: train(images=train_set.images[:100], **recipe) for name, recipe in recipes.items()}

figure, axes = plt.subplots(1, 4, figsize=(12, 2.7), layout='constrained', num='The opinion of D')
gaps = {}
for ax, (name, (_, moments)) in zip(axes, few.items(), strict=False):
    steps, opinions = [m[0] for m in moments], np.stack([m[2] for m in moments])
    for i, kind in enumerate(('training images', 'held-out images', 'forgeries')):
        ax.plot(steps, opinions[:, i], color=('C0', 'C2', 'C1')[i], ls=('-', '--', '-')[i], label=kind)
    ax.set(title=name, xlabel='step', ylabel='mean logit')
    trained, unseen, forged = opinions[-1]
    print(f'{name:<22} mean logit: training {trained:6.2f}, held-out {unseen:6.2f}, forged {forged:6.2f}')
    gaps[name] = trained - unseen
axes[1].sharey(axes[0])
axes[0].legend(fontsize=8, frameon=False)
for ax, (name, (_, moments)) in zip(axes[2:], few.items(), strict=True):
    show(ax, moments[-1][1][:36], f'{name}, forgeries', columns=6)
plt.show()
assert gaps['DCGAN'] > 2 * gaps['relativistic, R1 + R2']

# %% [markdown]
# DCGAN's officer drifts away from the held-out images. At the end it believes forgeries sooner than real digits that it has not
# seen: an accurate officer of 100 images, and a poor one of digits. With the penalties the gap is a fraction of that, because a
# smooth $D$ cannot single images out. The other cures are fewer weights, and augmentation of what $D$ sees, real and forged alike
# (`augmentations.diff_augment`, or `augmentations.adaptive`, whose strength follows how sure $D$ is of real images). In your own
# runs, hold some images out and watch them.
#
# ## Between the digits
#
# A generator that has learned images rather than memorised them has images everywhere in its latent space. Latents of a normal
# distribution lie near a sphere, so that one goes from one to another along an arc (`latents.slerp`) rather than a straight line,
# which passes through the improbable middle.

# %%
state, _ = runs['relativistic, R1 + R2']
ends = jax.random.normal(jax.random.key(5), (4, 2, LATENTS))
paths = jnp.concatenate([latents.path(pair, 11, latents.slerp) for pair in ends])
figure, ax = plt.subplots(figsize=(7, 2.6), layout='constrained', num='Along arcs')
show(ax, generator.apply(state.ema, paths, train=False), 'four arcs through the latent space', columns=12)
plt.show()

# %% [markdown]
# ## An officer who is not a classifier
#
# Nothing says that $D$ must be a classifier. In EBGAN (Zhao et al. 2017) it is an autoencoder, and an image is as suspect as it
# is badly reconstructed. That error is an *energy* $E(x)$, which $D$ lowers on real images and raises on forgeries up to a margin
# $m$:
#
# $$L_D = E(x) + [m - E(G(z))]_+, \qquad L_G = E(G(z)).$$
#
# A term on the autoencoder's codes pulls the forgeries of a batch apart (`features.pulling_away`).

# %%
energy = networks.EnergyDiscriminator(networks.MLPAutoencoder((128, 32)))
state, moments = train(
    energy,
    objectives.energy_margin(3.0),
    optimizers.adam(1e-3),
    generator=networks.MLPGenerator((8, 8, 1), (128, 128), norm='batch'),
    feature_losses=[features.pulling_away(0.1)],
)
samples = moments[-1][1]
noise = jax.random.uniform(jax.random.key(6), real[:360].shape, minval=-1, maxval=1)
judged = {'held-out': held_out, 'forged': samples, 'noise': noise}

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3), layout='constrained', width_ratios=(1.2, 1), num='Energies')
again = energy.apply(state.discriminator.variables, jnp.concatenate([x[:8] for x in judged.values()]), method='reconstruct')
pairs = [images for i, x in enumerate(judged.values()) for images in (x[:8], again[8 * i : 8 * i + 8])]
show(left, jnp.concatenate(pairs), 'held-out, forged, noise; below each what D makes of it', columns=8)
for kind, images in judged.items():
    energies = energy.apply(state.discriminator.variables, images, train=False)
    right.hist(np.asarray(energies), bins=np.linspace(0, 8, 50), alpha=0.6, label=kind)
    print(f'{kind:<9} mean energy {energies.mean():.2f}')
right.axvline(3.0, color='k', ls='--', lw=1, label='margin')
right.set(xlabel='energy', yticks=[])
right.legend(fontsize=8, frameon=False)
plt.show()

# %% [markdown]
# ## From here to larger images
#
# The commands below are the same game with larger networks. Each writes its pictures, its numbers and a checkpoint.
#
# | command | what it is |
# |---|---|
# | `python -m experiments.dcgan` | DCGAN with R1 on these digits, 14,000 steps: about three minutes on 2 CPU cores |
# | `python -m experiments.dcgan --dataset mnist` | the same on MNIST, or any TFDS name, or a folder of images |
# | `python -m experiments.wgan_gp`, `experiments.sngan` | the residual networks of WGAN-GP and SNGAN at their papers' settings |
# | `python -m experiments.lapgan` | one GAN for each level of a pyramid |
# | `python -m experiments.ebgan` | energies on MNIST, with a comparison of margins |
# | `python -m experiments.conditional_gan` | a class in each row |
#
# Next: [judging](judging.md).
