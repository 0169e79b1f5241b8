"""Complete sets of settings: the papers', their authors' released code's, and the restoration preset, `inspection`."""

from typing import Any, Literal, get_args

from sagan_jax.config.methods import RestorationConfig, SaganConfig, SkipGanomalyConfig
from sagan_jax.config.training import TrainingConfig
from sagan_jax.errors import require_word

Preset = Literal["paper", "reference", "inspection"]

_RELEASED: dict[str, Any] = {
    "weight_reconstruction": 50.0,
    "learning_rate": 2e-4,
    "decay": "constant",
    "score_weight": 0.9,
    "latent_in_discriminator": True,
    "reinitialise_below": 1e-5,
}
"""What SAGAN's released code has from Skip-GANomaly's, whatever their papers say."""


_REPAIRING: dict[str, Any] = {
    "width": 16,
    "weight_adversarial": 0.05,
    "weight_latent": 0.05,
    "optimiser": "muon",
    "decay": "cosine",
    "beta1": 0.9,
    "repair": RestorationConfig(restoration=True),
}
"""A narrow network that learns to repair: the restoration preset."""


def sagan_preset(name: Preset) -> SaganConfig:
    """SAGAN as the paper states it, as its authors' released code has it, or as it detects best on photographs.

    Args:
        name: "paper", "reference" or "inspection": a narrow network that learns to repair (docs/restoration.md).

    Returns:
        The settings; change single ones with `dataclasses.replace`.

    Raises:
        UserError: If there is no such preset.
    """
    _check_preset(name)
    if name == "inspection":
        return SaganConfig(**_REPAIRING)
    return SaganConfig(**_RELEASED, depth_multiplier=1, pool="soft") if name == "reference" else SaganConfig()


INSPECTION = TrainingConfig(epochs=5, steps=2000, batch_size=16, flip=True, validation_fraction=0.15)
"""How the restoration preset is trained, on however many photographs."""


def skip_ganomaly_preset(name: Preset) -> SkipGanomalyConfig:
    """Skip-GANomaly as its paper states it, as its authors' released code has it, or as SAGAN detects best.

    As `sagan_preset`; the restoration preset was chosen for SAGAN, and is the same here, so that they compare.
    """
    _check_preset(name)
    if name == "inspection":
        return SkipGanomalyConfig(**_REPAIRING)
    return SkipGanomalyConfig(**_RELEASED) if name == "reference" else SkipGanomalyConfig()


def _check_preset(name: str) -> None:
    require_word("the preset", name, get_args(Preset))
