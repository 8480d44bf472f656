"""Fields of an operation's objects, and the columns that `--column` names. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, cast

from asyncposthog.catalog.schema import resolve
from asyncposthog.operation import Operation

from .error_messages import UsageError

__all__ = ["check_columns", "field_names", "split_columns"]

_MAX_DEPTH: Final = 12
_MAX_LISTED: Final = 40
"""Names of fields that an error lists, at most."""

Schema = Mapping[str, Any]


def split_columns(values: Iterable[str]) -> list[str]:
    """Return the given names, one or several per option: `-c id,name -c key`.

    Raises:
        UsageError: A name is empty.
    """
    names: dict[str, None] = {}
    for text in values:
        for name in text.split(","):
            if not name.strip():
                raise UsageError(
                    f"--column takes NAME or NAME,NAME, not {text!r}.", "For example -c id,name."
                )
            names.setdefault(name.strip())
    return list(names)


def check_columns(operation: Operation, columns: Sequence[str]) -> None:
    """Check that the operation's objects have the columns.

    Raises:
        UsageError: There is no such field; the message suggests similar names.
    """
    if not columns:
        return
    if operation.result.kind in {"none", "text", "bytes"}:
        raise UsageError(f"{operation.id} returns no object: it has no columns.")
    schemas = _items(operation)
    for column in columns:
        _check(operation.id, column, column.split("."), schemas)


def field_names(operation: Operation, prefix: str = "") -> list[str]:
    """Return the fields of an operation's objects, or those below a dotted prefix."""
    schemas = _items(operation)
    path = prefix.split(".")[:-1]
    for name in path:
        schemas = _field_schemas(schemas, name) or []
    start = "".join(f"{name}." for name in path)
    return [f"{start}{name}" for name in sorted(_fields(schemas))]


def _check(what: str, column: str, path: Sequence[str], schemas: list[Schema]) -> None:
    for depth, name in enumerate(path):
        below = _field_schemas(schemas, name)
        if below is None:
            # The schema is unknown from here on, or allows any field.
            return
        if not below:
            fields = _fields(schemas)
            inside = ".".join(path[:depth])
            if depth and not fields:
                raise UsageError(
                    f"{what}: {inside} has no fields inside, so there is no column {column!r}."
                )
            raise UsageError(f"{what} has no field {column!r}.", _suggestion(name, inside, fields))
        schemas = below


def _suggestion(name: str, inside: str, fields: Mapping[str, Any]) -> str:
    start = f"{inside}." if inside else ""
    suggestions = get_close_matches(name, fields, n=3, cutoff=0.5)
    names = [f"{start}{n}" for n in sorted(fields)]
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    listing = f"Its fields: {', '.join(names[:_MAX_LISTED])}{more}."
    return (
        f"Did you mean {' or '.join(start + n for n in suggestions)}? {listing}"
        if suggestions
        else listing
    )


def _items(operation: Operation) -> list[Schema]:
    """Return the schemas of the objects in a response; of a list, those of its items."""
    component = operation.result.schema
    if component is None:
        return [{}]
    schemas: list[Schema] = [resolve({"$ref": component})]
    paging = operation.pagination
    if paging is not None and paging.items is not None:
        schemas = _field_schemas(schemas, paging.items) or [{}]
    return _item_schemas(schemas)


def _item_schemas(schemas: Iterable[Schema]) -> list[Schema]:
    """Return the schemas, with an array replaced by the schemas of its items."""
    schemas_found: list[Schema] = []
    for schema in _alternatives(schemas):
        if schema.get("type") == "array":
            schemas_found += _alternatives([schema.get("items", {})])
        else:
            schemas_found.append(schema)
    return schemas_found


def _alternatives(schemas: Iterable[Any], depth: int = 0) -> list[Schema]:
    """Return the schemas with those that they refer to and are combined of."""
    schemas_found: list[Schema] = []
    for values in schemas:
        if not isinstance(values, Mapping) or depth > _MAX_DEPTH:
            schemas_found.append({})
            continue
        schema = resolve(cast("Schema", values))
        parts = [part for word in ("anyOf", "oneOf", "allOf") for part in schema.get(word, ())]
        if parts:
            schemas_found += _alternatives(parts, depth + 1)
        if not parts or "properties" in schema:
            schemas_found.append(schema)
    # Null has no fields: an optional object offers those of the object alone.
    return [schema for schema in schemas_found if schema.get("type") != "null"]


def _field_schemas(schemas: Iterable[Schema], name: str) -> list[Schema] | None:
    """Return the schemas of a field; None if any is allowed; an empty list if there is none."""
    schemas_found: list[Schema] = []
    for schema in _alternatives(schemas):
        properties = schema.get("properties", {})
        if name in properties:
            schemas_found += _alternatives([properties[name]])
        elif _is_open(schema):
            return None
    return schemas_found


def _is_open(schema: Schema) -> bool:
    """Return whether an object can have fields that the schema does not name."""
    if "properties" in schema:
        return bool(schema.get("additionalProperties"))
    # Without a type, an enum or a constant, the schema allows any value, and so any field.
    kind = schema.get("type")
    kinds = {kind} if isinstance(kind, str) else set(cast("list[str]", kind or []))
    if not kinds:
        return "enum" not in schema and "const" not in schema
    return "object" in kinds


def _fields(schemas: Iterable[Schema]) -> dict[str, Any]:
    """Return the fields that any of the schemas names."""
    return {
        name: value
        for schema in _alternatives(schemas)
        for name, value in schema.get("properties", {}).items()
        # Responses do not contain write-only fields, such as passwords.
        if not value.get("writeOnly")
    }
