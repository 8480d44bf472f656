"""Compare the schema that an instance serves with the operations of this package."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from asyncposthog.operation import Operation, Result

__all__ = ["GET_SCHEMA", "SchemaDifference", "compare_schema"]

GET_SCHEMA: Final = Operation(
    id="schema.get",
    method="GET",
    path="/api/schema/",
    owner=None,
    result=Result(kind="json"),
    writes=False,
    idempotent=True,
)

_METHODS: Final = frozenset({"get", "post", "put", "patch", "delete"})
_PLACEHOLDER: Final = re.compile(r"\{[^{}]*\}|(?<=/)@\w+")
_DEPRECATED_ROOT: Final = "/api/environments/{}/"


@dataclass(frozen=True, slots=True)
class SchemaDifference:
    """What an instance and this package do not have in common."""

    shared: int
    """The number of operations that both have."""
    missing: tuple[str, ...]
    """Ids of the operations of this package that the instance lacks."""
    unknown: tuple[str, ...]
    """Operations of the instance that this package lacks: `GET /api/…/`."""


def compare_schema(document: object, operations: Iterable[Operation]) -> SchemaDifference | None:
    """Return the difference; None if the document is not an OpenAPI document.

    Args:
        document: The response of `GET /api/schema/`.
        operations: The operations of this package.
    """
    paths = cast("Mapping[str, Any]", document).get("paths") if _is_mapping(document) else None
    if not _is_mapping(paths):
        return None
    served = {
        _shape(method, path): f"{method.upper()} {path}"
        for path, item in cast("Mapping[str, Any]", paths).items()
        if _is_mapping(item)
        for method in item
        if method in _METHODS
    }
    ours: dict[str, str] = {}
    for operation in operations:
        # What the schema never had is not missing in an instance's schema.
        if operation.schema_gap_source is None:
            ours.setdefault(_shape(operation.method, operation.path), operation.id)
    return SchemaDifference(
        shared=len(served.keys() & ours.keys()),
        missing=tuple(sorted(ours[shape] for shape in ours.keys() - served.keys())),
        unknown=tuple(sorted(served[shape] for shape in served.keys() - ours.keys())),
    )


def _shape(method: str, path: str) -> str:
    """Return an operation without the names of placeholders, which differ between versions."""
    shape = _PLACEHOLDER.sub("{}", path)
    if shape.startswith(_DEPRECATED_ROOT):
        shape = "/api/projects/{}/" + shape.removeprefix(_DEPRECATED_ROOT)
    return f"{method.upper()} {shape}"


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)
