"""What a run reads, where it goes, how it is judged and what it computes on."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sagan_jax.config.field_types import check_field_types
from sagan_jax.errors import UserError, require

Protocol = Literal["strict", "both"]
MapKind = Literal["residual", "latent_gradient"]
Site = Literal["station", "field"]
Device = Literal["auto", "cpu", "gpu", "tpu"]
Streaming = Literal["auto", "always", "never"]
Together = Literal["auto", "no", "vmap", "map"]


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
    group: str | None = None
    """A regular expression that finds in an image's path which photograph, film or part it is of. Normal images of one
    are held out together, so that those held out are new to the model; by default each is held out on its own."""
    jpeg_margin: int | None = None
    """Decode JPEGs at half, a quarter or an eighth of their size if that leaves both sides at least this many times as
    long as --size; 0 decodes them whole. By default 2, or what the run that is continued has. Kept with the run."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no run can have."""
        check_field_types(self)
        require(self.size >= 1, "size", self.size, "at least 1")
        require(self.max_pixels >= 1, "max_pixels", self.max_pixels, "at least 1")
        require(self.white is None or 255 <= self.white <= 65_535, "white", self.white, "from 255 to 65535")
        try:
            re.compile(self.group or "")
        except re.error as error:
            raise UserError(f"--group={self.group} is not a valid regular expression: {error}") from error
        margin = self.jpeg_margin
        require(margin is None or 0 <= margin <= 1000, "jpeg_margin", margin, "from 0 to 1000")
        if self.patch is None:
            require(self.stride is None, "stride", self.stride, "left out where there is no patch")
        else:
            require(self.patch >= 2, "patch", self.patch, "at least 2")
            for name in ("size", "jpeg_margin"):
                default = getattr(FolderConfig, name)
                unused = "left out with --patch, which cuts photographs at the size they have"
                require(getattr(self, name) == default, name, getattr(self, name), unused)
            require(self.stride is None or 1 <= self.stride <= self.patch, "stride", self.stride, "from 1 to the patch")


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """The run's folder, and which checkpoints it keeps."""

    out: Path | None = None
    """The run's folder; by default one under runs/ named after the experiment."""
    resume: bool = False
    """Continue from the last checkpoint in the folder, bit for bit as if never stopped."""
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
    """What anomaly maps show. residual: the method's own map (the squared residual; for the preset `inspection`, five
    readings joined). latent_gradient: how strongly the latent term answers to each pixel."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no run can have."""
        check_field_types(self)
        rate = self.false_positive_rate
        require(rate is None or 0 < rate < 1, "false_positive_rate", rate, "between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class HardwareConfig:
    """What a run computes on: one device, several, or several hosts."""

    device: Device = "auto"
    """Where it runs; auto takes an accelerator if there is one."""
    streaming: Streaming = "auto"
    """Decode training photographs again in each epoch while the step runs: only if, decoded, they would take more than
    a quarter of the memory (auto), or always, or never. Images that are in memory anyway, as from TFDS, stay there."""
    devices: int | None = None
    """Split each batch over this many devices; by default one, or in a run over several hosts all there are. With
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
        check_field_types(self)
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
