"""A trained run judged: its strict result, and if wanted the reference protocol taken apart."""

from typing import Any, NamedTuple

import numpy as np

from sagan_jax.detector import Scores
from sagan_jax.judging import evaluation
from sagan_jax.judging.false_positive_rate import contradicts, percent
from sagan_jax.judging.floor import judge_floor
from sagan_jax.judging.scoring import score_images
from sagan_jax.runs.checkpoint import CALIBRATION_IMAGES, EXCEEDING
from sagan_jax.runs.prepare import Prepared
from sagan_jax.runs.run_state import Trained


class Evaluated(NamedTuple):
    """What judging a run found.

    Attributes:
        scores: Strict scores of the test images.
        result: The metrics, as JSON values: `strict`, where there is more to say `pixels`, `kinds` and `reference`.
        notes: What a reader of the result should know about how it was judged.
        map_limit: A value that the maps of normal images rarely reach.
    """

    scores: Scores
    result: dict[str, Any]
    notes: tuple[str, ...]
    map_limit: float


def evaluate(prepared: Prepared, trained: Trained) -> Evaluated:
    """Scores the test images and judges the scores, strictly, or by both protocols if the run is judged so.

    Args:
        prepared: What was run.
        trained: What it learned.
    """
    rate = prepared.judging.false_positive_rate
    assert rate is not None
    split, detector = prepared.split, prepared.detector
    state, calibration = trained.judged.state, trained.judged.calibration
    normal = evaluation.normal_maps(detector, state, split, prepared.held_out)
    scores, pixels = evaluation.score_test(detector, state, split, normal.pixels)
    strict = evaluation.evaluate_strict(
        split.test_labels, scores.total, calibration, rate, pixels, held_out=len(prepared.held_out)
    )
    of_epoch = next((row for row in trained.history if row["epoch"] == trained.judged.epoch), {})
    strict["threshold"] |= {CALIBRATION_IMAGES: of_epoch.get(CALIBRATION_IMAGES, len(prepared.held_out))}
    result: dict[str, Any] = {"strict": {"epoch": trained.judged.epoch} | strict}
    notes: tuple[str, ...] = ()
    if pixels is not None:
        result["pixels"] = evaluation.pixels_counted(split, pixels)
    elif split.test_masks is not None and split.test_masks.any():
        notes = ("every pixel of the masks is marked, or of those that are counted: there are no metrics of pixels",)
    if exceeding := of_epoch.get(EXCEEDING, 0):
        notes += (
            f"{exceeding} of {len(normal.scores)} held-out images, which were not trained on, exceed the threshold "
            "that all normal images would set for 5 %, so held-out images alone set it; train on images that differ "
            "as much as new ones will, and more defects will be found",
        )
    over = int((normal.scores > strict["threshold"]["value"]).sum())
    if contradicts(over, len(normal.scores), rate):
        notes += (
            f"{over} of {len(normal.scores)} held-out images, which were not trained on, exceed the threshold, where "
            f"{percent(rate)} were wanted: so will new ones; train on images that differ as much as new ones will",
        )
    result |= judge_floor(split, prepared.kept, prepared.held_out_indices)
    if split.test_kinds is not None and evaluation.has_both(split.test_labels):
        result["kinds"] = evaluation.evaluate_kinds(
            split.test_labels, split.test_kinds, scores.total, strict["threshold"]["value"], pixels
        )
    if prepared.judging.protocol == "both":
        running = scores.total
        if trained.judged is not trained.last:  # otherwise these are the scores above
            running = score_images(detector, trained.last.state, split.test).total
        result["reference"] = evaluation.evaluate_reference(
            detector, trained.last.state, split, running, trained.history, prepared.training
        )
    return Evaluated(scores, result, notes, float(np.quantile(normal.greatest, 1 - rate)))
