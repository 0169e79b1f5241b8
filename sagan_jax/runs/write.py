"""What a judged run leaves in its folder: scores, result, pictures, report."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from sagan_jax import run_folder
from sagan_jax.data.image_file import resize
from sagan_jax.data.mask import reduce
from sagan_jax.data.split import take
from sagan_jax.detector import PICTURES, State
from sagan_jax.device import Machine, float32_products
from sagan_jax.judging import evaluation
from sagan_jax.judging.calibration import calibrated
from sagan_jax.judging.scoring import batch_scorer, score_images, score_photographs
from sagan_jax.report.thumbnails import Views
from sagan_jax.runs.evaluate import Evaluated
from sagan_jax.runs.prepare import Prepared
from sagan_jax.runs.provenance import provenance
from sagan_jax.runs.run_state import Trained

_VIEW = 256  # pixels of each side of a photograph that is shown


def write(
    folder: Path,
    prepared: Prepared,
    trained: Trained,
    evaluated: Evaluated,
    machine: Machine,
    argv: Sequence[str],
) -> None:
    """Writes `scores.csv`, `result.json`, the pictures and `report.html`.

    Args:
        folder: The run's folder.
        prepared: What was run.
        trained: What it learned.
        evaluated: How it did.
        machine: What it computed on.
        argv: The command, for the record.
    """
    from sagan_jax.report.page import write_report

    split = prepared.split
    counts = {"train": len(prepared.kept), "held_out": len(prepared.held_out)}
    tested = {"test_normal": int((~split.test_labels).sum()), "test_abnormal": int(split.test_labels.sum())}
    result = prepared.identity | {
        **evaluated.result,
        "images": counts | tested,
        "notes": [*split.notes, *evaluated.notes],
        "map_limit": evaluated.map_limit,
        "judging": asdict(prepared.judging),
        "train_seconds": round(sum(row["seconds"] for row in trained.history), 1),
        "device": machine.name,
        "arithmetic": {"float32_products": float32_products()},
        "provenance": provenance(argv, machine.name, prepared.training.seed),
    }
    shares = calibrated(trained.judged.calibration, evaluated.scores.total)
    run_folder.write_scores(folder / "scores.csv", split, evaluated.scores, shares)
    run_folder.write_json(folder / "result.json", result)
    _draw(folder, prepared, trained, evaluated, shares)
    write_report(folder)


def _draw(folder: Path, prepared: Prepared, trained: Trained, evaluated: Evaluated, shares: np.ndarray) -> None:
    """The pictures people look at: of scores and images, as far as there is a test set."""
    from sagan_jax.report import gallery, plots, thumbnails

    split, judged, scores = prepared.split, trained.judged, evaluated.scores.total
    for earlier in ("scores.png", "roc.png", "images.png", thumbnails.FILE):  # of a test set that may be gone
        (folder / earlier).unlink(missing_ok=True)
    if trained.history:
        plots.losses(folder / "losses.png", trained.history)
    if not len(split.test):
        return
    limit = evaluated.result["strict"]["threshold"]["value"]
    if evaluation.has_both(split.test_labels):
        title = f"{split.name}, abnormal: {split.abnormal}"
        plots.score_histogram(folder / "scores.png", scores, split.test_labels, title=title, threshold=limit)
        plots.roc(folder / "roc.png", split.test_labels, scores)
    chosen = thumbnails.choose(scores, split.test_labels, limit)  # the extremes of all are among them
    views = _look(prepared, judged.state, chosen)
    gallery.gallery(
        folder / "images.png", views.images, views.reconstructed, views.maps, scores[chosen], split.test_labels[chosen]
    )
    thumbnails.write_thumbnails(folder / thumbnails.FILE, split, chosen, views, scores, shares)


def _look(prepared: Prepared, state: State, chosen: np.ndarray) -> Views:
    """Some of the test images, their reconstructions and maps, and their masks; photographs are reduced."""
    split, detector = prepared.split, prepared.detector
    images = take(split.test, chosen)
    masks = None if split.test_masks is None else [split.test_masks[index] for index in chosen]
    if split.patches is None:
        scores = score_images(detector, state, images, pictures=PICTURES)
        return Views(images[:], scores.reconstructed, scores.map, None if masks is None else np.stack(masks))
    rows, size = [], (_VIEW, _VIEW)
    scored = score_photographs(batch_scorer(detector, state, PICTURES), images, split.patches)
    for image, scores in zip(images, scored, strict=True):
        rows.append([resize(whole, size) for whole in (image, scores.reconstructed, scores.map)])
    shown, reconstructed, maps = (np.stack(column) for column in zip(*rows, strict=True))
    if masks is not None:
        masks = np.stack([reduce(mask, size) for mask in masks])
    return Views(shown, reconstructed, maps, masks)
