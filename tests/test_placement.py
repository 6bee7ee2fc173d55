"""Meshes of seeds and devices, and the part of a batch that a process reads."""

import jax
import numpy as np
import pytest

from gan_jax import placement


@pytest.mark.parametrize(
    ('seeds', 'batch_size', 'fits', 'shape'),
    [
        (4, 8, None, (4, 1)),
        (8, 8, None, (4, 1)),
        (2, 8, None, (2, 2)),
        (3, 8, None, (3, 1)),
        (1, 8, None, (1, 4)),
        (1, 6, None, (1, 3)),
        (2, 7, None, (2, 1)),
        (2, 8, lambda rows: rows == 8, (2, 1)),
        (2, None, None, (2, 1)),
    ],
)
def test_devices_are_shared_by_seeds_first(seeds, batch_size, fits, shape):
    mesh = placement.grid(seeds, batch_size, *[fits] if fits else [])
    assert mesh.devices.shape == shape and mesh.axis_names == (placement.SEEDS, placement.AXIS)


def test_one_process_reads_everything():
    assert placement.share(placement.grid(2, 8), 2, 8) == placement.Share(slice(0, 2), slice(0, 8))
    assert placement.share(None, 1, 8).rows == slice(0, 8)


def test_what_is_placed_everywhere_is_the_same_everywhere():
    tree = placement.placed({'x': np.arange(3.0), 'key': jax.random.key(1)})
    assert all(len(leaf.sharding.device_set) == 4 for leaf in jax.tree.leaves(tree))
    np.testing.assert_array_equal(placement.local(tree)['x'], np.arange(3.0))
