"""Whether the values of settings are of the kinds that their fields say; a command line checks, Python does not."""

from functools import lru_cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from sagan_jax.errors import require

_WORDS = {bool: "True or False", int: "a whole number", float: "a number", NoneType: "None"}


def check_field_types(settings: Any) -> None:
    """Raises UserError for a field of a dataclass whose value is none that its annotation allows.

    A word that is not known would otherwise mean the last of those that are, without a sound.
    """
    for name, kind in _field_types(type(settings)).items():
        value = getattr(settings, name)
        require(_is_of(value, kind), name, value, _allowed(kind))


@lru_cache(maxsize=64)
def _field_types(settings: type) -> dict[str, Any]:
    return get_type_hints(settings)


def _is_of(value: object, kind: Any) -> bool:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return any(isinstance(value, type(word)) and value == word for word in inner)
    if origin in (Union, UnionType):
        return any(_is_of(value, one) for one in inner)
    if origin is tuple:
        return isinstance(value, tuple) and all(_is_of(one, inner[0]) for one in value)
    if kind in (int, float):  # NumPy's numbers are numbers; True is none
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    return isinstance(value, kind)


def _allowed(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (Union, UnionType):
        return " or ".join(_allowed(one) for one in inner)
    if origin is tuple:
        return f"a tuple, each part {_allowed(inner[0])}"
    return _WORDS.get(kind, f"a {kind.__name__}")
