"""Several processes: how they are found; what they do together is tested with runs."""

import pytest

from gan_jax import hosts
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


@pytest.mark.parametrize(
    ('environment', 'found'),
    [
        ({}, False),
        ({'SLURM_STEP_NODELIST': 'n[1-2]', 'SLURM_NTASKS': '2'}, True),  # of srun
        ({'SLURM_STEP_NODELIST': 'n1', 'SLURM_NTASKS': '1'}, False),
        ({'SLURM_NTASKS': '2', 'SLURM_PROCID': '0'}, False),  # of a batch script, whose program is one process
        ({'OMPI_MCA_orte_hnp_uri': '1.0;tcp://10.0.0.1:1', 'OMPI_COMM_WORLD_SIZE': '4'}, True),
        ({'KUBERNETES_SERVICE_HOST': '10.0.0.1'}, False),
        ({'KUBERNETES_SERVICE_HOST': '10.0.0.1', 'JOB_COMPLETION_INDEX': '3'}, True),
    ],
)
def test_clusters_are_known_by_their_environment(environment, found, monkeypatch):
    for name in ('SLURM_STEP_NODELIST', 'SLURM_NTASKS', 'OMPI_MCA_orte_hnp_uri', 'KUBERNETES_SERVICE_HOST'):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert hosts._in_cluster() is found
