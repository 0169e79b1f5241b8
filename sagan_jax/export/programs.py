"""A trained model as one file that scores images elsewhere: StableHLO for JAX alone, ONNX, or its weights alone.

Nothing here knows a method: what is exported is `detector.score` over the state, from uint8 images to scores. The
batch is left free. What the model is (`metadata`) travels inside the file, as JSON.
"""

import io
import json
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np
from jax import Array
from jax.extend.core import jaxpr_as_fun

from sagan_jax import __version__
from sagan_jax.atomic_file import replacing
from sagan_jax.detector import normalise
from sagan_jax.errors import UserError, one_line, printable
from sagan_jax.export.weights import to_safetensors
from sagan_jax.judging.calibration import calibrated, least_rate, threshold_for
from sagan_jax.ops import convolution
from sagan_jax.runs.model import Model
from sagan_jax.runs.scoring_weights import METADATA

OUTPUTS: tuple[str, ...] = ("score", "R", "L", "calibrated", "map")
PLATFORMS = ("cpu", "cuda")
OPSET = 21
"""ONNX's operator set; ONNX Runtime has it since 1.20."""


def scorer(model: Model) -> Callable[[Array], dict[str, Array]]:
    """The function that is exported.

    Args:
        model: A trained model.

    Returns:
        From images, uint8 `[N, H, W, C]`, to float32 scores by name: `score`, its terms `R` and `L` and `calibrated`
        (the share of normal images that score lower), each `[N]`, and `map` (where it is abnormal), `[N, H, W]`.
    """

    def score(images: Array) -> dict[str, Array]:
        scores = model.detector.score(model.state, normalise(images))
        share = calibrated(model.calibration, scores.total)
        outputs = (scores.total, scores.reconstruction, scores.latent, share, scores.map)
        return dict(zip(OUTPUTS, outputs, strict=True))

    return score


def metadata(model: Model) -> dict[str, Any]:
    """What the model is, as JSON values; an image is called abnormal if its score is over `threshold`."""
    return {
        "version": __version__,
        "method": model.method.name,
        "image_shape": list(model.image_shape),
        "patches": None if model.patches is None else model.patches._asdict(),
        "reading": model.reading._asdict(),
        "outputs": list(OUTPUTS),
        "threshold": threshold_for(model.calibration, model.false_positive_rate),
        "false_positive_rate": model.false_positive_rate,
        "held_out": model.held_out,
        "least_false_positive_rate": least_rate(model.held_out),
        "epoch": model.epoch,
        "config": dict(model.config),
    }


def _free_batch(model: Model) -> jax.ShapeDtypeStruct:
    """Any number of images."""
    return jax.ShapeDtypeStruct((*jax.export.symbolic_shape("N"), *model.image_shape), np.uint8)


def to_stablehlo(model: Model) -> bytes:
    """A ZIP file of `metadata.json` and `scorer.jax`, the program, which `jax.export.deserialize` reads.

    The program runs on a CPU or an NVIDIA GPU, its weights inside.
    """
    with convolution.forms("portable"):
        program = jax.export.export(jax.jit(scorer(model)), platforms=PLATFORMS)(_free_batch(model))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("metadata.json", json.dumps(metadata(model), indent=2))
        archive.writestr("scorer.jax", program.serialize())
    return file.getvalue()


def to_onnx(model: Model) -> bytes:
    """An ONNX model, from `images` to `OUTPUTS`; its metadata has one property, `sagan_jax`, the JSON.

    Raises:
        UserError: If the converter, jax2onnx, is not installed, or cannot express what the scorer does.
    """
    try:
        import jax2onnx
        from onnx.helper import set_model_props
    except ImportError as error:
        raise UserError("ONNX is written by jax2onnx, which is not installed: pip install jax2onnx") from error

    def score(images: Array) -> tuple[Array, ...]:
        outputs = list(scorer(model)(images).values())
        for i, value in enumerate(outputs):
            if any(value is before for before in outputs[:i]):  # R alone may be the score; a value has but one name
                outputs[i] = value + 0
        return tuple(outputs)

    images = _free_batch(model)
    with convolution.forms("plain"):
        program = jax.make_jaxpr(score)(images)  # here, for the converter's own layers have no gradients to search by
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # it tells of shapes without a type, which do no harm
    try:
        exported = jax2onnx.to_onnx(
            jaxpr_as_fun(program), [images], opset=OPSET, input_names=["images"], output_names=OUTPUTS
        )
    except NotImplementedError as error:
        raise UserError(f"jax2onnx cannot express this scorer: {one_line(str(error))}; export StableHLO") from error
    set_model_props(exported, {METADATA: json.dumps(metadata(model))})
    return exported.SerializeToString()


FORMATS: dict[str, Callable[[Model], bytes]] = {
    "stablehlo": to_stablehlo,
    "onnx": to_onnx,
    "safetensors": lambda model: to_safetensors(model, metadata(model)),
}


def export_model(model: Model, form: str, path: str | Path) -> None:
    """Writes a trained model to a file, which appears whole or not at all.

    Args:
        model: A trained model.
        form: "stablehlo", "onnx" or "safetensors".
        path: The file; there must be none of this name.

    Raises:
        UserError: If the format is unknown, the file exists or cannot be written.
    """
    path = Path(path)
    if form not in FORMATS:
        raise UserError(f"format is {form!r}; {', '.join(FORMATS)} are allowed")
    if path.exists():
        raise UserError(f"{printable(path)} exists; move it away or name another file with --out")
    if not path.parent.is_dir():
        raise UserError(f"{printable(path.parent)} is not a folder; make it or name another file with --out")
    content = FORMATS[form](model)
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise UserError(f"{printable(path)} cannot be written: {error.strerror}") from error
