"""VGG-16, LPIPS, CLIP and DINOv2 against the original implementations on the same random weights, and how weights are read.

No published weights are needed. A stored table holds what the originals make of the random weights in float64; where an original
is installed, its network is compared as well: torchvision and torch-fidelity 0.4.0 for all four, and the package dinov2. To write
the table anew: `python -m pytest tests/metrics/test_published.py` with `GAN_JAX_WRITE_TABLE` set to its path.
"""

import functools
import hashlib
import importlib.util
import os
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from PIL import Image
from safetensors import numpy as safetensors

from experiments.benchmark.metrics import torch_fidelity_module
from gan_jax import compilation
from gan_jax.errors import InputError
from gan_jax.metrics.extractors import EXTRACTORS, preparation, published, transformer, vgg
from gan_jax.metrics.extractors.inception import pytorch
from gan_jax.registry import build

TABLE = pathlib.Path(__file__).parent / 'published_features.npz'
TINY = {
    'dinov2_vits14': transformer.Architecture(128, 2, 14),
    'clip_vitb32': transformer.Architecture(128, 2, 32, 24, side=64),
}
SMALL_VGG = vgg.VGG16(((4, 4), (6, 6), (8, 8, 8), (8, 8, 8), (8, 8, 8)), hidden=16)


def pictures(side: int) -> np.ndarray:
    """Four smooth colour pictures with a little noise, uint8 `[4, side, side, 3]`."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    wave = lambda: np.sin(2 * np.pi * (rng.uniform(0.5, 4) * x + rng.uniform(0.5, 4) * y + rng.uniform()))
    smooth = [[128 + 100 * wave() * wave() + rng.uniform(-20, 20) for _ in range(3)] for _ in range(4)]
    return np.clip(np.round(np.moveaxis(smooth, 1, -1) + 8 * rng.normal(size=(4, side, side, 3))), 0, 255).astype(np.uint8)


IMAGES = pictures(40)
PAIRS = IMAGES[:2], np.stack([IMAGES[2], IMAGES[1] // 2 + 40])
"""Two pictures, and beside them another one and the same one with less contrast."""


def random_release(network, side, names) -> dict[str, np.ndarray]:
    """Random arrays with the names and shapes of a release, under which signals keep their size and nothing is trivial."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, side, side, 3))))['params']
    found = {}
    for path, leaf in traverse_util.flatten_dict(shapes, sep='/').items():
        shape = leaf.shape
        if path.endswith('kernel'):  # PyTorch has (features, inputs, height, width) and (features, inputs)
            shape = tuple(shape[i] for i in {2: (1, 0), 4: (3, 2, 0, 1)}[len(shape)])
            x = rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
        elif 'scale' in path:
            x = rng.uniform(0.6, 1.4, shape)
        else:
            x = rng.normal(size=shape) * 0.3
        found[names(path)] = x.astype(np.float32)
    return found


@functools.cache
def release(name: str) -> dict[str, np.ndarray]:
    if name == 'lpips':
        widths = (stage[-1] for stage in vgg.WIDTHS)
        return {
            f'lin{i}.model.1.weight': np.random.default_rng(i).uniform(0, 1, (1, w, 1, 1)).astype(np.float32)
            for i, w in enumerate(widths)
        }
    if name == 'vgg16':
        return random_release(SMALL_VGG, vgg.SIDE, lambda path: vgg.official_name(path, SMALL_VGG.widths))
    if name == 'vgg16 features':
        return random_release(vgg.VGG16(hidden=None), vgg.SMALLEST, vgg.official_name)
    family, sizes = name.partition('_')[0], TINY[name]
    network = transformer.VisionTransformer(sizes)
    state = random_release(network, sizes.side, lambda path: transformer.official_name(path, family))
    if family == 'dinov2':  # trained with 37 x 37 patches
        state |= {'cls_token': state['cls_token'][None, None], 'mask_token': np.zeros((1, sizes.width), np.float32)}
        state['pos_embed'] = np.random.default_rng(3).normal(size=(1, 1 + 37**2, sizes.width)).astype(np.float32)
    else:
        state['text_projection'] = np.ones((2, sizes.projected), np.float32)  # is not read
        state = {key: x.astype(np.float16).astype(np.float32) for key, x in state.items()}  # the release is in float16
    return state


@pytest.fixture
def saved(tmp_path):
    def save(name: str) -> str:
        path = tmp_path / f'{name}.safetensors'
        path.write_bytes(safetensors.save(release(name)))
        return str(path)

    return save


def ours(name: str, save) -> np.ndarray:
    if name == 'lpips':
        extractor = vgg.lpips(save('vgg16 features'), save('lpips'))
        apply = compilation.jit(extractor.apply)
        a, b = (apply(images).features for images in PAIRS)
        return np.asarray(((a - b) ** 2).sum(1))
    if name == 'vgg16':
        found = [vgg.extractor(SMALL_VGG, save(name), resize='tf1', relu=relu) for relu in (False, True)]
        return np.concatenate([np.asarray(compilation.jit(one.apply)(IMAGES).features) for one in found], 1)
    extractor = transformer.transformer(name, save(name), 'tf1', TINY[name])
    return np.asarray(compilation.jit(extractor.apply)(IMAGES).features)


# The originals


@pytest.fixture
def torch():
    found = pytest.importorskip('torch')
    pytest.importorskip('torchvision')
    if importlib.util.find_spec('torch_fidelity') is None:
        pytest.skip('torch-fidelity is not installed')
    return found


def tensors(torch, name: str) -> dict:
    return {key: torch.from_numpy(x) for key, x in release(name).items()}


def torch_images(torch, images: np.ndarray):
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def layers(torch, widths):
    from torchvision.models.vgg import make_layers

    return make_layers([item for stage in widths for item in (*stage, 'M')])


def original_vgg16(torch, patch, folder) -> np.ndarray:
    import torchvision

    def small():
        with torch.device('meta'):  # the usual classifier has 120 million weights
            net = torchvision.models.VGG(torch.nn.Identity(), init_weights=False)
        net.features = layers(torch, SMALL_VGG.widths)
        linear = lambda n: torch.nn.Linear(n, SMALL_VGG.hidden)
        rest = [torch.nn.ReLU(), torch.nn.Dropout()]
        net.classifier = torch.nn.Sequential(linear(8 * 7 * 7), *rest, linear(SMALL_VGG.hidden), *rest)
        net.classifier.append(torch.nn.Identity())  # in the place of the classes, which torch-fidelity removes
        return net

    patch.setattr(torchvision.models, 'vgg16', small)
    torch.save(tensors(torch, 'vgg16'), folder / 'vgg16.pth')
    module = torch_fidelity_module('feature_extractor_vgg16')
    net = module.FeatureExtractorVGG16('vgg16', ['fc2', 'fc2_relu'], str(folder / 'vgg16.pth'), 'float64')
    return torch.cat(net(torch_images(torch, IMAGES)), 1).numpy()


def original_lpips(torch, patch, folder) -> np.ndarray:
    module = torch_fidelity_module('sample_similarity_lpips')
    features = layers(torch, vgg.WIDTHS)
    features.load_state_dict({key.removeprefix('features.'): x for key, x in tensors(torch, 'vgg16 features').items()})
    patch.setattr(module, 'load_state_dict_from_url', lambda *_, **__: tensors(torch, 'lpips'))
    patch.setattr(module, 'torchvision_load_pretrained_vgg16', lambda: types.SimpleNamespace(features=features))
    return module.SampleSimilarityLPIPS('lpips')(*(torch_images(torch, images) for images in PAIRS)).numpy().ravel()


def clip_archive(torch, path: pathlib.Path) -> None:
    """Saves the random weights in float16 as a TorchScript archive, in which OpenAI published CLIP."""
    sizes = TINY['clip_vitb32']
    module = torch_fidelity_module('feature_extractor_clip')

    class Whole(torch.nn.Module):
        def __init__(self):
            super().__init__()
            visual = module.CLIPVisual(sizes.projected, sizes.side, sizes.depth, sizes.width, sizes.patch).visual
            self.visual, self.text_projection = visual, torch.nn.Parameter(torch.ones(2, sizes.projected))

        def forward(self, x):
            return self.visual(x) + self.text_projection.sum()

    whole = Whole()
    whole.load_state_dict(tensors(torch, 'clip_vitb32'))
    torch.jit.trace(whole.eval(), torch.zeros(1, 3, sizes.side, sizes.side)).half().save(str(path))


def original_clip(torch, patch, folder) -> np.ndarray:
    clip_archive(torch, folder / 'clip.pt')
    module = torch_fidelity_module('feature_extractor_clip')
    net = module.FeatureExtractorCLIP('clip-vit-b-32', ['clip'], str(folder / 'clip.pt'), 'float64')
    return net(torch_images(torch, IMAGES))[0].numpy()


def original_dinov2(torch, patch, folder) -> np.ndarray:
    vision_transformer = pytest.importorskip('dinov2.models.vision_transformer')
    sizes = TINY['dinov2_vits14']

    def load(repository, name):
        assert (repository, name) == ('facebookresearch/dinov2', 'dinov2_vits14')
        settings = {'img_size': 518, 'patch_size': 14, 'init_values': 1.0, 'ffn_layer': 'mlp', 'block_chunks': 0}
        block = functools.partial(vision_transformer.Block, attn_class=vision_transformer.MemEffAttention)
        net = vision_transformer.DinoVisionTransformer(
            embed_dim=sizes.width, depth=sizes.depth, num_heads=sizes.width // 64, mlp_ratio=4, block_fn=block, **settings
        )
        net.load_state_dict(tensors(torch, 'dinov2_vits14'))
        return net

    patch.setattr(torch.hub, 'load', load)
    patch.setenv('XFORMERS_DISABLED', '1')  # torch-fidelity sets it for good
    module = torch_fidelity_module('feature_extractor_dinov2')
    net = module.FeatureExtractorDinoV2('dinov2-vit-s-14', ['dinov2'], None, 'float64')
    return net(torch_images(torch, IMAGES))[0].numpy()


ORIGINALS = {
    'vgg16': original_vgg16,
    'lpips': original_lpips,
    'clip_vitb32': original_clip,
    'dinov2_vits14': original_dinov2,
}


def error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference, relative to the largest number expected."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.filterwarnings('ignore')  # those packages warn of each other
@pytest.mark.parametrize('name', ORIGINALS)
def test_features_match_the_original(name, torch, monkeypatch, tmp_path, saved):
    expected = ORIGINALS[name](torch, monkeypatch, tmp_path)
    assert expected.std(0).mean() > 0.01 * np.abs(expected).mean(), 'images that look the same test nothing'
    assert error(ours(name, saved), expected) < 1e-5
    if path := os.environ.get('GAN_JAX_WRITE_TABLE'):
        there = dict(np.load(path)) if os.path.exists(path) else {}
        np.savez_compressed(path, **{**there, name: expected.astype(np.float32)})


@pytest.mark.parametrize('name', ORIGINALS)
def test_features_match_the_stored_table(name, saved):
    with np.load(TABLE) as table:
        assert error(ours(name, saved), table[name]) < 1e-5


# What ports of these networks get wrong: network, what is wrong, and by how much it moves the features at least.
MISTAKES = {
    'channels flattened last': ('vgg16', lambda patch: patch.setattr(vgg, '_flattened', lambda x: x.reshape(len(x), -1))),
    'positions at the scale 16 / 37': (
        'dinov2_vits14',
        lambda patch: patch.setattr(transformer, '_cubic_matrix', functools.partial(transformer._cubic_matrix, offset=0.0)),
    ),
    'cubic a = -0.5': (
        'dinov2_vits14',
        lambda patch: patch.setattr(transformer, '_cubic_matrix', functools.partial(transformer._cubic_matrix, sharpness=-0.5)),
    ),
    'half-pixel resize': (
        'clip_vitb32',
        lambda patch: patch.setitem(preparation.RESIZES, 'tf1', preparation.RESIZES['half_pixel']),
    ),
    "ImageNet's channels": ('clip_vitb32', lambda patch: patch.setattr(transformer, 'CLIP', preparation.IMAGENET)),
    'shift of zero': ('lpips', lambda patch: patch.setattr(vgg, '_SHIFT', np.zeros(3, np.float32))),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_every_known_mistake_would_show(mistake, monkeypatch, saved):
    name, make = MISTAKES[mistake]
    make(monkeypatch)
    with np.load(TABLE) as table:
        assert error(ours(name, saved), table[name]) > 3e-4


# The numbers of weights of the original modules: DINOv2's have 37 x 37 positions and a token for masks, VGG-16 its classes.
COUNTS = {
    'dinov2_vits14': 22_056_576,
    'dinov2_vitb14': 86_580_480,
    'dinov2_vitl14': 304_368_640,
    'clip_vitb32': 87_849_216,
    'clip_vitl14': 303_966_208,
    'vgg16': 138_357_544,
}


@pytest.mark.parametrize('name', COUNTS)
def test_the_full_sizes_have_the_weights_of_the_originals(name):
    if name == 'vgg16':
        network, elsewhere = vgg.VGG16(), 4096 * 1000 + 1000
    else:
        sizes = transformer.ARCHITECTURES[name]
        network = transformer.VisionTransformer(sizes)
        elsewhere = (37**2 - 16**2 + 1) * sizes.width if name.startswith('dinov2') else 0
    found = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, 224, 224, 3))))
    assert sum(x.size for x in jax.tree.leaves(found)) + elsewhere == COUNTS[name]


# Preparation


@pytest.mark.parametrize('size', [(2, 2), (32, 32), (28, 45), (224, 224), (300, 411)])
def test_the_8_bit_resize_is_pillows(size):
    x = np.random.default_rng(0).choice([0, 60, 255], size).astype(np.uint8)
    expected = np.asarray(Image.fromarray(x).resize((224, 224), Image.Resampling.BICUBIC)).astype(int)
    resize = compilation.jit(lambda levels: preparation.pillow(levels, 224))
    found = np.asarray(resize(jnp.asarray(x, jnp.float32)[None, :, :, None]))[0, :, :, 0]
    # Pillow computes with integers, so a number close to a half may be rounded to the other side.
    assert np.abs(found - expected).max() <= 1 and (found != expected).mean() < 1e-3


def test_images_are_standardised():
    images = np.full((1, 8, 8, 1), 255, np.uint8)
    found = preparation.prepare(images, 16, 'pillow', preparation.IMAGENET)
    white = (1 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225]  # torchvision's Normalize of ones
    np.testing.assert_allclose(found, np.broadcast_to(white, (1, 16, 16, 3)), rtol=1e-5)
    with pytest.raises(InputError, match='unknown resize'):
        preparation.prepare(images, 16, 'cubic', preparation.IMAGENET)


# Weights


@pytest.mark.filterwarnings('ignore')
def test_a_torchscript_archive_is_read_without_its_code(torch, tmp_path):
    clip_archive(torch, tmp_path / 'clip.pt')
    found = pytorch.read_state_dict((tmp_path / 'clip.pt').read_bytes(), 'clip.pt')
    expected = release('clip_vitb32')
    assert set(found) == set(expected)
    for name, x in expected.items():
        assert found[name].dtype == np.float16
        np.testing.assert_array_equal(found[name], x)


PATHS = [name for name in EXTRACTORS if name in published.RELEASES]


@pytest.mark.parametrize('name', PATHS)
def test_without_weights_the_message_says_what_to_fetch(name):
    with pytest.raises(InputError) as refusal:
        build(EXTRACTORS, name)
    message = str(refusal.value)
    names, settings = (('vgg16', 'lpips'), 'weights=FILE,linear=FILE') if name == 'lpips' else ((name,), 'weights=FILE')
    urls = [published.RELEASES[each].url for each in names]
    fetch = ' and '.join(f'{url.rpartition("/")[2]} from {url}' for url in urls)
    assert f'fetch {fetch} and pass {settings}' in message and '\n' not in message


def test_lpips_asks_for_its_second_file(saved):
    path = saved('vgg16 features')
    with pytest.raises(InputError, match=r'fetch vgg.pth from \S+ and pass linear=FILE'):
        build(EXTRACTORS, f'lpips:weights={path}')


def test_only_the_published_file_is_called_verified(tmp_path, monkeypatch):
    path = tmp_path / 'weights.safetensors'
    path.write_bytes(safetensors.save({'x': np.float32([1])}))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert published.read('vgg16', path).source == f'unverified {digest[:8]}'
    monkeypatch.setitem(published.RELEASES, 'vgg16', published.Release('https://somewhere/vgg16.pth', digest[:8]))
    assert published.read('vgg16', path).source == digest[:8]
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(InputError, match='may be truncated'):
        published.read('vgg16', path)
    with pytest.raises(InputError, match=r'cannot read the weights of vgg16: .*nowhere'):
        published.read('vgg16', tmp_path / 'nowhere')


def test_weights_of_other_networks_are_refused(tmp_path, saved):
    with pytest.raises(InputError, match=r'not the weights of clip_vitl14: visual\.\S+ is \(\d+.*, not \(.*\) in some order'):
        build(EXTRACTORS, f'clip_vitl14:weights={saved("clip_vitb32")}')
    with pytest.raises(InputError, match=r'not the weights of dinov2_vitb14: \S+ is missing'):
        build(EXTRACTORS, f'dinov2_vitb14:weights={saved("clip_vitb32")}')
    path = tmp_path / 'linear.safetensors'
    path.write_bytes(safetensors.save({name: -x for name, x in release('lpips').items()}))
    with pytest.raises(InputError, match=r'not the weights of LPIPS: lin0\.model\.1\.weight has negative numbers'):
        vgg.lpips(saved('vgg16 features'), str(path))


def test_images_that_do_not_fit_are_refused(saved):
    clip = transformer.transformer('clip_vitb32', saved('clip_vitb32'), 'pillow', TINY['clip_vitb32'])
    assert clip.name.startswith('clip_vitb32 unverified ') and clip.name.endswith(', pillow resize')
    with pytest.raises(InputError, match='clip_vitb32 requires square images, not 8 x 9: --resize N'):
        clip.apply(np.zeros((1, 8, 9, 3), np.uint8))
    distance = vgg.lpips(saved('vgg16 features'), saved('lpips'))
    with pytest.raises(InputError, match='at least 16 x 16'):
        distance.apply(np.zeros((1, 15, 16, 3), np.uint8))
    with pytest.raises(InputError, match='unknown resize'):
        build(EXTRACTORS, 'dinov2_vits14:weights=nowhere,resize=cubic')


@pytest.mark.parametrize('damaged', ['arrays', 'junk'])
def test_another_file_than_weights_is_refused_in_plain_words(damaged, tmp_path):
    path = tmp_path / 'file.pth'
    if damaged == 'arrays':
        with open(path, 'wb') as file:
            np.savez(file, a=np.zeros(3))
    else:
        path.write_bytes(b'hjunk of no kind, of some length')
    with pytest.raises(InputError, match=r'cannot read .*file\.pth as a PyTorch state dict: it is another file, or damaged$'):
        build(EXTRACTORS, f'clip_vitb32:weights={path}')
