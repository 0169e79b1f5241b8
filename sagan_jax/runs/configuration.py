"""What a run's `config.json` says of the model, without making it: enough to give verdicts, and soon read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sagan_jax import run_folder
from sagan_jax.config import MapKind, TrainingConfig, settings_from_json, settings_to_json
from sagan_jax.data.image_file import Reading
from sagan_jax.data.patches import Patches
from sagan_jax.data.split import held_out_count
from sagan_jax.errors import UserError, printable, require
from sagan_jax.judging.calibration import least_rate
from sagan_jax.judging.false_positive_rate import rate_for
from sagan_jax.methods.table import METHODS, Method
from sagan_jax.runs.checkpoint import FORMAT


class Configuration(NamedTuple):
    """A run's configuration.

    Attributes:
        method: How the detector is made.
        settings: The method's settings.
        training: How long and on what it is trained.
        image_shape: [H, W, C] of the images it takes.
        images: How many images, or patches of them, are trained on.
        held_out: How many normal images were held out of training; they bound the rate.
        map_kind: What anomaly maps show.
        false_positive_rate: The share of normal images that the run's threshold may call abnormal.
        select: Which epoch is judged.
        patches: How photographs are cut for it; None if it takes whole images.
        reading: How files become images for it.
        json: All of `config.json`.
    """

    method: Method
    settings: Any
    training: TrainingConfig
    image_shape: tuple[int, int, int]
    images: int
    held_out: int
    map_kind: MapKind
    false_positive_rate: float
    select: Literal["last", "best"]
    patches: Patches | None
    reading: Reading
    json: Mapping[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        """What its checkpoints must agree on, as JSON values."""
        identity = {name: value for name, value in self.json.items() if name not in ("format", "run")}
        return identity | {"model": settings_to_json(self.settings), "training": self.training.as_json()}


def read_configuration(folder: Path, method: Method | None = None) -> Configuration:
    """The configuration of a run's folder.

    Args:
        folder: The run's folder.
        method: The run's method where `METHODS` does not have it.

    Raises:
        UserError: If the folder holds no run, or as `configuration`.
    """
    return configuration(read_config(folder), folder, method)


def configuration(config: Mapping[str, Any], where: Path, method: Method | None = None) -> Configuration:
    """What a configuration says.

    Args:
        config: What `config.json` has.
        where: The folder or file it comes from, for messages.
        method: The method where `METHODS` does not have it.

    Raises:
        UserError: If the configuration is damaged or of a version that this one cannot read.
    """
    check_format(config, where)
    with run_folder.damage_as_user_error(where):
        method = _method_of(config["method"], method, where)
        height, width, channels = config["image_shape"]
        settings = settings_from_json(type(method.presets["paper"]), config["model"])
        training = TrainingConfig(**config["training"])
        patches = Patches(**config["patches"]) if "patches" in config else None
        reading = Reading(**config.get("reading", {}))
        for name, value in reading._asdict().items():
            least = 0 if name == "jpeg_margin" else 1
            require(type(value) is int and value >= least, name, value, f"at least {least}")
        count = config["train_images"]
        held_out = held_out_images(config)
        images = config.get("kept_patches") or count - held_out
        wanted = config["run"]["false_positive_rate"]
        rate = rate_for(None, held_out) if wanted is None else max(float(wanted), least_rate(held_out))
        map_kind = config["run"].get("map", "residual")
        return Configuration(
            method,
            settings,
            training,
            (height, width, channels),
            images,
            held_out,
            map_kind,
            rate,
            config["run"]["select"],
            patches,
            reading,
            config,
        )


def held_out_images(config: Mapping[str, Any]) -> int:
    """How many normal images a run holds out, by its `config.json`; by groups they are counted, not reckoned."""
    if "held_out" in config:
        return int(config["held_out"])
    return held_out_count(config["train_images"], config["training"]["validation_fraction"])


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
    """Raises UserError for a configuration that a newer version wrote, or of a generator that has changed since."""
    written = config.get("format", 0)  # runs had none at first
    if not isinstance(written, int) or written > FORMAT:
        raise UserError(
            f"{printable(where)} is of format {written}, which a newer version of sagan-jax wrote; this one "
            f"reads format {FORMAT} and before"
        )
    model = config.get("model")
    repair = model.get("repair") if isinstance(model, Mapping) else None
    if written < 2 and isinstance(repair, Mapping) and repair.get("restoration"):
        raise UserError(
            f"{printable(where)} is of format {written}, whose generator gives a correction of the image where this "
            "version's gives the repaired image; train it anew"
        )
