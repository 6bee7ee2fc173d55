"""Programs compile with the options that a CPU needs: XLA's wrong reductions are not in them, and nothing else is lost."""

import functools
import os
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import pytest

from gan_jax import compilation, parallel
from gan_jax.networks import convolution
from gan_jax.networks.geometry import same_geometry

ROOT = pathlib.Path(__file__).parents[1]
AFFECTED = {'0.10.2': {'constant', 'rows', 'gradient'}, '0.12.0.1': {'constant', 'gradient'}}
"""jaxlib -> the examples below that it computes wrongly by default."""


def constant():
    """`sum(E @ C, 0)` with a constant C: errors of 1e27 and more, or NaN."""
    matrix = jax.random.normal(jax.random.key(0), (128, 128))
    expected = (np.asarray(matrix, np.float64) @ np.full((128, 128), 0.37)).sum(0)
    return lambda e: jnp.sum(e @ jnp.full_like(e, 0.37), 0), matrix, expected


def rows():
    """`|M r|^2` of 36,000 rows r of 3 (jax issue 39103)."""
    matrix, x = (jax.random.normal(jax.random.key(seed), shape) for seed, shape in ((2, (3, 3)), (3, (36_000, 3))))
    expected = ((np.asarray(x, np.float64) @ np.asarray(matrix, np.float64).T) ** 2).sum(1)
    return jax.vmap(lambda r: jnp.sum((matrix @ r) ** 2)), x, expected


def gradient():
    """The squared norm of a convolution's weight gradient under a constant cotangent: wrong by 40 times, or infinite."""
    x = jax.random.normal(jax.random.key(0), (32, 16, 16, 32))
    windows = [[np.asarray(x, np.float64)[:, a : a + 14, b : b + 14].sum((0, 1, 2)) for b in range(3)] for a in range(3)]

    def squared_norm(x):
        layout = ('NHWC', 'HWIO', 'NHWC')
        total = lambda w: 0.37 * jax.lax.conv_general_dilated(x, w, (1, 1), 'VALID', dimension_numbers=layout).sum()
        return jnp.sum(jax.grad(total)(jnp.zeros((3, 3, 32, 32))) ** 2)

    return squared_norm, x, 32 * np.sum((0.37 * np.asarray(windows)) ** 2)


EXAMPLES = {'constant': constant, 'rows': rows, 'gradient': gradient}


def right(compiled, example):
    function, x, expected = example()
    return np.allclose(np.asarray(compiled(function)(x)), expected, atol=1e-3)


pytestmark = pytest.mark.usefixtures('optimised')


@pytest.mark.parametrize('name', EXAMPLES)
def test_what_xla_computes_wrongly_is_right_with_our_options(name):
    assert right(compilation.jit, EXAMPLES[name])
    assert right(functools.partial(jax.jit, compiler_options=compilation.options()), EXAMPLES[name])


def test_without_our_options_it_is_wrong():
    wrong = {name for name, example in EXAMPLES.items() if not right(jax.jit, example)}
    assert wrong, f'jaxlib {jaxlib.__version__} computes all of them rightly: `CPU_OPTIONS` can lose its first entry for it'
    known = AFFECTED.get(jaxlib.__version__, wrong)
    assert wrong == known, (
        f'jaxlib {jaxlib.__version__} computes {sorted(wrong)} wrongly, and {sorted(known)} when this was written'
    )


def test_options_of_the_environment_win(monkeypatch):
    monkeypatch.setenv('XLA_FLAGS', '--xla_cpu_experimental_ynn_fusion_type=-reduce')
    assert set(compilation.options()) == {'xla_cpu_scheduler_type'}
    compilation.configure(cache=False)
    flags = os.environ['XLA_FLAGS'].split()
    assert flags == [
        '--xla_cpu_experimental_ynn_fusion_type=-reduce',
        '--xla_cpu_scheduler_type=CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED',
    ]
    assert set(compilation.options()) == {'xla_cpu_scheduler_type'}  # `configure` may have come too late for XLA


def test_flags_are_compared_whole_and_a_file_of_flags_is_left_alone(monkeypatch, tmp_path):
    both = '--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE'
    monkeypatch.setenv('XLA_FLAGS', both)
    assert set(compilation.options()) == {'xla_cpu_scheduler_type'}
    monkeypatch.setenv('XLA_FLAGS', str(tmp_path / 'flags'))
    compilation.configure(cache=False)
    assert os.environ['XLA_FLAGS'] == str(tmp_path / 'flags') and compilation.options() == compilation.CPU_OPTIONS


def test_under_a_transformation_the_options_are_the_callers():
    double = compilation.jit(lambda x: 2 * x)
    x = jnp.arange(3.0)
    np.testing.assert_array_equal(jax.jit(lambda x: double(x) + 1)(x), [1, 3, 5])
    np.testing.assert_array_equal(jax.vmap(double)(x), [0, 2, 4])
    np.testing.assert_array_equal(jax.grad(lambda x: double(x).sum())(x), [2, 2, 2])
    np.testing.assert_array_equal(jax.lax.scan(lambda c, x: (c, double(x)), 0, x)[1], [0, 2, 4])


def test_an_error_of_the_function_is_the_functions():
    @compilation.jit
    def fails(x):
        raise ValueError('mine')

    with pytest.raises(ValueError, match='mine'):
        fails(jnp.zeros(2))


@pytest.mark.parametrize('runner', [parallel.pmap, parallel.shard_map, parallel.single])
def test_runners_compile_with_the_options(runner):
    # By default XLA makes a YNNPACK fusion of this sum, and names it so.
    function = lambda state, batch: (state + batch.sum(0), batch.mean())
    before = programs()
    run = runner(function)
    state, _ = run(jnp.zeros(3), jnp.ones((400, 3)))
    assert state.shape == (3,)
    new = [text for text in programs() - before if 'reduce_sum' in text]
    assert new
    assert not any(wrong_fusions(text) for text in new)


def programs() -> set[str]:
    """The texts of all compiled programs of this process."""
    executables = jax.devices()[0].client.live_executables()
    return {module.to_string() for executable in executables for module in executable.hlo_modules()}


def wrong_fusions(program: str) -> list[str]:
    """The computations of YNNPACK fusions in the text of a compiled program that hold a reduction."""
    called = set(re.findall(r'calls=%([\w.]+)[^\n]*__ynn_fusion', program))
    bodies = dict(re.findall(r'^%([\w.]+) [^\n]*{\n(.*?)^}', program, re.MULTILINE | re.DOTALL))
    return [name for name in called if re.search(r' reduce(-window)?\(', bodies.get(name, ''))]


def test_the_scan_sees_a_wrong_fusion():
    text = jax.jit(lambda x: x.sum(0)).lower(jnp.ones((256, 256))).compile().as_text()
    assert bool(wrong_fusions(text)) == (jaxlib.__version__ in AFFECTED)


SCAN = """
import jax, jax.numpy as jnp, numpy as np, sys
sys.path.insert(0, {tests!r})
from test_compilation import programs, wrong_fusions
import gan_jax
from gan_jax import compilation, parallel, games, latents, networks, objectives, data, penalties
from gan_jax.metrics.extractors import classifier
from gan_jax.metrics import distances, frechet, kernel, modes, moments, neighbours, parzen, prdc, probe, scores
import optax

rng = np.random.default_rng(0)
def game():
    return games.adversarial(networks.DCGANGenerator(16, 1, 4), networks.DCGANDiscriminator(4), objectives.non_saturating(),
                             latent=latents.normal(8), penalties=[penalties.r1()])
optimizer = optax.adam(1e-3)
step = gan_jax.make_train_step(game(), optimizer, optimizer)
feed = data.resident(np.zeros((8, 16, 16, 1), np.uint8), 4)
init = compilation.jit(lambda key: gan_jax.init(game(), optimizer, optimizer, jnp.zeros((1, 16, 16, 1)), key))
many = gan_jax.many_steps(step, feed.by(jax.random.key(0)), 3)
parallel.single(many, batch_axis=None)(init(jax.random.key(0)), feed.data, jnp.int32(2))
x, y = rng.normal(size=(2, 300, 8)).astype(np.float32)
neighbours.nearest_neighbours(x, y, 3); neighbours.memorisation_test(x, y, x + .1)
kernel.kernel_distance(x, y); prdc(x, y, k=5)
frechet.frechet_distance(moments.feature_moments(x), moments.feature_moments(y))
moments.update(moments.init(8), jnp.asarray(x))
images = rng.integers(0, 256, (64, 16, 16, 1), np.uint8)
judge = classifier.train_classifier(images, np.arange(64) % 4, name='noise', steps=2)
judge.probabilities(images / 127.5 - 1); judge.features(images / 127.5 - 1)
found = programs()
wrong = [p.splitlines()[0][:80] for p in found if wrong_fusions(p)]
print(len(found), *wrong, sep='\\n')
"""


def test_no_program_of_runners_and_metrics_holds_a_wrong_fusion():
    code = SCAN.format(tests=str(ROOT / 'tests'))
    environment = {**os.environ, 'XLA_FLAGS': '', 'JAX_DISABLE_MOST_OPTIMIZATIONS': '0'}
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    count, *wrong = done.stdout.split('\n', 1)
    assert int(count) > 20
    assert wrong == ['']


ENTRY = """
import jax, jax.numpy as jnp, os
from gan_jax import compilation
compilation.configure()
from gan_jax.networks import convolution
from gan_jax.networks.geometry import same_geometry
g = same_geometry((16, 16), (5, 5), (2, 2))
x, w = jnp.ones((16, 16, 16, 32)), jnp.ones((5, 5, 32, 32))
for cached in (True, False):
    def {name}(x, w): return convolution.conv(x, w, g).sum() + {offset}
    print(cached, float(compilation.jit({name}, cached=cached)(x, w)))
"""


def test_entry_points_keep_programs_on_disk_unless_they_cannot_be_kept(tmp_path):
    environment = {**os.environ, 'XLA_FLAGS': '', 'GAN_JAX_CACHE': str(tmp_path), 'JAX_DISABLE_MOST_OPTIMIZATIONS': '0'}
    for name, offset, off in (('first', 0, {}), ('second', 1, {'JAX_ENABLE_COMPILATION_CACHE': 'false'})):
        code = ENTRY.format(name=name, offset=offset)
        done = subprocess.run(
            [sys.executable, '-W', 'error', '-c', code], cwd=ROOT, env={**environment, **off}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert len(done.stdout.splitlines()) == 2
    kept = [path.name for path in tmp_path.rglob('*-cache') if 'first' in path.name]
    assert len(kept) == 1, kept  # of the two programs of that name; oneDNN's is another program, and cannot be serialised
    assert not [path for path in tmp_path.rglob('*-cache') if 'second' in path.name]


def test_cached_programs_that_cannot_be_read_are_compiled_without_a_word(tmp_path):
    environment = {**os.environ, 'XLA_FLAGS': '', 'GAN_JAX_CACHE': str(tmp_path / 'cache')}
    code = 'import jax.numpy as jnp\nfrom gan_jax import compilation\ncompilation.configure()\n'
    code += 'print(compilation.jit(lambda x: 2 * x)(jnp.ones(3)).tolist())'
    ways = {
        'new': None,
        'truncated': lambda path: path.write_bytes(path.read_bytes()[:20]),
        'empty': lambda path: path.write_bytes(b''),
    }
    for name, damage in ways.items():
        entries = list(tmp_path.rglob('*-cache'))
        assert bool(entries) == (name != 'new')
        for path in entries:
            damage(path)
        done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, '[2.0, 2.0, 2.0]\n', ''), name
    environment['GAN_JAX_CACHE'] = os.devnull  # no folder, and none can be made
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, '[2.0, 2.0, 2.0]\n', '')


def test_many_orthogonal_initialisers_at_once_end():
    # By default the batched QRs wait for each other about every second time.
    code = (
        'import jax, flax.linen as nn\nfrom gan_jax import compilation\n'
        'one = lambda key: [nn.initializers.orthogonal()(k, (128, 128)) for k in jax.random.split(key, 4)]\n'
        'jax.block_until_ready(compilation.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 10)))'
    )
    for _ in range(2):
        subprocess.run([sys.executable, '-c', code], cwd=ROOT, env={**os.environ, 'XLA_FLAGS': ''}, timeout=60, check=True)


PRECISE = {
    'product': lambda x: x @ x,
    'convolution': lambda x: convolution.conv(x[None, ..., None], jnp.ones((2, 2, 1, 2)), same_geometry((2, 2), (2, 2), (1, 1))),
}


@pytest.mark.parametrize('backend', ['cpu', 'gpu'])
@pytest.mark.parametrize('kind', PRECISE)
def test_judges_and_second_derivatives_are_exact_where_the_default_is_not(kind, backend, monkeypatch):
    monkeypatch.setattr(jax, 'default_backend', lambda: backend)
    product = PRECISE[kind]
    text = lambda function: jax.jit(function).trace(jnp.ones((2, 2))).lower(lowering_platforms=('cuda',)).as_text()
    assert ('HIGHEST' in text(compilation.exact(product))) == (backend == 'gpu') and 'HIGHEST' not in text(product)
    assert ('HIGHEST' in text(jax.grad(lambda x: compilation.exact(product)(x).sum()))) == (backend == 'gpu')


def test_the_precision_of_the_process_is_a_flag():
    try:
        compilation.set_matmul_precision('tensorfloat32')
        assert 'HIGH' in jax.jit(lambda x: x @ x).lower(jnp.ones((2, 2))).as_text()
    finally:
        compilation.set_matmul_precision('default')
    assert 'HIGH' not in jax.jit(lambda x: x + x @ x).lower(jnp.ones((2, 2))).as_text()
