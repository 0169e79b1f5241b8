"""Means of cells, and cells repeated."""

import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.ops.cells import cell_means, repeat_cells


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_means_of_cells_by_hand(array):
    maps = array(np.arange(24, dtype=np.float32).reshape(1, 2, 6, 2))  # two channels: even numbers and odd ones
    np.testing.assert_allclose(cell_means(maps, 2, 3)[0, 0], [[8, 9], [14, 15]])
    np.testing.assert_array_equal(cell_means(maps, 1, 1), maps)


def test_repeated_cells_have_their_means():
    cells = jnp.arange(6.0).reshape(1, 1, 2, 3)
    maps = repeat_cells(cells, 2, 3, axis=2)
    np.testing.assert_array_equal(maps[0, 0, 0], [0, 0, 0, 1, 1, 1, 2, 2, 2])
    assert maps.shape == (1, 1, 4, 9)
    np.testing.assert_array_equal(cell_means(maps[0, ..., None], 2, 3)[..., 0], cells[0])
