"""A method's settings as JSON values, and back."""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any


def settings_to_json(settings: Any) -> dict[str, Any]:
    """A method's settings as JSON values.

    As in older runs, a group of settings that is as by default is left out, and in a group an empty tuple.
    """

    def written(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: written(inner) for name, inner in value.items() if inner != ()}
        return list(value) if isinstance(value, tuple) else value

    defaults = {field.name: field.default for field in fields(settings)}
    return {
        name: written(value)
        for name, value in asdict(settings).items()
        if not (is_dataclass(defaults[name]) and getattr(settings, name) == defaults[name])
    }


def settings_from_json(kind: type, values: Mapping[str, Any]) -> Any:
    """A method's settings of that kind from JSON values. Raises TypeError for names it does not have."""
    groups = {field.name: type(field.default) for field in fields(kind) if is_dataclass(field.default)}

    def read(name: str, value: Any) -> Any:
        if name not in groups:
            return value
        return groups[name](**{key: tuple(inner) if isinstance(inner, list) else inner for key, inner in value.items()})

    return kind(**{name: read(name, value) for name, value in values.items()})
