"""Python names of model fields."""

from __future__ import annotations

import keyword
from collections.abc import Collection, Iterable, Mapping

from codegen.naming import words

__all__ = ["BASE_ATTRIBUTES", "fallback_field_names", "field_name", "field_names"]

# A list, not `dir(BaseModel)`: field names must not depend on the installed version of pydantic.
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
"""Public attributes of `pydantic.BaseModel` in all supported releases, and `self`."""


def field_name(wire: str, reserved: Collection[str] = ()) -> str:
    """Return a field name for a property name, or `""` if it has no letter or digit.

    Snake case; a leading `_` or `$` is dropped; a leading digit gets an `n` in front; keywords and
    reserved names get a trailing underscore.
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
    """Return the field names of one model.

    Args:
        owner: The class name of the model.
        properties: The wire names of its properties.
        overrides: Fixed field names, by `ClassName.property`.
        reserved: Names that no field may have.

    Returns:
        Field names by wire name, and `(wire name, reason)` for each property without one.
    """
    listed = list(properties)
    wires = set(listed)
    candidates = {
        wire: overrides.get(f"{owner}.{wire}", field_name(wire, reserved)) for wire in listed
    }
    conflicts: list[tuple[str, str]] = []
    holders: dict[str, str] = {}
    # Models accept Python names as well as wire names. A field name that is the wire name of
    # another property would take its value, so a property that is spelled exactly so comes first.
    for wire in sorted(listed, key=lambda wire: candidates[wire] != wire):
        name = candidates[wire]
        if not _is_usable(name, reserved):
            conflicts.append((wire, f"{name!r} is not a valid field name; choose another one"))
        elif name in holders:
            conflicts.append(
                (wire, f"would be called {name!r}, as {holders[name]!r} is; rename one of them")
            )
        elif name != wire and name in wires:
            conflicts.append(
                (wire, f"would be called {name!r}, which is another property; choose another name")
            )
        else:
            holders[name] = wire
    return {w: candidates[w] for w in listed if holders.get(candidates[w]) == w}, conflicts


def fallback_field_names(
    properties: Iterable[str], names: Mapping[str, str], reserved: Collection[str]
) -> dict[str, str]:
    """Return names for the properties without one, by appending underscores.

    Args:
        properties: The wire names of one model.
        names: The field names of its other properties, by wire name.
        reserved: Names that no field may have.

    Returns:
        The new names by wire name.
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
