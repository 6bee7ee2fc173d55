"""R3GAN's config E: parameters counted from its description, and one pass of each network against NumPy in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import downsampled, upsampled

from gan_jax import networks
from gan_jax.errors import InputError
from gan_jax.networks.r3gan import R3GAN_FILTER, Block, R3GANGenerator
from gan_jax.networks.r3gan_presets import R3GAN_STAGES, config_e

WIDTHS, GROUPS, CLASSES = (6, 6, 4), (3, 2, 2), 5


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def convolved(x, kernel, groups):
    """3 x 3 with zeros beyond the edges; each group of outputs sees its group of inputs."""
    n, h, w, c = x.shape
    padded, out = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), np.zeros((n, h, w, kernel.shape[3]))
    inputs, outputs = c // groups, kernel.shape[3] // groups
    for g in range(groups):
        of, to = slice(g * inputs, (g + 1) * inputs), slice(g * outputs, (g + 1) * outputs)
        for i in range(3):
            for j in range(3):
                out[..., to] += padded[:, i : i + h, j : j + w, of] @ kernel[i, j][:, to]
    return out


def block(x, p, groups):
    y = leaky(x @ p['Dense_0']['kernel'] + p['bias'])
    y = leaky(convolved(y, p['Conv_0']['kernel'], groups) + p['Conv_0']['bias'])
    return x + y @ p['Dense_1']['kernel']


class Parts:
    """Parameters in the order in which a network uses them."""

    def __init__(self, params):
        self.params, self.used = params, {}

    def __call__(self, kind):
        i = self.used.setdefault(kind, 0)
        self.used[kind] += 1
        found = self.params[f'{kind}_{i}']
        return found if kind == 'Block' else found['embedding' if kind == 'Embed' else 'kernel']


def generated(params, z, labels, blocks):
    part = Parts(params)
    z = np.concatenate([z, part('Embed')[labels]], 1) if labels is not None else z
    x = params['basis'] * (z @ part('Dense'))[:, None, None]
    for i, (width, groups) in enumerate(zip(WIDTHS, GROUPS, strict=True)):
        if i:
            x = upsampled(x @ part('Dense') if width != x.shape[-1] else x, R3GAN_FILTER)
        for _ in range(blocks):
            x = block(x, part('Block'), groups)
    return x @ part('Dense')


def judged(params, x, labels, blocks):
    part = Parts(params)
    x = x @ part('Dense')
    for i, (width, groups) in enumerate(zip(WIDTHS[::-1], GROUPS[::-1], strict=True)):
        if i:
            x = downsampled(x, R3GAN_FILTER)
            x = x @ part('Dense') if width != x.shape[-1] else x
        for _ in range(blocks):
            x = block(x, part('Block'), groups)
    found = (x * params['basis']).sum((1, 2)) @ part('Dense')
    return found[:, 0] if labels is None else (found * part('Embed')[labels]).sum(1)


@pytest.mark.parametrize('classes', [0, CLASSES])
def test_one_pass_against_numpy(classes):
    rng = np.random.default_rng(0)
    labels = np.array([4, 0]) if classes else None
    given = [jnp.asarray(labels)] if classes else []
    with jax.enable_x64(True):
        generator, discriminator = config_e(WIDTHS, GROUPS, 16, 3, classes=classes, dtype=jnp.float64)
        z, x = rng.normal(size=(2, 4)), rng.normal(size=(2, 16, 16, 3))
        for network, example, reference in ((generator, z, generated), (discriminator, x, judged)):
            shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.asarray(example), *given)['params']
            # No layer at 0, as the last of a block is at first: then it would not be seen.
            params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes)
            found = jax.jit(network.apply)({'params': params}, jnp.asarray(example), *given)
            expected = reference(params, example, labels, 2)
            assert found.dtype == jnp.float64 and found.shape == expected.shape
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def described(widths, groups, classes=0, latent=64, channels=3, blocks=2, expansion=2):
    """The numbers of parameters of the generator and the discriminator, from the paper's description and its code."""
    trunk = 0
    for width, count in zip(widths, groups, strict=True):
        inner = expansion * width
        trunk += blocks * (width * inner + inner + 9 * inner * inner // count + inner + inner * width)
    trunk += sum(a * b for a, b in itertools.pairwise(widths) if a != b) + channels * widths[-1] + 16 * widths[0]
    generator = trunk + (latent + (latent if classes else 0)) * widths[0] + classes * latent
    return generator, trunk + widths[0] * (widths[0] if classes else 1) + classes * widths[0]


@pytest.mark.parametrize(
    ('name', 'classes', 'size'),
    [('cifar10', 10, 32), ('ffhq64', 0, 64), ('ffhq256', 0, 256), ('imagenet32', 1000, 32), ('imagenet64', 1000, 64)],
)
def test_the_published_presets_have_the_described_parameters(name, classes, size):
    pair = networks.r3gan_networks(name, classes=classes)
    given = [jnp.zeros(1, jnp.int32)] if classes else []
    shapes = lambda network, x: jax.eval_shape(network.init_with_output, jax.random.key(0), x, *given)
    image, g = shapes(pair[0], jnp.zeros((1, 64)))
    logit, d = shapes(pair[1], image)
    assert image.shape == (1, size, size, 3) and logit.shape == (1,) and R3GAN_STAGES[name].size == size
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    assert (count(g), count(d)) == described(*R3GAN_STAGES[name], classes)


def test_weights_start_as_the_authors_do():
    generator, discriminator = config_e((64, 32), (4, 2), 8, 3, classes=100)
    labels = jnp.zeros(1, jnp.int32)
    g = generator.init(jax.random.key(0), jnp.zeros((1, 64)), labels)['params']
    d = discriminator.init(jax.random.key(1), jnp.zeros((1, 8, 8, 3)), labels)['params']
    he = np.sqrt(2 / (1 + 0.2**2)) * 4**-0.25  # four blocks in a network
    kernel = g['Block_0']['Conv_0']['kernel']
    assert kernel.shape == (3, 3, 128 // 4, 128)
    expected = {
        'grouped': (kernel, he / np.sqrt(9 * 32)),
        'widening': (g['Block_0']['Dense_0']['kernel'], he / np.sqrt(64)),
        'basis': (g['basis'], 1.0),
        "D's basis": (d['basis'], 1 / 4),
        'embedding': (g['Embed_0']['embedding'], 1 / np.sqrt(100)),
        "D's embedding": (d['Embed_0']['embedding'], 1 / np.sqrt(100 * 64)),
    }
    for name, (leaf, std) in expected.items():
        assert float(leaf.std()) == pytest.approx(std, rel=0.05), name
    assert not any(np.any(p['Dense_1']['kernel']) for tree in (g, d) for name, p in tree.items() if name.startswith('Block'))


def test_images_of_other_shapes():
    for size, widths, base in (((8, 16), (4, 4), (4, 8)), (28, (4, 4, 4), (7, 7)), (4, (4, 4), (4, 4))):
        generator, discriminator = config_e(widths, [1] * len(widths), size, 1)
        x, g = jax.eval_shape(generator.init_with_output, jax.random.key(0), jnp.zeros((2, 3)))
        logits, d = jax.eval_shape(discriminator.init_with_output, jax.random.key(0), x)
        assert x.shape == (2, *((size, size) if isinstance(size, int) else size), 1) and logits.shape == (2,)
        assert g['params']['basis'].shape == d['params']['basis'].shape == (*base, 4)


def test_what_config_e_cannot_be_is_refused():
    for size in (28, (8, 16)):  # 14, 7 and then 4; 4 x 8 and then 4 x 4
        with pytest.raises(InputError, match='cannot be halved 3 times through a filter'):
            config_e([4] * 4, [1] * 4, size)
    with pytest.raises(InputError, match='cannot be halved 3 times'):
        R3GANGenerator(28, widths=(4,) * 4, taps=R3GAN_FILTER).init(jax.random.key(0), jnp.zeros((1, 2)))
    for groups in ([3, 1], [1]):
        with pytest.raises(InputError, match='the number of groups of each stage must divide twice its width'):
            config_e([4, 4], groups, 8)
    with pytest.raises(InputError, match='did you mean cifar10'):
        networks.r3gan_networks('cifar')


@pytest.mark.parametrize(('stages', 'low'), [(1, 0), (3, 2), (4, 3), (5, 4), (7, 4)])
def test_the_smallest_stages_are_float32(stages, low):
    """The authors' presets have the last three of four stages in bfloat16, and the last four of five or seven."""
    size, widths = 4 * 2 ** (stages - 1), (2,) * stages
    generator, discriminator = config_e(widths, (1,) * stages, size, 1, blocks=1, dtype=jnp.bfloat16)

    def dtypes(network, x):
        blocks = lambda module, _: isinstance(module, Block)
        outputs = lambda key: network.init_with_output(key, x, capture_intermediates=blocks)
        found = jax.eval_shape(outputs, jax.random.key(0))[1]['intermediates']
        return [found[f'Block_{i}']['__call__'][0].dtype for i in range(stages)]

    expected = [jnp.float32] * (stages - low) + [jnp.bfloat16] * low
    assert dtypes(generator, jnp.zeros((2, 3))) == expected
    assert dtypes(discriminator, jnp.zeros((2, size, size, 1))) == expected[::-1]
