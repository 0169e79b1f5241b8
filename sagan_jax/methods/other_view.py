"""Normal images from another view: turned, scaled and moved a little.

A few hundred images, each shown a hundred times, are soon known by heart, and then every new one looks abnormal.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Float

_TURN = 0.15
"""At most this far an image is turned, in radians (8.6 degrees)."""
_SCALE = 0.1
"""At most this much each side is scaled, as a logarithm."""
_SHIFT = 1 / 16
"""At most this part of a side an image is moved."""


def other_view(
    key: Array, images: Float[Array, "batch height width channel"], share: float
) -> Float[Array, "batch height width channel"]:
    """Normal images as they look where a part lies otherwise, or a camera stands a little beside. They stay normal.

    Pixels lie between four of the image's and are their bilinear mean; beyond its edges it is mirrored.

    Args:
        key: Decides everything drawn.
        images: Normal images in [-1, 1].
        share: The part of the images that is changed.
    """
    batch, height, width, _ = images.shape
    draw_key, share_key = jax.random.split(key)
    turn, tall, wide, down, right = jax.random.uniform(draw_key, (5, batch, 1, 1), minval=-1.0)
    middle, centre = (height - 1) / 2, (width - 1) / 2
    y = (jnp.arange(height) - middle)[None, :, None]
    x = (jnp.arange(width) - centre)[None, None, :]
    cos, sin = jnp.cos(_TURN * turn), jnp.sin(_TURN * turn)
    rows = (cos * y + sin * x) * jnp.exp(_SCALE * tall) + _SHIFT * height * down + middle  # [B, H, W]
    columns = (cos * x - sin * y) * jnp.exp(_SCALE * wide) + _SHIFT * width * right + centre

    def seen(image: Array, rows: Array, columns: Array) -> Array:
        def of_channel(channel: Array) -> Array:
            return map_coordinates(channel, [rows, columns], order=1, mode="mirror")

        return jax.vmap(of_channel, -1, -1)(image)

    changed = jax.random.uniform(share_key, (batch, 1, 1, 1)) < share
    return jnp.where(changed, jax.vmap(seen)(images, rows, columns), images)
