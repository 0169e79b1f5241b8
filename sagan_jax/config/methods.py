"""The settings of each method. Their defaults are the papers'."""

from dataclasses import dataclass
from typing import Literal

from sagan_jax.config.field_types import check_field_types
from sagan_jax.errors import require

Precision = Literal["float32", "bf16"]
DamageKind = Literal[
    "curve", "scratch", "blob", "box", "other_image", "other_place", "colour", "light", "blur", "surroundings"
]
"""The shapes of a damaged region, the first four, and what one is filled with."""
_SHAPES = frozenset({"curve", "scratch", "blob", "box"})
_LINE_FILLINGS = frozenset({"other_image", "colour", "light", "surroundings"})  # areas have two more


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
        check_field_types(self)
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
    """Re-initialise the discriminator's parameters when its loss falls below this; 0 means never."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no run can have."""
        super().__post_init__()
        for name in ("weight_adversarial", "weight_reconstruction", "weight_latent", "reinitialise_below"):
            require(0 <= getattr(self, name) < float("inf"), name, getattr(self, name), "a finite number, 0 or more")


@dataclass(frozen=True, kw_only=True)
class RestorationConfig:
    """A generator that learns to repair synthetic damage and to say where it is; the damage, the map and the score."""

    restoration: bool = False
    """Train the generator to repair; on in the preset `inspection`, off in the papers."""
    weight_damage: float = 40.0
    """Weight of the loss of the damage channel in the generator's objective, beside the reconstruction's."""
    moved: float = 0.8
    """Share of training images shown turned, scaled and moved a little, before all else."""
    relit: float = 0.75
    """Share of training images shown in another light, contrast, sharpness and grain, before they are damaged."""
    whole: float = 0.1
    """Share of training images that are not damaged."""
    lines: float = 0.4
    """Share of damaged regions that are curves and scratches; the others are blobs and boxes."""
    opacity: float = 0.5
    """The least opacity of damage, over 0 and at most 1."""
    not_drawn: tuple[DamageKind, ...] = ()
    """Shapes and fillings of damage that are not drawn, because normal images have such things."""
    damage_floor: float = 0.1
    """Added to the damage found at a pixel, before it is multiplied by the lines there."""
    worst_share: float = 0.01
    """The score is the mean of this share of the map's pixels, the worst ones."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no run can have."""
        check_field_types(self)
        for name in ("weight_damage", "damage_floor"):
            require(0 <= getattr(self, name) < float("inf"), name, getattr(self, name), "a finite number, 0 or more")
        for name in ("moved", "relit", "whole", "lines"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "in [0, 1]")
        for name in ("opacity", "worst_share"):
            require(0 < getattr(self, name) <= 1, name, getattr(self, name), "over 0 and at most 1")
        for kinds in (_SHAPES, _LINE_FILLINGS):
            require(
                not kinds <= set(self.not_drawn),
                "not_drawn",
                self.not_drawn,
                f"without one of {', '.join(sorted(kinds))}",
            )


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig(ReconstructionConfig):
    """The objective that SAGAN has from Skip-GANomaly; the latent is the discriminator's."""

    weight_reconstruction: float = 40.0
    """Weight of the reconstruction loss |x - G(x)| (paper eq. 4)."""
    latent_in_discriminator: bool = False
    """Let the discriminator lower the latent loss too, as the authors' code does."""
    learning_rate: float = 2e-3
    """Step size of both networks' optimisers."""
    optimiser: Literal["adam", "muon"] = "adam"
    """The generator's. Muon trains the convolutions that mix channels, in fewer steps, and Adam all else."""
    decay: Literal["linear", "cosine", "constant"] = "linear"
    """Learning rate over training: constant; or constant for the first half and linear to zero over the second; or half
    a cosine down to zero."""
    score_weight: float = 0.2
    """Weight of the reconstruction term R in the score; the latent term L has the rest (paper eq. 5)."""
    repair: RestorationConfig = RestorationConfig()
    """Training to repair: on in the preset `inspection`, off in the papers."""


@dataclass(frozen=True, kw_only=True)
class SaganConfig(AdversarialConfig):
    """SAGAN: a U-Net with attention on its skips. Flags show the preset's defaults; the class has the paper's."""

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

    def __post_init__(self) -> None:
        """Raises UserError for a value no run can have."""
        super().__post_init__()
        require(self.depth_multiplier >= 1, "depth_multiplier", self.depth_multiplier, "at least 1")


@dataclass(frozen=True, kw_only=True)
class SkipGanomalyConfig(AdversarialConfig):
    """Skip-GANomaly: SAGAN's step, pix2pix's U-Net. Flags show the preset's defaults; the class has its paper's."""

    score_weight: float = 0.9
    """Weight of the reconstruction term R in the score; the latent term L has the rest."""


@dataclass(frozen=True, kw_only=True)
class GanomalyConfig(ReconstructionConfig):
    """GANomaly: an autoencoder whose reconstruction is encoded once more; the two latents' distance is the score."""

    reinitialise_below: float = 1e-5
    """Re-initialise the discriminator's parameters when its loss falls below this; 0 means never."""
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
