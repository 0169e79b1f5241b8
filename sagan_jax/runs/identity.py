"""What a run's checkpoints must agree on: comparing a stored configuration with the one wanted."""

from collections.abc import Mapping
from typing import Any

CHECKSUM = "train_checksum"
"""The name of the checksum of the training images."""


def with_more_epochs(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    """A stored configuration with the number of epochs that is wanted, if that is more; else as it is.

    An epoch must keep its number of steps where the settings say how many there are in all.
    """
    match stored, wanted:
        case {"training": {"epochs": int(before)}}, {"training": {"epochs": int(more)}} if more > before:
            changed: dict[str, Any] = {"epochs": more}
            steps, all_steps = (config["training"].get("steps") for config in (stored, wanted))
            # What is continued in two parts was rounded down twice.
            if steps is not None and all_steps is not None and abs(steps * more - all_steps * before) < 2 * before:
                changed["steps"] = all_steps
            elif steps is not None:
                return stored
            return {**stored, "training": {**stored["training"], **changed}}
    return stored


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The settings in which two configurations differ, each as "name is stored, not wanted".

    Older ones have no checksum of their training images; it is compared where both have one.
    """
    stored, wanted = flatten(stored), flatten(wanted)
    if CHECKSUM not in stored or CHECKSUM not in wanted:
        stored, wanted = ({k: v for k, v in settings.items() if k != CHECKSUM} for settings in (stored, wanted))

    def said(settings: Mapping[str, Any], name: str) -> str:
        return repr(settings[name]) if name in settings else "absent"

    def told(name: str) -> str:
        if name == CHECKSUM:
            return (
                "the training images are others, or were kept in memory and are now streamed from disk, or the other "
                "way round (--streaming)"
            )
        return f"{name} is {said(stored, name)}, not {said(wanted, name)}"

    return [told(name) for name in sorted(stored.keys() | wanted.keys()) if said(stored, name) != said(wanted, name)]


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings as one level, by their own names."""
    flat = {}
    for name, value in tree.items():
        flat |= flatten(value) if isinstance(value, Mapping) else {name: value}
    return flat
