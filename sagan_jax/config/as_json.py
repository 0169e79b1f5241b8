"""A method's settings as JSON values, and back."""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any


def settings_to_json(settings: Any) -> dict[str, Any]:
    """A method's settings as JSON values; a group of settings that is as by default is left out, as in older runs."""
    defaults = {field.name: field.default for field in fields(settings)}
    return {
        name: value
        for name, value in asdict(settings).items()
        if not (is_dataclass(defaults[name]) and getattr(settings, name) == defaults[name])
    }


def settings_from_json(kind: type, values: Mapping[str, Any]) -> Any:
    """A method's settings of that kind from JSON values. Raises TypeError for names it does not have."""
    groups = {field.name: type(field.default) for field in fields(kind) if is_dataclass(field.default)}
    return kind(**{name: groups[name](**value) if name in groups else value for name, value in values.items()})
