"""K classes and "generated": losses in closed form, weight norm that starts from data, noise, averages, and who has labels."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import quick

import gan_jax
from gan_jax import data, features, games, latents, networks, objectives, optimizers, parallel
from gan_jax.errors import InputError
from gan_jax.games.semi_supervised import classify
from gan_jax.networks.semi_supervised import GaussianNoise

SALIMANS = jnp.array([[1.0, -2.0, 0.5]])


class Identity(nn.Module):
    """Examples are their own class logits."""

    @nn.compact
    def __call__(self, x, *, train=True):
        return x


def logits_game(objective=None, **options):
    return games.semi_supervised(
        networks.MLP((3,)), Identity(), objective or objectives.minimax(), latent=latents.normal(2), **options
    )


def batch_of(labelled, labels, unlabelled):
    return {'labelled': {'image': labelled, 'label': jnp.asarray(labels)}, 'unlabelled': unlabelled}


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


# The losses.


def test_the_probability_of_being_real():
    # l = (1, -2, .5) and l_4 = 0: D = Z / (Z + 1) = .818259.
    _, (_, metrics) = logits_game().discriminator_loss(
        {'params': {}}, SALIMANS, batch_of(SALIMANS, [0], SALIMANS), jax.random.key(0)
    )
    Z = np.exp(np.asarray(SALIMANS, np.float64)).sum()
    np.testing.assert_allclose(Z / (Z + 1), 0.818259, atol=1e-6)
    for name in ('real_logit', 'fake_logit'):
        assert float(jax.nn.sigmoid(metrics[name])) == pytest.approx(0.818259, abs=1e-6)


@pytest.mark.parametrize('weight', [1.0, 0.0, 3.0])
def test_the_loss_is_a_cross_entropy_and_half_the_value_of_the_game(weight):
    labelled, unlabelled, fake = (np.asarray(normal(i, n, 3), np.float64) for i, n in enumerate((4, 6, 6)))
    labels = np.array([0, 2, 1, 1])
    batch = batch_of(*(jnp.asarray(x, jnp.float32) if x.dtype == float else x for x in (labelled, labels, unlabelled)))
    game = logits_game(unsupervised_weight=weight)
    loss, (_, metrics) = game.discriminator_loss({'params': {}}, jnp.asarray(fake, jnp.float32), batch, jax.random.key(0))

    p = np.exp(labelled) / np.exp(labelled).sum(1, keepdims=True)
    D = lambda logits: np.exp(logits).sum(1) / (1 + np.exp(logits).sum(1))
    value = np.log(D(unlabelled)).mean() + np.log(1 - D(fake)).mean()
    supervised = -np.log(p[np.arange(4), labels]).mean()
    assert float(metrics['supervised_loss']) == pytest.approx(supervised, rel=1e-5)
    assert float(metrics['labelled_accuracy']) == (labelled.argmax(1) == labels).mean()
    assert float(loss) == pytest.approx(supervised - weight * value / 2, rel=1e-5)
    assert float(
        game.generator_loss({'params': {}}, jnp.asarray(fake, jnp.float32), batch, jax.random.key(0))[0]
    ) == pytest.approx(value, rel=1e-5)


def test_a_constant_added_to_all_logits_is_a_matter_of_real_or_generated_only():
    labelled, unlabelled = normal(0, 4, 3), normal(1, 6, 3)
    found = []
    for c in (0.0, 2.5):
        batch = batch_of(labelled + c, [0, 2, 1, 1], unlabelled + c)
        _, (_, metrics) = logits_game().discriminator_loss({'params': {}}, unlabelled + c, batch, jax.random.key(0))
        found.append(metrics)
    assert float(found[1]['supervised_loss']) == pytest.approx(float(found[0]['supervised_loss']), abs=1e-6)
    assert float(found[1]['real_logit'] - found[0]['real_logit']) == pytest.approx(2.5, abs=1e-5)


@pytest.mark.parametrize('scale', [1e4, -1e4])
def test_gradients_at_huge_logits_are_finite(scale):
    logits = scale * normal(0, 6, 3)

    @quick
    def gradients(labelled, unlabelled, fake):
        game = logits_game()
        batch = batch_of(labelled, [0, 1, 2, 0, 1, 2], unlabelled)
        d = lambda *x: game.discriminator_loss({'params': {}}, x[2], batch_of(x[0], [0, 1, 2, 0, 1, 2], x[1]), jax.random.key(0))[
            0
        ]
        g = lambda x: game.generator_loss({'params': {}}, x, batch, jax.random.key(0))[0]
        return jax.grad(d, (0, 1, 2))(labelled, unlabelled, fake), jax.grad(g)(fake)

    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients(logits, -logits, logits)))


def test_feature_matching_is_of_unlabelled_and_generated_examples():
    classifier = networks.SemiSupervisedClassifier((5, 4), 3, input_noise=0.0, noise=0.0)
    game = games.semi_supervised(
        networks.MLP((2,)),
        classifier,
        objectives.minimax(),
        latent=latents.normal(2),
        feature_losses=[features.feature_matching(0.25)],
        objective_weight=0.0,
    )
    batch = batch_of(normal(0, 4, 2), [0, 2, 1, 1], normal(1, 6, 2))
    _, variables = game.init(batch, jax.random.key(0))
    last = lambda x: np.asarray(classifier.apply(variables, x, features_too=True)[1][-1])
    fake = normal(2, 6, 2)
    expected = np.square(last(batch['unlabelled']).mean(0) - last(fake).mean(0)).sum() / 4  # 4 units: their mean, as in the code
    assert float(game.generator_loss(variables, fake, batch, jax.random.key(3))[0]) == pytest.approx(float(expected), rel=1e-4)


# The networks.


def test_the_authors_networks():
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    g = jax.eval_shape(networks.SemiSupervisedGenerator().init, jax.random.key(0), jnp.zeros((1, 100)))
    # Two layers with a bias after batch norm and no scale, one with a scale and a bias.
    assert count(g['params']) == (100 * 500 + 500) + (500 * 500 + 500) + (500 * 784 + 2 * 784)
    rngs = {'params': jax.random.key(0), 'noise': jax.random.key(1)}
    d = jax.eval_shape(networks.SemiSupervisedClassifier().init, rngs, jnp.zeros((2, 28, 28, 1)))
    widths = [784, 1000, 500, 250, 250, 250]
    kernels = sum(a * b for a, b in zip(widths, [*widths[1:], 10], strict=True))
    assert count(d['params']) == kernels + sum(widths[1:]) + 10 + 10  # biases, and the scales of the last layer alone
    assert count(d['constants']) == sum(widths[1:])


def test_weight_norm_starts_from_data():
    # At initialisation every unit has mean 0 and variance 1 over the batch: the chain of Salimans and Kingma's eqs. 5 and 6, in
    # float64, with directions from the initialised network and nothing else of it.
    x = np.asarray(normal(0, 200, 4, 4, 1)) * 3 - 1
    classifier = networks.SemiSupervisedClassifier((6, 5), 3, input_noise=0.0, noise=0.0)
    variables = classifier.init({'params': jax.random.key(1), 'noise': jax.random.key(2)}, x)
    logits, hidden = classifier.apply(variables, x, features_too=True)
    h = (x.reshape(200, -1).astype(np.float64) + 1) / 2
    for i in range(3):
        v = np.asarray(variables['params'][f'Dense_{i}']['kernel'], np.float64)
        t = h @ (v / np.linalg.norm(v, axis=0))
        t = (t - t.mean(0)) / t.std(0)
        h = np.maximum(t, 0)
        np.testing.assert_allclose(hidden[i] if i < 2 else logits, h if i < 2 else t, atol=1e-4)


@pytest.mark.slow
def test_the_game_starts_the_classifier_from_the_unlabelled_examples():
    classifier = networks.SemiSupervisedClassifier((6,), 3, input_noise=0.0, noise=0.0)
    game = games.semi_supervised(networks.MLP((4,)), classifier, objectives.minimax(), latent=latents.normal(2))
    batch = batch_of(normal(0, 4, 4), [0, 2, 1, 1], 5 + 3 * normal(1, 300, 4))
    _, variables = game.init(batch, jax.random.key(0))
    logits = classifier.apply(variables, batch['unlabelled'], train=False)
    np.testing.assert_allclose([logits.mean(0), logits.std(0)], [[0] * 3, [1] * 3], atol=1e-4)


@pytest.mark.slow
def test_scales_of_hidden_layers_stay_and_all_else_learns():
    game = games.semi_supervised(
        networks.MLP((2,)), networks.SemiSupervisedClassifier((5, 4), 3), objectives.minimax(), latent=latents.normal(2)
    )
    batch, optimizer = batch_of(normal(0, 4, 2), [0, 2, 1, 1], normal(1, 6, 2)), optax.sgd(0.1)
    state = gan_jax.init(game, optimizer, optimizer, batch, jax.random.key(0))
    after, _ = quick(gan_jax.make_train_step(game, optimizer, optimizer))(state, batch)
    assert len(jax.tree.leaves(state.discriminator.state['constants'])) == 2
    jax.tree.map(np.testing.assert_array_equal, state.discriminator.state, after.discriminator.state)
    for a, b in zip(*(jax.tree.leaves(s.discriminator.params) for s in (state, after)), strict=True):
        assert not np.array_equal(a, b)


def test_a_batch_of_one_example_starts_with_scale_one():
    classifier = networks.SemiSupervisedClassifier((3,), 2)
    variables = classifier.init({'params': jax.random.key(0), 'noise': jax.random.key(1)}, jnp.ones((1, 4)))
    for scale in jax.tree.leaves(variables['constants']):
        np.testing.assert_array_equal(scale, 1)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(variables))


def test_noise():
    x = jnp.zeros((4, 5000))
    call = lambda key: GaussianNoise(0.5).apply({}, x, rngs={'noise': jax.random.key(key)})
    noise = np.asarray(call(0))
    np.testing.assert_allclose(noise.std(1), 0.5, rtol=0.05)
    assert np.abs(np.corrcoef(noise) - np.eye(4)).max() < 0.06  # each example has its own
    assert not np.array_equal(noise, call(1))
    split = lambda x: GaussianNoise(0.5).apply({}, x, rngs={'noise': jax.random.key(0)})
    np.testing.assert_array_equal(jax.vmap(split, axis_name=parallel.AXIS)(x.reshape(4, 1, -1)).reshape(4, -1), noise)
    np.testing.assert_array_equal(GaussianNoise(0.0).apply({}, x), x)


@pytest.mark.slow
def test_noise_is_fresh_for_real_and_generated_examples_and_absent_in_inference():
    classifier = networks.SemiSupervisedClassifier((8,), 3)
    game = games.semi_supervised(networks.MLP((4,)), classifier, objectives.wasserstein(), latent=latents.normal(2))
    batch = batch_of(normal(0, 4, 4), [0, 2, 1, 1], normal(1, 6, 4))
    _, variables = game.init(batch, jax.random.key(0))
    # The real and generated examples are the same: only their noise can tell them apart.
    _, (_, metrics) = game.discriminator_loss(variables, batch['unlabelled'], batch, jax.random.key(1))
    assert abs(float(metrics['real_logit'] - metrics['fake_logit'])) > 1e-3
    with pytest.raises(Exception, match='noise'):
        classifier.apply(variables, batch['unlabelled'], mutable=['constants'])
    classifier.apply(variables, batch['unlabelled'], train=False)


@pytest.mark.slow
def test_the_generator_draws_as_many_as_there_are_unlabelled_examples():
    game = games.semi_supervised(
        networks.SemiSupervisedGenerator((2,), (4,)),
        networks.SemiSupervisedClassifier((5,), 3),
        objectives.minimax(),
        latent=latents.uniform(3, 0.0),
    )
    batch = batch_of(normal(0, 4, 2), [0, 2, 1, 1], normal(1, 6, 2))
    state = gan_jax.init(game, optax.sgd(0.1), optax.sgd(0.1), batch, jax.random.key(0))
    assert game.play(state.generator.variables, batch, jax.random.key(0))[0].shape == (6, 2)
    samples = gan_jax.sample(game, state, jnp.zeros(9), jax.random.key(0))
    assert samples.shape == (9, 2) and np.abs(samples).max() < 1


# Averages, and a run.


@pytest.mark.slow
def test_classification_is_by_the_averaged_parameters():
    classifier = networks.SemiSupervisedClassifier((5,), 3)
    x = normal(0, 7, 2)
    variables = dict(classifier.init({'params': jax.random.key(0), 'noise': jax.random.key(1)}, x))
    params = variables.pop('params')
    chain = optax.chain(
        optimizers.historical_averaging(0.1), optax.sgd(0.1), optimizers.average_parameters(0.5), optax.identity()
    )
    opt_state = chain.init(params)
    moved = jax.tree.map(lambda p: p + 1, params)
    _, opt_state = chain.update(jax.tree.map(jnp.ones_like, params), opt_state, moved)
    player = gan_jax.Player(moved, variables, opt_state)
    average = jax.tree.map(lambda p: 0.1 * p + 0.9 * (p + 1 - 0.1 * (1 + 0)), params)  # the first decay is (1 + 0) / (10 + 0)
    by = lambda p: jax.nn.softmax(classifier.apply({**variables, 'params': p}, x, train=False))
    np.testing.assert_allclose(classify(classifier, player, x), by(average), rtol=1e-3)
    np.testing.assert_allclose(classify(classifier, player, x, average=False), by(moved), rtol=1e-5)
    np.testing.assert_allclose(classify(classifier, player, x).sum(1), 1, rtol=1e-5)
    with pytest.raises(ValueError, match='0 averages in the optimizer'):
        classify(classifier, player.replace(opt_state=optimizers.historical_averaging().init(params)), x)


@pytest.mark.slow
def test_unlabelled_examples_teach_the_shape_of_the_classes():
    # Two noisy half circles, four labels each, and the same classifier with and without the other 1,016 points.
    def moons(key, label):
        angle_key, noise_key = jax.random.split(key)
        angle = jnp.pi * jax.random.uniform(angle_key)
        point = jnp.where(
            label == 1, jnp.array([1 - jnp.cos(angle), 0.5 - jnp.sin(angle)]), jnp.array([jnp.cos(angle), jnp.sin(angle)])
        )
        return (point - jnp.array([0.5, 0.25])) / 2 + 0.03 * jax.random.normal(noise_key, (2,))

    keys = jax.random.split(jax.random.key(0), 1024)
    labels = jnp.arange(1024) % 2
    points = jax.vmap(moons)(keys, labels)
    seen = data.labelled_subset(labels, 8, classes=2, seed=0)
    classifier = networks.SemiSupervisedClassifier((64, 64), 2, input_noise=0.02, noise=0.1)
    rate = functools.partial(optax.adam, 3e-3, b1=0.5)
    d_optimizer = optax.chain(rate(), optimizers.average_parameters(0.99))

    def accuracy(weight):
        game = games.semi_supervised(
            networks.SemiSupervisedGenerator((2,), (32, 32)),
            classifier,
            objectives.minimax(),
            latent=latents.uniform(8, 0.0),
            feature_losses=[features.feature_matching()],
            objective_weight=0.0,
            unsupervised_weight=weight,
        )
        step = gan_jax.make_train_step(game, rate(), d_optimizer)
        batch = lambda rows: batch_of(points[seen], labels[seen], points[rows])

        def draw(_, t):
            return batch(jax.random.choice(jax.random.fold_in(jax.random.key(1), t), 1024, (64,)))

        state = gan_jax.init(game, rate(), d_optimizer, batch(jnp.arange(512)), jax.random.key(2))
        state, _ = jax.jit(gan_jax.many_steps(step, draw, 1500))(state, (), jnp.int32(1500))
        return float((classify(classifier, state.discriminator, points).argmax(1) == labels).mean())

    # 1.000 and .888 when this was written.
    assert accuracy(1.0) > 0.98 and accuracy(0.0) < 0.95


# The labels.


def test_the_labelled_subset_is_balanced_and_seeded():
    labels = np.repeat([0, 1, 2], [50, 30, 20])[np.random.default_rng(0).permutation(100)]
    rows = data.labelled_subset(labels, 12, classes=3, seed=1)
    assert len(set(rows.tolist())) == 12 and (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(np.bincount(labels[rows]), [4, 4, 4])
    np.testing.assert_array_equal(rows, data.labelled_subset(labels, 12, classes=3, seed=1))
    assert not np.array_equal(rows, data.labelled_subset(labels, 12, classes=3, seed=2))
    rows = data.labelled_subset(labels, 60, classes=3, seed=0)
    assert len(set(rows.tolist())) == 60
    np.testing.assert_array_equal(np.bincount(labels[rows]), [20, 20, 20])


@pytest.mark.parametrize(
    ('labels', 'total', 'message'),
    [
        ([0, 1, 2] * 5, 10, '10 labels cannot be split evenly among 3 classes; give a multiple of 3'),
        ([0, 1, 2] * 5, 0, '0 labels cannot be split evenly'),
        ([0, 1, 2] * 5 + [0], 18, '18 labels require 6 of each class, but class 1 has 5 examples'),
        ([0, 2] * 5, 3, 'no example of class 1'),
        ([0, 1, 3] * 5, 3, 'label 3 of example 2 is outside 0 to 2'),
    ],
)
def test_impossible_subsets_are_refused(labels, total, message):
    with pytest.raises(InputError, match=message) as error:
        data.labelled_subset(np.array(labels), total, classes=3, seed=0)
    assert '\n' not in str(error.value)


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match='unsupervised_weight must be at least 0'):
        logits_game(unsupervised_weight=-1.0)
