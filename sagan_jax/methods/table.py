"""The methods by name: where a word on the command line or in a checkpoint becomes a detector."""

from collections.abc import Callable
from typing import Any, NamedTuple

from sagan_jax.config import SETTINGS, MethodName, Preset
from sagan_jax.detector import Detector
from sagan_jax.methods.anogan import anogan
from sagan_jax.methods.egbad import egbad
from sagan_jax.methods.ganomaly import ganomaly
from sagan_jax.methods.sagan import sagan
from sagan_jax.methods.skip_ganomaly import skip_ganomaly


class Method(NamedTuple):
    """A method's settings and how a detector is made of them.

    Attributes:
        preset: From "paper" or "reference" to the method's frozen configuration.
        build: `(config, training steps in all or None) -> Detector`.
    """

    preset: Callable[[Preset], Any]
    build: Callable[[Any, int | None], Detector]


BUILDERS: dict[MethodName, Callable[[Any, int | None], Detector]] = {
    "sagan": sagan,
    "skip_ganomaly": skip_ganomaly,
    "ganomaly": ganomaly,
    "egbad": egbad,
    "anogan": anogan,
}

METHODS: dict[str, Method] = {name: Method(SETTINGS[name].preset, build) for name, build in BUILDERS.items()}
