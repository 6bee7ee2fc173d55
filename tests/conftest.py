"""Four CPU devices for every test, so that parallel runs are real ones; and a cache of their own."""

import atexit
import os
import shutil
import tempfile

import pytest

os.environ['XLA_FLAGS'] = os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=4'
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ['GAN_JAX_CACHE'] = tempfile.mkdtemp(prefix='gan_jax_cache_')
atexit.register(shutil.rmtree, os.environ['GAN_JAX_CACHE'], ignore_errors=True)

# Most tests compile for long and run for a millisecond. Those about the compiled program use `optimised`.
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')


@pytest.fixture
def optimised():
    """Compiles as users do, for one test."""
    import jax

    jax.config.update('jax_disable_most_optimizations', False)
    yield
    jax.config.update('jax_disable_most_optimizations', os.environ['JAX_DISABLE_MOST_OPTIMIZATIONS'] == '1')
