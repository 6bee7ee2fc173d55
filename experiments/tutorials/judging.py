# %% [markdown]
# # Judging
#
# A GAN has no likelihood, and its losses are measured by an opponent who changes. How good is it, then? The answers of the field
# are: look; let a classifier look; compare distributions of features; ask whether the samples are copies. Each of them can be
# fooled, and the way to learn how is to fool them on purpose. This page judges forgers whose faults are known, because they are
# built in.

# %%
import pathlib

import jax
import matplotlib.pyplot as plt
import numpy as np
import sklearn
from PIL import Image

from gan_jax import compilation, data
from gan_jax.metrics import (
    feature_moments,
    frechet_distance_from_features,
    frechet_infinity,
    inception_score,
    kernel_distance,
    memorisation_test,
    nearest_neighbours,
    prdc,
)
from gan_jax.metrics.extractors.classifier import train_classifier
from gan_jax.runs.pictures import image_grid

compilation.configure()

train_set, test_set = data.digits('train'), data.digits('test')
train, test, labels = train_set.images, test_set.images, np.asarray(train_set.labels)
rng = np.random.default_rng(0)

# %% [markdown]
# ## Six forgers
#
# Each makes 360 images, as many as are held out.


# %%
def blurred(images):
    padded = np.pad(images.astype(float), ((0, 0), (1, 1), (1, 1), (0, 0)), mode='edge')
    return np.mean([padded[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3)], axis=0)


def mixed(images, others):
    return (images.astype(float) + others) / 2


some = rng.permutation(len(train))
forgers = {
    'held-out real images': test,
    'the copyist': train[some[:360]],
    'one picture a class': np.concatenate([train[labels == c][:1] for c in range(10)]).repeat(36, 0),
    'never a 0 to 4': train[labels >= 5][:360],
    'the blurrer': blurred(train[some[:360]]),
    'the averager': mixed(train[some[:360]], train[some[360:720]]),
    'noise': rng.integers(0, 256, test.shape),
}
forgers = {name: rng.permutation(images.round().astype(np.uint8)) for name, images in forgers.items()}


def show(ax, images, title, columns):
    ax.imshow(image_grid(data.resize(images, 32), columns=columns)[..., 0], cmap='gray', vmin=0, vmax=255)  # enlarged for the eye
    ax.set_title(title, fontsize=9)
    ax.axis('off')


figure, axes = plt.subplots(1, 7, figsize=(13, 2.1), layout='constrained', num='The forgers')
for ax, (name, images) in zip(axes, forgers.items(), strict=True):
    show(ax, images[:25], name, columns=5)
plt.show()

# %% [markdown]
# **The eye** is the first judge. It sees at once what the blurrer and the averager do, and that one forger has ten pictures. It
# does not see that the copyist copies, nor, without counting, that half of the digits are missing. And it learns: Salimans et al.
# (2016) asked people on the web to tell samples from real images, and found that they became better once they were shown their
# mistakes, so that such a figure depends on who judges.
#
# ## A classifier looks: the Inception score
#
# Each image should be recognised with confidence, so that $p(y|x)$ is narrow, and all classes should occur, so that the mean
# $p(y)$ is broad. The score (Salimans et al. 2016) puts both into one number between 1 and the number of classes,
#
# $$\mathrm{IS} = \exp \mathbb{E}_x\, \mathrm{KL}\big(p(y|x) \,\|\, p(y)\big).$$
#
# Its classifier is Inception, trained on ImageNet. Inception has no opinion on digits, so here and below a small classifier of
# the digits takes its place, and the number is not "the" Inception score but a classifier score.
#
# ## Distributions of features: FID and others
#
# The Fréchet distance (Heusel et al. 2017) compares the features $\phi(x)$ of real and forged images, usually Inception's last
# layer. Both sets are summarised by mean and covariance, as if they were Gaussian:
#
# $$d^2 = |\mu_1 - \mu_2|^2 + \mathrm{Tr}\big(\Sigma_1 + \Sigma_2 - 2 (\Sigma_1 \Sigma_2)^{1/2}\big).$$
#
# The kernel distance (KID, Bińkowski et al. 2018) compares all moments up to the third, without bias. Precision asks how many
# forgeries lie among the real images, recall how many real images lie among the forgeries (Kynkäänniemi et al. 2019).
#
# ## Is it a copy?
#
# The pictures in the paper of 2014 show each sample beside its nearest training image. That alone proves little (a copy shifted
# by a pixel is far away), but distances to the *training* set do say something next to those of *held-out* images: new digits lie
# at some distance from the training set, copies lie at 0. `memorisation_test` compares both by a rank test.

# %%
CLASSIFIER_STEPS = 1500
judge = train_classifier(train, labels, name='digits', steps=CLASSIFIER_STEPS)
accuracy = (judge.probabilities(test).argmax(1) == test_set.labels).mean()
print(f'the judge is right on {100 * accuracy:.1f} % of the held-out images\n')

reference = judge.features(train)
columns = ('score', 'Fréchet', 'kernel', 'precision', 'recall', 'neighbours', 'p-value')
print(f'{"":<22}' + ''.join(f'{c:>11}' for c in columns))
table = {}
for name, images in forgers.items():
    found = judge.features(images)
    manifold = prdc(reference, found, k=3)
    nearness = memorisation_test(images / 127.5, train / 127.5, test / 127.5)
    table[name] = row = (
        float(inception_score(np.log(judge.probabilities(images) + 1e-12), splits=1).mean),
        float(frechet_distance_from_features(reference, found)),
        float(kernel_distance(reference, found).value),
        float(manifold.precision),
        float(manifold.recall),
        nearness.ratio,
        nearness.p_value,
    )
    print(f'{name:<22}' + ''.join(f'{value:>11.3g}' for value in row))

real, copies, ten, half, blur, average, noise = (table[name] for name in forgers)
assert copies[1] < real[1] and copies[0] > 0.95 * real[0] and copies[6] < 1e-6
assert ten[0] > 0.9 * real[0] and ten[3] > 0.95 and ten[4] < 0.01 and ten[1] > 5 * real[1]
assert half[3] > 0.95 and half[4] < 0.6 * real[4] and noise[0] > 2 and blur[1] > average[1] > 5 * real[1]

# %% [markdown]
# Reading down the columns:
#
# * The **score** loves the forger who has one picture a class: ten recognisable images are all that it asks for. It compares with
#   no real image, so that it sees neither copies nor a lack of variety within a class. It gives noise far more than 1, because a
#   classifier that has seen nothing but digits is often sure of what it sees in noise. It does notice that half of the classes
#   are missing.
# * The **Fréchet distance** finds everything that the eye finds, and the missing classes and the missing variety too. But the
#   copyist is *nearer* to the training images than new real images are. A distance to the training set rewards copying, and a
#   perfect forger gets what the held-out images get, not 0; always print that row.
# * **Precision and recall** say what is wrong: precision 1 and recall 0 belong to the forger of ten pictures, precision 1 and a
#   low recall to the one who leaves digits out. The copyist passes.
# * The **neighbours** (the median distance to the nearest training image, relative to that of held-out images) expose copies: 0
#   for the three who copy, with a p-value to match. They praise noise, which lies far from everything, so that they say little
#   alone.
#
# No column finds every fault, and every fault is found by at least one.

# %%
query = np.concatenate([forgers['the copyist'][:8], test[:8]])
found = nearest_neighbours(query / 127.5, train / 127.5, k=3)
rows = np.concatenate([query[:, None], train[np.asarray(found.index)]], 1)
figure, axes = plt.subplots(1, 2, figsize=(8, 2.6), layout='constrained', num='Nearest neighbours')
for ax, part, name in zip(axes, (rows[:8], rows[8:]), ('the copyist', 'held-out real images'), strict=True):
    show(ax, part.swapaxes(0, 1).reshape(-1, 8, 8, 1), f'{name}; below, the three nearest training images', columns=8)
plt.show()

# %% [markdown]
# ## Traps
#
# **Sample size.** The Fréchet distance between two sets *of the same distribution* is not 0. Both covariances are estimated, and
# what is estimated from $n$ samples of dimension $d$ is off. For two sets of $n$ from $N(0, I)$ the mean is
# $(2d + d(d+1)/2) / n$, to first order. So distances of different sample sizes do not compare: whoever takes fewer samples looks
# worse. The bias is a line in $1/n$, which can be followed to $1/n = 0$ (Chong and Forsyth 2020).

# %%
d = 64
sizes = np.array([200, 300, 500, 1000, 2000, 5000])
normal = lambda n: rng.normal(size=(n, d))
measured = [np.mean([frechet_distance_from_features(normal(n), normal(n)) for _ in range(5)]) for n in sizes]
theory = (2 * d + d * (d + 1) / 2) / sizes
shifted = normal(5000) + 1 / np.sqrt(d)  # at a distance of 1, exactly
line = frechet_infinity(feature_moments(normal(50_000)), shifted, jax.random.key(0))

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8), layout='constrained', num='Sample size')
left.loglog(sizes, measured, 'o', label='measured, mean of 5')
left.loglog(sizes, theory, color='k', lw=1, label='(2d + d(d+1)/2) / n')
left.set(xlabel='n', ylabel='Fréchet distance', title=f'two samples of N(0, I), d = {d}')
left.set_xticks(sizes, sizes, minor=False)
left.set_xticks([], minor=True)
left.set_yticks([0.5, 1, 2, 5, 10], [0.5, 1, 2, 5, 10])
left.legend(fontsize=8, frameon=False)
right.plot(1 / line.sizes, line.values, 'o')
ends = np.array([0, 1 / line.sizes.min()])
right.plot(ends, line.value + line.slope * ends, color='k', lw=1)
right.plot(0, 1, '*', color='C3', ms=11, label='the truth')
right.set_xticks([0, 1 / 2000, 1 / 1000, 1 / 500], ['n = ∞', '2000', '1000', '500'])
right.set(xlabel='n, on a scale of 1 / n', title=f'n to infinity: {line.value:.3f} ± {line.standard_error:.3f}')
right.legend(fontsize=8, frameon=False)
plt.show()

# %% [markdown]
# **Resizing.** Inception takes 299 x 299 pixels, so that everything is resized before it is judged, and resizers differ: many do
# not filter before they make an image smaller. Below are crops of two photographs, made smaller in three ways. Only the resizer
# differs, and the distance, in plain pixels here, sees it.

# %%
folder = pathlib.Path(sklearn.__file__).parent / 'datasets' / 'images'
photographs = [np.asarray(Image.open(folder / name).convert('L')) for name in ('china.jpg', 'flower.jpg')]


def crops(count):
    found = []
    for i in range(count):
        photograph = photographs[i % 2]
        top, left = (rng.integers(0, side - 64) for side in photograph.shape)
        found.append(photograph[top : top + 64, left : left + 64])
    return np.stack(found).astype(np.float32)


resizers = {
    'filtered (bilinear, antialias)': lambda x: jax.image.resize(x, (len(x), 12, 12), 'bilinear', antialias=True),
    'bilinear, no filter': lambda x: jax.image.resize(x, (len(x), 12, 12), 'bilinear', antialias=False),
    'nearest pixel': lambda x: jax.image.resize(x, (len(x), 12, 12), 'nearest'),
}
first, second = crops(3000), crops(3000)
flat = lambda x: np.asarray(x).reshape(len(x), -1) / 127.5
detailed = first[np.argsort(np.diff(first, axis=2).std((1, 2)))[[-2, -300, -600, -1100]]]
ours = flat(resizers['filtered (bilinear, antialias)'](first))

figure, axes = plt.subplots(1, 4, figsize=(12, 3.1), layout='constrained', num='Resizing')
axes[0].imshow(image_grid(detailed[..., None].astype(np.uint8), columns=2, scale=1)[..., 0], cmap='gray')
axes[0].set_title('four of the crops\n64 x 64 pixels', fontsize=9)
for ax, (name, resizer) in zip(axes[1:], resizers.items(), strict=True):
    small = resizer(second)
    distance = float(frechet_distance_from_features(ours, flat(small)))
    shown = np.clip(np.asarray(resizer(detailed)), 0, 255).astype(np.uint8)[..., None]
    ax.imshow(image_grid(shown, columns=2, scale=5)[..., 0], cmap='gray', vmin=0, vmax=255)
    ax.set_title(f'{name}\nFréchet distance {distance:.2f}', fontsize=9)
    print(f'{name:<32} {distance:.2f} from filtered crops')
for ax in axes:
    ax.axis('off')
plt.show()

# %% [markdown]
# **Whose features?** A distance between features depends on whose features they are. Two judges that differ in nothing but their
# seed, and are nearly equally good, give different numbers:

# %%
other = train_classifier(train, labels, name='digits', steps=CLASSIFIER_STEPS, seed=1)
other_accuracy = (other.probabilities(test).argmax(1) == test_set.labels).mean()
print(f'right on held-out images, %  {100 * accuracy:8.1f} {100 * other_accuracy:8.1f}')
for name in ('held-out real images', 'the blurrer', 'the averager', 'never a 0 to 4', 'noise'):
    distance = frechet_distance_from_features(other.features(train), other.features(forgers[name]))
    print(f'{name:<28} {table[name][1]:8.2f} {distance:8.2f}')

# %% [markdown]
# So the name of a metric must say which network's features it is of, how the images were resized, how many there were, and of
# which real images. `python -m gan_jax.metrics REAL FAKE` compares two folders under a protocol that has a name, such as that of
# torch-fidelity or clean-fid, on the Inception weights of 2015; `python -m experiments.evaluate RUN` judges a run. A number from
# a digit classifier is *not* an FID.
#
# Next: [write a game](write_a_game.md).
