"""Several processes that train one run: how they find each other and agree.

JAX's coordination service does the work (`jax.distributed`); `gan_jax.parallel` computes on the devices of all processes.
Process 0 owns the directory of the run: it alone writes and prints, and it tells the others what it finds on disk (`agreed`), so
that all of them take the same branch. With a single process the functions here have no effect.
"""

import contextlib
import importlib.util
import itertools
import os
import pathlib
import pickle
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from gan_jax import liveness
from gan_jax.errors import InputError, one_line

T = TypeVar('T')

_CONNECTING = 120
"""Seconds within which all processes must have started."""
_KEY = 'gan_jax'
_rounds = itertools.count()
_alone = False
"""Whether this process is in a function that it calls alone."""


def count() -> int:
    """The number of processes of this run; 1 in functions that process 0 calls alone."""
    return jax.process_count() if jax.distributed.is_initialized() and not _alone else 1


def index() -> int:
    """The number of this process, starting at 0."""
    return jax.process_index() if count() > 1 else 0


def leads() -> bool:
    """Whether this is process 0, the only one that writes and prints."""
    return index() == 0


def start(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """Connects this process to the others of its run; called before anything touches a device.

    Without arguments, JAX detects the others from the environment of SLURM, Open MPI, a TPU pod or an indexed Kubernetes job;
    elsewhere the process remains alone.

    Args:
        coordinator: `HOST:PORT` of process 0, with a port that is free there.
        processes: number of processes.
        process: number of this process, starting at 0.

    Raises `InputError` if only some of the arguments are given, if the processes cannot connect, or if their numbers of devices
    differ.
    """
    given = [value is not None for value in (coordinator, processes, process)]
    if any(given) and not all(given):
        raise InputError('--coordinator, --processes and --process must be given together')
    if coordinator is not None and processes is not None and process is not None:
        if not re.fullmatch(r'.+:\d{1,5}', coordinator):
            raise InputError(f'--coordinator must be HOST:PORT, not {coordinator!r}')
        if process >= processes:
            raise InputError(f'--process must be below --processes {processes}, not {process}')
        if processes == 1:
            return
    elif not _in_cluster():
        return
    jax.config.update('jax_enable_preemption_service', False)  # signals go to `gan_jax.interruptions`
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            cluster_detection_method='deactivate' if coordinator else None,
            initialization_timeout=_CONNECTING,
            heartbeat_timeout_seconds=50,  # in case `gan_jax.liveness` does not notice a dead process
        )
        every = jax.devices()  # waits for all processes, so it comes before anything that takes long in one of them
    except Exception as error:  # of JAX, or of what a cluster's detection asks
        raise InputError(f'the processes cannot connect to each other: {one_line(error)}') from error
    if count() == 1:
        return
    liveness.watch(_client(), jax.process_index(), count())
    if not leads():
        _silence()
    counts = [sum(device.process_index == i for device in every) for i in range(count())]
    if len(set(counts)) > 1:
        raise InputError(f'all processes must have the same number of devices; they have {", ".join(map(str, counts))}')


def _silence() -> None:
    """Discards standard output, to which collectives on CPUs print too, and progress bars."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    os.environ['TQDM_DISABLE'] = '1'


def _in_cluster() -> bool:
    """Whether JAX can detect several processes from the environment."""
    names = os.environ
    several = lambda name: names.get(name, '1') not in ('', '1')
    return bool(
        'JAX_COORDINATOR_ADDRESS' in names
        or ('SLURM_STEP_NODELIST' in names and several('SLURM_NTASKS'))
        or ('OMPI_MCA_orte_hnp_uri' in names and several('OMPI_COMM_WORLD_SIZE'))
        or ('KUBERNETES_SERVICE_HOST' in names and 'JOB_COMPLETION_INDEX' in names)
        or _on_tpu()
    )


def _on_tpu() -> bool:
    """Whether this is a virtual machine with TPUs, alone or in a pod, and programs are to use them."""
    chips = any(next(pathlib.Path('/dev').glob(name), None) for name in ('accel*', 'vfio/[0-9]*'))
    return chips and os.environ.get('JAX_PLATFORMS') in (None, '', 'tpu') and importlib.util.find_spec('libtpu') is not None


def agreed(function: Callable[[], T]) -> T:
    """Calls the function in process 0 alone, and returns its value in every process.

    For what is read from disk, and for what process 0 does while the others wait. Within the function `gan_jax.parallel` uses
    only the devices of process 0. Raises, in every process, the `InputError` of the function. The value must be picklable.
    """
    if count() == 1:
        return function()
    key = f'{_KEY}/agreed/{next(_rounds)}'
    if leads():
        try:
            with _by_itself():
                value = function()
        except InputError as error:
            _client().key_value_set_bytes(key, pickle.dumps((None, error)))
            raise
        _client().key_value_set_bytes(key, pickle.dumps((value, None)))
        return value
    while True:  # in short waits, between which the interpreter handles signals
        with contextlib.suppress(_NotYet):
            value, failure = pickle.loads(_awaited(key))
            break
    if failure is not None:
        raise failure
    return value


@contextlib.contextmanager
def _by_itself() -> Iterator[None]:
    global _alone
    _alone = True
    try:
        yield
    finally:
        _alone = False


def in_turn(function: Callable[[], T]) -> T:
    """Calls the function in process 0 first, and then in the others, which find on disk what process 0 has written."""
    if count() == 1:
        return function()
    if not leads():
        agreed(lambda: None)
        with _by_itself():
            return function()
    found: list[T] = []
    agreed(lambda: found.append(function()))
    return found[0]


def gathered(values: Sequence[int] | np.ndarray) -> np.ndarray:
    """The integers of all processes, `[processes, len(values)]`."""
    from jax.experimental import multihost_utils

    rows = np.asarray(values, np.int32)
    return rows[None] if count() == 1 else np.asarray(multihost_utils.process_allgather(rows)).reshape(count(), -1)


class _NotYet(Exception):
    pass


def _awaited(key: str) -> bytes:
    try:
        return _client().blocking_key_value_get_bytes(key, 2000)
    except jax.errors.JaxRuntimeError as error:
        if 'DEADLINE_EXCEEDED' in str(error):
            raise _NotYet from error
        raise


def _client() -> Any:
    """The client of JAX's coordination service, which has no public name; Orbax accesses it in the same way."""
    from jax._src import distributed

    return distributed.global_state.client


def finish() -> None:
    """Waits for the other processes at the end of the program."""
    if count() > 1:
        liveness.close()
        jax.distributed.shutdown()
