"""The sections `names` and `model_names` of `overrides.yaml`: public names chosen by hand.

All entries of a section share one reason and one source, so an entry is one line. The keys are
operations (`"GET /api/…/"`) or components, which a newer schema keeps; the names of placeholders
are ignored, because they differ between releases of PostHog.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from .diagnostics import Diagnostic

__all__ = ["NameOverrides", "load_name_overrides", "operation_shape", "without_overridden"]

_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_SECTIONS = {
    "names": frozenset({"reason", "source", "methods", "aliases"}),
    "model_names": frozenset({"reason", "source", "models"}),
}


@dataclass(frozen=True, slots=True)
class NameOverrides:
    """Names that replace the derived ones."""

    methods: Mapping[str, str] = field(default_factory=dict[str, str])
    """Dotted names by the shape of their operation: `GET /api/projects/{}/persons/`."""
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    """Shapes of operations by the dotted name of a second method for them."""
    models: Mapping[str, str] = field(default_factory=dict[str, str])
    """Class names by component."""

    def followed_by(self, other: NameOverrides) -> NameOverrides:
        """Return both together; where they disagree, `other` wins."""
        return NameOverrides(
            {**self.methods, **other.methods},
            {**self.aliases, **other.aliases},
            {**self.models, **other.models},
        )

    def unused(self, document: Mapping[str, Any]) -> list[Diagnostic]:
        """Return a diagnostic for each entry whose operation or component does not exist."""
        shapes = {
            operation_shape(f"{method.upper()} {path}")
            for path, item in document.get("paths", {}).items()
            for method in item
        }
        components = document.get("components", {}).get("schemas", {})
        used = {*self.methods, *self.aliases.values()}
        return [
            *(
                Diagnostic(shape, "there is no such operation to name")
                for shape in sorted(used - shapes)
            ),
            *(
                Diagnostic(f"#/components/schemas/{component}", "there is no such model to name")
                for component in self.models
                if component not in components
            ),
        ]

    def clashes(self, class_of: Mapping[str, str]) -> list[Diagnostic]:
        """Return a diagnostic for each component that lost its own name to a renamed one.

        Args:
            class_of: The class name of every component.
        """
        chosen = {name: component for component, name in self.models.items()}
        return [
            Diagnostic(
                f"#/components/schemas/{component}",
                f"model_names gives the name {component} to {chosen[component]}, so this component "
                f"became {name}; give it a name in model_names, or {chosen[component]} another one",
            )
            for component, name in class_of.items()
            if component in chosen and component not in self.models and name != component
        ]


def load_name_overrides(
    file: str, raw: Mapping[str, Any], *, require_source: bool = True
) -> NameOverrides:
    """Read and check the sections `names` and `model_names`.

    Args:
        file: The name of the file, for errors.
        raw: The content of the whole file.
        require_source: Whether each section needs a reason and a source.

    Raises:
        ValueError: A section has an unknown key or lacks a reason or a source, a name is not a
            valid one, or two entries have the same name.
    """
    sections: dict[str, Mapping[str, Any]] = {}
    for section, keys in _SECTIONS.items():
        values = cast("Mapping[str, Any]", raw.get(section) or {})
        sections[section] = values
        if unknown := set(values) - keys:
            raise ValueError(f"{file}: {section}: unknown keys {sorted(unknown)}")
        for key in ("reason", "source"):
            if require_source and values and not values.get(key):
                raise ValueError(f"{file}: {section} has no {key}")
    methods = cast("dict[str, str]", sections["names"].get("methods") or {})
    aliases = cast("dict[str, str]", sections["names"].get("aliases") or {})
    models = cast("dict[str, str]", sections["model_names"].get("models") or {})
    for name in (*methods.values(), *aliases):
        parts = name.split(".")
        if len(parts) < 2 or not all(map(_is_public_identifier, parts)):
            raise ValueError(
                f"{file}: names: {name!r} is not the name of a method, such as feature_flags.list"
            )
    for name in models.values():
        if not _is_public_identifier(name) or not name[0].isupper():
            raise ValueError(f"{file}: model_names: {name!r} is not a class name")
    by_shape = {operation_shape(operation): name for operation, name in methods.items()}
    if len(by_shape) < len(methods):
        raise ValueError(f"{file}: names: two entries are about the same operation")
    _check_unique(f"{file}: names", [*by_shape.values(), *aliases])
    _check_unique(f"{file}: model_names", list(models.values()))
    alias_shapes = {name: operation_shape(operation) for name, operation in aliases.items()}
    return NameOverrides(by_shape, alias_shapes, models)


def operation_shape(operation: str) -> str:
    """Return an operation without the names of its placeholders: `GET /api/projects/{}/`."""
    return _PLACEHOLDER.sub("{}", operation)


def without_overridden(released: Mapping[str, str], chosen: Mapping[str, str]) -> dict[str, str]:
    """Return released names and chosen ones; a released name that is chosen for another is free.

    What had that name gets a derived one again.
    """
    taken = set(chosen.values())
    others = {key: name for key, name in released.items() if name not in taken}
    return {**others, **chosen}


def _is_public_identifier(name: str) -> bool:
    return name.isidentifier() and not name.startswith("_") and not keyword.iskeyword(name)


def _check_unique(where: str, names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{where}: {', '.join(repeated)} is given to two entries")
