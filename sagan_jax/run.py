"""One run, from a split to its folder: trained, checkpointed, scored, reported."""

import json
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from sagan_jax import device, evaluation, run_folder
from sagan_jax.course import (
    Experiment,
    Trained,
    check_folder,
    choose_judged,
    detector_of,
    end_epoch,
    first_state,
    held_out_of,
    identity,
    open_course,
)
from sagan_jax.data.image_file import resize
from sagan_jax.data.mask import reduce
from sagan_jax.data.patches import Patches
from sagan_jax.data.photographs import Photographs
from sagan_jax.data.split import Split, take
from sagan_jax.detector import Detector, State
from sagan_jax.errors import UserError
from sagan_jax.pixel_metrics import PixelCounts
from sagan_jax.progress import progress_bar
from sagan_jax.provenance import provenance
from sagan_jax.report import thumbnails
from sagan_jax.report.thumbnails import Views
from sagan_jax.scoring import Field, calibrated, score_images, score_photographs
from sagan_jax.streaming import Stream, fit_stream, normal_images, training_images
from sagan_jax.training import fit

SEEN: tuple[Field, ...] = ("reconstructed", "map")
"""What of whole images there is to look at; asked for together wherever either is, so that one program serves all."""


def run(experiment: Experiment, argv: Sequence[str]) -> dict[str, Any]:
    """Trains a method on a split and leaves a folder that tells everything about it.

    The folder has `config.json`, `metrics.jsonl` (a line an epoch), `checkpoints/`, `scores.csv`, `result.json` and
    pictures: `scores.png`, `roc.png`, `losses.png`, `images.png`; `report.html` has all of it in one page, with
    thumbnails that are kept in `gallery.json`.

    Args:
        experiment: What is run; its folder is made anew, or gone on with if `experiment.config.resume`.
        argv: The command, for the record.

    Returns:
        What `result.json` has.

    Raises:
        UserError: If the folder has a run already, is in use by another process or cannot be written to, its checkpoint
            is of another configuration, the images do not suit the method, or the training diverged. Nothing on disk
            is lost by any of them.
    """
    device.start_run(experiment.config)  # which host this is decides who has the folder
    with run_folder.locked(experiment.out) if device.is_first_host() else nullcontext():
        run_locked(experiment, argv)
        device.wait_for_all_hosts()
    return json.loads((experiment.out / "result.json").read_text())


def run_locked(experiment: Experiment, argv: Sequence[str]) -> None:
    """The run, once its folder is this process's alone, or on another host its share of the training."""
    where = device.start_run(experiment.config)
    check_folder(experiment)
    kept, held_out = held_out_of(experiment)
    split = experiment.split
    images = training_images(take(split.train, kept), split.patches, device.image_memory(experiment.config.streaming))
    detector = detector_of(experiment)
    trained = train(experiment, detector, images, take(split.train, held_out))
    if device.is_first_host():
        conclude(experiment, detector, trained, where, argv)


def conclude(experiment: Experiment, detector: Detector, trained: Trained, where: str, argv: Sequence[str]) -> None:
    """Scores the test images and writes what there is to say of the run into its folder."""
    from sagan_jax.report.page import write_report

    split, out = experiment.split, experiment.out
    kept, held_out = held_out_of(experiment)
    normal = take(split.train, held_out)
    state = trained.judged.state
    scores, pixels = evaluation.score_test(detector, state, split, normal)
    counts = {"train": len(kept), "held_out": len(held_out)}
    result = identity(experiment) | {
        **judge(experiment, detector, trained, scores["total"], pixels),
        "images": counts
        | {"test_normal": int((~split.test_labels).sum()), "test_abnormal": int(split.test_labels.sum())},
        "notes": list(split.notes),
        "map_limit": map_limit(detector, state, normal, split.patches, experiment.config.false_positive_rate),
        "train_seconds": round(sum(row["seconds"] for row in trained.history), 1),
        "device": where,
        "provenance": provenance(argv),
    }
    shares = calibrated(trained.judged.calibration, scores["total"])
    run_folder.write_scores(out / "scores.csv", split, scores, shares)
    run_folder.write_json(out / "result.json", result)
    draw(experiment, detector, trained, scores["total"])
    write_report(out)


def train(
    experiment: Experiment, detector: Detector, images: np.ndarray | Stream, held_out: np.ndarray | Photographs
) -> Trained:
    """The epochs still to do, each ended by `end_epoch`."""
    training = experiment.training

    def normal() -> np.ndarray:
        return normal_images(images, training)

    with (
        open_course(experiment, detector, held_out, normal, len(images)) as (course, last),
        progress_bar(training.epochs, training.batch_size) as progress,
    ):
        start, done = (last.state, last.epoch) if last else (first_state(course), 0)
        started = time.monotonic()
        mesh = device.mesh(experiment.config)
        if not isinstance(images, Stream):
            epochs = fit(detector, start, images, training, first_epoch=done, progress=progress, mesh=mesh)
        elif mesh is None:
            epochs = fit_stream(detector, start, images, training, first_epoch=done, progress=progress)
        else:
            raise UserError("images that are streamed train on one device; leave out --devices and --coordinator")
        for epoch, state, metrics in epochs:
            last = end_epoch(course, epoch, state, metrics, time.monotonic() - started)
            started = time.monotonic()
        assert last is not None  # a run has at least one epoch
        return choose_judged(course, last)


def judge(
    experiment: Experiment, detector: Detector, trained: Trained, scores: np.ndarray, pixels: PixelCounts | None
) -> dict[str, Any]:
    """The strict result, and beside it, if asked for, the reference protocol taken apart."""
    split, config = experiment.split, experiment.config
    strict = evaluation.evaluate_strict(
        split.test_labels, scores, trained.judged.calibration, config.false_positive_rate, pixels
    )
    judged: dict[str, Any] = {"strict": {"epoch": trained.judged.epoch} | strict}
    if pixels is not None:
        judged["pixels"] = evaluation.pixels_counted(split, pixels)
    if split.test_kinds is not None and evaluation.has_both(split.test_labels):
        judged["kinds"] = evaluation.evaluate_kinds(
            split.test_labels, split.test_kinds, scores, strict["threshold"]["value"], pixels
        )
    if config.protocol == "both":
        if trained.judged is not trained.last:  # otherwise these are the scores at hand
            scores = score_images(detector, trained.last.state, split.test, fields=("total",))["total"]
        judged["reference"] = evaluation.evaluate_reference(
            detector, trained.last.state, split, scores, trained.history, experiment.training
        )
    return judged


def map_limit(
    detector: Detector,
    state: State,
    normal: np.ndarray | Photographs,
    patches: Patches | None,
    false_positive_rate: float,
    count: int = 256,
) -> float:
    """What the maps of normal images hardly reach anywhere: of the first `count`, only that share exceed it."""
    if patches is not None:
        photographs = (normal[index] for index in range(min(count, len(normal))))
        scored = score_photographs(detector, state, photographs, patches, fields=("map",))
        hottest = [float(scores["map"].max()) for scores in scored]
    else:
        hottest = score_images(detector, state, normal[:count], fields=SEEN)["map"].max(axis=(1, 2))
    return float(np.quantile(hottest, 1 - false_positive_rate))


def draw(experiment: Experiment, detector: Detector, trained: Trained, scores: np.ndarray) -> None:
    """The pictures people look at: of scores and images, as far as there is a test set."""
    from sagan_jax.report import plots

    split, out, judged = experiment.split, experiment.out, trained.judged
    plots.losses(out / "losses.png", trained.history)
    if not len(split.test):
        return
    limit = evaluation.threshold(judged.calibration, experiment.config.false_positive_rate)
    if evaluation.has_both(split.test_labels):
        title = f"{split.name}, abnormal: {split.abnormal}"
        plots.score_histogram(out / "scores.png", scores, split.test_labels, title=title, threshold=limit)
        plots.roc(out / "roc.png", {"strict": (split.test_labels, scores)})
    chosen = thumbnails.choose(scores, split.test_labels, limit)  # the extremes of all are among them
    views = look(detector, judged.state, split, chosen)
    plots.gallery(
        out / "images.png", views.images, views.reconstructed, views.maps, scores[chosen], split.test_labels[chosen]
    )
    shares = calibrated(judged.calibration, scores)
    thumbnails.write_thumbnails(out / thumbnails.FILE, split, chosen, views, scores, shares)


def look(detector: Detector, state: State, split: Split, chosen: np.ndarray, size: int = 256) -> Views:
    """Some of the test images, what the model makes of them, and their masks; photographs are reduced to `size`."""
    images = take(split.test, chosen)
    masks = None if split.test_masks is None else [split.test_masks[index] for index in chosen]
    if split.patches is None:
        scores = score_images(detector, state, images, fields=SEEN)
        return Views(images[:], scores["reconstructed"], scores["map"], None if masks is None else np.stack(masks))
    rows = []
    for image in images:
        (scores,) = score_photographs(detector, state, [image], split.patches, fields=SEEN)
        rows.append([resize(whole, (size, size)) for whole in (image, scores["reconstructed"], scores["map"])])
    shown, reconstructed, maps = (np.stack(column) for column in zip(*rows, strict=True))
    if masks is not None:
        masks = np.stack([reduce(mask, (size, size)) for mask in masks])
    return Views(shown, reconstructed, maps, masks)
