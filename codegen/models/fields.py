"""Python names of fields."""

from __future__ import annotations

import keyword
from collections.abc import Collection, Iterable, Mapping

from codegen.naming import words

__all__ = ["BASE_ATTRIBUTES", "fallback_field_names", "field_name", "field_names"]

BASE_ATTRIBUTES = frozenset(
    {
        "construct",
        "copy",
        "dict",
        "fields",
        "from_orm",
        "json",
        "model_computed_fields",
        "model_config",
        "model_construct",
        "model_copy",
        "model_dump",
        "model_dump_json",
        "model_extra",
        "model_fields",
        "model_fields_set",
        "model_json_schema",
        "model_parametrized_name",
        "model_post_init",
        "model_rebuild",
        "model_validate",
        "model_validate_json",
        "model_validate_strings",
        "parse_file",
        "parse_obj",
        "parse_raw",
        "schema",
        "schema_json",
        "self",
        "update_forward_refs",
        "validate",
    }
)
"""Public attributes of `pydantic.BaseModel` over the supported releases, and `self`."""


def field_name(wire: str, reserved: Collection[str] = ()) -> str:
    """Turn a property name into a field name, or into `""` where nothing is left of it.

    Snake case; a leading `_` or `$` is dropped; a leading digit is spelled with an `n` before it;
    keywords and reserved names get a trailing underscore.
    """
    name = "_".join(words(wire))
    if name[:1].isdigit():
        name = f"n{name}"
    if keyword.iskeyword(name) or name in BASE_ATTRIBUTES or name in reserved:
        name = f"{name}_"
    return name


def field_names(
    owner: str,
    properties: Iterable[str],
    overrides: Mapping[str, str],
    reserved: Collection[str],
) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Name the fields of one model.

    Args:
        owner: Its class name, for `overrides`.
        properties: Its wire names.
        overrides: Names decided elsewhere, by `ClassName.property`.
        reserved: Names no field may have.

    Returns:
        Field names by wire name, and `(wire name, reason)` of each that has no name of its own.
    """
    listed = list(properties)
    wires = set(listed)
    candidates = {
        wire: overrides.get(f"{owner}.{wire}", field_name(wire, reserved)) for wire in listed
    }
    conflicts: list[tuple[str, str]] = []
    holders: dict[str, str] = {}
    # A model is read by Python names too: one that is the wire name of another property would
    # take that property's value. So whichever is spelled exactly so comes first.
    for wire in sorted(listed, key=lambda wire: candidates[wire] != wire):
        name = candidates[wire]
        if not _is_usable(name, reserved):
            conflicts.append((wire, f"no field can be called {name!r}; choose a name for it"))
        elif name in holders:
            conflicts.append(
                (wire, f"would be called {name!r}, as {holders[name]!r} is; rename one of them")
            )
        elif name != wire and name in wires:
            conflicts.append(
                (wire, f"would be called {name!r}, which is another property; choose a name for it")
            )
        else:
            holders[name] = wire
    return {w: candidates[w] for w in listed if holders.get(candidates[w]) == w}, conflicts


def fallback_field_names(
    properties: Iterable[str], names: Mapping[str, str], reserved: Collection[str]
) -> dict[str, str]:
    """Name the fields that have no name of their own: with a trailing underscore, or several.

    Args:
        properties: The wire names of one model.
        names: The field names that are settled, by wire name.
        reserved: Names no field may have.

    Returns:
        The names of the others by wire name.
    """
    listed = list(properties)
    taken = set(names.values())
    fallback: dict[str, str] = {}
    for wire in listed:
        if wire in names:
            continue
        name = field_name(wire, reserved) or "value"
        unavailable = taken.union(other for other in listed if other != wire)
        while name in unavailable or not _is_usable(name, reserved):
            name = f"{name}_"
        taken.add(name)
        fallback[wire] = name
    return fallback


def _is_usable(name: str, reserved: Collection[str]) -> bool:
    return (
        name.isascii()
        and name.isidentifier()
        and name == name.lower()
        and not name.startswith("_")
        and not keyword.iskeyword(name)
        and name not in BASE_ATTRIBUTES
        and name not in reserved
    )
