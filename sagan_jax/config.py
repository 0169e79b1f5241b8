"""Every setting, frozen: of the method (with the paper's and its authors' code's values as presets), training, a run.

Nothing heavy is imported here, so that a command line made from these answers at once.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

from sagan_jax.errors import UserError

Preset = Literal["paper", "reference", "inspection"]
Precision = Literal["float32", "bf16"]
Protocol = Literal["strict", "both"]
MapKind = Literal["residual", "latent_gradient"]
Site = Literal["station", "field"]
Scoring = Literal["method", "density"]
Device = Literal["auto", "cpu", "gpu", "tpu"]
Streaming = Literal["auto", "always", "never"]
Together = Literal["auto", "no", "vmap", "map"]


def require(holds: bool, name: str, value: object, allowed: str) -> None:
    """Raises UserError, naming the setting, its value and what is allowed, unless `holds`."""
    if not holds:
        raise UserError(f"{name} is {value!r}; it must be {allowed}")


@dataclass(frozen=True, kw_only=True)
class GanConfig:
    """What every method has: the size of its networks, their optimiser, the weight of the score's terms."""

    width: int = 64
    """Channels of the first level of both networks."""
    latent_size: int = 100
    """Length of the latent."""
    learning_rate: float = 2e-4
    """Adam's step size, for both networks."""
    decay: Literal["linear", "cosine", "constant"] = "constant"
    """Learning rate over training: constant; or constant for the first half and linear to zero over the second; or half
    a cosine down to zero."""
    beta1: float = 0.5
    """Adam's decay of the mean gradient."""
    beta2: float = 0.999
    """Adam's decay of the mean squared gradient."""
    score_weight: float = 0.9
    """Weight of the reconstruction term R in the score; the latent term L has the rest (paper eq. 5)."""
    precision: Precision = "float32"
    """Arithmetic of the networks; parameters, statistics and losses are float32 in either."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no run can have."""
        for name in ("width", "latent_size"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(0 < self.learning_rate < float("inf"), "learning_rate", self.learning_rate, "a finite number over 0")
        for name in ("beta1", "beta2"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        require(0 <= self.score_weight <= 1, "score_weight", self.score_weight, "in [0, 1]")


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig(GanConfig):
    """Losses of a generator that reconstructs, trained against a discriminator."""

    weight_adversarial: float = 1.0
    """Weight of the adversarial loss in the generator's objective (paper eq. 4)."""
    weight_reconstruction: float = 50.0
    """Weight of the reconstruction loss |x - G(x)| (paper eq. 4)."""
    weight_latent: float = 1.0
    """Weight of the latent loss (paper eq. 4)."""
    reinitialise_below: float = 0.0
    """Re-initialise the discriminator's parameters when its loss falls under this; 0 is never."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no run can have."""
        super().__post_init__()
        for name in ("weight_adversarial", "weight_reconstruction", "weight_latent", "reinitialise_below"):
            require(0 <= getattr(self, name) < float("inf"), name, getattr(self, name), "a finite number, 0 or more")


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig(ReconstructionConfig):
    """The objective that SAGAN has from Skip-GANomaly; the latent is the discriminator's. Defaults: SAGAN's paper's."""

    weight_reconstruction: float = 40.0
    """Weight of the reconstruction loss |x - G(x)| (paper eq. 4)."""
    latent_in_discriminator: bool = False
    """Let the discriminator lower the latent loss too, as the authors' code does."""
    learning_rate: float = 2e-3
    """Adam's step size, for both networks."""
    decay: Literal["linear", "cosine", "constant"] = "linear"
    """Learning rate over training: constant; or constant for the first half and linear to zero over the second; or half
    a cosine down to zero."""
    score_weight: float = 0.2
    """Weight of the reconstruction term R in the score; the latent term L has the rest (paper eq. 5)."""


@dataclass(frozen=True, kw_only=True)
class RestorationConfig:
    """A generator that learns to repair synthetic damage and to say where it is; the damage, the map and the score."""

    restoration: bool = False
    """Train the generator to repair; off, it reconstructs what it is given, as the paper has it."""
    weight_damage: float = 40.0
    """Weight of the loss of the damage channel in the generator's objective, beside the reconstruction's."""
    relit: float = 0.75
    """Share of training images shown in another light, contrast, sharpness and grain, before they are damaged."""
    whole: float = 0.1
    """Share of training images that are not damaged."""
    lines: float = 0.3
    """Share of damaged regions that are curves and scratches; the others are blobs and boxes."""
    opacity: float = 0.5
    """The least opacity of damage, over 0 and at most 1."""
    map_floor: float = 0.02
    """Added to the damage found at a pixel, before it is multiplied with the lines there and with what was repaired."""
    worst_share: float = 0.01
    """The score is the mean of this share of the map's pixels, the worst ones."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no run can have."""
        for name in ("weight_damage", "map_floor"):
            require(0 <= getattr(self, name) < float("inf"), name, getattr(self, name), "a finite number, 0 or more")
        for name in ("relit", "whole", "lines"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "in [0, 1]")
        for name in ("opacity", "worst_share"):
            require(0 < getattr(self, name) <= 1, name, getattr(self, name), "over 0 and at most 1")


@dataclass(frozen=True, kw_only=True)
class SaganConfig(AdversarialConfig):
    """SAGAN: the U-Net generator with attention on its skips, and how it is trained. Defaults: the paper's."""

    depthwise: bool = True
    """Depthwise-separable convolutions; off, each is one plain 3x3 convolution (Table 1, Table 3)."""
    depth_multiplier: int = 2
    """Outputs of the depthwise convolution per input channel (2 gives the paper's parameter count)."""
    attention: bool = True
    """CBAM on the five encoder outputs."""
    attend_encoder_path: bool = False
    """Send the attended map down the encoder too, not only over the skip."""
    pool: Literal["max", "soft"] = "max"
    """Downsampling: max pooling (the paper's text) or SoftPool (the authors' code)."""
    repair: RestorationConfig = RestorationConfig()
    """Training to repair, off in the paper."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no run can have."""
        super().__post_init__()
        require(self.depth_multiplier >= 1, "depth_multiplier", self.depth_multiplier, "at least 1")


@dataclass(frozen=True, kw_only=True)
class SkipGanomalyConfig(AdversarialConfig):
    """Skip-GANomaly: SAGAN's objective and step with pix2pix's U-Net as generator. Defaults: its paper's."""

    score_weight: float = 0.9
    """Weight of the reconstruction term R in the score; the latent term L has the rest."""


@dataclass(frozen=True, kw_only=True)
class GanomalyConfig(ReconstructionConfig):
    """GANomaly: an autoencoder whose reconstruction is encoded once more; the two latents' distance is the score."""

    reinitialise_below: float = 1e-5
    """Re-initialise the discriminator's parameters when its loss falls under this; 0 is never."""
    score_weight: float = 0.0
    """Weight of the reconstruction term R in the score; the latent term L has the rest: all, in its paper."""


@dataclass(frozen=True, kw_only=True)
class EgbadConfig(GanConfig):
    """EGBAD: a bidirectional GAN, whose discriminator judges pairs of an image and its latent."""

    width: int = 32
    """Channels of the encoder's first level; every other layer is a multiple of it."""
    latent_size: int = 200
    """Length of the latent."""
    learning_rate: float = 1e-5
    """Adam's step size, for all three networks."""
    average_decay: float = 0.999
    """Decay of the moving averages of all weights, which score."""
    latent_term: Literal["features", "cross_entropy"] = "features"
    """The score's term L: distance of the discriminator's features, or how little it takes (E(x), G(E(x))) for real."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no run can have."""
        super().__post_init__()
        require(0 <= self.average_decay < 1, "average_decay", self.average_decay, "in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class AnoganConfig(GanConfig):
    """AnoGAN: a GAN of normal images, in whose latent space each test image's nearest match is searched."""

    search_steps: int = 500
    """Steps of Adam on an image's latent when it is scored."""
    search_rate: float = 0.01
    """Adam's step size in that search."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no run can have."""
        super().__post_init__()
        require(self.search_steps >= 1, "search_steps", self.search_steps, "at least 1")
        require(0 < self.search_rate < float("inf"), "search_rate", self.search_rate, "a finite number over 0")


@dataclass(frozen=True, kw_only=True)
class DensityConfig:
    """The density of normal images that `--scoring=density` scores by."""

    patch: int = 6
    """Side of the patches that filters are fitted to, in pixels."""
    patches: int = 45_000
    """How many patches they are fitted to."""
    filters: int = 384
    """How many filters."""
    kept: int = 50_000
    """How many normal images it keeps at most: all, if there are fewer, and no more than a gigabyte of bytes."""
    viewed: int = 6000
    """How many of them the space and the regression on complexity are fitted on."""
    components: int = 384
    """Principal components of the features that directions are sought in."""
    directions: int = 48
    """Dimensions of the space that distances are measured in."""
    neighbours: int = 3
    """How many of the nearest normal images an image's distance is averaged over."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no density can have."""
        for name in ("patch", "filters", "viewed", "directions", "neighbours"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.patches >= self.filters, "patches", self.patches, "at least the number of filters")
        require(self.kept > self.neighbours, "kept", self.kept, "more than the number of neighbours")
        require(self.components >= self.directions, "components", self.components, "at least the number of directions")

    def kept_of(self, image_shape: tuple[int, ...]) -> int:
        """How many images of this shape it keeps, where there are enough: they must all be in memory at once."""
        return min(self.kept, 2**30 // prod(image_shape))


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long and on what a detector is trained. Batch size and epochs are SAGAN's authors' code's."""

    epochs: int = 15
    """Passes over the training images; after each, the model is judged on held-out images and kept."""
    steps: int | None = None
    """Take so many steps in all, spread over the epochs; an epoch is then no whole pass over the images."""
    batch_size: int = 32
    """Images a step; by default what the method's authors' code has."""
    flip: bool = False
    """Mirror each training image left to right with probability a half."""
    validation_fraction: float = 0.05
    """Part of the normal training images held out: for the validation loss and for calibration."""
    seed: int = 0
    """Seed of everything random: parameters, the held-out images, the order of the images, flips."""
    scoring: Scoring = "method"
    """The method's own score, or the distance from normal training images given how complicated the image is."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no run can have."""
        require(self.epochs >= 1, "epochs", self.epochs, "at least 1")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        steps = self.steps
        require(steps is None or steps >= self.epochs, "steps", steps, "at least one an epoch")
        require(0 < self.validation_fraction < 1, "validation_fraction", self.validation_fraction, "between 0 and 1")
        require(0 <= self.seed < 2**32, "seed", self.seed, "from 0 to 4294967295")

    def as_json(self) -> dict[str, Any]:
        """As JSON values. What is as it was before it could be chosen is left out, as it is in older runs."""
        older = {"scoring": "method", "steps": None}
        return {name: value for name, value in asdict(self).items() if (name, value) not in older.items()}


@dataclass(frozen=True, kw_only=True)
class FolderConfig:
    """How a folder of photographs is read."""

    size: int = 128
    """Side in pixels the photographs are resized to, whatever their proportions: 32, 64, 128 or 256."""
    patch: int | None = None
    """Cut photographs into overlapping square patches with this side, 32, 64, 128 or 256, in place of resizing them."""
    stride: int | None = None
    """Pixels between neighbouring patches; by default half a patch."""
    channels: Literal[1, 3] = 3
    """1 (grey) or 3 (RGB), whatever the files have."""
    on_bad: Literal["refuse", "skip"] = "refuse"
    """What becomes of a file that cannot be used: the run is refused, or the file is named and left out."""
    max_pixels: int = 80_000_000
    """Images of more pixels are refused unread; kept with the run, so that what it trained on it can score."""
    white: int | None = None
    """What is white in 16-bit grey files, 255 to 65535; by default the full range of the camera's 8, 10, 12, 14 or 16
    bits, found from the normal training images. Kept with the run."""
    jpeg_margin: int | None = None
    """Decode JPEGs at half, a quarter or an eighth of their size where that leaves both sides so many times as long as
    --size; 0 decodes them whole. By default 2, or what the run that is gone on with has. Kept with the run."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no run can have."""
        require(self.size >= 1, "size", self.size, "at least 1")
        require(self.max_pixels >= 1, "max_pixels", self.max_pixels, "at least 1")
        require(self.white is None or 255 <= self.white <= 65_535, "white", self.white, "from 255 to 65535")
        margin = self.jpeg_margin
        require(margin is None or 0 <= margin <= 1000, "jpeg_margin", margin, "from 0 to 1000")
        if self.patch is None:
            require(self.stride is None, "stride", self.stride, "left out where there is no patch")
        else:
            require(self.patch >= 2, "patch", self.patch, "at least 2")
            require(self.stride is None or 1 <= self.stride <= self.patch, "stride", self.stride, "from 1 to the patch")


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """Where a run goes, and what of it is kept."""

    out: Path | None = None
    """The run's folder; by default one under runs/ named after the experiment."""
    resume: bool = False
    """Go on from the last checkpoint in the folder, bit for bit as if never stopped."""
    keep: int = 2
    """How many of the last checkpoints are kept; the best is kept beside them."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no run can have."""
        require(self.keep >= 1, "keep", self.keep, "at least 1")


@dataclass(frozen=True, kw_only=True)
class JudgingConfig:
    """How a trained model is judged."""

    protocol: Protocol = "strict"
    """Strict: running statistics, every image on its own, no look at the test set before the end. Both: beside it the
    reference protocol, how the published numbers of this family were made, with each of its leaks of labels apart."""
    select: Literal["last", "best"] = "last"
    """The epoch that is judged: the last, or the best by the validation loss on held-out normal images."""
    false_positive_rate: float | None = None
    """The share of normal images that the reported threshold may call abnormal; by default 0.05, or the least that the
    held-out images can support, 1 / (their number + 1), if that is more. A lesser one is refused."""
    map: MapKind = "residual"
    """What anomaly maps show: the squared residual, or how strongly the latent term answers to each pixel."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no run can have."""
        rate = self.false_positive_rate
        require(rate is None or 0 < rate < 1, "false_positive_rate", rate, "between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class HardwareConfig:
    """What a run computes on: one device, several, or several hosts."""

    device: Device = "auto"
    """Where it runs; auto takes an accelerator where there is one."""
    streaming: Streaming = "auto"
    """Decode training photographs anew each epoch while the step runs: only if, decoded, they would take more than a
    quarter of the memory, or always, or never. Images that are in memory anyway, as from TFDS, stay there."""
    devices: int | None = None
    """Split each batch over so many devices; by default one, or in a run over several hosts all there are. With
    --device=cpu the devices are threads of this machine."""
    coordinator: str | None = None
    """For a run over several hosts, started on each: host:port of the first, or auto, which asks the cluster (Slurm,
    Kubernetes, Open MPI, Cloud TPU) for it, for --processes and for --process. All must see the run's folder."""
    processes: int | None = None
    """How many hosts there are."""
    process: int | None = None
    """Which of them this is, from 0."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no run can have."""
        require(self.devices is None or self.devices >= 1, "devices", self.devices, "at least 1")
        if self.coordinator is None:
            for name in ("processes", "process"):
                require(getattr(self, name) is None, name, getattr(self, name), "left out without --coordinator")
        elif self.coordinator != "auto":
            require(":" in self.coordinator, "coordinator", self.coordinator, "host:port, or auto")
            require((self.processes or 0) >= 1, "processes", self.processes, "at least 1")
            require(self.process is not None, "process", self.process, "given on every host")
            require(
                0 <= (self.process or 0) < (self.processes or 0), "process", self.process, "from 0 to processes - 1"
            )


_RELEASED: dict[str, Any] = {
    "weight_reconstruction": 50.0,
    "learning_rate": 2e-4,
    "decay": "constant",
    "score_weight": 0.9,
    "latent_in_discriminator": True,
    "reinitialise_below": 1e-5,
}
"""What SAGAN's released code has from Skip-GANomaly's, whatever their papers say."""


def sagan_preset(name: Preset) -> SaganConfig:
    """SAGAN as the paper states it, as its authors' released code has it, or as it detects best on photographs.

    Args:
        name: "paper", "reference" or "inspection": a narrow network that learns to repair (docs/restoration.md).

    Returns:
        The settings; change single ones with `dataclasses.replace`.
    """
    if name == "inspection":
        return SaganConfig(
            width=16,
            weight_adversarial=0.05,
            weight_latent=0.05,
            decay="cosine",
            beta1=0.9,
            repair=RestorationConfig(restoration=True),
        )
    return SaganConfig(**_RELEASED, depth_multiplier=1, pool="soft") if name == "reference" else SaganConfig()


INSPECTION = TrainingConfig(epochs=5, steps=1000, batch_size=32, flip=True, validation_fraction=0.15)
"""How the preset for inspection is trained, on however many photographs."""


def skip_ganomaly_preset(name: Preset) -> SkipGanomalyConfig:
    """Skip-GANomaly as its paper states it, or as its authors' released code has it; as `sagan_preset`."""
    return SkipGanomalyConfig(**_RELEASED) if name == "reference" else SkipGanomalyConfig()


def settings_to_json(settings: Any) -> dict[str, Any]:
    """A method's settings as JSON values; a group of settings that is as by default is left out, as in older runs."""
    defaults = {field.name: field.default for field in fields(settings)}
    return {
        name: value
        for name, value in asdict(settings).items()
        if not (is_dataclass(defaults[name]) and getattr(settings, name) == defaults[name])
    }


def settings_from_json(kind: type, values: Mapping[str, Any]) -> Any:
    """A method's settings of that kind from JSON values. Raises TypeError for names it does not have."""
    groups = {field.name: type(field.default) for field in fields(kind) if is_dataclass(field.default)}
    return kind(**{name: groups[name](**value) if name in groups else value for name, value in values.items()})
