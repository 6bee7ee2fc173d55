"""The transforms of ADA, against their formulas in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import parallel, pipeline
from gan_jax.pipeline import STAGES

KEYS = parallel.example_keys(400, jax.random.key(3))
EYE = np.eye(3)


@functools.cache
def matrices(name, p, size):
    """400 draws of a stage's matrix."""
    return np.asarray(jax.jit(jax.vmap(lambda key: STAGES[name](p, size, key)))(KEYS), np.float64)


def test_whole_pixels():
    drawn = matrices('blit', 1.0, (16, 24))
    linear, shifts = drawn[:, :2, :2], np.linalg.solve(drawn[:, :2, :2], drawn[:, :2, 2:])[..., 0]
    assert (np.abs(np.linalg.det(linear)) == 1).all() and set(np.unique(linear)) == {-1, 0, 1}
    assert len(np.unique(linear.reshape(-1, 4), axis=0)) == 8  # every symmetry of a square
    assert (shifts == np.round(shifts)).all() and (np.abs(shifts).max(0) == (3, 2)).all()


def test_general_maps():
    drawn = matrices('geom', 1.0, (16, 24))
    # |det| of the inverse is s^-2 with log2 s ~ N(0, .2^2); the ratio of singular values is 2^(2 |N(0, .2^2)|).
    log_scale = -np.log2(np.linalg.det(drawn[:, :2, :2])) / 2
    values = np.linalg.svd(drawn[:, :2, :2], compute_uv=False)
    log_ratio = np.log2(values[:, 0] / values[:, 1]) / 2
    shifts = np.linalg.solve(drawn[:, :2, :2], drawn[:, :2, 2:])[..., 0] / (24, 16)
    np.testing.assert_allclose([log_scale.std(), np.sqrt((log_ratio**2).mean()), shifts.std()], [0.2, 0.2, 0.125], rtol=0.15)
    assert abs(log_scale.mean()) < 0.03 and np.abs(shifts.mean(0)).max() < 0.02


def test_rotations_are_drawn_so_that_one_is_with_the_probability():
    # Before and after: 1 - (1 - q)^2 = p for q = 1 - sqrt(1 - p). Shifts, which turn with them, and the rest are drawn with p.
    drawn = matrices('geom', 0.5, (16, 16))
    rotated = np.abs(drawn[:, 0, 1]) > 1e-7
    assert rotated.mean() == pytest.approx(0.5, abs=0.08)
    assert (drawn == EYE).all((1, 2)).mean() == pytest.approx(0.5**4, abs=0.04)


@pytest.mark.parametrize('name', ['blit', 'geom', 'color'])
def test_nothing_is_drawn_at_probability_0(name):
    size = 3 if name == 'color' else (16, 24)
    drawn = matrices(name, 0.0, size)
    np.testing.assert_allclose(drawn, np.broadcast_to(np.eye(drawn.shape[-1]), drawn.shape), atol=1e-6)


def test_color_is_the_product_of_its_parts():
    # Appendix B: greys stay grey; along their axis brightness, contrast and luma act; across it contrast, hue and saturation.
    drawn = matrices('color', 1.0, 3)
    linear, offset = drawn[:, :3, :3], drawn[:, :3, 3]
    luma = np.ones(3) / np.sqrt(3)
    along = linear @ luma
    np.testing.assert_allclose(along, (along @ luma)[:, None] * luma, atol=1e-5)
    contrast, sign = np.abs(along @ luma), np.sign(along @ luma)
    across = linear - (along @ luma)[:, None, None] * np.outer(luma, luma)
    factor = np.linalg.norm(across, axis=(1, 2)) / np.sqrt(2)  # a rotation of the plane of hues, times contrast and saturation
    np.testing.assert_allclose(
        across @ across.transpose(0, 2, 1), factor[:, None, None] ** 2 * (EYE - np.outer(luma, luma)), rtol=1e-3, atol=1e-4
    )
    spread = [np.log2(contrast).std(), np.log2(factor / contrast).std(), (offset[:, 0] / sign / contrast).std()]
    np.testing.assert_allclose(spread, [0.5, 1.0, 0.2], rtol=0.12)
    np.testing.assert_allclose(offset, offset[:, :1] * np.ones(3), atol=1e-5)
    assert (sign < 0).mean() == pytest.approx(0.5, abs=0.08)


def test_color_of_an_image():
    matrix = np.asarray(jax.random.normal(jax.random.key(0), (4, 4)), np.float64)
    image = np.asarray(jax.random.uniform(jax.random.key(1), (4, 5, 3)), np.float64)
    with jax.enable_x64(True):
        found = pipeline.colored(jnp.asarray(image), jnp.asarray(matrix))
        grey = pipeline.colored(jnp.asarray(image[..., :1]), jnp.asarray(matrix))
    expected = (np.concatenate([image, np.ones((4, 5, 1))], -1) @ matrix.T)[..., :3]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    three = (np.concatenate([np.repeat(image[..., :1], 3, -1), np.ones((4, 5, 1))], -1) @ matrix.T)[..., :3]
    np.testing.assert_allclose(grey, three.mean(-1, keepdims=True), rtol=1e-12)  # as the mean of what becomes of three
    with pytest.raises(ValueError, match='1 or 3 channels, got 2'):
        pipeline.colored(jnp.zeros((4, 4, 2)), jnp.eye(4))


def test_bands_add_up_to_the_image():
    middle = pipeline.BANK.shape[1] // 2
    np.testing.assert_allclose(pipeline.BANK.sum(0), np.eye(1, pipeline.BANK.shape[1], middle)[0], atol=1e-12)
    # Each band is symmetric, and passes its octave: constants, then waves of 11, 5 and 2 pixels.
    np.testing.assert_allclose(pipeline.BANK, pipeline.BANK[:, ::-1], atol=1e-12)
    place = np.arange(-middle, middle + 1)
    gains = [[row @ np.cos(2 * np.pi * place * f) for row in pipeline.BANK] for f in (0, 3 / 32, 3 / 16, 1 / 2)]
    assert np.argmax(gains, 1).tolist() == [0, 1, 2, 3] and np.max(gains, 1).min() > 0.7


def test_filters_amplify_bands_and_keep_the_expected_power():
    # Appendix B: every amplification t of a band is divided by the root of the power that it leads to, 10/13 and 1/13s before.
    image = np.asarray(jax.random.uniform(jax.random.key(0), (6, 9, 1), minval=-1), np.float64)
    reach = pipeline.BANK.shape[1] // 2
    for key in KEYS[:3]:
        coins, z = (np.asarray(x, np.float64) for x in pipeline._numbers(key, 4, 4))
        gains = np.ones(4)
        for i in range(4):
            t = np.where((np.arange(4) == i) & (coins[i] < 0.7), 2 ** z[i], 1)
            gains *= t / np.sqrt((np.array([10, 1, 1, 1]) / 13 * t**2).sum())
        expected = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), 'reflect')
        for axis in (0, 1):
            expected = np.apply_along_axis(np.convolve, axis, expected, gains @ pipeline.BANK, 'valid')
        np.testing.assert_allclose(pipeline.filtered(0.7, jnp.asarray(image), key), expected, rtol=1e-3, atol=1e-4)


def test_noise_and_cutout():
    images = jnp.ones((400, 8, 8, 1))
    noise = np.asarray(jax.vmap(pipeline.noised, (None, 0, 0))(1.0, images, KEYS)) - 1
    assert np.sqrt((noise**2).mean()) == pytest.approx(0.1, rel=0.1)  # of .1 |N(0, 1)|
    holes = np.asarray(jax.vmap(pipeline.cut, (None, 0, 0))(0.5, images, KEYS))[..., 0] == 0
    assert holes.any((1, 2)).mean() == pytest.approx(0.5, abs=0.08)
    assert holes.any(2).sum(1).max() == 4 and holes.any(1).sum(1).max() == 4


IMAGES = jax.random.uniform(jax.random.key(0), (8, 6, 8, 3), minval=-1)


def test_the_whole_pipeline_acts_on_each_image_alone():
    apply = jax.jit(jax.vmap(pipeline.pipeline(list(STAGES)), (None, 0, 0, None)))
    keys = KEYS[:8]
    np.testing.assert_array_equal(apply(0.0, IMAGES, keys, 0), IMAGES)
    seen = apply(1.0, IMAGES, keys, 0)
    assert seen.shape == IMAGES.shape and (np.abs(seen - IMAGES).max((1, 2, 3)) > 0.1).all()
    order = np.array([3, 1, 0, 2, 7, 6, 5, 4])
    np.testing.assert_allclose(apply(1.0, IMAGES[order], keys[order], 0), seen[order], atol=1e-5)
    assert (np.asarray(apply(1.0, IMAGES, keys, 1)) != seen).any()  # the noise of the next image of a pair


def test_grey_images():
    apply = jax.jit(jax.vmap(pipeline.pipeline(['blit', 'color']), (None, 0, 0, None)))
    np.testing.assert_array_equal(apply(0.0, IMAGES[..., :1], KEYS[:8], 0), IMAGES[..., :1])
    assert (apply(1.0, IMAGES[..., :1], KEYS[:8], 0) != IMAGES[..., :1]).any((1, 2, 3)).all()


def test_colors_change_in_a_share_of_the_images():
    apply = jax.vmap(pipeline.pipeline(['color'], 0.5), (None, 0, 0, None))
    changed = (apply(0.4, jnp.full((400, 1, 1, 3), jnp.array([0.1, 0.4, -0.3])), KEYS, 0) != jnp.array([0.1, 0.4, -0.3])).any(
        (1, 2, 3)
    )
    # Any of five with probability .2, of which the reflection is then taken in one of two cases: 1 - .8^4 .9.
    assert float(changed.mean()) == pytest.approx(1 - 0.8**4 * 0.9, abs=0.07)


def test_unknown_stages_are_refused():
    with pytest.raises(ValueError, match="unknown transform of ADA 'bilt'; did you mean blit"):
        pipeline.pipeline(['bilt'])
