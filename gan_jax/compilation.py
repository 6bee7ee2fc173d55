"""How programs are compiled: XLA options without which a CPU computes wrong numbers, and the cache of compiled programs.

XLA's CPU back end hands reductions to YNNPACK, and some of them come back wrong, without a word: with jaxlib 0.10.2 and 0.12.0.1
`jit(lambda x: jnp.sum(x @ jnp.full_like(x, .37), 0))` of a 128 x 128 matrix is off by 1e27 or NaN, and with 0.10.2 so is
`vmap(lambda r: jnp.sum((m @ r) ** 2))` of 36,000 rows (jax issue 39103). And several batched LAPACK calls in one program, such as
`vmap` over orthogonal initialisers, can wait for each other for ever. `CPU_OPTIONS` take both out, at no cost in speed.
`tests/test_compilation.py` computes these examples with and without the options, and says when a jaxlib no longer needs them.

Every program of the library is compiled by `jit` of this module or by a runner of `gan_jax.parallel`. A `jax.jit` of your own
needs `compiler_options=compilation.options()`; or call `compilation.configure()` once, before anything is computed, for the whole
process, as every `python -m experiments.NAME` does.
"""

import contextlib
import contextvars
import functools
import hashlib
import math
import os
import pathlib
import platform
from collections.abc import Callable, Iterator
from typing import Any

import jax

from gan_jax.files import cache_directory

CPU_OPTIONS: dict[str, str] = {
    # What stays with YNNPACK: single matrix products. Its reductions are wrong, its convolutions slower than Eigen's.
    'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT',
    'xla_cpu_scheduler_type': 'CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED',
}
"""XLA's name of an option -> value, for programs that run on a CPU; `XLA_FLAGS` spells both alike."""


def _setting(name: str) -> Any:
    return getattr(jax.config, name)


def configure(*, cache: bool = True) -> None:
    """Sets the options for the whole process, and keeps compiled programs on disk; call it before anything is computed.

    An option that XLA_FLAGS already names stays as it is. The cache lies in `files.cache_directory()`, unless JAX was given
    another; `JAX_ENABLE_COMPILATION_CACHE=false` in the environment, or `cache=False`, turns it off.
    """
    flags = os.environ.get('XLA_FLAGS', '')
    os.environ['XLA_FLAGS'] = ' '.join(
        [flags, *(f'--{name}={value}' for name, value in CPU_OPTIONS.items() if name not in flags)]
    )
    if cache and _setting('jax_compilation_cache_dir') is None:
        jax.config.update('jax_compilation_cache_dir', str(cache_directory() / 'xla' / processor()))
        jax.config.update(_MIN_SECONDS, 0.0)


def processor() -> str:
    """The kind of processor, which JAX's own keys leave out: a program compiled for another one may not run here."""
    try:
        lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
        text = next(line for line in lines if line.startswith(('flags', 'Features')))
    except (OSError, StopIteration):
        text = platform.processor()
    return f'{platform.machine()}-{hashlib.sha256(text.encode()).hexdigest()[:8]}'


def options() -> dict[str, str] | None:
    """`compiler_options` for a `jax.jit` of a program that runs on the default device; None where it needs none."""
    device = _setting('jax_default_device')
    if (getattr(device, 'platform', device) or jax.default_backend()) != 'cpu':
        return None
    # What `configure` wrote is said again: XLA reads its flags once, and may have read them before.
    flags = os.environ.get('XLA_FLAGS', '')
    return {name: value for name, value in CPU_OPTIONS.items() if name not in flags or f'--{name}={value}' in flags} or None


def jit(function: Callable | None = None, *, cached: bool = True, **arguments: Any) -> Any:
    """`jax.jit` with `options()`; its other arguments are passed on. Also a decorator.

    `cached=False` is for programs that run for long, such as train steps: they may use what is faster but cannot be kept on disk
    (`networks.onednn`), and are then compiled again in every process.

    Under a transformation of the caller's (`jax.jit`, `jax.lax.scan`, ...) the options are the caller's, since XLA knows them for
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
    """Sets what matrix products and convolutions of float32 are computed in, for the whole process: 'default' (of the device),
    'tensorfloat32' or 'float32'.
    """
    jax.config.update('jax_default_matmul_precision', None if name == 'default' else name)


def exact(function: Callable) -> Callable:
    """The function with matrix products and convolutions of float32 in float32, whatever the device's or the process's default.

    For judges, and for derivatives of derivatives. GPUs have TF32 by default, of 10 bits, and TPUs bfloat16, of 7. A CPU has
    float32 always, and there it is the function as it is.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if jax.default_backend() == 'cpu':
            return function(*args, **kwargs)
        with jax.default_matmul_precision('float32'):
            return function(*args, **kwargs)

    return call


# XLA cannot serialise every program, and trying to is not safe. JAX asks at the end of a compilation whether it took long enough
# to be kept, so a program that must not be kept raises that bound while it is compiled.

_MIN_SECONDS = 'jax_persistent_cache_min_compile_time_secs'
_bounds: contextvars.ContextVar[list[float] | None] = contextvars.ContextVar('_bounds', default=None)


@contextlib.contextmanager
def _uncached() -> Iterator[None]:
    """The call of a program that may be compiled in it, and may stay out of the cache."""
    bounds: list[float] = []
    token = _bounds.set(bounds)
    try:
        yield
    finally:
        _bounds.reset(token)
        if bounds:
            jax.config.update(_MIN_SECONDS, bounds[0])


def keep_out_of_cache() -> bool:
    """Keeps the program that is being lowered out of the cache of compiled programs. False if it may be wanted there."""
    enabled = _setting('jax_enable_compilation_cache') and _setting('jax_compilation_cache_dir') is not None
    if not enabled or math.isinf(_setting(_MIN_SECONDS)):
        return True
    bounds = _bounds.get()
    if bounds is None:
        return False
    bounds.append(_setting(_MIN_SECONDS))
    jax.config.update(_MIN_SECONDS, math.inf)
    return True
