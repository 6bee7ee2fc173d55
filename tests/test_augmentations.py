"""Every augmentation: what all have in common, and what each does to its input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import augmentations, parallel
from gan_jax.augmentations import AUGMENTATIONS, TRANSFORMS

IMAGES = jax.random.uniform(jax.random.key(0), (8, 8, 12, 3), minval=-1)
keys = lambda n, seed=1: parallel.example_keys(n, jax.random.key(seed))
FAST = {'images': 64, 'every': 1}  # in 64 images from 0 to 1: that of 8 moves it by 1/8
SETTINGS = {'adaptive': FAST, 'ada': FAST}


@pytest.mark.parametrize('name', AUGMENTATIONS)
def test_common_contract(name):
    augment = AUGMENTATIONS[name](**SETTINGS.get(name, {}))
    state = augment.update(augment.init(), jnp.ones(8))
    apply = jax.jit(augment.apply)
    seen = apply(state, IMAGES, keys(8))
    assert seen.shape[0] * augment.group == 8 and seen.dtype == IMAGES.dtype
    np.testing.assert_allclose(augment.apply(state, IMAGES, keys(8)), seen, rtol=1e-4, atol=1e-5)
    apply(augment.update(state, -jnp.ones(8)), 2 * IMAGES, keys(8, seed=2))
    assert apply._cache_size() == 1  # a state that changes type or shape would compile again
    with jax.debug_nans(True):
        square = lambda x: jnp.square(augment.apply(state, x, keys(8))).sum()
        once = jax.jit(jax.grad(square))
        twice = jax.jit(jax.grad(lambda x: jnp.square(jax.grad(square)(x)).sum()))
        for x in (IMAGES, jnp.zeros_like(IMAGES), 1e4 * IMAGES):
            assert np.isfinite(once(x)).all() and np.isfinite(twice(x)).all()
    jax.eval_shape(jax.vmap(augment.apply, (None, 0, None)), state, IMAGES[None], keys(8))


@pytest.mark.parametrize('name', AUGMENTATIONS)
def test_one_device_and_many_agree(name):
    augment = AUGMENTATIONS[name](**SETTINGS.get(name, {}))
    real = jnp.linspace(-1, 2, 8)  # the sign's mean is above the target on two of four devices only
    state = augment.update(augment.init(), real)
    expected = jax.jit(augment.apply)(state, IMAGES, keys(8))

    def local(x, real):
        state = augment.update(augment.init(), real)
        return state, augment.apply(state, x, parallel.example_keys(2, jax.random.key(1)))

    run = jax.jit(jax.vmap(local, axis_name=parallel.AXIS))
    states, found = run(IMAGES.reshape(4, 2, *IMAGES.shape[1:]), real.reshape(4, 2))
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-5, atol=1e-6)
    for a, b in zip(jax.tree.leaves(states), jax.tree.leaves(state), strict=True):
        np.testing.assert_allclose(a, np.full(4, b))


def test_noise_has_its_level_and_falls_linearly():
    noise = augmentations.instance_noise(0.5, updates=4)
    state, levels = noise.init(), []
    x = jnp.zeros((2000, 3))
    for _ in range(6):
        levels.append(float(noise.apply(state, x, keys(2000)).std()))
        state = noise.update(state, jnp.zeros(2))
    np.testing.assert_allclose(levels, [0.5, 0.375, 0.25, 0.125, 0, 0], rtol=0.03)
    constant = augmentations.instance_noise(0.5)
    assert float(constant.apply(state, x, keys(2000)).std()) == pytest.approx(0.5, rel=0.03)


def test_images_that_belong_together_are_transformed_alike_and_have_noise_of_their_own():
    x = jax.random.uniform(jax.random.key(0), (16, 8, 8, 1), minval=-1)
    pair = (x, jnp.concatenate([x, x], -1))
    for policy in ('translation', 'cutout', 'translation+cutout'):
        a, b = augmentations.diff_augment(policy).apply((), pair, keys(16))
        np.testing.assert_array_equal(b, jnp.concatenate([a, a], -1))
        assert (a != x).any()
    a, b = augmentations.diff_augment('color').apply((), (x, x), keys(16))
    np.testing.assert_array_equal(a, b)
    noise = augmentations.instance_noise(1.0)
    zeros = jnp.zeros((400, 3))
    a, b = noise.apply(noise.init(), (zeros, zeros), keys(400))
    np.testing.assert_array_equal(a, noise.apply(noise.init(), zeros, keys(400)))
    assert abs(float((a * b).mean())) < 4 / 1200**0.5
    with pytest.raises(ValueError, match='images'):
        augmentations.diff_augment().apply((), (x, x[:, :4]), keys(16))


def test_noise_is_fresh_and_independent():
    noise = augmentations.instance_noise(1.0)
    a = noise.apply(noise.init(), jnp.zeros((400, 3)), keys(400))
    b = noise.apply(noise.init(), jnp.zeros((400, 3)), keys(400, seed=2))
    assert abs(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]) < 0.1
    assert np.abs(np.corrcoef(a.T) - np.eye(3)).max() < 0.2


def test_noisy_jensen_shannon_divergence():
    # Card 10: N(0, s^2) against N(mu, s^2) under noise sigma is the divergence at mu / sqrt(s^2 + sigma^2). As s -> 0 at mu = 1:
    # .111421 for sigma = 1 and .336831 for .5. Measured on the augmentation's own samples by the optimal logit.
    for sigma, value in ((1.0, 0.111421), (0.5, 0.336831)):
        noise = augmentations.instance_noise(sigma)
        n = 100_000
        real = noise.apply(noise.init(), jnp.zeros((n, 1)), keys(n))[:, 0]
        fake = noise.apply(noise.init(), jnp.ones((n, 1)), keys(n, seed=2))[:, 0]
        logit = lambda x, sigma=sigma: (0.5 - x) / sigma**2
        bound = np.log(4) - jax.nn.softplus(-logit(real)).mean() - jax.nn.softplus(logit(fake)).mean()
        assert float(bound / 2) == pytest.approx(value, abs=3e-3)


def test_packs_join_neighbours_along_the_last_axis():
    pack = augmentations.packing(2)
    x = jnp.arange(12.0).reshape(6, 2)
    np.testing.assert_array_equal(pack.apply((), x, keys(6)), np.arange(12.0).reshape(3, 4))
    images = pack.apply((), IMAGES, keys(8))
    assert images.shape == (4, 8, 12, 6)
    np.testing.assert_array_equal(images[1, ..., :3], IMAGES[2])
    np.testing.assert_array_equal(images[1, ..., 3:], IMAGES[3])
    with pytest.raises(ValueError, match='5 examples do not divide into packs of 2'):
        pack.apply((), jnp.zeros((5, 2)), keys(5))


def test_color_keeps_structure():
    key = jax.random.key(3)
    brightness, saturation, contrast = np.asarray(jax.random.uniform(key, (3,)))
    x = np.asarray(IMAGES[0], np.float64) + brightness - 0.5
    mean = x.mean(-1, keepdims=True)
    x = (x - mean) * 2 * saturation + mean
    expected = (x - x.mean()) * (contrast + 0.5) + x.mean()
    np.testing.assert_allclose(TRANSFORMS['color'](IMAGES[0], key), expected, rtol=1e-4, atol=1e-5)


def test_translation_shifts_whole_pixels_and_fills_with_zeros():
    image = jnp.arange(1.0, 16 * 24 + 1).reshape(16, 24, 1)
    shifts = set()
    for seed in range(200):
        moved = np.asarray(TRANSFORMS['translation'](image, jax.random.key(seed)))[..., 0]
        row, column = np.argwhere(moved > 0)[0]
        first = moved[row, column] - 1
        down, right = row - first // 24, column - first % 24
        expected = np.zeros((16, 24))
        rows, columns = np.arange(16) - int(down), np.arange(24) - int(right)
        inside = np.ix_((rows >= 0) & (rows < 16), (columns >= 0) & (columns < 24))
        expected[inside] = np.asarray(image)[..., 0][
            np.ix_(rows[(rows >= 0) & (rows < 16)], columns[(columns >= 0) & (columns < 24)])
        ]
        np.testing.assert_array_equal(moved, expected)
        shifts.add((int(down), int(right)))
    assert {down for down, _ in shifts} == set(range(-2, 3)) and {right for _, right in shifts} == set(range(-3, 4))


def test_cutout_is_one_rectangle_of_half_the_side():
    sizes = []
    for seed in range(200):
        hole = np.asarray(TRANSFORMS['cutout'](jnp.ones((8, 12, 3)), jax.random.key(seed)))[..., 0] == 0
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        assert hole.sum() == len(rows) * len(columns) > 0
        assert (np.diff(rows) == 1).all() and (np.diff(columns) == 1).all()
        sizes.append((len(rows), len(columns)))
    assert max(sizes) == (4, 6) and len(set(sizes)) > 4  # cut off at the border at times


def test_probability_of_a_transform():
    images = jnp.ones((2000, 4, 4, 1))
    for probability in (0.0, 0.3, 1.0):
        augment = augmentations.diff_augment('cutout', probability)
        changed = (augment.apply((), images, keys(2000)) != images).any((1, 2, 3)).mean()
        assert float(changed) == pytest.approx(probability, abs=0.04)


def test_adaptive_probability_follows_overfitting():
    # Every fourth update; by 4 * 8 / 320 = .1; up while more than 80 % of real logits are positive (r > .6), else down to 0.
    augment = augmentations.adaptive(target=0.6, images=320, every=4)
    state, seen = augment.init(), []
    for real in [jnp.ones(8)] * 9 + [jnp.linspace(-1, 3, 8)] * 12:
        state = augment.update(state, real)
        seen.append(round(float(state.probability), 3))
    assert seen == [0.0] * 3 + [0.1] * 4 + [0.2] * 4 + [0.3] * 4 + [0.2] * 4 + [0.1] * 2


def test_ada_adapts_its_probability_or_is_given_it():
    adapted = augmentations.ada('cutout', images=64, every=1)
    assert adapted.reads_logits and not augmentations.ada(probability=0.5).reads_logits
    state = adapted.init()
    np.testing.assert_array_equal(adapted.apply(state, IMAGES, keys(8)), IMAGES)  # from 0 on
    assert float(adapted.update(state, jnp.ones(8)).probability) == pytest.approx(8 / 64)
    scheduled = augmentations.ada('cutout', probability=lambda updates: jnp.where(updates < 1, 0.0, 1.0))
    state = scheduled.init()
    for changes in (False, True):
        assert bool((scheduled.apply(state, jnp.ones((8, 4, 4, 1)), keys(8)) != 1).any()) is changes
        state = scheduled.update(state, jnp.zeros(8))


def test_ada_of_images_that_belong_together():
    x = jax.random.uniform(jax.random.key(0), (8, 6, 6, 1), minval=-1)
    a, b = augmentations.ada('blit+cutout', probability=1.0).apply((), (x, jnp.repeat(x, 3, -1)), keys(8))
    np.testing.assert_array_equal(b, jnp.repeat(a, 3, -1))
    a, b = augmentations.ada('noise', probability=1.0).apply((), (x, x), keys(8))
    assert (a != b).any()


def test_chain_applies_in_turn_with_keys_of_their_own():
    twice = augmentations.chain(augmentations.instance_noise(1.0), augmentations.instance_noise(1.0), augmentations.packing(2))
    seen = twice.apply(twice.init(), jnp.zeros((4000, 1)), keys(4000))
    assert seen.shape == (2000, 2) and twice.group == 2
    assert float(seen.std()) == pytest.approx(np.sqrt(2), rel=0.03)  # 2 if both drew the same
    states = twice.update(twice.init(), jnp.zeros(2))
    assert [int(s) for s in states[:2]] == [1, 1]


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: augmentations.instance_noise(-0.1), 'sigma must be from 0 to 1000'),
        (lambda: augmentations.instance_noise(0.1, updates=0), 'updates must be at least 1, not 0'),
        (lambda: augmentations.packing(0), 'size must be from 1 to 1000, not 0'),
        (lambda: augmentations.diff_augment(probability=1.5), 'probability must be from 0 to 1'),
        (lambda: augmentations.diff_augment('colour'), "unknown transform 'colour'; did you mean color"),
        (lambda: augmentations.adaptive(target=2.0), 'target must be from -1 to 1'),
        (lambda: augmentations.ada('blit+colour'), "unknown transform of ADA 'colour'; did you mean color"),
        (lambda: augmentations.ada(probability=1.5), 'probability must be from 0 to 1'),
        (lambda: augmentations.ada('blit+blit'), 'the policy of ADA names blit twice'),
        (lambda: augmentations.ada('blit', color_share=0.5), 'color_share requires the stage color, .* policy blit'),
        (lambda: augmentations.ada(probability=0.5, target=0.6, every=4), 'target, every would have no effect'),
        (lambda: augmentations.ada('color', 0.5).apply((), jnp.zeros((2, 4, 4, 2)), keys(2)), '1 or 3 channels, got 2'),
        (lambda: augmentations.chain(augmentations.packing(2), augmentations.packing(2)), 'must come last in a chain'),
        (lambda: augmentations.diff_augment().apply((), jnp.zeros((2, 3)), keys(2)), 'requires images'),
    ],
)
def test_what_does_not_work_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(('side', 'most'), [(4, 1), (12, 2), (20, 3), (28, 4), (36, 5), (32, 4), (5, 1), (3, 0)])
def test_shifts_are_rounded_as_the_authors_do(side, most):
    # int(side / 8 + .5); Python's round(.5), round(2.5) and round(4.5) are 0, 2 and 4.
    image = jnp.ones((side, side, 1))
    moved = jax.vmap(lambda key: TRANSFORMS['translation'](image, key))(keys(64))
    lost = side - np.asarray((moved[..., 0] > 0).any(2).sum(1))
    assert lost.max() == most


@pytest.mark.parametrize(('side', 'length'), [(5, 3), (9, 5), (4, 2), (7, 4)])
def test_cutouts_are_rounded_as_the_authors_do(side, length):
    image = jnp.ones((side, side, 1))
    cut = jax.vmap(lambda key: TRANSFORMS['cutout'](image, key))(keys(256))
    assert (np.asarray(cut[..., 0]) == 0).any(2).sum(1).max() == length


def test_packs_are_counted_as_the_images_they_are_made_of():
    # Eight images in four packs, all judged real: 8 / 320 of the way from 0 to 1, not 4 / 320.
    augment = augmentations.chain(augmentations.adaptive(images=320, every=1), augmentations.packing(2))
    state = augment.update(augment.init(), jnp.ones(4))
    assert float(state[0].probability) == pytest.approx(8 / 320)
    state = augment.update(augment.init(), jnp.array([1.0, 1, 1, -1]))  # r = .5 < .6
    assert float(state[0].probability) == 0
