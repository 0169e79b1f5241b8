"""A run opened to give verdicts, as soon as can be: by weights kept beside the checkpoint and a program kept compiled.

Where either is missing or does not fit, the checkpoint is read and the program compiled. The verdicts are the same.
"""

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sagan_jax import run_folder
from sagan_jax.config import settings_to_json
from sagan_jax.detector import Detector, Picture
from sagan_jax.judging.kept_program import OtherStateError, scoring_program
from sagan_jax.judging.scorer import Scorer, batch_size
from sagan_jax.methods.table import METHODS, Method
from sagan_jax.runs.configuration import Configuration, read_configuration
from sagan_jax.runs.scoring_weights import ScoringWeights, read_weights


class Judged(NamedTuple):
    """A run's model at the epoch that the run was judged by.

    Attributes:
        scorer: What gives verdicts.
        configuration: What the run's `config.json` says.
        result: Its `result.json`; empty of a run that has not ended.
    """

    scorer: Scorer
    configuration: Configuration
    result: dict[str, Any]


def open_judged(folder: Path, pictures: tuple[Picture, ...] = (), method: Method | None = None) -> Judged:
    """Opens a run to give verdicts.

    Args:
        folder: The run's folder.
        pictures: Which pictures are wanted beside the scores.
        method: The run's method where `METHODS` does not have it.

    Raises:
        UserError: If the folder holds no run, no checkpoint, or one that this version cannot read.
    """
    known = read_configuration(folder, method)
    result = run_folder.read_result(folder, known.json)
    if METHODS.get(known.method.name) is known.method:  # of another's code, a kept program could not know a change
        weights = read_weights(folder / "checkpoints", known.select, known.identity)
        if weights is not None:
            with suppress(OtherStateError):  # the checkpoint says what is wrong
                return Judged(_scorer(known, weights, pictures), known, result)
    from sagan_jax.runs.model import restored_model, scorer_of

    return Judged(scorer_of(restored_model(known, folder, known.select), pictures), known, result)


def _scorer(known: Configuration, weights: ScoringWeights, pictures: tuple[Picture, ...]) -> Scorer:
    """What gives verdicts by kept weights; raises OtherStateError where they do not fit the method."""
    score = scoring_program(
        partial(_detector, known),
        weights.leaves,
        known.image_shape,
        batch_size(known.patches),
        pictures,
        {
            "method": known.method.name,
            "model": settings_to_json(known.settings),
            "training": known.training.as_json() | {"seed": None},
            "images": known.images,
            "map": known.map_kind,
        },
    )
    return Scorer(known.image_shape, score, weights.calibration, known.patches, known.reading)


def _detector(known: Configuration) -> Detector:
    from sagan_jax.runs.prepare import make_detector

    return make_detector(known.method, known.settings, known.training, known.images, known.map_kind)
