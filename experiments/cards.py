"""What accelerators can do at most, by their makers' data sheets, and the arithmetic both sides of a comparison use."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Arithmetic = Literal["float32", "tf32", "bf16"]
"""float32 multiplied exactly; float32 multiplied with 10-bit mantissas, as GPUs do by default; networks in bf16."""

PEAKS: tuple[tuple[str, dict[Arithmetic, float]], ...] = (
    ("H100 PCIe", {"float32": 51.2, "tf32": 378.0, "bf16": 756.0}),
    ("H100", {"float32": 66.9, "tf32": 494.7, "bf16": 989.4}),
    ("H200", {"float32": 66.9, "tf32": 494.7, "bf16": 989.4}),
    ("A100", {"float32": 19.5, "tf32": 156.0, "bf16": 312.0}),
    ("L40S", {"float32": 91.6, "tf32": 183.2, "bf16": 362.1}),
    ("L4", {"float32": 30.3, "tf32": 60.0, "bf16": 121.0}),
)
"""TFLOP/s of dense products, by a part of the card's name; the more exact name comes first."""


def peak(card: str, arithmetic: Arithmetic) -> float | None:
    """A card's peak in TFLOP/s; None for a card that the table does not have.

    Args:
        card: As JAX names it, such as "NVIDIA H100 80GB HBM3".
        arithmetic: Of the products.
    """
    return next((peaks[arithmetic] for name, peaks in PEAKS if name in card), None)


def use(arithmetic: Arithmetic) -> None:
    """Has JAX, and PyTorch if it is imported, multiply float32 alike from here on: both by TF32, or neither.

    Networks in bf16 leave little in float32; what they do is multiplied as GPUs do by default.
    """
    import sys

    import jax

    exact = arithmetic == "float32"
    jax.config.update("jax_default_matmul_precision", "highest" if exact else None)
    if "torch" in sys.modules:
        import torch

        torch.backends.cuda.matmul.allow_tf32 = not exact
        torch.backends.cudnn.allow_tf32 = not exact


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Within it PyTorch takes denormal numbers as zero, as XLA's programs do; after it they are numbers again.

    It is a setting of the thread's processor, not of PyTorch alone: Python's own floats follow it.
    """
    import torch

    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
