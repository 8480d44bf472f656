"""The fields of an operation's objects, and the columns that `--column` names. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, cast

from asyncposthog.operation import Operation

from .error_messages import UsageProblem
from .schemas import resolved

__all__ = ["check_columns", "field_names", "split_columns"]

_DEPTH: Final = 12
_SHOWN: Final = 40
"""Names of fields that an error lists at most."""

Schema = Mapping[str, Any]


def split_columns(given: Iterable[str]) -> list[str]:
    """Return the names that were given, one or several an option: `-c id,name -c key`.

    Raises:
        UsageProblem: A name is empty.
    """
    names: dict[str, None] = {}
    for text in given:
        for name in text.split(","):
            if not name.strip():
                raise UsageProblem(
                    f"--column takes NAME or NAME,NAME, not {text!r}.", "As -c id,name."
                )
            names.setdefault(name.strip())
    return list(names)


def check_columns(operation: Operation, columns: Sequence[str]) -> None:
    """Refuse columns that the operation's objects do not have.

    Raises:
        UsageProblem: There is no such field; the message suggests those of similar names.
    """
    if not columns:
        return
    if operation.result.kind in {"none", "text", "bytes"}:
        raise UsageProblem(f"{operation.id} returns no object: it has no columns.")
    schemas = _items(operation)
    for column in columns:
        _check(operation.id, column, column.split("."), schemas)


def field_names(operation: Operation, prefix: str = "") -> list[str]:
    """Return the fields of an operation's objects, or those below a dotted prefix."""
    schemas = _items(operation)
    path = prefix.split(".")[:-1]
    for name in path:
        schemas = _below(schemas, name) or []
    start = "".join(f"{name}." for name in path)
    return [f"{start}{name}" for name in sorted(_fields(schemas))]


def _check(what: str, column: str, path: Sequence[str], schemas: list[Schema]) -> None:
    for at, name in enumerate(path):
        below = _below(schemas, name)
        if below is None:
            return  # nothing is known from here on, or anything goes
        if not below:
            known = _fields(schemas)
            inside = ".".join(path[:at])
            if at and not known:
                raise UsageProblem(
                    f"{what}: {inside} has no fields inside, so there is no column {column!r}."
                )
            raise UsageProblem(f"{what} has no field {column!r}.", _advice(name, inside, known))
        schemas = below


def _advice(name: str, inside: str, known: Mapping[str, Any]) -> str:
    start = f"{inside}." if inside else ""
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    names = [f"{start}{n}" for n in sorted(known)]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    fields = f"Its fields: {', '.join(names[:_SHOWN])}{more}."
    return f"Did you mean {' or '.join(start + n for n in near)}? {fields}" if near else fields


def _items(operation: Operation) -> list[Schema]:
    """Return the schemas of the objects of an answer, of which a list has many."""
    component = operation.result.schema
    if component is None:
        return [{}]
    schemas: list[Schema] = [resolved({"$ref": component})]
    paging = operation.pagination
    if paging is not None and paging.items is not None:
        schemas = _below(schemas, paging.items) or [{}]
    return _elements(schemas)


def _elements(schemas: Iterable[Schema]) -> list[Schema]:
    """Return the schemas, with those of its items in the place of an array's."""
    found: list[Schema] = []
    for schema in _branches(schemas):
        if schema.get("type") == "array":
            found += _branches([schema.get("items", {})])
        else:
            found.append(schema)
    return found


def _branches(schemas: Iterable[Any], depth: int = 0) -> list[Schema]:
    """Return the schemas with what they refer to and are combined of."""
    found: list[Schema] = []
    for given in schemas:
        if not isinstance(given, Mapping) or depth > _DEPTH:
            found.append({})
            continue
        schema = resolved(cast("Schema", given))
        parts = [part for word in ("anyOf", "oneOf", "allOf") for part in schema.get(word, ())]
        if parts:
            found += _branches(parts, depth + 1)
        if not parts or "properties" in schema:
            found.append(schema)
    return [schema for schema in found if schema.get("type") != "null"]


def _below(schemas: Iterable[Schema], name: str) -> list[Schema] | None:
    """Return the schemas of a field; None where anything goes; an empty list: no such field."""
    found: list[Schema] = []
    for schema in _branches(schemas):
        properties = schema.get("properties", {})
        if name in properties:
            found += _branches([properties[name]])
        elif _is_open(schema):
            return None
    return found


def _is_open(schema: Schema) -> bool:
    """Whether an object may have fields that the schema does not name."""
    if "properties" in schema:
        return bool(schema.get("additionalProperties"))
    kind = schema.get("type")
    kinds = {kind} if isinstance(kind, str) else set(cast("list[str]", kind or []))
    if not kinds:
        return "enum" not in schema and "const" not in schema
    return "object" in kinds


def _fields(schemas: Iterable[Schema]) -> dict[str, Any]:
    """Return the fields that any of the schemas names."""
    return {
        name: value
        for schema in _branches(schemas)
        for name, value in schema.get("properties", {}).items()
        if not value.get("writeOnly")
    }
