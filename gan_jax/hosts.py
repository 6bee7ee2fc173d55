"""Several processes that train one run: how they find each other and agree.

JAX's coordination service does the work (`jax.distributed`); `gan_jax.parallel` computes on the devices of all processes.
Process 0 owns the directory of the run: it alone writes and prints, and it tells the others what it finds on disk (`agreed`), so
that all of them take the same branch. With a single process the functions here have no effect.
"""

import contextlib
import itertools
import os
import pickle
import re
import socket
import time
import warnings
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

    Without arguments, JAX detects the others from the environment of SLURM, Open MPI 4, a TPU pod or an indexed Kubernetes job;
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


_BY_HAND = 'give --coordinator HOST:PORT, --processes and --process (localhost:1, 1 and 0 for a single process)'


def _in_cluster() -> bool:
    """Whether JAX detects several processes from the environment. Raises `InputError` where it cannot, and there are several."""
    from jax._src import clusters  # without a public name; what `jax.distributed.initialize` asks

    names = os.environ
    if 'JAX_COORDINATOR_ADDRESS' in names:
        return True
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'Kubernetes environment detected')  # refused below
            for cluster in clusters.ClusterEnv._cluster_types:
                if not cluster.opt_in_only_method and _concerns(cluster.__name__) and cluster.is_env_present():
                    return cluster.get_process_count() > 1
    except Exception as error:  # of what Kubernetes or a metadata server answers
        raise InputError(f'the number of processes cannot be detected: {one_line(error)}; {_BY_HAND}') from error
    if names.get('OMPI_COMM_WORLD_SIZE', '1') != '1' or ('PMIX_RANK' in names and 'OMPI_COMM_WORLD_SIZE' not in names):
        raise InputError(f'JAX does not detect the processes of Open MPI 5; {_BY_HAND}')
    if 'KUBERNETES_SERVICE_HOST' in names and 'JOB_COMPLETION_INDEX' in names:  # which does not tell how many pods there are
        raise InputError(f'JAX does not detect the pods of an indexed job without pip install "jax[k8s]"; or {_BY_HAND}')
    return False


def _concerns(cluster: str) -> bool:
    """Whether to ask for this kind of cluster: not for TPUs that the program does not use, nor for pods without a number."""
    if 'Tpu' in cluster:
        return os.environ.get('JAX_PLATFORMS', '').split(',')[0] in ('', 'tpu')
    return 'K8s' not in cluster or 'JOB_COMPLETION_INDEX' in os.environ


def agreed(function: Callable[[], T]) -> T:
    """Calls the function in process 0 alone, and returns its value in every process.

    For what is read from disk, and for what process 0 does while the others wait. Within the function `gan_jax.parallel` uses
    only the devices of process 0. Raises the exception of the function in every process, so that all of them end alike; where it
    cannot be sent, the others raise `RuntimeError`. The value must be picklable.
    """
    if count() == 1:
        return function()
    key = f'{_KEY}/agreed/{next(_rounds)}'
    if leads():
        try:
            with _by_itself():
                value = function()
        except Exception as error:
            _client().key_value_set_bytes(key, _pickled(error))
            raise
        _client().key_value_set_bytes(key, pickle.dumps((value, None)))
        return value
    value, failure = pickle.loads(_awaited(key))
    if failure is not None:
        if not isinstance(failure, (InputError, OSError, MemoryError)):
            time.sleep(liveness.PATIENCE)  # process 0 prints what it is, and ends all of them
        raise failure
    return value


def _pickled(error: Exception) -> bytes:
    try:
        content = pickle.dumps((None, error))
        pickle.loads(content)  # an exception may be restored with the wrong arguments
        return content
    except Exception:
        return pickle.dumps((None, RuntimeError(f'process 0: {one_line(error)}')))


@contextlib.contextmanager
def _by_itself() -> Iterator[None]:
    global _alone
    _alone = True
    try:
        yield
    finally:
        _alone = False


def in_turn(function: Callable[[], T]) -> T:
    """Calls the function in process 0 first, then in one process of every other host, and then in the rest.

    For what is prepared on disk, once if the hosts share the disk, and otherwise once on every host: later processes find what
    earlier ones have written. Returns when all processes have returned.
    """
    if count() == 1:
        return function()
    names: list[str] = shared(socket.gethostname())
    first = names.index(names[index()]) == index()
    values: list[T] = []
    agreed(lambda: values.append(function()))
    for turn in (first, not first):
        if turn and not leads():
            with _by_itself():
                values.append(function())
        meet()
    return values[0]


def shared(value: Any) -> list[Any]:
    """The values of all processes, in their order; they must be picklable."""
    if count() == 1:
        return [value]
    prefix = f'{_KEY}/shared/{next(_rounds)}'
    _client().key_value_set_bytes(f'{prefix}/{index()}', pickle.dumps(value))
    return [pickle.loads(_awaited(f'{prefix}/{i}')) for i in range(count())]


def meet() -> None:
    """Waits until all processes have called this."""
    shared(None)


def gathered(values: Sequence[int] | np.ndarray) -> np.ndarray:
    """The integers of all processes, `[processes, len(values)]`."""
    from jax.experimental import multihost_utils

    rows = np.asarray(values, np.int32)
    return rows[None] if count() == 1 else np.asarray(multihost_utils.process_allgather(rows)).reshape(count(), -1)


def _awaited(key: str) -> bytes:
    """The value of a key once it is set. If the service cannot be reached any more, `liveness` ends the process."""
    while True:  # in short waits, between which the interpreter handles signals
        try:
            return _client().blocking_key_value_get_bytes(key, 2000)
        except jax.errors.JaxRuntimeError as error:
            if 'DEADLINE_EXCEEDED' not in str(error):
                if not liveness.may_be_of_another(error):
                    raise
                time.sleep(liveness.BEAT)


def _client() -> Any:
    """The client of JAX's coordination service, which has no public name; Orbax accesses it in the same way."""
    from jax._src import distributed

    return distributed.global_state.client


def finish() -> None:
    """Waits for the other processes at the end of the program. If one of them fails until then, all end like it."""
    if count() > 1:
        meet()
        liveness.close()
        jax.distributed.shutdown()
