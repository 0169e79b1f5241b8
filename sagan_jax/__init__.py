"""SAGAN, Skip-Attention GAN for image anomaly detection, in JAX.

The functional API is in the modules: `sagan.sagan` makes a detector of a `config.SaganConfig`, `training.fit` trains
it, `scoring.score_images` scores with it, `checkpoint` keeps it, `export` takes it elsewhere. `load_torch`, `to_torch`
and `save_torch` are those of `torch_weights`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sagan_jax.export.torch_weights import load_torch as load_torch
    from sagan_jax.export.torch_weights import save_torch as save_torch
    from sagan_jax.export.torch_weights import to_torch as to_torch

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Imports what is heavy when it is asked for, so that a command's `--help` answers at once."""
    if name not in ("load_torch", "save_torch", "to_torch"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sagan_jax.export import torch_weights

    return getattr(torch_weights, name)
