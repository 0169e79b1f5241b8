"""The methods by name: the one table that the command line, the experiments and run folders choose from.

A method of your own is a `Method` value in any module; wherever a method is named, `MODULE:NAME` finds it. Nothing
heavy is imported here: a method's networks are imported when its detector is built.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from sagan_jax.config import (
    INSPECTION,
    AnoganConfig,
    EgbadConfig,
    GanomalyConfig,
    Preset,
    TrainingConfig,
    sagan_preset,
    skip_ganomaly_preset,
)
from sagan_jax.errors import UserError
from sagan_jax.named_object import import_named

if TYPE_CHECKING:
    from sagan_jax.detector import Detector


class Method(NamedTuple):
    """A method of anomaly detection: where its settings start, and how a detector is made of them.

    Attributes:
        name: What results, run folders and the command line call it.
        presets: Its settings, a frozen dataclass, by the name of each preset; "paper" at least.
        build: `(settings, training steps in all or None) -> Detector`; the same settings give the same detector.
        batch_size: Of training, in its authors' code.
    """

    name: str
    presets: Mapping[Preset, Any]
    build: Callable[[Any, int | None], Any]
    batch_size: int = 32

    def training(self, preset: Preset) -> TrainingConfig:
        """Where the settings of training start."""
        return INSPECTION if preset == "inspection" else TrainingConfig(batch_size=self.batch_size)


def _built_by(name: str) -> Callable[[Any, int | None], "Detector"]:
    """The function of that name in the method's own module, imported when it is called."""

    def build(settings: Any, steps: int | None) -> "Detector":
        return getattr(import_module(f"sagan_jax.methods.{name}"), name)(settings, steps)

    return build


_PRESETS: tuple[Preset, ...] = get_args(Preset)


def _same(settings: Any) -> dict[Preset, Any]:
    """The presets of a method whose paper and released code agree."""
    return {"paper": settings, "reference": settings}


METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Method("sagan", {name: sagan_preset(name) for name in _PRESETS}, _built_by("sagan")),
        Method(
            "skip_ganomaly",
            {name: skip_ganomaly_preset(name) for name in _PRESETS},
            _built_by("skip_ganomaly"),
            64,
        ),
        Method("ganomaly", _same(GanomalyConfig()), _built_by("ganomaly"), 64),
        Method("egbad", _same(EgbadConfig()), _built_by("egbad"), 100),
        Method("anogan", _same(AnoganConfig()), _built_by("anogan"), 64),
    )
}


def own_method(name: str | None) -> Method | None:
    """As `find_method`; None if no name is given, for a run whose method is in the table."""
    return None if name is None else find_method(name)


def find_method(name: str) -> Method:
    """The method of that name, or the one at `MODULE:NAME`, a module that is installed or in the working folder.

    Raises:
        UserError: If there is none; the message lists what there is.
    """
    if name in METHODS:
        return METHODS[name]
    if not all(name.partition(":")):
        raise UserError(
            f"method is {name!r}; it must be one of {', '.join(METHODS)}, or MODULE:NAME of a Method of your own"
        )
    found = import_named("method", name)
    if not isinstance(found, Method):
        raise UserError(f"method is {name!r}, which is not a sagan_jax.methods.table.Method")
    return found
