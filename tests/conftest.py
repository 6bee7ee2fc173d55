"""Four CPU devices for every test, so that parallel runs are real ones; programs that compile quickly; and bounded memory."""

import atexit
import ctypes
import gc
import math
import os
import pathlib
import shutil
import signal
import tempfile
from importlib import metadata

import pytest

# Most tests compile for long and run for a millisecond. So most optimisations are off, XLA's older code generator (which compiles
# in half the time) writes the code where there is one, and programs are kept from run to run. Those about the compiled program
# use `optimised`. XLA ends the process for a flag that it does not know.
_OLDER_GENERATOR = ['--xla_cpu_use_fusion_emitters=false'] if metadata.version('jaxlib').startswith('0.10.') else []
os.environ['XLA_FLAGS'] = ' '.join(
    [os.environ.get('XLA_FLAGS', ''), '--xla_force_host_platform_device_count=4', *_OLDER_GENERATOR]
)
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
os.environ['GAN_JAX_CACHE'] = tempfile.mkdtemp(prefix='gan_jax_cache_')
atexit.register(shutil.rmtree, os.environ['GAN_JAX_CACHE'], ignore_errors=True)

# Whoever starts the tests in the background may have them ignore signals, which the tests send.
for _signum, _default in ((signal.SIGINT, signal.default_int_handler), (getattr(signal, 'SIGHUP', None), signal.SIG_DFL)):
    if _signum is not None and signal.getsignal(_signum) is signal.SIG_IGN:
        signal.signal(_signum, _default)

_KEPT_FROM = 'jax_persistent_cache_min_compile_time_secs'


def pytest_configure(config):
    import jax

    from gan_jax import compilation

    if getattr(config, 'cache', None) is not None:
        jax.config.update('jax_compilation_cache_dir', str(config.cache.mkdir('xla') / compilation.processor()))
        jax.config.update(_KEPT_FROM, 0.0)


@pytest.fixture
def unkept():
    """Keeps no program of one test on disk: oneDNN's cannot be."""
    import jax

    jax.config.update(_KEPT_FROM, math.inf)
    yield
    jax.config.update(_KEPT_FROM, 0.0)


@pytest.fixture
def optimised(unkept):
    """Compiles as users' train steps are, for one test."""
    import jax

    jax.config.update('jax_disable_most_optimizations', False)
    yield
    jax.config.update('jax_disable_most_optimizations', os.environ['JAX_DISABLE_MOST_OPTIMIZATIONS'] == '1')


# JAX keeps every program that it compiled, some gigabytes of them over all tests.

BOUND = 1.5e9
"""Bytes of resident memory above which programs are dropped; more where other memory leaves less than `SLACK` below it."""
SLACK = 0.4e9
_bound = BOUND


@pytest.fixture(autouse=True)
def bounded_memory():
    """Drops the compiled programs after a test that leaves too much memory in use."""
    yield
    global _bound
    if _resident() < _bound:
        return
    import jax

    jax.clear_caches()
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), 'malloc_trim'):
        libc.malloc_trim(0)  # glibc keeps what is freed
    _bound = max(BOUND, _resident() + SLACK)


def _resident() -> int:
    """Bytes, or 0 where the system does not say."""
    try:
        return int(pathlib.Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGESIZE')
    except (OSError, ValueError):
        return 0
