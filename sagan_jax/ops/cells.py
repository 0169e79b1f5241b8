"""Maps averaged over cells of pixels, and enlarged again by repeating them."""

from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def cell_means(
    maps: Float[Any, "batch height width channel"], rows: int, columns: int
) -> Float[Any, "batch cell_height cell_width channel"]:
    """The mean of each cell of that many rows and columns, which divide the maps' sides; of NumPy's arrays too."""
    batch, height, width, channels = maps.shape
    cut = maps.reshape(batch, height // rows, rows, width // columns, columns, channels)
    return cut.mean(axis=(2, 4))


def repeat_cells(maps: Array, rows: int, columns: int, *, axis: int = 1) -> Array:
    """Each cell as that many rows and columns of pixels.

    Args:
        maps: Of any shape.
        rows: Of pixels, for each cell.
        columns: The same across.
        axis: That of the height; the next one is that of the width.
    """
    return jnp.repeat(jnp.repeat(maps, rows, axis=axis), columns, axis=axis + 1)
