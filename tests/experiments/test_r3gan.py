"""R3GAN's experiment: the authors' presets, class folders, and what is refused."""

import dataclasses
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments.r3gan import __main__ as r3gan
from gan_jax import runs
from gan_jax.errors import InputError

SMALL = {
    'size': 8, 'width': 2, 'group_width': 2, 'latent_size': 3, 'batch_size': 8, 'steps': 2, 'samples': 20, 'sample_every': 2,
}  # fmt: skip

# Preset: gamma at first and at last, the probability, the half-life in images, the images, and the batch: the authors' train.py.
PUBLISHED = {
    'cifar10': (0.05, 0.005, 0.55, 5e6, 2e7, 512),
    'ffhq64': (2, 0.2, 0.3, 5e5, 2e7, 256),
    'ffhq256': (150, 15, 0.3, 5e5, 2e7, 256),
    'imagenet32': (0.5, 0.05, 0.5, 5e7, 2e8, 4096),
    'imagenet64': (1, 0.1, 0.4, 5e7, 2e8, 4096),
}


@pytest.mark.parametrize('name', PUBLISHED)
def test_presets_are_the_authors(name):
    first, last, probability, half_life, images, batch = PUBLISHED[name]
    config = r3gan.preset(name)
    if name.startswith('ffhq'):
        with pytest.raises(InputError, match='requires --dataset'):
            config.check()
        config = dataclasses.replace(config, dataset='faces')
    config.check()
    assert config.conditional == (not name.startswith('ffhq'))
    assert config.batch_size == batch and config.steps == -(-images // batch) and config.penalty_at == 'original'
    (penalty,) = config.rules()[1]
    x, count = jnp.ones((1, 1)), images / batch  # D takes one update in a step
    gamma = lambda n: float(penalty(lambda x: 1.0 * x.sum(-1), x, x, jnp.float32(n), jax.random.key(0))[0])
    np.testing.assert_allclose([gamma(0), gamma(count), gamma(2 * count)], [first, last, last], rtol=1e-4)
    np.testing.assert_allclose(gamma(count / 2), (first + last) / 2, rtol=1e-4)
    annealed = config.annealed()
    for of in (annealed.of_generator, annealed.of_discriminator):
        ends = [[float(of(what)(jnp.float32(n))) for n in (0, count)] for what in ('learning_rate', 'beta2', 'probability')]
        np.testing.assert_allclose(ends, [[1, 0.25], [0.9, 0.99], [0, probability]], rtol=1e-4, atol=1e-6)
    decay = annealed.decay()
    assert float(decay(0)) == 0 and float(decay(count)) == pytest.approx(0.5 ** (batch / half_life), rel=1e-6)
    generator, discriminator = config.networks(config.size, 3)
    assert generator.blocks == discriminator.blocks == 2 and discriminator.widths == generator.widths[::-1]
    assert {2 * w // n for w, n in zip(generator.widths, generator.groups, strict=True)} == {config.group_width}
    assert config.latent_size == 64
    players = config.players()
    for player in (players.generator, players.discriminator):  # the first step of Adam is the learning rate
        update, _ = player.update(jnp.ones(1), player.init(jnp.ones(1)), jnp.ones(1))
        np.testing.assert_allclose(update, -2e-4, rtol=1e-4)


def test_a_preset_gives_the_defaults_that_flags_change(monkeypatch):
    seen = []

    def keep(config):
        seen.append(config)

    for flags in (['--preset', 'cifar10', '--batch-size', '64'], ['--preset=ffhq64', '--blocks', '1'], ['--width', '8']):
        monkeypatch.setattr(sys, 'argv', ['x', *flags])
        runs.run_main(keep, r3gan.Config)
    # The run is as long in images, over which everything changes.
    assert seen[0] == dataclasses.replace(r3gan.preset('cifar10'), batch_size=64, steps=312_500)
    assert seen[1] == dataclasses.replace(r3gan.preset('ffhq64'), blocks=1)
    assert seen[2] == r3gan.Config(width=8)


@pytest.mark.slow
def test_folders_of_classes(tmp_path):
    rng = np.random.default_rng(0)
    for split in ('train', 'test'):
        for name in ('ant', 'bee'):
            (tmp_path / 'images' / split / name).mkdir(parents=True)
            for i in range(8 if name == 'ant' else 24):
                picture = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
                picture.save(tmp_path / 'images' / split / name / f'{i}.png')
    config = r3gan.Config(runs_dir=str(tmp_path / 'runs'), dataset=str(tmp_path / 'images'), conditional=True, **SMALL)
    results = r3gan.main(config)
    assert np.isfinite(results['frechet_distance'])
    found = json.loads((tmp_path / 'runs/r3gan/generator.json').read_text())['data']
    assert found['classes'] == ['ant', 'bee'] and found['shares'] == [0.25, 0.75]
    plain = r3gan.main(dataclasses.replace(config, name='plain', conditional=False))
    assert np.isfinite(plain['frechet_distance'])


def test_the_label_reaches_both_networks():
    config = r3gan.Config(**SMALL)
    game = config.make_game(8, 1, 3)
    batch = {'image': jnp.ones((4, 8, 8, 1)), 'label': jnp.array([0, 1, 2, 0])}
    other = batch | {'label': jnp.array([1, 1, 2, 0])}
    init = jax.jit(game.init)(batch, jax.random.key(0))
    g, d = (jax.tree.map(lambda x: x + jnp.sin(jnp.arange(x.size)).reshape(x.shape), variables) for variables in init)
    play = lambda batch: jax.jit(game.play)(g, batch, jax.random.key(1))[0]
    same = np.abs(play(batch) - play(other)).max((1, 2, 3)) == 0
    np.testing.assert_array_equal(same, [False, True, True, True])
    loss = lambda given: jax.jit(game.discriminator_loss)(d, play(batch), given, jax.random.key(2))[0]
    assert loss(batch) != loss(other)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'d_norm': 'batch'}, 'the networks of R3GAN have no --d-norm'),
        ({'widths': (4, 4, 4, 4), 'size': 28}, 'cannot be halved 3 times through a filter'),
        ({'size': 20}, 'image size 20 is not supported'),
        ({'width': 5, 'group_width': 3}, 'must divide twice its width'),
        ({'augmentations': ('adaptive',)}, 'adaptive augmentation'),
    ],
)
def test_what_cannot_work_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        r3gan.Config(**{**SMALL, **options}).check()


def test_unknown_presets_and_data_without_labels_are_refused(tmp_path):
    with pytest.raises(InputError, match="unknown preset 'cifar'; did you mean cifar10"):
        r3gan.Config.defaults(['--preset', 'cifar'])
    for i in range(8):
        Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(tmp_path / f'{i}.png')
    with pytest.raises(InputError, match=r'--conditional requires labels, and .* has none'):
        r3gan.study(r3gan.Config(dataset=str(tmp_path), conditional=True, **SMALL))
