"""How programs are compiled: XLA options that keep a CPU from computing wrong results, and the cache of compiled programs.

XLA's CPU backend delegates reductions to YNNPACK, and some of them silently return wrong results. With jaxlib 0.10.2 and
0.12.0.1, `jit(lambda x: jnp.sum(x @ jnp.full_like(x, .37), 0))` of a 128 x 128 matrix is off by 1e27 or NaN, and with 0.10.2 so
is `vmap(lambda r: jnp.sum((m @ r) ** 2))` of 36,000 rows (jax issue 39103). In addition, several batched LAPACK calls in one
program, such as `vmap` over orthogonal initialisers, can deadlock. `CPU_OPTIONS` avoid both at no cost in speed.
`tests/test_compilation.py` runs these examples with and without the options, and reports when a jaxlib no longer needs them.

Every program of the library is compiled by `jit` of this module or by a runner of `gan_jax.parallel`. In your own code, either
pass `compiler_options=compilation.options()` to `jax.jit`, or call `compilation.configure()` once before anything is computed.
The latter applies to the whole process, and every `python -m experiments.NAME` does it.
"""

import contextlib
import contextvars
import functools
import hashlib
import math
import os
import pathlib
import platform
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax

from gan_jax.files import cache_directory

CPU_OPTIONS: dict[str, str] = {
    # Leaves YNNPACK only single matrix products: its reductions are wrong, and its convolutions are slower than Eigen's.
    'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT',
    'xla_cpu_scheduler_type': 'CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED',
}
"""XLA option -> value, for programs that run on a CPU. `XLA_FLAGS` uses the same names."""


def _setting(name: str) -> Any:
    return getattr(jax.config, name)


def configure(*, cache: bool = True) -> None:
    """Sets `CPU_OPTIONS` for the whole process and caches compiled programs on disk. Call it before anything is computed.

    Options already named in `XLA_FLAGS` keep their values. The cache is in `files.cache_directory()` unless JAX has been
    configured with another directory; `JAX_ENABLE_COMPILATION_CACHE=false` in the environment, or `cache=False`, disables it.
    A cached program that cannot be read or written is compiled without a warning.
    """
    flags, given = os.environ.get('XLA_FLAGS', '').strip(), _flags()
    if not flags or flags.startswith('-'):  # otherwise it is the name of a file of flags, which is left as it is
        missing = (f'--{name}={value}' for name, value in CPU_OPTIONS.items() if name not in given)
        os.environ['XLA_FLAGS'] = ' '.join([flags, *missing])
    if cache and _setting('jax_compilation_cache_dir') is None:
        jax.config.update('jax_compilation_cache_dir', str(cache_directory() / 'xla' / processor()))
        if _MIN_SECONDS.upper() not in os.environ:
            jax.config.update(_MIN_SECONDS, 0.0)
    # JAX writes an entry in place: another process may read half of it, and one that was killed leaves it so.
    warnings.filterwarnings('ignore', 'Error (reading|writing) persistent compilation cache entry')


def processor() -> str:
    """Identifies the kind of processor, which JAX's cache keys omit: a program compiled for another one may not run here."""
    try:
        lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
        text = next(line for line in lines if line.startswith(('flags', 'Features')))
    except (OSError, StopIteration):
        text = platform.processor()
    return f'{platform.machine()}-{hashlib.sha256(text.encode()).hexdigest()[:8]}'


def options() -> dict[str, str] | None:
    """The `compiler_options` to pass to `jax.jit` for a program on the default device; None if that device needs none."""
    device = _setting('jax_default_device')
    if (getattr(device, 'platform', device) or jax.default_backend()) != 'cpu':
        return None
    # Repeats what `configure` wrote: XLA reads its flags only once, possibly before they were set.
    given = _flags()
    return {name: value for name, value in CPU_OPTIONS.items() if given.get(name, value) == value} or None


def _flags() -> dict[str, str]:
    """The options that `XLA_FLAGS` names, with their values."""
    words = (word.lstrip('-').partition('=') for word in os.environ.get('XLA_FLAGS', '').split())
    return {name: value for name, _, value in words}


def jit(function: Callable | None = None, *, cached: bool = True, **arguments: Any) -> Any:
    """`jax.jit` with `options()`, as a function or a decorator; other arguments are passed on.

    Use `cached=False` for long-running programs such as train steps: they may then use faster operations that cannot be stored
    on disk (`networks.onednn`), and are recompiled in every process.

    Inside another transformation (`jax.jit`, `jax.lax.scan`, ...) the caller's options apply, since XLA accepts options for
    whole programs only. No device is touched before the first call.
    """
    if function is None:
        return functools.partial(jit, cached=cached, **arguments)
    inner = jax.jit(function, **arguments)

    @functools.cache
    def outermost(device: Any) -> Any:
        return jax.jit(function, compiler_options=options(), **arguments)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with contextlib.nullcontext() if cached else _uncached():
            try:
                return outermost(_setting('jax_default_device'))(*args, **kwargs)
            except ValueError as error:
                if 'compiler_options' not in str(error):
                    raise
                return inner(*args, **kwargs)

    def lower(*args: Any, **kwargs: Any) -> Any:
        return outermost(_setting('jax_default_device')).lower(*args, **kwargs)

    call.lower = lower  # type: ignore[attr-defined]
    return call


def set_matmul_precision(name: str) -> None:
    """Sets the precision of float32 matrix products and convolutions in this process: 'default' (the default of the device),
    'tensorfloat32' or 'float32'.
    """
    jax.config.update('jax_default_matmul_precision', None if name == 'default' else name)


def matmul_precision() -> Any:
    """The precision that holds where it is called, in the form that `jax.default_matmul_precision` takes."""
    return _setting('jax_default_matmul_precision')


def exact(function: Callable) -> Callable:
    """Computes the function's float32 matrix products and convolutions in float32, whatever the default of the device or process.

    For judges and for second derivatives. By default GPUs use TF32, with a mantissa of 10 bits, and TPUs bfloat16, with 7. A CPU
    always uses float32, and there the function is unchanged.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if jax.default_backend() == 'cpu':
            return function(*args, **kwargs)
        with jax.default_matmul_precision('float32'):
            return function(*args, **kwargs)

    return call


# XLA cannot serialise every program, and attempting to is not safe. After compiling, JAX checks whether compilation took long
# enough for the program to be cached, so a program that must not be cached raises that threshold while it is compiled.

_MIN_SECONDS = 'jax_persistent_cache_min_compile_time_secs'
_bounds: contextvars.ContextVar[list[float] | None] = contextvars.ContextVar('_bounds', default=None)


@contextlib.contextmanager
def _uncached() -> Iterator[None]:
    """Surrounds a call that may compile a program which need not be cached."""
    bounds: list[float] = []
    token = _bounds.set(bounds)
    try:
        yield
    finally:
        _bounds.reset(token)
        if bounds:
            jax.config.update(_MIN_SECONDS, bounds[0])


def keep_out_of_cache() -> bool:
    """Keeps the program being lowered out of the cache of compiled programs. Returns False if the program may belong in it."""
    enabled = _setting('jax_enable_compilation_cache') and _setting('jax_compilation_cache_dir') is not None
    if not enabled or math.isinf(_setting(_MIN_SECONDS)):
        return True
    bounds = _bounds.get()
    if bounds is None:
        return False
    bounds.append(_setting(_MIN_SECONDS))
    jax.config.update(_MIN_SECONDS, math.inf)
    return True
