"""A trained model read back from its run's folder: what scoring new images, exports and reports start from."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from sagan_jax import checkpoint, run_folder
from sagan_jax.config import TrainingConfig, require
from sagan_jax.data.image_file import USUAL, Reading
from sagan_jax.data.patches import Patches
from sagan_jax.data.split import held_out_count
from sagan_jax.density import scored_by
from sagan_jax.detector import Detector, State
from sagan_jax.errors import UserError, printable
from sagan_jax.maps import mapped
from sagan_jax.methods import METHODS
from sagan_jax.scoring import QUANTILES, Calibration
from sagan_jax.training import steps_per_epoch


class Model(NamedTuple):
    """A trained detector and all that is known of it.

    Attributes:
        method: Its name in `methods.METHODS`.
        settings: The method's configuration.
        image_shape: [H, W, C] of the images it takes.
        detector: Its pure functions.
        state: What they learned.
        calibration: What held-out normal images score.
        epoch: How many epochs it was trained.
        false_positive_rate: The share of normal images that the run's threshold may call abnormal.
        config: The run's `config.json`: data set, classes, training, how it is judged.
        patches: How photographs are cut for it; None if it takes whole images.
        reading: How files become images for it.
    """

    method: str
    settings: Any
    image_shape: tuple[int, int, int]
    detector: Detector
    state: State
    calibration: Calibration
    epoch: int
    false_positive_rate: float
    config: Mapping[str, Any]
    patches: Patches | None = None
    reading: Reading = USUAL


def make_detector(
    method: str, settings: Any, training: TrainingConfig, train_images: int, kept_patches: int | None = None
) -> Detector:
    """The detector of a run: the method, scoring as it is to.

    A learning rate decays over the steps that are left once images are held out.

    Args:
        method: A name in `methods.METHODS`.
        settings: The method's configuration.
        training: Epochs, batch size, the part held out, the scoring.
        train_images: Normal training images, the held-out ones among them.
        kept_patches: How many patches are cut from those that are not held out; None if they are taken whole.

    Returns:
        The detector.

    Raises:
        UserError: If the images that are not held out do not fill one batch, or are too few for the scoring.
    """
    kept = train_images - held_out_count(train_images, training.validation_fraction)
    steps = steps_per_epoch(kept_patches or kept, training.batch_size)
    detector = METHODS[method].build(settings, training.epochs * steps)
    return scored_by(training.scoring, detector, steps * training.batch_size)


def abstract_state(detector: Detector, image_shape: tuple[int, ...]) -> State:
    """The state's structure, shapes and dtypes, without making it. Raises UserError for a shape that does not suit."""
    return jax.eval_shape(lambda key: detector.init(key, image_shape), jax.random.key(0))


def load_model(folder: Path, which: Literal["last", "best"] | int = "last") -> Model:
    """Reads a trained model back from a run's folder.

    Args:
        folder: The folder of a run that has finished an epoch or more.
        which: The last epoch, that with the lowest validation loss, or an epoch by its number.

    Returns:
        The model.

    Raises:
        UserError: If the folder holds no run, no checkpoint, or one that this version cannot read.
    """
    model = untrained_model(read_config(folder), where=folder)
    identity = {name: value for name, value in model.config.items() if name not in ("format", "run")}
    identity |= {"model": asdict(model.settings), "training": TrainingConfig(**model.config["training"]).said()}
    with checkpoint.open_checkpoints(folder / "checkpoints", identity, keep=None) as checkpoints:
        kept = checkpoint.restore(checkpoints, model.state, which)
    return model._replace(state=kept.state, calibration=kept.calibration, epoch=kept.epoch)


def untrained_model(config: Mapping[str, Any], where: Path) -> Model:
    """The model that a run's configuration describes, before its first epoch.

    Args:
        config: What `config.json` has.
        where: The folder or file it comes from, for messages.

    Returns:
        The model; its state has shapes and dtypes alone, its calibration is void.

    Raises:
        UserError: If the configuration is damaged or of a newer version.
    """
    check_format(config, where)
    with run_folder.taken_at_its_word(where):
        image_shape = tuple(config["image_shape"])
        settings = type(METHODS[config["method"]].preset("paper"))(**config["model"])
        training = TrainingConfig(**config["training"])
        patches = Patches(**config["patches"]) if "patches" in config else None
        reading = Reading(**config.get("reading", {}))
        for name, value in reading._asdict().items():
            require(type(value) is int and value >= 1, name, value, "at least 1")
        detector = make_detector(
            config["method"], settings, training, config["train_images"], config.get("kept_patches")
        )
        detector = mapped(detector, config["run"].get("map", "residual"))
        rate = float(config["run"]["false_positive_rate"])
    state, void = abstract_state(detector, image_shape), Calibration(np.zeros(QUANTILES, np.float32))
    return Model(config["method"], settings, image_shape, detector, state, void, 0, rate, config, patches, reading)


def read_config(folder: Path) -> dict[str, Any]:
    """A run's `config.json`.

    Raises:
        UserError: If the folder holds no run or the file cannot be read.
    """
    config = run_folder.read_json(folder / "config.json")
    if config is None or not (folder / "checkpoints").is_dir():
        raise UserError(f"{folder} holds no run; a run's folder has config.json and checkpoints/")
    check_format(config, folder / "config.json")
    return config


def check_format(config: Mapping[str, Any], where: Path) -> None:
    """Raises UserError for a configuration that a newer version wrote."""
    written = config.get("format", 0)  # runs had none at first
    if not isinstance(written, int) or written > checkpoint.FORMAT:
        raise UserError(
            f"{printable(where)} is of format {written}, which a newer version of sagan-jax wrote; this one "
            f"reads format {checkpoint.FORMAT} and before"
        )


def load_judged(folder: Path) -> tuple[Model, dict[str, Any]]:
    """The model whose epoch the run was judged by, and the run's `result.json`; empty of a run that has not ended.

    Raises:
        UserError: As `load_model`.
    """
    with run_folder.taken_at_its_word(folder):
        select = read_config(folder)["run"]["select"]
    model = load_model(folder, select)
    return model, run_folder.read_json(folder / "result.json") or {}
