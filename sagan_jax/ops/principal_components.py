"""Principal components of images: the few directions that explain most of how normal images differ."""

import numpy as np
from jaxtyping import Float

_ROUNDS = 4
"""Power iterations of the randomised decomposition."""


def principal_components(
    flat: Float[np.ndarray, "image number"], count: int
) -> tuple[Float[np.ndarray, " number"], Float[np.ndarray, "component number"]]:
    """Fits components by randomised singular value decomposition, the same each time (scikit-learn's PCA).

    Args:
        flat: At least two images as rows.
        count: How many components are kept; fewer where there are fewer images or numbers in an image.

    Returns:
        The mean image, and orthonormal rows, the first with the greatest variance.
    """
    from sklearn.decomposition import PCA

    kept = min(count, len(flat) - 1, flat.shape[1])  # around their mean, N images have N - 1 directions
    pca = PCA(kept, svd_solver="randomized", iterated_power=_ROUNDS, random_state=0)  # pyright: ignore[reportArgumentType]
    pca.fit(flat)
    return np.asarray(pca.mean_), np.asarray(pca.components_)
