"""What the tables compare: the methods, and SAGAN with one of its ideas taken out or put another way."""

from dataclasses import asdict, replace
from typing import Any, NamedTuple

from sagan_jax.config import Preset, TrainingConfig, settings_from_json, settings_to_json
from sagan_jax.errors import UserError
from sagan_jax.methods.table import METHODS


class Variant(NamedTuple):
    """A row of a table: its name there, the method, and the settings that set it apart."""

    title: str
    method: str
    changes: dict[str, Any] = {}  # noqa: RUF012 (never changed)

    def model(self, preset: Preset) -> Any:
        """The method's configuration."""
        return replace(METHODS[self.method].presets[preset], **self.changes)


VARIANTS: dict[str, Variant] = {
    "anogan": Variant("AnoGAN", "anogan"),
    "egbad": Variant("EGBAD", "egbad"),
    "ganomaly": Variant("GANomaly", "ganomaly"),
    "skip_ganomaly": Variant("Skip-GANomaly", "skip_ganomaly"),
    "sagan": Variant("SAGAN", "sagan"),
    "sagan_without_dscs": Variant("SAGAN without DSCs", "sagan", {"depthwise": False}),
    "sagan_without_cbam": Variant("SAGAN without CBAM", "sagan", {"attention": False}),
    "sagan_softpool": Variant("SAGAN with SoftPool", "sagan", {"pool": "soft"}),
    "sagan_attended_path": Variant("SAGAN, attended maps down the encoder", "sagan", {"attend_encoder_path": True}),
}


def unchanged(settings: Any, model: dict[str, Any]) -> bool:
    """Whether a run's settings are these; those that it does not have came into being after it, and count so."""
    try:
        return settings_from_json(type(settings), settings_to_json(settings) | model) == settings
    except (TypeError, UserError):  # it has one that these do not have, or a value that they cannot have
        return False


def recognise(method: str, model: dict[str, Any], training: dict[str, Any]) -> tuple[str, str]:
    """The variant that a run's configuration is of, and its settings in words.

    Args:
        method: As results have it.
        model: The method's settings; those that came into being after the run count as unchanged.
        training: Those of its training.

    Returns:
        The variant's name, and "paper" or "reference", with what of the training was changed by hand; the method's own
        name and "other" if the method's settings are neither.
    """

    def known() -> tuple[str, str]:
        variants = {name: variant for name, variant in VARIANTS.items() if variant.method == method}
        for preset in METHODS[method].presets if variants else ():
            for name, variant in variants.items():
                if unchanged(variant.model(preset), model):
                    return name, preset
        return method, "other"

    name, preset = known()
    start: Preset = "inspection" if preset == "inspection" else "paper"
    usual = asdict(METHODS[method].training(start) if method in METHODS else TrainingConfig())
    apart = ("epochs", "seed")  # results have columns for these
    given = {"steps": None} | training if training else {}  # runs without a number of steps do not name it
    changed = [f"{key}={given[key]}" for key in usual if key not in apart and given.get(key, usual[key]) != usual[key]]
    return name, ", ".join([preset, *changed])
