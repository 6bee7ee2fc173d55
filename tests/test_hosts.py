"""Several processes: how they are found; what they do together is tested with runs."""

import os
import sys
import time
import types

import coordination
import pytest
from jax._src import clusters
from jax._src.clusters import cloud_tpu_cluster

from gan_jax import hosts, liveness
from gan_jax.errors import InputError


def test_one_process_is_alone():
    assert (hosts.count(), hosts.index(), hosts.leads()) == (1, 0, True)
    assert hosts.agreed(lambda: 3) == 3 and hosts.in_turn(lambda: 4) == 4
    assert hosts.gathered([1, 2]).tolist() == [[1, 2]]
    hosts.start()
    hosts.start('localhost:1234', 1, 0)
    hosts.finish()
    assert hosts.count() == 1


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (('localhost:1234', None, None), 'must be given together'),
        ((None, 2, 1), 'must be given together'),
        (('localhost', 2, 1), 'must be HOST:PORT'),
        (('localhost:1234', 2, 2), '--process must be below --processes 2, not 2'),
    ],
)
def test_places_that_are_not_places_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        hosts.start(*given)


STEP = {'SLURM_JOB_ID': '1', 'SLURM_STEP_NODELIST': 'n[1-2]', 'SLURM_PROCID': '0', 'SLURM_LOCALID': '0'}
POD = {'KUBERNETES_SERVICE_HOST': '10.0.0.1'}
WORKERS = {'TPU_WORKER_HOSTNAMES': 'a,b', 'MEGASCALE_NUM_SLICES': '1'}


@pytest.fixture
def environment(monkeypatch):
    """Sets variables where no cluster is, with TPUs and Kubernetes' API where they say so."""
    for name in list(os.environ):
        if name.startswith(('SLURM_', 'OMPI_', 'PMIX_', 'KUBERNETES_', 'TPU_', 'MEGASCALE_', 'JAX_COORDINATOR', 'JAX_PLATFORMS')):
            monkeypatch.delenv(name)
    monkeypatch.setenv('TPU_SKIP_MDS_QUERY', '1')

    def of(variables, pods=None):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(cloud_tpu_cluster, 'running_in_cloud_tpu_vm', 'TPU_WORKER_HOSTNAMES' in variables)
        if pods is not None:
            job = types.SimpleNamespace(spec=types.SimpleNamespace(parallelism=pods))
            monkeypatch.setattr(clusters.K8sCluster, 'is_env_present', classmethod(lambda cls: True))
            monkeypatch.setattr(clusters.K8sCluster, '_job', classmethod(lambda cls: job))

    return of


@pytest.mark.parametrize(
    ('variables', 'pods', 'found'),
    [
        ({}, None, False),
        ({**STEP, 'SLURM_NTASKS': '2'}, None, True),  # of srun
        ({**STEP, 'SLURM_NTASKS': '1', 'PMIX_RANK': '0'}, None, False),
        ({'SLURM_JOB_ID': '1', 'SLURM_NTASKS': '2', 'SLURM_PROCID': '0'}, None, False),  # of a batch script, which is one process
        ({'OMPI_MCA_orte_hnp_uri': '1.0;tcp://10.0.0.1:1', 'OMPI_COMM_WORLD_SIZE': '4', 'PMIX_RANK': '0'}, None, True),
        ({'OMPI_COMM_WORLD_SIZE': '1', 'PMIX_RANK': '0'}, None, False),
        ({'OMPI_MCA_btl': 'self'}, None, False),  # a setting of a user who starts a single process
        (POD, 4, False),
        ({**POD, 'JOB_COMPLETION_INDEX': '0'}, 1, False),
        ({**POD, 'JOB_COMPLETION_INDEX': '3'}, 4, True),
        (WORKERS, None, True),
        ({**WORKERS, 'TPU_WORKER_HOSTNAMES': 'localhost'}, None, False),
        ({**WORKERS, 'JAX_PLATFORMS': 'cpu'}, None, False),
    ],
)
def test_clusters_are_known_by_what_jax_detects(variables, pods, found, environment):
    environment(variables, pods)
    assert hosts._in_cluster() is found


@pytest.mark.parametrize(('workers', 'found'), [('unknown:0:10.0.0.1', False), ('unknown:0:10.0.0.1,unknown:1:10.0.0.2', True)])
def test_a_tpu_vm_is_asked_for_its_workers(workers, found, environment, monkeypatch):
    environment({'MEGASCALE_NUM_SLICES': '1'})
    monkeypatch.delenv('TPU_SKIP_MDS_QUERY')
    monkeypatch.setattr(cloud_tpu_cluster, 'running_in_cloud_tpu_vm', True)
    known = {'agent-worker-number': '0', 'worker-network-endpoints': workers}
    monkeypatch.setattr(cloud_tpu_cluster, 'get_metadata', lambda key: (known[key], 200))
    assert hosts._in_cluster() is found


@pytest.mark.parametrize('variables', [{'PMIX_RANK': '0'}, {'OMPI_COMM_WORLD_SIZE': '4', 'PMIX_RANK': '2'}])
def test_open_mpi_5_is_refused_because_jax_does_not_detect_it(variables, environment):
    environment(variables)
    with pytest.raises(InputError, match='does not detect the processes of Open MPI 5; give --coordinator'):
        hosts.start()


def test_an_indexed_pod_is_refused_without_the_package_that_asks(environment, monkeypatch):
    environment({**POD, 'JOB_COMPLETION_INDEX': '0'})
    monkeypatch.setitem(sys.modules, 'kubernetes', None)  # importing it fails
    with pytest.raises(InputError, match=r'does not detect the pods .* pip install "jax\[k8s\]"; or give --coordinator'):
        hosts.start()


def test_a_pod_that_may_not_ask_is_refused(environment, monkeypatch):
    environment({**POD, 'JOB_COMPLETION_INDEX': '0'}, 1)
    monkeypatch.setattr(clusters.K8sCluster, '_job', classmethod(lambda cls: 1 / 0))
    with pytest.raises(InputError, match=r'cannot be detected: ZeroDivisionError.*; give --coordinator'):
        hosts.start()


def test_what_process_0_finds_or_raises_all_return_or_raise(monkeypatch):
    assert coordination.together(monkeypatch, [lambda: hosts.agreed(lambda: 3), lambda: hosts.agreed(lambda: 1 / 0)]) == [3, 3]
    monkeypatch.setattr(liveness, 'PATIENCE', 0.2)

    class Own(Exception):
        def __init__(self, a, b):
            super().__init__(f'{a} {b}')

    for error, sent in (
        (InputError('no'), InputError('no')),
        (OSError(28, 'No space left on device', 'file'), OSError(28, 'No space left on device', 'file')),
        (Own(1, 2), RuntimeError('process 0: Own: 1 2')),
    ):
        mine, other = coordination.together(monkeypatch, [lambda error=error: hosts.agreed(lambda: _raise(error))] * 2)
        assert mine is error and type(other) is type(sent) and str(other) == str(sent)


def _raise(error):
    raise error


def test_one_process_of_a_host_after_another_prepares_what_they_share(monkeypatch):
    # Processes 0 and 1 are on host a, and 2 and 3 on host b, which has another disk.
    calls = []
    monkeypatch.setattr(hosts, 'shared', lambda value, shared=hosts.shared: shared(value and 'aabb'[hosts.index()]))

    def prepare():
        calls.append(hosts.index())
        time.sleep(0.05)
        return len(calls), hosts.index()

    def process():
        value = hosts.in_turn(prepare)
        return value, len(calls)

    found = coordination.together(monkeypatch, [process] * 4)
    assert calls[:2] == [0, 2] and sorted(calls[2:]) == [1, 3]
    assert [index for (_, index), _ in found] == [0, 1, 2, 3]
    assert [count for _, count in found] == [4] * 4  # all wait for the last


def test_the_last_process_ends_the_wait(monkeypatch):
    finished = []
    monkeypatch.setattr(liveness, 'close', lambda: finished.append(hosts.index()))
    monkeypatch.setattr(hosts.jax.distributed, 'shutdown', lambda: None)

    def late():
        time.sleep(0.1)
        before = list(finished)
        hosts.finish()
        return before

    before, _ = coordination.together(monkeypatch, [late, hosts.finish])
    assert before == [] and sorted(finished) == [0, 1]
