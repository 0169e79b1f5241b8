"""SAGAN, Skip-Attention GAN for image anomaly detection, in JAX.

What research and use need is here by name, and imported when it is first asked for. `sagan` makes a `Detector` of a
`SaganConfig`, `fit` trains it, `score_images` scores with it. `load_model` reads a run back, `judge_image` gives a
verdict on one image, `export_model` writes a scorer that needs no more than JAX or ONNX Runtime. `load_torch`,
`to_torch` and `save_torch` exchange weights with the authors' PyTorch code.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sagan_jax.config import SaganConfig, TrainingConfig, sagan_preset
    from sagan_jax.data.image_file import read_image
    from sagan_jax.detector import Detector, Scores
    from sagan_jax.errors import UserError
    from sagan_jax.export.programs import export_model
    from sagan_jax.export.torch_weights import load_torch, save_torch, to_torch
    from sagan_jax.inspection.judge_image import ImageVerdict, judge_image
    from sagan_jax.judging.scoring import score_images
    from sagan_jax.methods.sagan import sagan
    from sagan_jax.runs.model import Model, load_judged, load_model
    from sagan_jax.training.loop import fit, fit_many

__version__ = "0.1.0"

# None of these names is also that of a module right in the package: importing that module would take its place.
_HOMES = {
    "Detector": "detector",
    "ImageVerdict": "inspection.judge_image",
    "Model": "runs.model",
    "SaganConfig": "config",
    "Scores": "detector",
    "TrainingConfig": "config",
    "UserError": "errors",
    "export_model": "export.programs",
    "fit": "training.loop",
    "fit_many": "training.loop",
    "judge_image": "inspection.judge_image",
    "load_judged": "runs.model",
    "load_model": "runs.model",
    "load_torch": "export.torch_weights",
    "read_image": "data.image_file",
    "sagan": "methods.sagan",
    "sagan_preset": "config",
    "save_torch": "export.torch_weights",
    "score_images": "judging.scoring",
    "to_torch": "export.torch_weights",
}

__all__ = [
    "Detector",
    "ImageVerdict",
    "Model",
    "SaganConfig",
    "Scores",
    "TrainingConfig",
    "UserError",
    "export_model",
    "fit",
    "fit_many",
    "judge_image",
    "load_judged",
    "load_model",
    "load_torch",
    "read_image",
    "sagan",
    "sagan_preset",
    "save_torch",
    "score_images",
    "to_torch",
]


def __getattr__(name: str) -> Any:
    """Imports what is heavy when it is asked for, so that `import sagan_jax` and a command's `--help` take no time."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
