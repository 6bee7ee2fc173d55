"""Four CPU devices for every test, so that parallel runs are real ones; a cache of their own; and programs that compile fast."""

import atexit
import gc
import os
import pathlib
import shutil
import tempfile

import pytest

# Most tests compile for long and run for a millisecond: XLA's older code generator is the faster one to compile with. Those about
# the compiled program use `optimised`.
os.environ['XLA_FLAGS'] = ' '.join(
    [
        os.environ.get('XLA_FLAGS', ''),
        '--xla_force_host_platform_device_count=4',
        '--xla_cpu_use_fusion_emitters=false',
    ]
)
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ['GAN_JAX_CACHE'] = tempfile.mkdtemp(prefix='gan_jax_cache_')
atexit.register(shutil.rmtree, os.environ['GAN_JAX_CACHE'], ignore_errors=True)

MEMORY = 1_500_000_000
"""Bytes of a test process above which it forgets its compiled programs."""


def pytest_configure(config):
    """Compiled programs stay in pytest's own cache from run to run; `--cache-clear` empties it."""
    import jax

    from gan_jax import compilation

    jax.config.update('jax_compilation_cache_dir', str(config.cache.mkdir('xla') / compilation.processor()))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)


@pytest.fixture(autouse=True)
def _few_programs_in_memory():
    yield
    statm = pathlib.Path('/proc/self/statm')  # of Linux
    if statm.exists() and int(statm.read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE') > MEMORY:
        import jax

        jax.clear_caches()
        gc.collect()


@pytest.fixture
def optimised():
    """Compiles as users do, for one test."""
    import jax

    jax.config.update('jax_disable_most_optimizations', False)
    yield
    jax.config.update('jax_disable_most_optimizations', os.environ['JAX_DISABLE_MOST_OPTIMIZATIONS'] == '1')
