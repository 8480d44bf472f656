"""Normalise the parameters of an operation: a fixed order, no default styles, no null."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from asyncposthog.config import RESERVED_HEADERS
from codegen.json_access import ResolvedObject, as_mapping, as_text, join_pointer, split_pointer

from .keywords import Context, Schema, is_null, split
from .unions import union

__all__ = ["is_parameter", "parameters", "without_null"]

_STYLES: Final = {"header": "simple", "path": "simple", "query": "form"}
_LOCATIONS: Final = ("path", "query", "header")
_IGNORED_HEADERS: Final = frozenset({"accept", "authorization", "content-type"})
_CONNECTION_HEADERS: Final = frozenset({
    "accept-encoding", "connection", "content-encoding", "cookie", "expect", "keep-alive",
    "proxy-authorization", "proxy-connection", "te", "trailer", "upgrade",
})  # fmt: skip
"""Headers about the connection or the encoding of a body, which the HTTP client sets."""
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""The names of header fields that HTTP allows (RFC 9110, `token`)."""


def parameters(
    listed: Iterable[ResolvedObject],
    template: str,
    pointer: str,
    context: Context,
    *,
    keep_prose: bool,
) -> list[Schema]:
    """Return the parameters of one operation.

    Args:
        listed: The parameters of the path, then those of the operation, which override them.
        template: The path of the operation.
        pointer: The pointer of the operation.
        context: The document.
        keep_prose: Whether descriptions are kept.
    """
    by_location: dict[tuple[str, str], Schema] = {}
    for raw, where in listed:
        name = as_text(raw.get("name"), join_pointer(where, "name"))
        location = as_text(raw.get("in"), join_pointer(where, "in"))
        if location not in _STYLES:
            context.report(where, f"a {location} parameter cannot be sent; it is dropped")
        elif location == "header" and name.lower() in _IGNORED_HEADERS:
            context.report(where, f"OpenAPI ignores a header called {name}; it is dropped")
        elif location == "header" and name.lower() in RESERVED_HEADERS | _CONNECTION_HEADERS:
            context.report(where, f"the client sets the header {name} itself; it is dropped")
        elif location == "header" and not _HEADER.fullmatch(name):
            context.report(where, f"{name!r} is not a valid header name; it is dropped")
        else:
            by_location[location, name] = _parameter(
                raw, name, location, where, context, keep_prose
            )
    order = re.findall(r"\{([^{}]+)\}", template)
    for name in [
        name for location, name in by_location if location == "path" and name not in order
    ]:
        context.report(
            pointer, f"the path has no placeholder for its parameter {name!r}; it is dropped"
        )
        del by_location["path", name]
    for name in order:
        if ("path", name) not in by_location:
            context.report(
                pointer, f"the parameter {name!r} of the path is not declared; it is added"
            )
            by_location["path", name] = {
                "in": "path",
                "name": name,
                "required": True,
                "schema": {"type": "string"},
            }

    def rank(key: tuple[str, str]) -> tuple[int, int, str]:
        location, name = key
        return _LOCATIONS.index(location), order.index(name) if location == "path" else 0, name

    return [by_location[key] for key in sorted(by_location, key=rank)]


def _parameter(
    raw: Mapping[str, Any],
    name: str,
    location: str,
    pointer: str,
    context: Context,
    keep_prose: bool,
) -> Schema:
    built: Schema = {"in": location, "name": name}
    if raw.get("required") is True or location == "path":
        built["required"] = True
    for flag in ("allowEmptyValue", "allowReserved", "deprecated"):
        if raw.get(flag) is True:
            built[flag] = True
    style = raw.get("style", _STYLES[location])
    if style != _STYLES[location]:
        built["style"] = style
    explode = raw.get("explode", style == "form")
    if explode != (style == "form"):
        built["explode"] = explode
    if "content" in raw:
        where = join_pointer(pointer, "content")
        built["content"] = {
            media: {
                "schema": _parameter_schema(
                    content.get("schema", {}), join_pointer(where, media), context
                )
            }
            for media, content in as_mapping(raw["content"], where).items()
        }
    else:
        built["schema"] = _parameter_schema(raw.get("schema", {}), pointer, context)
    if keep_prose and raw.get("description"):
        built["description"] = raw["description"]
    return built


def is_parameter(pointer: str) -> bool:
    """Whether a pointer is that of the schema of a parameter of an operation."""
    path = split_pointer(pointer)
    return path[0] == "paths" and path[3] == "parameters"


def without_null(schema: Schema) -> Schema:
    """Return a schema that does not allow null.

    Outside a JSON body there is no null: a parameter without a value is omitted.
    """
    core, notes = split(schema)
    if "anyOf" in core:
        core = union(branch for branch in core["anyOf"] if not is_null(branch))
    # `...` because the default may be null itself.
    if notes.get("default", ...) is None:
        del notes["default"]
    return core | notes


def _parameter_schema(raw: Any, pointer: str, context: Context) -> Schema:
    return without_null(context.normalise(raw, join_pointer(pointer, "schema")))
