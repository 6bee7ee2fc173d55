"""Regularizers in the games: every game takes them, and asks its discriminator as they require."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from games.test_games import GAMES  # the cases that all games go through

import gan_jax
from gan_jax import augmentations, games, latents, networks, objectives, regularizers
from gan_jax.games.adversarial import WithNeighbours
from gan_jax.games.judgement import PROGRESS
from gan_jax.regularizers import Regularizer

DOUBLED = Regularizer(
    discriminator=lambda state, heard: jnp.square(heard.real - heard.changed_real) + jnp.square(heard.fake - heard.changed_fake),
    change=lambda x, keys: jax.tree.map(lambda x: 2 * x, x),
)
"""As `bcr`, of any examples."""
MOVING = ('adversarial', 'conditional', 'semi_supervised', 'text_to_image', 'laplacian_pyramid')


def make(name, monkeypatch, regularizers):
    monkeypatch.setattr(games, name, functools.partial(getattr(games, name), regularizers=regularizers))
    return GAMES[name].make()


def shapes(game, batch):
    """The shapes of D's variables, and of what both losses return."""

    def losses(batch, key):
        generator, discriminator = game.init(batch, key)
        play, _ = game.play(generator, batch, key)
        of_d = game.discriminator_loss(discriminator, play, batch, key)
        return discriminator, of_d, game.generator_loss(discriminator, play, batch, key)

    return jax.eval_shape(losses, batch, jax.random.key(0))


@pytest.mark.parametrize('name', sorted(set(GAMES) - {'product'}))
def test_every_game_takes_regularizers(name, monkeypatch):
    batch = GAMES[name].batch(jax.random.key(1))
    chosen = [
        regularizers.lecam(),
        *([] if name == 'bidirectional' else [regularizers.top_k()]),
        *([] if name == 'laplacian_pyramid' else [DOUBLED]),
    ]
    discriminator, (_, (state, metrics)), _ = shapes(make(name, monkeypatch, chosen), batch)
    found = jax.tree_util.tree_leaves_with_path(state)
    anchors = [
        path for path, _ in found if 'regularizers' in jax.tree_util.keystr(path) and '.updates' in jax.tree_util.keystr(path)
    ]
    judges = {'unpaired_translation': 2, 'laplacian_pyramid': 2}.get(name, 1)
    assert len(anchors) == judges and sum('regularization' in metric for metric in metrics) == judges
    assert jax.tree.structure(state[PROGRESS]) == jax.tree.structure(discriminator[PROGRESS])


@pytest.mark.parametrize('name', sorted(set(GAMES) - {'product'}))
def test_latents_move_in_games_that_draw_them_and_are_refused_elsewhere(name, monkeypatch):
    make_it = functools.partial(make, name, monkeypatch, [regularizers.zcr()])
    if name not in MOVING:
        with pytest.raises(ValueError, match='such as zcr, generates from each latent and its neighbour, which only '):
            make_it()
        return
    _, (_, (_, of_d)), (_, of_g) = shapes(make_it(), GAMES[name].batch(jax.random.key(1)))
    assert any('regularization' in metric for metric in of_d) and any('generator_regularization' in metric for metric in of_g)


def test_a_pyramid_refuses_changes_of_its_high_pass_images(monkeypatch):
    with pytest.raises(ValueError, match='such as bcr, would change the high-pass images'):
        make('laplacian_pyramid', monkeypatch, [regularizers.bcr()])


def test_pairs_of_examples_and_codes_are_not_weighed(monkeypatch):
    with pytest.raises(ValueError, match='such as top_k, would also weigh the real pairs'):
        make('bidirectional', monkeypatch, [regularizers.top_k()])


def test_a_term_of_the_generator_requires_moved_latents():
    with pytest.raises(ValueError, match='moved latents: it requires a move'):
        standard([Regularizer(generator=lambda examples, neighbours: jnp.zeros(len(examples)))])


class Images(nn.Module):
    @nn.compact
    def __call__(self, z, *, train=True):
        return jnp.tanh(nn.Dense(16)(z)).reshape(-1, 4, 4, 1)


def standard(chosen, objective=None, discriminator=None, **options):
    return games.adversarial(
        Images(), discriminator or networks.MLP((1,), squeeze=True), objective or objectives.hinge(),
        latent=latents.normal(3), regularizers=chosen, **options,
    )  # fmt: skip


BATCH = jax.random.uniform(jax.random.key(1), (8, 4, 4, 1), minval=-1)


def test_consistency_is_that_of_the_discriminator_before_its_augmentation():
    # D is linear with kernel a, and sees x + noise: D(x) - D(|x|) = a (x - |x|). After the noise, |x + noise| would be another.
    folded = Regularizer(change=lambda x, keys: jnp.abs(x), discriminator=DOUBLED.discriminator)
    game = standard([folded], augmentation=augmentations.instance_noise(0.5))
    g, d = game.init(BATCH, jax.random.key(0))
    play, _ = game.play(g, BATCH, jax.random.key(2))
    _, (state, metrics) = game.discriminator_loss(d, play, BATCH, jax.random.key(3))
    kernel = np.asarray(d['params']['Dense_0']['kernel'], np.float64).reshape(4, 4)
    apart = [((np.asarray(x - jnp.abs(x), np.float64)[..., 0] * kernel).sum((1, 2)) ** 2).mean() for x in (BATCH, play)]
    assert float(metrics['regularization']) == pytest.approx(sum(apart), rel=1e-4)  # the noise is the same for both
    assert state[PROGRESS]['regularizers'] == ((),)


def test_consistency_compares_logits_of_one_discriminator():
    # A pass in training changes what spectral norm divides by.
    same = Regularizer(change=lambda x, keys: x, move=lambda z, key: z, discriminator=lambda state, heard: (
        DOUBLED.discriminator(state, heard) + jnp.square(heard.fake - heard.neighbours)
    ))  # fmt: skip
    of_one = standard([same], discriminator=networks.MLP((4, 1), squeeze=True, norm='spectral'))
    of_two = games.multi_generator(
        Images(), networks.MLP((3,), norm='spectral'), generators=2, latent=latents.normal(3),
        regularizers=[same._replace(move=None, discriminator=DOUBLED.discriminator)],
    )  # fmt: skip
    for game in (of_one, of_two):

        @jax.jit
        def term(key, game=game):
            g, d = game.init(BATCH, key)
            play, _ = game.play(g, BATCH, key)
            return game.discriminator_loss(d, play, BATCH, key)[1][1]['regularization']

        assert float(term(jax.random.key(0))) == pytest.approx(0, abs=1e-10)


def test_latent_consistency_is_of_two_plays():
    game = standard([regularizers.zcr(deviation=0.1, d_weight=3.0, g_weight=2.0)])
    g, d = game.init(BATCH, jax.random.key(0))
    play, _ = game.play(g, BATCH, jax.random.key(2))
    assert isinstance(play, WithNeighbours) and game.play(g, BATCH, jax.random.key(2), train=False)[0].shape == BATCH.shape
    plain, _ = standard([]).play(g, BATCH, jax.random.key(2))
    np.testing.assert_array_equal(play.examples, plain)
    apart = np.asarray(play.examples - play.neighbours, np.float64)
    assert (np.abs(apart).max((1, 2, 3)) > 1e-3).all()
    kernel = np.asarray(d['params']['Dense_0']['kernel'], np.float64).reshape(4, 4)
    loss, (_, metrics) = game.discriminator_loss(d, play, BATCH, jax.random.key(3))
    assert float(metrics['regularization']) == pytest.approx(3 * ((apart[..., 0] * kernel).sum((1, 2)) ** 2).mean(), rel=1e-3)
    of_g, found = game.generator_loss(d, play, BATCH, jax.random.key(3))
    assert float(found['generator_regularization']) == pytest.approx(-2 * (apart**2).mean(), rel=1e-4)
    d_plain = {'params': d['params']}
    without = (
        standard([]).discriminator_loss(d_plain, plain, BATCH, jax.random.key(3))[0],
        standard([]).generator_loss(d_plain, plain, BATCH, jax.random.key(3))[0],
    )
    terms = (metrics['regularization'], found['generator_regularization'])
    for value, base, term in zip((loss, of_g), without, terms, strict=True):
        assert float(value) == pytest.approx(float(base + term), rel=1e-5)


@pytest.mark.parametrize('objective', [objectives.hinge(), objectives.energy_margin(1.0)])
def test_the_generator_learns_from_what_looks_most_real(objective):
    # Hinge: the loss is -D, of which the mean over the largest half is the least. Energies: the loss is D, and the lowest count.
    game = standard([regularizers.top_k(decay=0.5, least=0.5, images=8)], objective)
    g, d = game.init(BATCH, jax.random.key(0))
    play, _ = game.play(g, BATCH, jax.random.key(2))
    found = []
    for _ in range(3):
        found.append(float(game.generator_loss(d, play, BATCH, jax.random.key(3))[0]))
        d = {**d, **game.discriminator_loss(d, play, BATCH, jax.random.key(3))[1][0]}
    losses = np.sort(objective.generator(*[networks.MLP((1,), squeeze=True).apply({'params': d['params']}, play)] * 2))
    np.testing.assert_allclose(found, [losses.mean(), losses[:4].mean(), losses[:4].mean()], rtol=1e-5)


def test_epochs_are_of_the_images_that_the_discriminator_is_shown():
    # G's batch is twice D's, of which a step has 3: 8 images each, 24 in a step.
    shown = []
    record = lambda shown_now, fake: jax.debug.callback(lambda n: shown.append(int(n)), shown_now) or jnp.ones(len(fake))
    game = standard([Regularizer(weights=record)])
    trainer = gan_jax.trainer(game, gan_jax.optimizers.adam()._replace(discriminator_steps=3), generator_batches=2)
    state, step = trainer.init(BATCH, jax.random.key(0)), jax.jit(trainer.step)
    for _ in range(2):
        state, _ = step(state, jnp.stack([BATCH] * 3))
    jax.effects_barrier()
    assert sorted(set(shown)) == [24, 48]


def test_anchors_are_of_this_discriminator_and_stay_through_an_unroll():
    game = standard([regularizers.lecam(weight=1.0, decay=0.5)])
    trainer = gan_jax.trainer(game, gan_jax.optimizers.adam(), unroll_steps=1)
    state, step = trainer.init(BATCH, jax.random.key(0)), jax.jit(trainer.step)
    logits = []
    for _ in range(3):
        state, metrics = step(state, BATCH)
        logits.append([float(metrics['real_logit']), float(metrics['fake_logit'])])
    anchors = state.discriminator.state[PROGRESS]['regularizers'][0]
    expected = (np.array([1, 2, 4])[:, None] * np.array(logits)).sum(0) / 7
    np.testing.assert_allclose([anchors.real, anchors.fake], expected, rtol=1e-4, atol=1e-6)
    assert int(anchors.updates) == 3
