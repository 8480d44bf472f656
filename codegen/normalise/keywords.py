"""JSON Schema keywords: which apply to which type, and which only annotate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol, TypeAlias

__all__ = [
    "ANNOTATIONS",
    "APPLICABLE",
    "BLANK",
    "NULL",
    "PROSE",
    "UNSUPPORTED",
    "Context",
    "Schema",
    "branches",
    "is_null",
    "split",
]

Schema: TypeAlias = dict[str, Any]


class Context(Protocol):
    """What normalising one schema needs from the document around it."""

    def normalise(self, raw: Any, pointer: str) -> Schema:
        """Return the normalised form of a schema."""
        ...

    def resolve(self, reference: str) -> Schema | None:
        """Return the normalised component of a reference, or None if it is being normalised."""
        ...

    def report(self, pointer: str, reason: str) -> None:
        """Report something that cannot be represented."""
        ...


NULL: Final[Mapping[str, Any]] = {"type": "null"}
# drf-spectacular writes an optional choice as a union with `BlankEnum`, whose only value is "".
BLANK: Final[Mapping[str, Any]] = {"const": "", "type": "string"}

FLAGS: Final = ("deprecated", "readOnly", "writeOnly")
PROSE: Final = frozenset({"description", "examples", "externalDocs", "title"})
ANNOTATIONS: Final = frozenset({*FLAGS, *PROSE, "default"})
"""Keywords that do not change which values are valid. They move to the outermost schema."""

_NUMERIC = frozenset(
    {"exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"},
)
APPLICABLE: Final[Mapping[str, frozenset[str]]] = {
    "array": frozenset({"items", "maxItems", "minItems", "prefixItems", "uniqueItems"}),
    "boolean": frozenset(),
    "integer": _NUMERIC,
    "null": frozenset(),
    "number": _NUMERIC,
    "object": frozenset(
        {
            "additionalProperties",
            "maxProperties",
            "minProperties",
            "properties",
            "propertyNames",
            "required",
        }
    ),
    "string": frozenset(
        {"contentEncoding", "contentMediaType", "maxLength", "minLength", "pattern"}
    ),
}
"""The keywords that constrain values of each type. JSON Schema ignores them for other types."""

UNSUPPORTED: Final = frozenset(
    {
        "$anchor",
        "$dynamicAnchor",
        "$dynamicRef",
        "$id",
        "$recursiveAnchor",
        "$recursiveRef",
        "contains",
        "contentSchema",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "maxContains",
        "minContains",
        "not",
        "patternProperties",
        "then",
        "unevaluatedItems",
    }
)
"""Keywords that change which values are valid, but have no equivalent in generated code."""


def split(schema: Mapping[str, Any]) -> tuple[Schema, Schema]:
    """Split a normalised schema into its core, which decides validity, and its annotations."""
    core = {key: value for key, value in schema.items() if key not in ANNOTATIONS}
    notes = {key: value for key, value in schema.items() if key in ANNOTATIONS}
    return core, notes


def is_null(core: Mapping[str, Any]) -> bool:
    """Whether a core allows only null."""
    return core == NULL


def branches(core: Mapping[str, Any]) -> list[Schema]:
    """Return the branches of a core's `anyOf`, or the core itself if it has none."""
    return list(core["anyOf"]) if "anyOf" in core else [dict(core)]
