"""A run on its way through the epochs: what it is, what follows each epoch, and what training leaves in the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from sagan_jax import checkpoint, device, evaluation, run_folder
from sagan_jax.checkpoint import FORMAT, VALIDATION, Checkpoint
from sagan_jax.config import RunConfig, TrainingConfig
from sagan_jax.data.image_file import USUAL
from sagan_jax.data.photographs import Photographs
from sagan_jax.data.split import Split, hold_out, image_shape
from sagan_jax.detector import Detector, State
from sagan_jax.errors import UserError
from sagan_jax.maps import mapped
from sagan_jax.model import abstract_state, make_detector
from sagan_jax.scoring import calibrate, score_images


class Experiment(NamedTuple):
    """All that decides a run's outcome, and where it goes.

    Attributes:
        split: Normal images to train on, the test set.
        method: A name in `methods.METHODS`.
        model: The method's configuration.
        training: How long and on what it is trained.
        config: How it is judged and what it runs on.
        out: The run's folder.
    """

    split: Split
    method: str
    model: Any
    training: TrainingConfig
    config: RunConfig
    out: Path


class Trained(NamedTuple):
    """What training leaves: the last checkpoint, the one that is judged (often the same), each epoch's metrics."""

    last: Checkpoint
    judged: Checkpoint
    history: list[dict[str, Any]]


def identity(experiment: Experiment) -> dict[str, Any]:
    """What a checkpoint must agree on to be gone on with, as JSON values."""
    split = experiment.split
    cut: dict[str, Any] = {}
    if split.patches is not None:
        assert isinstance(split.train, Photographs)
        kept, _ = held_out_of(experiment)
        count = split.train.take(kept).count_patches(split.patches)
        cut = {"patches": split.patches._asdict(), "kept_patches": count}
    if split.reading != USUAL:  # goes without saying otherwise, as it does in older runs
        cut |= {"reading": split.reading._asdict()}
    return cut | {
        "dataset": split.name,
        "abnormal": split.abnormal,
        "image_shape": list(image_shape(split)),
        "train_images": len(split.train),
        "method": experiment.method,
        "model": asdict(experiment.model),
        "training": experiment.training.said(),
    }


def check_folder(experiment: Experiment) -> None:
    """Raises UserError if the folder has something in it that is not to be gone on with."""
    out = experiment.out
    if device.is_first_host() and not experiment.config.resume and any(out.iterdir()):
        raise UserError(f"{out} is not empty; name another folder with --out, or go on with this one with --resume")


def held_out_of(experiment: Experiment) -> tuple[np.ndarray, np.ndarray]:
    """Which of the split's training images are trained on, and which are held out."""
    training = experiment.training
    return hold_out(len(experiment.split.train), training.validation_fraction, training.seed)


def detector_of(experiment: Experiment) -> Detector:
    """The detector that the settings describe; the same settings, but for the seed, give the same functions."""
    kept_patches = identity(experiment).get("kept_patches")
    training, count = experiment.training, len(experiment.split.train)
    detector = make_detector(experiment.method, experiment.model, training, count, kept_patches)
    return mapped(detector, experiment.config.map)


class Course(NamedTuple):
    """A run on its way through the epochs.

    Attributes:
        experiment: What is run.
        detector: The method.
        held_out: Normal images that are not trained on.
        normal: Gives normal images that are, in memory, to fit more on than the networks.
        images: How many an epoch has.
        checkpoints: Where each epoch's state is kept.
        like: A state's structure, shapes and dtypes.
        history: The metrics of the epochs so far; added to.
    """

    experiment: Experiment
    detector: Detector
    held_out: np.ndarray | Photographs
    normal: Callable[[], np.ndarray]
    images: int
    checkpoints: checkpoint.Checkpoints
    like: State
    history: list[dict[str, Any]]


@contextmanager
def open_course(
    experiment: Experiment,
    detector: Detector,
    held_out: np.ndarray | Photographs,
    normal: Callable[[], np.ndarray],
    images: int,
) -> Iterator[tuple[Course, Checkpoint | None]]:
    """Opens a run's checkpoints; yields the run and, if it is gone on with, the last of them."""
    out, config = experiment.out, experiment.config
    like = abstract_state(detector, image_shape(experiment.split))  # refuses shapes that do not suit
    with checkpoint.open_checkpoints(out / "checkpoints", identity(experiment), config.keep) as checkpoints:
        last = checkpoint.restore(checkpoints, like) if checkpoint.epochs(checkpoints) else None
        if device.is_first_host():
            said = {"format": FORMAT} | identity(experiment) | {"run": asdict(config)}
            run_folder.write_json(out / "config.json", said)
        done = last.epoch if last else 0
        history = [row for row in run_folder.read_metrics(out / "metrics.jsonl") if row["epoch"] <= done]
        yield Course(experiment, detector, held_out, normal, images, checkpoints, like, history), last


def first_state(course: Course) -> State:
    """The state that training starts from."""
    experiment = course.experiment
    return course.detector.init(jax.random.key(experiment.training.seed), image_shape(experiment.split))


def end_epoch(course: Course, epoch: int, state: State, metrics: dict[str, Any], seconds: float) -> Checkpoint:
    """What follows each epoch: what is fitted on normal images, a line of metrics, a checkpoint with its calibration.

    Args:
        course: The run; its history gets the line.
        epoch: Epochs done.
        state: After this one.
        metrics: Means over its steps.
        seconds: How long it took.

    Returns:
        The checkpoint.
    """
    experiment, detector, checkpoints, history = course.experiment, course.detector, course.checkpoints, course.history
    split, training = experiment.split, experiment.training
    if detector.fit_normal:
        key = jax.random.key(training.seed)
        fitted = detector.fit_normal(device.local(state), course.normal(), key)
        state = device.put(fitted, jax.tree.leaves(state)[0].sharding)
    scores = score_images(detector, state, course.held_out, patches=split.patches)
    row = {"epoch": epoch} | metrics | {VALIDATION: float(scores["reconstruction"].mean())}
    if experiment.config.protocol == "both":
        row[evaluation.REFERENCE_AUROC] = evaluation.reference_auroc(detector, state, split, training.batch_size)
    row |= {"seconds": round(seconds, 2), "images_per_second": round(course.images / seconds, 2)}
    history.append(row)
    if device.is_first_host():
        run_folder.write_metrics(experiment.out / "metrics.jsonl", history)
    last = Checkpoint(epoch, state, calibrate(scores["total"]))
    checkpoint.save(checkpoints, last, row[VALIDATION])
    return last


def choose_judged(course: Course, last: Checkpoint) -> Trained:
    """The run after its last epoch, with the epoch that is judged."""
    last = last._replace(state=device.local(last.state))
    best = course.experiment.config.select == "best"
    judged = checkpoint.restore(course.checkpoints, course.like, "best") if best else last
    return Trained(last, judged, course.history)
