"""A trained model read back from its run's folder: what scoring new images, exports and reports start from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from sagan_jax import run_folder
from sagan_jax.config import TrainingConfig, require, settings_from_json, settings_to_json
from sagan_jax.data.image_file import USUAL, Reading
from sagan_jax.data.patches import Patches
from sagan_jax.data.split import held_out_count
from sagan_jax.detector import Detector, State, abstract_state
from sagan_jax.errors import UserError, printable
from sagan_jax.judging.calibration import QUANTILES, Calibration, least_rate
from sagan_jax.judging.false_positive_rate import rate_for
from sagan_jax.methods.table import METHODS, Method
from sagan_jax.runs import checkpoint
from sagan_jax.runs.prepare import make_detector


class Model(NamedTuple):
    """A trained detector and all that is known about it.

    Attributes:
        method: How the detector is made.
        settings: The method's configuration.
        image_shape: [H, W, C] of the images it takes.
        detector: Its pure functions.
        state: What they learned.
        calibration: What held-out normal images score.
        epoch: How many epochs it was trained.
        false_positive_rate: The share of normal images that the run's threshold may call abnormal, never less than
            `held_out` of them support.
        config: The run's `config.json`: data set, classes, training, how it is judged.
        patches: How photographs are cut for it; None if it takes whole images.
        reading: How files become images for it.
    """

    method: Method
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

    @property
    def held_out(self) -> int:
        """How many normal images the calibration rests on."""
        return held_out_count(self.config["train_images"], self.config["training"]["validation_fraction"])


def load_model(
    folder: str | Path, which: Literal["last", "best"] | int = "last", method: Method | None = None
) -> Model:
    """Reads a trained model back from a run's folder.

    Args:
        folder: The folder of a run that has finished an epoch or more.
        which: The last epoch, that with the lowest validation loss, or an epoch by its number.
        method: The run's method where `METHODS` does not have it.

    Returns:
        The model.

    Raises:
        UserError: If the folder holds no run, no checkpoint, or one that this version cannot read.
    """
    folder = Path(folder)
    model = untrained_model(read_config(folder), folder, method)
    identity = {name: value for name, value in model.config.items() if name not in ("format", "run")}
    identity |= {
        "model": settings_to_json(model.settings),
        "training": TrainingConfig(**model.config["training"]).as_json(),
    }
    with checkpoint.open_checkpoints(folder / "checkpoints", identity, keep=None) as checkpoints:
        kept = checkpoint.restore(checkpoints, model.state, which)
    return model._replace(state=kept.state, calibration=kept.calibration, epoch=kept.epoch)


def untrained_model(config: Mapping[str, Any], where: Path, method: Method | None = None) -> Model:
    """The model that a run's configuration describes, before its first epoch.

    Args:
        config: What `config.json` has.
        where: The folder or file it comes from, for messages.
        method: The method where `METHODS` does not have it.

    Returns:
        The model; its state has shapes and dtypes alone, its calibration is void.

    Raises:
        UserError: If the configuration is damaged or of a newer version.
    """
    check_format(config, where)
    with run_folder.damage_as_user_error(where):
        method = _method_of(config["method"], method, where)
        image_shape = tuple(config["image_shape"])
        settings = settings_from_json(type(method.preset("paper")), config["model"])
        training = TrainingConfig(**config["training"])
        patches = Patches(**config["patches"]) if "patches" in config else None
        reading = Reading(**config.get("reading", {}))
        for name, value in reading._asdict().items():
            require(type(value) is int and value >= 1, name, value, "at least 1")
        count = config["train_images"]
        held_out = held_out_count(count, training.validation_fraction)
        images = config.get("kept_patches") or count - held_out
        detector = make_detector(method, settings, training, images, config["run"].get("map", "residual"))
        wanted = config["run"]["false_positive_rate"]
        rate = rate_for(None, held_out) if wanted is None else max(float(wanted), least_rate(held_out))
    state, void = abstract_state(detector, image_shape), Calibration(np.zeros(QUANTILES, np.float32))
    return Model(method, settings, image_shape, detector, state, void, 0, rate, config, patches, reading)


def _method_of(name: str, given: Method | None, where: Path) -> Method:
    """The method that a configuration names: the one given, or one of the table."""
    found = given or METHODS.get(name)
    if found is None:
        raise UserError(
            f"{printable(where)} is of the method {name!r}, which is none of {', '.join(METHODS)}; say where it is "
            "with --method=MODULE:NAME"
        )
    if found.name != name:
        raise UserError(f"{printable(where)} is of the method {name!r}, not of {found.name!r}")
    return found


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


def load_judged(folder: Path, method: Method | None = None) -> tuple[Model, dict[str, Any]]:
    """The model whose epoch the run was judged by, and the run's `result.json`; empty of a run that has not ended.

    Raises:
        UserError: As `load_model`.
    """
    with run_folder.damage_as_user_error(folder):
        select = read_config(folder)["run"]["select"]
    model = load_model(folder, select, method)
    return model, run_folder.read_json(folder / "result.json") or {}
