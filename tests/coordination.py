"""Threads of this process in place of several processes, and a coordination service for them."""

import contextlib
import itertools
import threading
import time

import jax

from gan_jax import hosts


class Service:
    """The client of JAX's coordination service that all of them share."""

    def __init__(self):
        self.values, self.broken = {}, False

    def _reach(self):
        if self.broken:
            raise jax.errors.JaxRuntimeError('UNAVAILABLE: the service cannot be reached')

    def key_value_set(self, key, value, allow_overwrite=False):
        self._reach()
        assert allow_overwrite or key not in self.values
        self.values[key] = value

    key_value_set_bytes = key_value_set

    def key_value_dir_get(self, prefix):
        self._reach()
        return [(key, value) for key, value in list(self.values.items()) if key.startswith(prefix)]

    def blocking_key_value_get_bytes(self, key, milliseconds):
        end = time.monotonic() + milliseconds / 1000
        while key not in self.values:
            self._reach()
            if time.monotonic() > end:
                raise jax.errors.JaxRuntimeError('DEADLINE_EXCEEDED: no such key')
            time.sleep(0.001)
        return self.values[key]


class _Rounds(threading.local):
    """Counts in each thread by itself."""

    def __init__(self):
        self.count = itertools.count()

    def __next__(self):
        return next(self.count)


def together(monkeypatch, functions):
    """Calls each function in a thread that is process i; returns their results or exceptions."""
    own, service = threading.local(), Service()
    for name, value in {
        'count': lambda: len(functions), 'index': lambda: own.index, '_client': lambda: service, '_rounds': _Rounds(),
        '_by_itself': contextlib.nullcontext,
    }.items():  # fmt: skip
        monkeypatch.setattr(hosts, name, value)
    results = [None] * len(functions)

    def run(i):
        own.index = i
        try:
            results[i] = functions[i]()
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    return results
