"""The methods by name: where a word on the command line or in a checkpoint becomes a detector."""

from collections.abc import Callable
from typing import Any, NamedTuple

from sagan_jax.config import Preset, sagan_preset
from sagan_jax.detector import Detector
from sagan_jax.sagan import sagan


class Method(NamedTuple):
    """A method's settings and how a detector is made of them.

    Attributes:
        preset: From "paper" or "reference" to the method's frozen configuration.
        build: `(config, training steps in all or None) -> Detector`.
    """

    preset: Callable[[Preset], Any]
    build: Callable[[Any, int | None], Detector]


METHODS: dict[str, Method] = {
    "sagan": Method(sagan_preset, sagan),
}
