"""Text to image: GAN-CLS and GAN-INT in closed form, whose text is whose, the paper's networks, and the captions."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
from gan_jax import augmentations, games, latents, networks, objectives, parallel, penalties
from gan_jax.errors import InputError
from gan_jax.games.text_to_image import mismatched

KEY = jax.random.key(0)


class Maker(nn.Module):
    """`z + 2 text`."""

    @nn.compact
    def __call__(self, z, text, *, train=True):
        return z + 2 * text + self.param('bias', nn.initializers.zeros, 1)


class Judge(nn.Module):
    """`x . text + bias . x` for each text."""

    @nn.compact
    def __call__(self, x, *texts, train=True):
        w = self.param('w', lambda _: jnp.array([0.5, -1.0]))
        return jnp.stack([(x * text).sum(-1) + x @ w for text in texts], -1)


BATCH = {
    'image': jnp.array([[1.0, 2.0], [0.0, -1.0], [2.0, 1.0], [-1.0, 0.5]]),
    'text': jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, 2.0]]),
    'label': jnp.arange(4),
}


def logits(x, text):
    return np.asarray((x * text).sum(-1) + x @ np.array([0.5, -1.0]))


def softplus(x):
    return np.log1p(np.exp(x))


def losses(batch=BATCH, objective=None, **options):
    objective = objective or objectives.non_saturating()
    game = games.text_to_image(Maker(), Judge(), objective, latent=lambda key: jnp.array([0.5, -0.5]), **options)
    g, d = game.init(batch, KEY)
    play, _ = game.play(g, batch, KEY)
    by_d, (_, metrics) = game.discriminator_loss(d, play, batch, KEY)
    by_g, g_metrics = game.generator_loss(d, play, batch, KEY)
    return float(by_d), float(by_g), metrics | g_metrics, play


def test_cls_in_closed_form():
    # Reed et al., algorithm 1: log s_r + (log(1 - s_w) + log(1 - s_f)) / 2, with the next example's text.
    x, t = np.asarray(BATCH['image']), np.asarray(BATCH['text'])
    real, wrong, fake = logits(x, t), logits(x, np.roll(t, -1, 0)), logits(np.array([0.5, -0.5]) + 2 * t, t)
    by_d, by_g, metrics, _ = losses()
    assert by_d == pytest.approx((softplus(-real) + (softplus(wrong) + softplus(fake)) / 2).mean(), rel=1e-6)
    assert by_g == pytest.approx(softplus(-fake).mean(), rel=1e-6)
    assert float(metrics['mismatched_logit']) == pytest.approx(wrong.mean())
    hinge = np.maximum(0, 1 - real) + 0.3 * np.maximum(0, 1 + wrong) + 0.7 * np.maximum(0, 1 + fake)
    assert losses(objective=objectives.hinge(), mismatch_weight=0.3)[0] == pytest.approx(hinge.mean(), rel=1e-6)


def test_a_batch_may_bring_its_own_mismatched_texts():
    x, other = np.asarray(BATCH['image']), jnp.array([[3.0, 1.0], [1.0, -2.0], [0.5, 0.5], [2.0, 2.0]])
    brought = {**BATCH, 'mismatched': other}
    assert float(losses(brought)[2]['mismatched_logit']) == pytest.approx(logits(x, np.asarray(other)).mean())
    assert losses(brought)[1] == losses()[1]
    plain = losses(brought, mismatch_weight=0.0)
    assert plain[:2] == losses(mismatch_weight=0.0)[:2] and 'mismatched_logit' not in plain[2]


def test_without_a_weight_it_is_the_plain_conditional_game():
    x, t = np.asarray(BATCH['image']), np.asarray(BATCH['text'])
    real, fake = logits(x, t), logits(np.array([0.5, -0.5]) + 2 * t, t)
    by_d, _, metrics, _ = losses(mismatch_weight=0.0)
    assert by_d == pytest.approx((softplus(-real) + softplus(fake)).mean(), rel=1e-6) and 'mismatched_logit' not in metrics


def test_of_one_text_for_all_the_mismatched_term_is_the_real_ones_complement():
    # log(1 - D) = log D - logit, of the same images with the same text.
    same = {**BATCH, 'text': jnp.ones((4, 2))}
    real = logits(np.asarray(BATCH['image']), np.ones((4, 2)))
    by_d, _, metrics, _ = losses(same, mismatch_weight=1.0)
    assert by_d == pytest.approx((2 * softplus(-real) + real).mean(), rel=1e-6)
    assert float(metrics['mismatched_logit']) == pytest.approx(real.mean())


def test_int_in_closed_form():
    # Eq. 5 between neighbours: G alone sees it, against a D that is told the same point between the texts.
    t = np.asarray(BATCH['text'])
    middle = 0.25 * t[::2] + 0.75 * t[1::2]
    fake, between = (logits(np.array([0.5, -0.5]) + 2 * text, text) for text in (t, middle))
    by_d, by_g, _, play = losses(mismatch_weight=0.0, interpolation_weight=2.0, beta=0.25)
    np.testing.assert_allclose(play.interpolated, np.array([0.5, -0.5]) + 2 * middle, rtol=1e-6)
    assert by_g == pytest.approx(softplus(-fake).mean() + 2 * softplus(-between).mean(), rel=1e-6)
    assert by_d == losses(mismatch_weight=0.0)[0]


def test_penalties_hold_the_own_text():
    # The gradient of D in x is the text plus (.5, -1).
    expected = 0.5 * np.square(np.asarray(BATCH['text']) + np.array([0.5, -1.0])).sum(1).mean()
    assert float(losses(penalties=[penalties.r1(1.0)])[2]['penalty']) == pytest.approx(expected)


def test_sampling_needs_texts_alone():
    game = games.text_to_image(Maker(), Judge(), objectives.hinge(), latent=latents.normal(2), interpolation_weight=1.0)
    g, _ = game.init(BATCH, KEY)
    play, _ = game.play(g, {'text': jnp.ones((3, 2))}, KEY, train=False)
    assert play.image.shape == (3, 2) and play.interpolated is None


def test_a_mismatched_text_is_the_next_of_another_label_and_other_words():
    text = jnp.array([[1.0], [2.0], [3.0], [1.0], [5.0]])
    label = jnp.array([0, 0, 1, 2, 2])
    # 0 passes over its own label (1); 3 over its own label (4), then over its own words (0).
    np.testing.assert_array_equal(mismatched(text, label)[:, 0], [3, 3, 1, 2, 1])
    np.testing.assert_array_equal(mismatched(text, jnp.zeros(5, int))[:, 0], [2, 3, 1, 5, 1])  # nothing else: the next
    assert mismatched(text[:1], label[:1]).shape == (1, 1)


@pytest.mark.parametrize('seed', range(3))
def test_mismatched_texts_are_those_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    text, label = rng.integers(0, 3, (12, 2)).astype(np.float32), rng.integers(0, 2 + seed, 12)
    differ = (text[:, None] != text).any(-1) & (label[:, None] != label)
    ahead = [[(i + k) % 12 for k in range(1, 12)] for i in range(12)]
    expected = [next((j for j in row if differ[i, j]), row[0]) for i, row in enumerate(ahead)]
    np.testing.assert_array_equal(mismatched(jnp.asarray(text), jnp.asarray(label)), text[expected])


def test_mismatched_texts_take_little_memory_and_have_a_gradient():
    n, size = 512, 64
    arguments = jax.ShapeDtypeStruct((n, size), jnp.float32), jax.ShapeDtypeStruct((n,), jnp.int32)
    memory = jax.jit(mismatched).lower(*arguments).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 8 * n * size * 4  # of all pairs: 512 times as much
    text, label = jnp.eye(3), jnp.array([0, 1, 2])
    gradient = jax.grad(lambda text: (mismatched(text, label) * jnp.array([[1.0], [2.0], [3.0]])).sum())(text)
    np.testing.assert_array_equal(gradient[:, 0], [3, 1, 2])


def test_mismatched_texts_are_the_whole_batchs():
    text, label = jax.random.randint(KEY, (8, 1), 0, 3).astype(float), jnp.array([0, 0, 0, 0, 1, 1, 1, 1])
    split = lambda x: x.reshape(4, 2, *x.shape[1:])
    found = jax.vmap(mismatched, axis_name=parallel.AXIS)(split(text), split(label))
    np.testing.assert_array_equal(found.reshape(8, 1), mismatched(text, label))
    assert np.asarray(found.reshape(8, 1) != text).all()


def test_what_cannot_be_played_is_refused():
    make = functools.partial(games.text_to_image, Maker(), Judge(), objectives.hinge(), latent=latents.normal(2))
    for options in ({'mismatch_weight': 1.5}, {'interpolation_weight': -1.0}, {'beta': 2.0}):
        with pytest.raises(ValueError, match='mismatch_weight and beta must be from 0 to 1'):
            make(**options)
    with pytest.raises(ValueError, match='packing'):
        make(augmentation=augmentations.packing(2))
    odd = jax.tree.map(lambda x: x[:3], BATCH)
    game = make(interpolation_weight=1.0)
    with pytest.raises(ValueError, match='an even number of examples per device, got 3'):
        game.play(game.init(odd, KEY)[0], odd, KEY)


# The networks.


def shapes(network, *inputs):
    return jax.eval_shape(functools.partial(network.init, train=False), KEY, *inputs)['params']


def test_the_papers_networks():
    # The authors' code: 4x4x1024, 8x8x512, 16x16x256, 32x32x128; 64 to 512 channels down, 128 + 512 mixed by 1 x 1.
    text = jnp.zeros((1, 1024))
    g = shapes(networks.TextGenerator(64, width=128), jnp.zeros((1, 100)), text)
    kernel = lambda params, name: params[name]['kernel'].shape
    assert kernel(g, 'Dense_0') == (1024, 128) and kernel(g, 'Dense_1') == (228, 4 * 4 * 1024)
    assert [kernel(g, f'ConvTranspose_{i}') for i in range(4)] == [
        (4, 4, 512, 1024), (4, 4, 256, 512), (4, 4, 128, 256), (4, 4, 3, 128),
    ]  # fmt: skip
    assert [kernel(g, f'Conv_{i}') for i in range(6)] == [
        (1, 1, 1024, 256), (3, 3, 256, 256), (3, 3, 256, 1024), (1, 1, 512, 128), (3, 3, 128, 128), (3, 3, 128, 512),
    ]  # fmt: skip
    d = shapes(networks.TextDiscriminator(64), jnp.zeros((1, 64, 64, 3)), text)
    assert [kernel(d, f'Conv_{i}') for i in range(7)] == [
        (4, 4, 3, 64), (4, 4, 64, 128), (4, 4, 128, 256), (4, 4, 256, 512),
        (1, 1, 512, 128), (3, 3, 128, 128), (3, 3, 128, 512),
    ]  # fmt: skip
    judge = d['_Judge_0']
    assert kernel(judge, 'Dense_0') == (1024, 128) and kernel(judge, 'Conv_0') == (1, 1, 640, 512)
    assert kernel(judge, 'Dense_1') == (4 * 4 * 512, 1)


@pytest.mark.parametrize('size', [8, 32, 64])
def test_sizes(size):
    g = networks.TextGenerator(size, channels=1, width=4, text_features=3)
    made = jax.eval_shape(lambda: g.init_with_output(KEY, jnp.zeros((2, 5)), jnp.zeros((2, 7)), train=False)[0])
    assert made.shape == (2, size, size, 1)
    d = networks.TextDiscriminator(4, 3, norm='none')
    call = lambda: d.init_with_output(KEY, jnp.zeros((2, size, size, 1)), *[jnp.zeros((2, 7))] * 3, features_too=True)[0]
    found, features = jax.eval_shape(call)
    assert found.shape == (2, 3) and features[-1].shape[1:3] == (4, 4)


def test_sizes_that_do_not_come_to_4x4_are_refused():
    for size in (28, 48):
        with pytest.raises(InputError, match=f'image size {size} is not supported'):
            networks.TextGenerator(size).init(KEY, jnp.zeros((1, 2)), jnp.zeros((1, 2)))


@pytest.mark.slow
def test_each_text_is_judged_by_itself():
    d = networks.TextDiscriminator(2, 3, norm='none')
    x, a, b = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(((3, 8, 8, 1), (3, 4), (3, 4))))
    variables = jax.jit(d.init)(KEY, x, a)
    # At initialisation the text hardly counts.
    variables = jax.tree.map(lambda w: 5 * w, variables)
    apply = jax.jit(d.apply)
    both = apply(variables, x, a, b)
    np.testing.assert_allclose(both, jnp.concatenate([apply(variables, x, a), apply(variables, x, b)], 1), rtol=1e-4)
    assert np.abs(both[:, 0] - both[:, 1]).min() > 1e-6


def test_texts_of_an_image_share_their_batch_statistics():
    # So a text is judged as it is wherever it stands: batches in which all first texts are true do not give the answer away.
    d = networks.TextDiscriminator(2, 3, norm='batch')
    x, a, b = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(((4, 8, 8, 1), (4, 4), (4, 4))))
    variables = jax.jit(d.init)(KEY, x, a)
    variables = {**variables, 'params': jax.tree.map(lambda w: 5 * w, variables['params'])}
    apply = jax.jit(lambda *texts: d.apply(variables, x, *texts, mutable=['batch_stats'])[0])
    swapped = jnp.array([True, False, False, True])[:, None]
    in_order, moved = apply(a, b), apply(jnp.where(swapped, b, a), jnp.where(swapped, a, b))
    np.testing.assert_allclose(moved, jnp.where(swapped, in_order[:, ::-1], in_order), rtol=1e-3, atol=1e-5)
    assert np.abs(in_order[:, 0] - in_order[:, 1]).min() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize('norm', ['batch', 'spectral', 'instance', 'layer', 'weight'])
def test_one_step_of_the_networks(norm):
    import optax

    game = games.text_to_image(
        networks.TextGenerator(16, width=2, text_features=3, norm='batch' if norm == 'spectral' else norm),
        networks.TextDiscriminator(2, 3, norm=norm),
        objectives.non_saturating(),
        latent=latents.normal(3),
        interpolation_weight=1.0,
        augmentation=augmentations.diff_augment(),
    )
    batch = {'image': jnp.zeros((4, 16, 16, 3)), 'text': jax.random.normal(KEY, (4, 5)), 'label': jnp.arange(4)}
    step = jax.jit(gan_jax.make_train_step(game, optax.adam(1e-3), optax.adam(1e-3)))
    state = jax.jit(lambda key: gan_jax.init(game, optax.adam(1e-3), optax.adam(1e-3), batch, key))(KEY)
    state, metrics = step(state, batch)
    assert all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves((state.generator, state.discriminator, metrics)))
