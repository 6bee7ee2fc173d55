"""What does not fit into the memory of the machine is refused in one line, before the system ends the process."""

import numpy as np
import pytest

from experiments.ring import __main__ as ring
from experiments.shared import image_gan
from gan_jax import data, memory
from gan_jax.errors import InputError


class Source:
    """A hundred images on disk."""

    size, channels, classes = (8, 4), 3, ()

    def __len__(self):
        return 100

    def read(self, rows):
        return {'image': np.zeros((len(rows), 8, 4, 3), np.uint8)}


@pytest.mark.parametrize(('limit', 'expected'), [('1000\n', 1000), ('max\n', None), (None, None)])
def test_a_container_may_have_less_than_its_machine(limit, expected, tmp_path, monkeypatch):
    machine = memory.available()
    if machine is None:
        pytest.skip('this system does not tell its memory')
    file = tmp_path / 'memory.max'
    if limit is not None:
        file.write_text(limit)
    monkeypatch.setattr(memory, '_CONTROL_GROUP', file)
    found = memory.available()
    assert found == expected if expected else found >= machine


def test_what_fits_is_not_refused(monkeypatch):
    memory.require(5e9, 'features', 'take fewer', have=5e9)
    with pytest.raises(InputError, match=r'^features require 6 GB, and this machine has 5 GB: take fewer$'):
        memory.require(6e9, 'features', 'take fewer', have=5e9)
    monkeypatch.setattr(memory, 'available', lambda: None)
    memory.require(1e30, 'features', 'take fewer')  # where the system does not tell


@pytest.mark.parametrize('seeds', [1, 2])
def test_a_state_that_is_too_large_leaves_nothing_behind(seeds, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, 'available', lambda: 1000)
    with pytest.raises(InputError, match='the parameters and the states of their optimizers require'):
        ring.main(ring.Config(name='r', runs_dir=str(tmp_path), width=8, seeds=seeds, steps=2))
    assert not list(tmp_path.iterdir())


def test_images_are_refused_before_they_are_enlarged(monkeypatch):
    monkeypatch.setattr(memory, 'available', lambda: 1_000_000)
    assert data.load('digits', size=16).images.shape == (1437, 16, 16, 1)
    with pytest.raises(InputError, match='1,437 images of 32 x 32 pixels require'):
        data.load('digits', size=32)


def test_of_large_images_fewer_are_compared(monkeypatch):
    source = Source()
    for room, kept in ((10**6, 30), (4 * 96 * 7, 7), (5, 2)):
        monkeypatch.setattr(memory, 'available', lambda room=room: room)
        assert len(image_gan.at_most(source, 30).images) == kept
