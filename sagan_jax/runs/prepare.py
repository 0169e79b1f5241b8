"""A run prepared: everything that follows from a split, a method and its settings, worked out once and handed on."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from sagan_jax.config import JudgingConfig, MapKind, TrainingConfig, settings_to_json
from sagan_jax.data.image_file import USUAL
from sagan_jax.data.photographs import Photographs
from sagan_jax.data.split import Split, hold_out, image_count, image_shape, take, train_checksum
from sagan_jax.detector import Detector, State, abstract_state
from sagan_jax.judging.false_positive_rate import rate_for
from sagan_jax.methods.table import Method
from sagan_jax.runs.identity import CHECKSUM
from sagan_jax.training.plan import all_steps
from sagan_jax.transforms.density import scored_by
from sagan_jax.transforms.maps import mapped


class Prepared(NamedTuple):
    """A run before its first step.

    Attributes:
        split: Normal images to train on, the test set.
        method: How the detector is made.
        settings: The method's settings.
        training: How long and on what it is trained.
        images: How many images, or patches of them, are trained on.
        kept: Which of the split's training images are trained on.
        held_out_indices: Which are held out: the others.
        held_out: The images held out, for the validation loss, and for calibration where they are many.
        image_shape: [H, W, C] of what the detector takes, images or patches of them.
        detector: The method as pure functions; the same settings, but for the seed, give the same functions.
        judging: How it is judged, its rate of false positives settled.
        like: A state's structure, shapes and dtypes.
        identity: What a checkpoint must agree on so that the run can continue from it, as JSON values.
    """

    split: Split
    method: Method
    settings: Any
    training: TrainingConfig
    images: int
    kept: Int[np.ndarray, " kept"]
    held_out_indices: Int[np.ndarray, " held_out"]
    held_out: np.ndarray | Photographs
    image_shape: tuple[int, ...]
    detector: Detector
    judging: JudgingConfig
    like: State
    identity: dict[str, Any]


def prepare(
    split: Split, method: Method, settings: Any, training: TrainingConfig, judging: JudgingConfig | None = None
) -> Prepared:
    """Works out what a run is.

    Args:
        split: Normal images to train on, the test set.
        method: A method of `methods.table.METHODS`, or one of your own.
        settings: The method's settings.
        training: How long and on what it is trained.
        judging: How it is judged; by default strictly.

    Returns:
        The run, to be trained.

    Raises:
        UserError: If the images do not suit the method, or are too few, for the wanted rate of false positives too.
    """
    kept, held_out_indices = hold_out(len(split.train), training.validation_fraction, training.seed, split.groups)
    judging = judging or JudgingConfig()
    judging = replace(judging, false_positive_rate=rate_for(judging.false_positive_rate, len(held_out_indices)))
    identity: dict[str, Any] = {}
    images = image_count(split, kept)
    if split.patches is not None:
        identity = {"patches": split.patches._asdict(), "kept_patches": images}
    if split.reading != USUAL:  # left out otherwise, as it is in older runs
        identity |= {"reading": split.reading._asdict()}
    if split.groups is not None:
        identity |= {"group": split.groups.pattern, "held_out": len(held_out_indices)}
    shape = image_shape(split)
    detector = make_detector(method, settings, training, images, judging.map)
    identity |= {
        "dataset": split.name,
        "abnormal": split.abnormal,
        "image_shape": list(shape),
        "train_images": len(split.train),
        CHECKSUM: train_checksum(split),
        "method": method.name,
        "model": settings_to_json(settings),
        "training": training.as_json(),
    }
    return Prepared(
        split=split,
        method=method,
        settings=settings,
        training=training,
        images=images,
        kept=kept,
        held_out_indices=held_out_indices,
        held_out=take(split.train, held_out_indices),
        image_shape=shape,
        detector=detector,
        judging=judging,
        like=abstract_state(detector, shape),
        identity=identity,
    )


def make_detector(
    method: Method, settings: Any, training: TrainingConfig, images: int, map_kind: MapKind = "residual"
) -> Detector:
    """The detector of a run: the method, with the scoring and the kind of map that the run wants.

    Args:
        method: How it is made.
        settings: The method's settings.
        training: Epochs and batch size, over whose steps a learning rate decays; the scoring.
        images: Images or patches of an epoch, the held-out ones not among them.
        map_kind: What anomaly maps show.

    Returns:
        The detector; the same one for the same arguments, so that JAX compiles it once a process.

    Raises:
        UserError: If the images do not fill one batch, or are too few for the scoring.
    """
    detector = method.build(settings, all_steps(images, training))
    in_batches = images // training.batch_size * training.batch_size
    return mapped(scored_by(training.scoring, detector, in_batches), map_kind)
