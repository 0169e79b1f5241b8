"""A run between its epochs: its checkpoints, its history, and how an epoch ends."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from sagan_jax import device, run_folder
from sagan_jax.config import OutputConfig, TrainingConfig
from sagan_jax.data.photographs import Photographs
from sagan_jax.data.split import content_checksum
from sagan_jax.detector import State
from sagan_jax.errors import UserError
from sagan_jax.judging import evaluation
from sagan_jax.judging.calibration import calibrate
from sagan_jax.judging.crossed import ENOUGH, crossed_scores, too_many_over
from sagan_jax.judging.scoring import score_images
from sagan_jax.run_folder import VALIDATION
from sagan_jax.runs import checkpoint
from sagan_jax.runs.checkpoint import CALIBRATION_IMAGES, EXCEEDING, FORMAT, Checkpoint, Checkpoints
from sagan_jax.runs.configuration import check_format
from sagan_jax.runs.prepare import Prepared
from sagan_jax.runs.scoring_weights import keep_weights
from sagan_jax.training.plan import steps_of_epoch
from sagan_jax.training.streaming import WAITING


class Trained(NamedTuple):
    """What training gives: the last checkpoint, the one that is judged (often the same), each epoch's metrics."""

    last: Checkpoint
    judged: Checkpoint
    history: tuple[dict[str, Any], ...]


class RunState(NamedTuple):
    """A run between two epochs.

    Attributes:
        prepared: What is run.
        folder: Where it goes.
        checkpoints: Where each epoch's state is kept.
        history: The metrics of the epochs so far.
        last: The last checkpoint; None before the first epoch.
    """

    prepared: Prepared
    folder: Path
    checkpoints: Checkpoints
    history: tuple[dict[str, Any], ...]
    last: Checkpoint | None


def check_folder(folder: Path, output: OutputConfig) -> None:
    """Raises UserError if the folder is not empty and the run is not to be resumed."""
    if device.is_first_host() and not output.resume and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; name another folder with --out, or continue this one with --resume")


@contextmanager
def open_run(
    prepared: Prepared, folder: Path, machine: device.Machine, output: OutputConfig, *, streams: bool = False
) -> Iterator[RunState]:
    """Opens a run's checkpoints and writes its configuration; yields the run as its last epoch left it.

    Args:
        prepared: What is run.
        folder: Where it goes.
        machine: What it computes on.
        output: What is kept of it.
        streams: Whether its images are streamed from disk. Patches then come in another order than from memory.

    Raises:
        UserError: If the run that is there cannot be continued so; its folder stays as it is.
    """
    with checkpoint.open_checkpoints(folder / "checkpoints", prepared.identity, output.keep) as checkpoints:
        last = checkpoint.restore(checkpoints, prepared.like) if checkpoint.epochs(checkpoints) else None
        done = last.epoch if last else 0
        rows = run_folder.read_metrics(folder / "metrics.jsonl")
        history = tuple(row for row in rows if row["epoch"] <= done)
        stored = run_folder.read_json(folder / "config.json") or {}
        check_format(stored, folder / "config.json")
        facts = _facts(prepared, streams)
        if last is not None:
            before = _facts_before(stored.get("run"), history)
            _check_facts(facts, before, done < prepared.training.epochs)
            facts |= {name: before[name] for name in facts if name in before}
        if prepared.judging.protocol == "both":
            scored = [row["epoch"] for row in history if evaluation.REFERENCE_AUROC in row]
            if scored != list(range(1, done + 1)):
                raise UserError(
                    "not all of the run's epochs are on record as scored by the reference protocol, which picks the "
                    "best of them; start a new run with --protocol=both"
                )
        if device.is_first_host():
            _tell_of_more_epochs(stored, prepared.training.epochs)
            settings = asdict(output) | {"out": folder} | asdict(prepared.judging) | asdict(machine.config) | facts
            run_folder.write_json(folder / "config.json", {"format": FORMAT} | prepared.identity | {"run": settings})
        yield RunState(prepared, folder, checkpoints, history, last)


def _facts(prepared: Prepared, streams: bool) -> dict[str, Any]:
    """What a continuation must find as it was, beside the settings that checkpoints agree on."""
    split = prepared.split
    facts: dict[str, Any] = {"streamed": streams}
    if isinstance(split.train, Photographs):
        facts |= {"train_content": content_checksum(split.train_ids, split.train)}
    if prepared.judging.protocol == "both":
        facts |= {"test_content": content_checksum(split.test_ids, split.test)}
    return facts


def _facts_before(stored: Any, history: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The facts of the epochs so far, from the `run` of `config.json`; of earlier versions the metrics tell one."""
    before = dict(stored) if isinstance(stored, Mapping) else {}
    return ({"streamed": WAITING in history[-1]} if history else {}) | before


def _check_facts(facts: dict[str, Any], before: dict[str, Any], trains: bool) -> None:
    """Raises UserError if a run whose facts were `before` cannot continue; it `trains` if epochs are left."""
    differs = {name for name, value in facts.items() if before.get(name, value) != value}
    if trains and "streamed" in differs:
        where, flag = ("kept in memory", "never") if facts["streamed"] else ("streamed from disk", "always")
        raise UserError(f"the run's images were {where} so far; continue it with --streaming={flag}")
    if trains and "train_content" in differs:
        raise UserError("the run's training photographs show something else than before; start a new run")
    if "test_content" in differs:
        raise UserError(
            "the test images are not those that the run's epochs were scored on, of which the reference protocol picks "
            "the best; start a new run"
        )


def continued(training: TrainingConfig, folder: Path, output: OutputConfig) -> TrainingConfig:
    """The training of a run that may continue for more epochs: each epoch keeps the number of steps it had before.

    `steps` counts those of all epochs, so more epochs take more of them. If that changes it, stderr says so.
    """
    stored = run_folder.read_json(folder / "config.json") if output.resume else None
    match stored:
        case {"training": {"epochs": int(before), "steps": int(steps)}} if (
            training.steps is not None and 1 <= before <= steps
        ):
            kept = steps * training.epochs // before
            if training.epochs < before or training.steps == kept:
                return training
            about = "" if steps % before == 0 else "about "
            print(
                f"{kept:,} steps, not {training.steps:,}: each epoch has {about}{steps // before:,} as before",
                file=sys.stderr,
            )
            return replace(training, steps=kept)
    return training


def _tell_of_more_epochs(stored: Mapping[str, Any], epochs: int) -> None:
    """Says on stderr what it means for the learning rate if a run continues for more epochs than it was started for."""
    match stored:
        case {"training": {"epochs": int(before)}} if before < epochs:
            print(
                f"continuing to epoch {epochs}; the run was started for {before}. A learning rate that decays follows "
                f"the schedule of {epochs} epochs from here on, so the result is not that of {epochs} from the start",
                file=sys.stderr,
            )


def first_state(prepared: Prepared) -> State:
    """The state that training starts from."""
    return prepared.detector.init(jax.random.key(prepared.training.seed), prepared.image_shape)


def end_epoch(
    run: RunState,
    normal: Callable[[], np.ndarray],
    epoch: int,
    state: State,
    metrics: dict[str, Any],
    seconds: float,
) -> RunState:
    """Ends an epoch: fits what needs normal images, adds a line of metrics, saves a checkpoint with its calibration.

    Args:
        run: The run.
        normal: Gives normal training images, in memory, for what is fitted beside the networks.
        epoch: Epochs done.
        state: After this one.
        metrics: Means over its steps.
        seconds: How long it took.

    Returns:
        The run with the epoch in its history, and its new last checkpoint.
    """
    prepared, detector = run.prepared, run.prepared.detector
    split, training = prepared.split, prepared.training
    if detector.fit_normal:
        key = jax.random.key(training.seed)
        fitted = detector.fit_normal(device.local(state), normal(), key)
        state = device.put(fitted, jax.tree.leaves(state)[0].sharding)
    scores = score_images(detector, state, prepared.held_out, patches=split.patches)
    crossed = _crossed(run, epoch, state)
    exceeding = too_many_over(crossed, scores.total)
    normal_scores = crossed if len(crossed) and not exceeding else scores.total
    row = {"epoch": epoch} | metrics | {VALIDATION: float(scores.reconstruction.mean())}
    row |= {CALIBRATION_IMAGES: len(normal_scores)} | ({EXCEEDING: exceeding} if exceeding else {})
    if prepared.judging.protocol == "both":
        row[evaluation.REFERENCE_AUROC] = evaluation.reference_auroc(detector, state, split, training.batch_size)
    shown = steps_of_epoch(epoch - 1, prepared.images, training) * training.batch_size
    row |= {"seconds": round(seconds, 2), "images_per_second": round(shown / seconds, 2)}
    history = (*run.history, row)
    if device.is_first_host():
        run_folder.write_metrics(run.folder / "metrics.jsonl", history)
    last = Checkpoint(epoch, state, calibrate(normal_scores))
    checkpoint.save(run.checkpoints, last, row[VALIDATION])
    if device.is_first_host():
        keep_weights(run.checkpoints, last, detector, prepared.image_shape)
    return run._replace(history=history, last=last)


def _crossed(run: RunState, epoch: int, state: State) -> np.ndarray:
    """Scores of normal images by halves, of an epoch that may be judged; none where those held out are enough."""
    prepared = run.prepared
    split, training = prepared.split, prepared.training
    judged = epoch == training.epochs or prepared.judging.select == "best"
    few = len(prepared.held_out) < ENOUGH
    if not (prepared.detector.crossed and judged and few and split.patches is None):
        return np.zeros(0, np.float32)
    return crossed_scores(prepared.detector, device.local(state), split.train, training.seed, split.groups)


def finish(run: RunState) -> Trained:
    """The run after its last epoch, with the epoch that is judged."""
    assert run.last is not None  # a run has at least one epoch
    last = run.last._replace(state=device.local(run.last.state))
    best = run.prepared.judging.select == "best"
    judged = checkpoint.restore(run.checkpoints, run.prepared.like, "best") if best else last
    return Trained(last, judged, run.history)
