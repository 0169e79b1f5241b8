"""A trained model read back from its run's folder: what scoring new images, exports and reports start from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from sagan_jax import run_folder
from sagan_jax.data.image_file import USUAL, Reading
from sagan_jax.data.patches import Patches
from sagan_jax.detector import Detector, Picture, State, abstract_state
from sagan_jax.judging.calibration import QUANTILES, Calibration
from sagan_jax.judging.scorer import Scorer
from sagan_jax.judging.scoring import batch_scorer
from sagan_jax.methods.table import Method
from sagan_jax.runs import checkpoint
from sagan_jax.runs.configuration import Configuration, held_out_images, read_configuration
from sagan_jax.runs.prepare import make_detector


class Model(NamedTuple):
    """A trained detector and all that is known about it.

    Attributes:
        method: How the detector is made.
        settings: The method's configuration.
        image_shape: [H, W, C] of the images it takes.
        detector: Its pure functions.
        state: What they learned.
        calibration: What normal images score.
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
        """How many normal images were held out of training."""
        return held_out_images(self.config)


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
    return restored_model(read_configuration(folder, method), folder, which)


def restored_model(known: Configuration, folder: Path, which: Literal["last", "best"] | int) -> Model:
    """The model of a run whose configuration was read; otherwise as `load_model`."""
    model = untrained_model(known, folder)
    with checkpoint.open_checkpoints(folder / "checkpoints", known.identity, keep=None) as checkpoints:
        kept = checkpoint.restore(checkpoints, model.state, which)
    return model._replace(state=kept.state, calibration=kept.calibration, epoch=kept.epoch)


def untrained_model(known: Configuration, where: Path) -> Model:
    """The model that a run's configuration describes, before its first epoch.

    Args:
        known: The configuration.
        where: The folder or file it comes from, for messages.

    Returns:
        The model; its state has shapes and dtypes alone, its calibration is void.

    Raises:
        UserError: If no detector can be made of the configuration.
    """
    with run_folder.damage_as_user_error(where):
        detector = make_detector(known.method, known.settings, known.training, known.images, known.map_kind)
    state, void = abstract_state(detector, known.image_shape), Calibration(np.zeros(QUANTILES, np.float32))
    return Model(
        known.method,
        known.settings,
        known.image_shape,
        detector,
        state,
        void,
        0,
        known.false_positive_rate,
        known.json,
        known.patches,
        known.reading,
    )


def scorer_of(model: Model, pictures: tuple[Picture, ...] = ()) -> Scorer:
    """A model in memory as what gives verdicts, and these pictures."""
    score = batch_scorer(model.detector, model.state, pictures)
    return Scorer(model.image_shape, score, model.calibration, model.patches, model.reading)


def load_judged(folder: Path, method: Method | None = None) -> tuple[Model, dict[str, Any]]:
    """The model whose epoch the run was judged by, and the run's `result.json`; empty of a run that has not ended.

    Raises:
        UserError: As `load_model`.
    """
    known = read_configuration(folder, method)
    return restored_model(known, folder, known.select), run_folder.read_result(folder, known.json)
