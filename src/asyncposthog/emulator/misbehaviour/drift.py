"""Objects as another version of the server might send them."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, Final, Literal, TypeAlias, get_args

from asyncposthog.emulator.guards import is_array, is_object
from asyncposthog.emulator.schemas.catalogue import Catalogue, Schema

__all__ = ["DRIFTS", "NEW_FIELD", "NEW_VALUE", "Drift", "drifted"]

Drift: TypeAlias = Literal["missing", "extra", "null", "mistyped", "enum"]
DRIFTS: Final[tuple[Drift, ...]] = get_args(Drift)
NEW_FIELD: Final = "emulator_new_field"
NEW_VALUE: Final = "emulator_new_value"
_IDENTITY: Final = frozenset({"id", "uuid", "short_id", "key", "distinct_ids"})
"""Fields that stay as they are unless they are asked for: without them there is no telling what
an object is."""


def drifted(
    thing: dict[str, Any],
    kinds: tuple[Drift, ...],
    chance: Random,
    fields: frozenset[str] | None = None,
    schema: Schema | None = None,
    catalogue: Catalogue | None = None,
) -> None:
    """Change one field of an object in each of the ways.

    Args:
        thing: The object, changed in place.
        kinds: The ways, in this order: an enum is changed only where the schema has one.
        chance: Chooses the fields.
        fields: Those that may be changed; all that are not the object's identity by default.
        schema: The object's schema, for its enums.
        catalogue: Resolves the schema's references.
    """
    for kind in (kind for kind in DRIFTS if kind in kinds):
        if kind == "extra":
            thing[NEW_FIELD] = {"since": "a newer server"}
        elif kind == "enum":
            _new_value(thing, chance, fields, schema, catalogue)
        else:
            names = sorted(
                name
                for name, value in thing.items()
                if (name not in _IDENTITY if fields is None else name in fields)
                and name != NEW_FIELD
                and value is not None
            )
            if not names:
                continue
            name = chance.choice(names)
            if kind == "missing":
                del thing[name]
            else:
                thing[name] = None if kind == "null" else _mistyped(thing[name])


def _mistyped(value: Any) -> Any:
    """A value of another type."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"about {value}"
    if isinstance(value, str):
        return {"text": value}
    return "[]" if is_array(value) else []


def _new_value(
    thing: dict[str, Any],
    chance: Random,
    fields: frozenset[str] | None,
    schema: Schema | None,
    catalogue: Catalogue | None,
) -> None:
    if schema is None or catalogue is None:
        return
    places = [
        (holder, name)
        for holder, name in _enums(thing, schema, catalogue, 4)
        if fields is None or name in fields
    ]
    if places:
        holder, name = chance.choice(places)
        holder[name] = NEW_VALUE


def _enums(
    thing: dict[str, Any], schema: Schema, catalogue: Catalogue, depth: int
) -> Iterator[tuple[dict[str, Any], str]]:
    """Where an object holds one of a closed set of texts."""
    for name, sub in catalogue.properties(schema).items():
        value = thing.get(name)
        if isinstance(value, str) and _closed(sub, catalogue):
            yield thing, name
        elif is_object(value) and depth:
            yield from _enums(value, sub, catalogue, depth - 1)


def _closed(schema: Schema, catalogue: Catalogue) -> bool:
    flat = catalogue.resolve(schema)
    branches = flat.get("anyOf") or flat.get("oneOf") or ()
    return "enum" in flat or any("enum" in catalogue.resolve(branch) for branch in branches)
