"""Labels: who is told, what each of the three papers makes of it, and what is refused."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import drawn, quick

import gan_jax
from gan_jax import augmentations, data, games, latents, networks, objectives, parallel, penalties
from gan_jax.errors import InputError
from gan_jax.games.conditional import auxiliary_classifier

CLASSES = 3


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def random_like(variables, seed=0):
    """Variables with normal parameters: at initialisation classes are alike."""
    leaves, tree = jax.tree.flatten(variables['params'])
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    params = [jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return {**variables, 'params': jax.tree.unflatten(tree, params)}


class Linear(nn.Module):
    """`w x + b`; its features are its inputs, whatever their shape."""

    norm = 'none'

    @nn.compact
    def __call__(self, x, *, train=True, features_too=False):
        logits = nn.Dense(1)(x.reshape(len(x), -1)).squeeze(-1)
        return (logits, [x]) if features_too else logits


# The networks.


@pytest.mark.parametrize('shape', [(2,), (4, 4, 2)])
def test_concatenation_is_a_row_of_weights_for_each_class(shape):
    x, labels = np.asarray(normal(0, 5, *shape)), np.array([0, 1, 2, 1, 0])
    network = networks.ConcatenatedDiscriminator(Linear(), CLASSES)
    variables = random_like(network.init(jax.random.key(1), x, labels))
    w, b = (np.asarray(variables['params']['network']['Dense_0'][name]) for name in ('kernel', 'bias'))
    w = w.reshape(*shape[:-1], shape[-1] + CLASSES)  # a weight for each entry, and for each class at each position
    expected = (x * w[..., : shape[-1]]).reshape(5, -1).sum(1) + b + w[..., shape[-1] :].reshape(-1, CLASSES).sum(0)[labels]
    np.testing.assert_allclose(network.apply(variables, x, labels), expected, rtol=1e-5, atol=1e-5)
    assert np.abs(network.apply(variables, x, (labels + 1) % CLASSES) - expected).min() > 1e-3


def test_flattened_concatenation_has_each_label_once():
    x, labels = normal(0, 5, 4, 4, 2), jnp.array([0, 1, 2, 1, 0])
    network = networks.ConcatenatedDiscriminator(Linear(), CLASSES, flat=True)
    variables = random_like(network.init(jax.random.key(1), x, labels))
    w, b = variables['params']['network']['Dense_0']['kernel'][:, 0], variables['params']['network']['Dense_0']['bias']
    expected = x.reshape(5, 32) @ w[:32] + b + w[32:][labels]
    np.testing.assert_allclose(network.apply(variables, x, labels), expected, rtol=1e-5, atol=1e-5)


def test_concatenation_with_convolutions():
    # cGAN's DCGAN: the label's maps reach the first convolution, its one-hot vector the first dense layer.
    d = networks.ConcatenatedDiscriminator(networks.DCGANDiscriminator(2), 10)
    g = networks.ConcatenatedGenerator(networks.DCGANGenerator(16, 1, 2), 10)
    d_params = jax.eval_shape(d.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)), jnp.zeros(1, int))['params']['network']
    g_params = jax.eval_shape(g.init, jax.random.key(0), jnp.zeros((1, 7)), jnp.zeros(1, int))['params']['network']
    assert d_params['Conv_0']['kernel'].shape[2] == 3 + 10
    assert g_params['Dense_0']['kernel'].shape[0] == 7 + 10


def test_concatenation_beside_conditional_batch_norm():
    # With the one-hot part's weights at 0 it is the network with conditional batch norm, of the latent alone.
    z, labels = normal(0, 5, 4), jnp.array([0, 1, 2, 1, 0])
    bare = networks.MLP((6, 2), norm='batch', classes=CLASSES)
    network = networks.ConcatenatedGenerator(bare, CLASSES, labels_too=True)
    params = random_like(network.init(jax.random.key(1), z, labels))['params']['network']
    kernel = params['Dense_0']['kernel']
    told = lambda params: network.apply({'params': {'network': params}}, z, labels, mutable=['batch_stats'])[0]
    cut = {**params, 'Dense_0': {**params['Dense_0'], 'kernel': kernel.at[4:].set(0)}}
    alone = {**params, 'Dense_0': {**params['Dense_0'], 'kernel': kernel[:4]}}
    expected = bare.apply({'params': alone}, z, labels, mutable=['batch_stats'])[0]
    np.testing.assert_allclose(told(cut), expected, rtol=1e-5, atol=1e-5)
    assert np.abs(told(params) - expected).max() > 0.1


def test_projection_is_an_inner_product_of_the_label_with_the_features():
    x, labels = np.asarray(normal(0, 5, 4)), np.array([0, 1, 2, 1, 0])
    network = networks.ProjectionDiscriminator(networks.MLP((6, 1), squeeze=True), CLASSES)
    variables = random_like(network.init(jax.random.key(1), x, labels))
    p = jax.tree.map(np.asarray, variables['params'])
    phi = np.maximum(x @ p['network']['Dense_0']['kernel'] + p['network']['Dense_0']['bias'], 0)
    psi = (phi @ p['network']['Dense_1']['kernel'] + p['network']['Dense_1']['bias'])[:, 0]
    v = p['Embed_0']['embedding']
    logits, features = network.apply(variables, x, labels, features_too=True)
    np.testing.assert_allclose(logits, psi + (v[labels] * phi).sum(1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(features[-1], phi, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('pooled', [True, False])
def test_projection_sums_features_over_positions_or_sees_each(pooled):
    # psi + <v_y, sum over positions of phi>: Miyato and Koyama's global sum pooling; or v_y with a part for each position.
    x, labels = np.asarray(normal(0, 3, 4, 4, 2)), np.array([2, 0, 1])
    network = networks.ProjectionDiscriminator(Linear(), CLASSES, pooled)
    variables = random_like(network.init(jax.random.key(1), x, labels))
    psi = Linear().apply({'params': variables['params']['network']}, x)
    v = np.asarray(variables['params']['Embed_0']['embedding'])
    phi = x.sum((1, 2)) if pooled else x.reshape(3, 32)
    assert v.shape == (CLASSES, phi.shape[1])
    expected = psi + (v[labels] * phi).sum(1)
    np.testing.assert_allclose(network.apply(variables, x, labels), expected, rtol=1e-5, atol=1e-4)


def test_the_labels_vectors_are_spectrally_normalised_where_the_layers_are():
    x, labels = normal(0, 5, 4), jnp.array([0, 1, 2, 1, 0])
    network = networks.ProjectionDiscriminator(networks.MLP((6, 1), squeeze=True, norm='spectral'), CLASSES)
    variables = network.init(jax.random.key(1), x, labels)
    advance = quick(lambda v: {**v, **network.apply(v, x, labels, mutable=['batch_stats'])[1]})
    for _ in range(30):
        variables = advance(variables)
    call = lambda y: network.apply(variables, x[:1], jnp.array([y]), train=False, features_too=True)
    (zero, features), (one, _) = call(0), call(1)
    v = variables['params']['Embed_0']['embedding']
    difference = (v[1] - v[0]) @ features[-1][0] / np.linalg.norm(np.asarray(v), 2)
    np.testing.assert_allclose(one - zero, difference, rtol=1e-4)


def test_the_classifier_stands_on_the_last_features():
    x = np.asarray(normal(0, 5, 2, 2, 3))
    network = networks.AuxiliaryDiscriminator(Linear(), CLASSES)
    variables = random_like(network.init(jax.random.key(1), x))
    (logits, class_logits), features = network.apply(variables, x, features_too=True)
    np.testing.assert_allclose(logits, Linear().apply({'params': variables['params']['network']}, x), atol=1e-6)
    kernel, bias = (variables['params']['Dense_0'][name] for name in ('kernel', 'bias'))
    np.testing.assert_allclose(class_logits, x.reshape(5, -1) @ kernel + bias, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(features[0], x)


GENERATORS = {
    'concatenated': networks.ConcatenatedGenerator(networks.MLP((6, 2), norm='batch'), CLASSES),
    'conditional batch norm': networks.MLP((6, 2), norm='batch', classes=CLASSES),
}


@pytest.mark.parametrize('name', GENERATORS)
def test_samples_are_of_the_class_asked_for(name):
    game = games.conditional(
        GENERATORS[name],
        networks.ProjectionDiscriminator(networks.MLP((6, 1), squeeze=True), CLASSES),
        objectives.hinge(),
        latent=latents.normal(4),
    )
    batch = {'image': normal(0, 8, 2), 'label': jnp.arange(8) % CLASSES}
    state = gan_jax.init(game, optax.sgd(0.1), optax.sgd(0.1), batch, jax.random.key(0))
    state = state.replace(ema=random_like(state.ema))
    draw = lambda labels: gan_jax.sample(game, state, {'label': jnp.asarray(labels)}, jax.random.key(1))
    rows = draw(np.repeat(np.arange(CLASSES), 4))  # a grid with one class in each row
    assert rows.shape == (4 * CLASSES, 2)
    for k in range(CLASSES):
        np.testing.assert_allclose(draw([k] * 12)[4 * k : 4 * k + 4], rows[4 * k : 4 * k + 4], atol=1e-5)
        assert np.abs(draw([(k + 1) % CLASSES] * 12)[4 * k : 4 * k + 4] - rows[4 * k : 4 * k + 4]).max() > 1e-2


def test_batch_norm_by_class_in_every_generator():
    # A scale and a bias for each class in every hidden norm; the ResNet's last norm, outside of the blocks, has one for all.
    z, label = jnp.zeros((1, 3)), jnp.zeros(1, int)
    for generator, norms in [
        (networks.DCGANGenerator(16, 1, 2, classes=5), 2),
        (networks.MLP((4, 4, 2), norm='batch', classes=5), 2),
        (networks.SNGANGenerator(16, 1, 2, classes=5), 4),
    ]:
        params = jax.eval_shape(generator.init, jax.random.key(0), z, label)['params']
        conditional = [name for name in params if name.startswith('ConditionalBatchNorm')]
        assert len(conditional) == norms
        assert all(leaf.shape[0] == 5 for name in conditional for leaf in params[name].values())
        with pytest.raises(ValueError, match='labels must be given if and only if the network has classes: classes=5'):
            jax.eval_shape(generator.init, jax.random.key(0), z)
        with pytest.raises(ValueError, match='classes=0, labels given: True'):
            jax.eval_shape(generator.clone(classes=0).init, jax.random.key(0), z, label)
        with pytest.raises(InputError, match="normalization 'none' does not support classes; use 'batch'"):
            jax.eval_shape(generator.clone(norm='none').init, jax.random.key(0), z, label)


# The game.


def class_loss(logits, labels):
    """The mean cross-entropy, in float64."""
    logits = np.asarray(logits, np.float64)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -log_p[np.arange(len(labels)), np.asarray(labels)].mean()


def auxiliary_game(**options):
    discriminator = networks.AuxiliaryDiscriminator(networks.MLP((6, 1), squeeze=True), CLASSES)
    game = games.conditional(
        networks.ConcatenatedGenerator(networks.MLP((6, 2)), CLASSES),
        discriminator,
        objectives.hinge(),
        latent=latents.normal(4),
        auxiliary=auxiliary_classifier(**options),
    )
    return game, discriminator


@pytest.mark.parametrize('options', [{}, {'weight': 2.0, 'generator_weight': 0.1, 'generated': False}])
def test_both_players_add_the_classification_loss(options):
    game, discriminator = auxiliary_game(**options)
    images, fakes, labels = normal(0, 6, 2), normal(1, 6, 2), jnp.arange(6) % CLASSES
    batch = {'image': images, 'label': labels}
    variables = random_like(game.init(batch, jax.random.key(0))[1])
    (real, of_real), (fake, of_fake) = (discriminator.apply(variables, x) for x in (images, fakes))
    hinge = np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean()
    on_real, on_fake = class_loss(of_real, labels), class_loss(of_fake, labels)
    d_loss, (_, metrics) = game.discriminator_loss(variables, fakes, batch, jax.random.key(2))
    g_loss, g_metrics = game.generator_loss(variables, fakes, batch, jax.random.key(2))
    if options:
        expected = hinge + 2 * on_real, -fake.mean() + 0.1 * on_fake, on_real, on_fake
    else:
        expected = hinge + on_real + on_fake, -fake.mean() + on_real + on_fake, on_real + on_fake, on_real + on_fake
    found = d_loss, g_loss, metrics['class_loss'], g_metrics['generator_class_loss']
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics['real_accuracy'], (of_real.argmax(1) == labels).mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics['fake_accuracy'], (of_fake.argmax(1) == labels).mean(), rtol=1e-6)


def test_a_classifier_that_knows_nothing_costs_log_of_the_number_of_classes():
    batch = {'label': jnp.arange(6) % CLASSES}
    output = (None, jnp.full((6, CLASSES), 7.0))
    value, _ = auxiliary_classifier().discriminator(output, output, batch)
    assert float(value) == pytest.approx(2 * np.log(CLASSES), rel=1e-6)
    for scale in (1e4, -1e4):
        gradient = jax.grad(lambda x: auxiliary_classifier().discriminator((0, x), (0, x), batch)[0])(
            scale * normal(0, 6, CLASSES)
        )
        assert np.isfinite(gradient).all()


def test_penalties_hold_each_examples_label():
    # phi(x) = x, so the logit is (w + v_y) x + b, and the gradient penalty of an example is 10 (|w + v_y| - 1)^2 wherever it is.
    network = networks.ProjectionDiscriminator(Linear(), CLASSES)
    game = games.conditional(
        networks.ConcatenatedGenerator(networks.MLP((2,)), CLASSES),
        network,
        objectives.wasserstein(),
        latent=latents.normal(2),
        penalties=[penalties.wgan_gp()],
    )
    labels = jnp.array([0, 0, 0, 1, 2])
    batch = {'image': normal(0, 5, 2), 'label': labels}
    variables = random_like(game.init(batch, jax.random.key(0))[1])
    w, v = variables['params']['network']['Dense_0']['kernel'][:, 0], variables['params']['Embed_0']['embedding']
    expected = 10 * np.square(np.linalg.norm(w + v[labels], axis=1) - 1).mean()
    _, (_, metrics) = game.discriminator_loss(variables, normal(1, 5, 2), batch, jax.random.key(2))
    assert float(metrics['penalty']) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.slow
def test_an_auxiliary_game_is_the_same_on_four_devices():
    optimizer, batch = optax.sgd(0.05), {'image': normal(0, 8, 2), 'label': jnp.arange(8) % CLASSES}

    game = games.conditional(
        networks.MLP((6, 2), norm='batch', classes=CLASSES),
        networks.AuxiliaryDiscriminator(networks.MLP((6, 1), jnp.tanh, squeeze=True, norm='spectral'), CLASSES),
        objectives.relativistic_average(),
        latent=latents.normal(3),
        penalties=[penalties.r1()],
        augmentation=augmentations.instance_noise(0.1),
        auxiliary=auxiliary_classifier(),
    )
    step = gan_jax.make_train_step(game, optimizer, optimizer, unroll_steps=1)
    state = gan_jax.init(game, optimizer, optimizer, batch, jax.random.key(0))
    expected, metrics = quick(step)(state, batch)
    states = jax.tree.map(lambda x: jnp.stack([x] * 4), state)
    many = quick(jax.vmap(step, axis_name=parallel.AXIS))
    found, _ = many(states, jax.tree.map(lambda x: x.reshape(4, 2, *x.shape[1:]), batch))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(metrics))
    for row in range(4):
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            if jnp.issubdtype(a.dtype, jnp.floating):
                np.testing.assert_allclose(a[row], b, atol=2e-6)


CENTRES = np.array([[-2.0, 0.0], [0.0, 2.0], [2.0, 0.0]], np.float32)
WAYS = {
    'concatenation': (networks.ConcatenatedDiscriminator, None, networks.ConcatenatedGenerator),
    'projection': (networks.ProjectionDiscriminator, None, lambda g, classes: g.clone(norm='batch', classes=classes)),
    'auxiliary classifier': (networks.AuxiliaryDiscriminator, auxiliary_classifier(), networks.ConcatenatedGenerator),
}


@pytest.mark.slow
@pytest.mark.parametrize('way', WAYS)
def test_every_class_learns_its_own_distribution(way):
    # Three Gaussians of standard deviation .2, one a class: samples land on the centre of the class they are asked for.
    judge, auxiliary, told = WAYS[way]
    game = games.conditional(
        told(networks.MLP((32, 2), jnp.tanh), CLASSES),
        judge(networks.MLP((32, 1), squeeze=True), CLASSES),
        objectives.non_saturating(),
        latent=latents.normal(2),
        penalties=[penalties.r1(0.5)],
        auxiliary=auxiliary,
    )

    def draw(key):
        label_key, noise_key = jax.random.split(key)
        label = jax.random.randint(label_key, (), 0, CLASSES)
        return {'image': jnp.asarray(CENTRES)[label] + 0.2 * jax.random.normal(noise_key, (2,)), 'label': label}

    feed, optimizer = data.generated(draw, 64), optax.adam(3e-3, b1=0.5)
    step = gan_jax.make_train_step(game, optimizer, optimizer)
    state = gan_jax.init(game, optimizer, optimizer, drawn(feed, 0), jax.random.key(0))
    state, _ = jax.jit(gan_jax.many_steps(step, feed.by(jax.random.key(0)), 800))(state, feed.data, jnp.int32(800))
    labels = np.repeat(np.arange(CLASSES), 200)
    points = gan_jax.sample(game, state, {'label': jnp.asarray(labels)}, jax.random.key(1))
    nearest = np.linalg.norm(np.asarray(points)[:, None] - CENTRES, axis=-1).argmin(1)
    assert (nearest == labels).mean() > 0.97


# What is refused.


def test_packing_is_refused():
    with pytest.raises(ValueError, match='packing joins examples of different labels'):
        games.conditional(
            networks.MLP((2,)),
            networks.MLP((1,)),
            objectives.hinge(),
            latent=latents.normal(1),
            augmentation=augmentations.packing(),
        )


def test_negative_weights_are_refused():
    for options in ({'weight': -1.0}, {'generator_weight': -0.1}):
        with pytest.raises(ValueError, match='weights must be at least 0'):
            auxiliary_classifier(**options)


@pytest.mark.parametrize(
    ('labels', 'message'),
    [
        ([0, 1, 2, 3, 7], r'label 3 of example 3 is outside 0 to 2 \(2 such labels\)'),
        ([0, -1, 2], 'label -1 of example 1 is outside 0 to 2'),
        ([0, 0, 2], 'no example of class 1: each of the 3 classes requires one'),
        ([0.0, 1.0, 2.0], r'labels must be one integer for each example, not float64 of shape \(3,\)'),
        ([[0], [1], [2]], 'labels must be one integer for each example'),
    ],
)
def test_labels_are_checked_at_the_data_boundary(labels, message):
    with pytest.raises(InputError, match=message) as error:
        data.check_labels(np.array(labels), CLASSES)
    assert '\n' not in str(error.value)


def test_good_labels_come_back_as_they_are():
    found = data.check_labels(np.array([2, 0, 1, 1], np.uint8), CLASSES)
    np.testing.assert_array_equal(found, [2, 0, 1, 1])
    assert found.dtype == np.int32
