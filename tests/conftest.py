"""Four CPU devices for every test, so that parallel runs are real ones; and a cache of their own."""

import atexit
import os
import shutil
import tempfile

os.environ['XLA_FLAGS'] = os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=4'
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ['GAN_JAX_CACHE'] = tempfile.mkdtemp(prefix='gan_jax_cache_')
atexit.register(shutil.rmtree, os.environ['GAN_JAX_CACHE'], ignore_errors=True)

# Most tests compile for long and run for a millisecond. Those about the compiled program, or that train for long, turn this off.
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
