"""How several processes end, with threads in their place; `tests/runs/test_several_processes.py` starts processes."""

import threading
import time

import coordination
import jax
import pytest

from gan_jax import liveness


@pytest.fixture
def service(monkeypatch):
    """A service, with a watch that ends nothing, and times of a tenth of a second."""
    for name, seconds in {'BEAT': 0.05, 'PATIENCE': 0.6, '_GRACE': 0.05}.items():
        monkeypatch.setattr(liveness, name, seconds)
    monkeypatch.setattr(liveness, '_watch', None)
    service = coordination.Service()
    service.left = []
    monkeypatch.setattr(liveness, 'leave', lambda code, why: service.left.append((code, why)))
    return service


@pytest.fixture
def watched(service):
    """Starts the watch in processes 0 and 1."""
    watches = [liveness.Watch(service, i, 2) for i in range(2)]
    for watch in watches:
        watch.start()
    yield watches
    for watch in watches:
        watch.over.set()
        watch.join()


def waits(condition, seconds):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_a_network_that_fails_for_a_moment_ends_nothing(service, watched):
    for _ in range(2):  # the patience starts anew after each success
        service.broken = True
        time.sleep(0.4)
        service.broken = False
        time.sleep(0.2)
    assert service.left == []


def test_a_service_that_stays_away_ends_the_process(service, watched, capfd):
    service.broken = True
    assert waits(lambda: service.left, 3)
    assert service.left[0][0] == 1 and 'process 0, which coordinates the others, has not been reached' in service.left[0][1]


def test_a_process_without_signs_ends_the_others(service, watched, capfd):
    watched[1].over.set()
    assert waits(lambda: service.left, 3)
    assert 'process 1 on' in service.left[0][1] and 'has died' in service.left[0][1]


@pytest.mark.parametrize(
    ('error', 'other'),
    [
        (jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory'), False),
        (jax.errors.JaxRuntimeError('INTERNAL: CpuCallback error calling callback: Traceback'), False),
        (jax.errors.JaxRuntimeError('INTERNAL: Gloo all-reduce failed: Connection closed by peer'), True),
        (jax.errors.JaxRuntimeError('UNAVAILABLE: failed to connect'), True),
        (ValueError('UNAVAILABLE'), False),
    ],
)
def test_only_some_errors_may_be_of_another_process(error, other):
    assert liveness.may_be_of_another(error) is other
    outer = TimeoutError('waited for too long')
    outer.__cause__ = error
    assert liveness.may_be_of_another(outer) is other


@pytest.mark.parametrize(
    ('message', 'other_lives', 'waited'), [('RESOURCE_EXHAUSTED', False, 0), ('INTERNAL', True, 0.3), ('INTERNAL', False, 0.6)]
)
def test_an_error_waits_for_the_watch_only_if_another_may_have_died(message, other_lives, waited, service, monkeypatch, capfd):
    mine, other = (liveness.Watch(service, i, 2) for i in (0, 1))
    monkeypatch.setattr(liveness, '_watch', mine)
    if other_lives:
        threading.Timer(0.1, other.sign).start()
    start = time.monotonic()
    liveness.failed(jax.errors.JaxRuntimeError(f'{message}: it failed'))
    seconds = time.monotonic() - start
    assert service.left == [(1, f'JaxRuntimeError: {message}: it failed')]
    assert seconds >= waited if waited == 0.6 else seconds < 0.25 + waited
