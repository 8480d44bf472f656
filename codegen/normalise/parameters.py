"""The parameters of an operation, in one order and with their defaults left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from asyncposthog.config import RESERVED_HEADERS
from codegen.json_access import as_mapping, as_text, child, tokens

from .context import Context
from .keywords import Schema, is_null, split
from .references import Target
from .unions import union

__all__ = ["is_parameter", "parameters", "without_null"]

_STYLES: Final = {"header": "simple", "path": "simple", "query": "form"}
_PLACES: Final = ("path", "query", "header")
_IGNORED: Final = frozenset({"accept", "authorization", "content-type"})
_OF_THE_CONNECTION: Final = frozenset({
    "accept-encoding", "connection", "content-encoding", "cookie", "expect", "keep-alive",
    "proxy-authorization", "proxy-connection", "te", "trailer", "upgrade",
})  # fmt: skip
"""Headers that say how an answer or a body travels, or who calls: HTTP clients make them."""
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""What HTTP allows as the name of a header field (RFC 9110, `token`)."""


def parameters(
    listed: Iterable[Target], template: str, at: str, context: Context, *, keep_prose: bool
) -> list[Schema]:
    """Return the parameters of one operation.

    Args:
        listed: Those of the path, then those of the operation, which win.
        template: The path of the operation.
        at: The pointer of the operation.
        context: The document.
        keep_prose: Whether descriptions stay.
    """
    found: dict[tuple[str, str], Schema] = {}
    for raw, where in listed:
        name = as_text(raw.get("name"), child(where, "name"))
        place = as_text(raw.get("in"), child(where, "in"))
        if place not in _STYLES:
            context.report(where, f"a {place} parameter cannot be sent; it is dropped")
        elif place == "header" and name.lower() in _IGNORED:
            context.report(where, f"OpenAPI ignores a header called {name}; it is dropped")
        elif place == "header" and name.lower() in RESERVED_HEADERS | _OF_THE_CONNECTION:
            context.report(where, f"the client makes the header {name} itself; it is dropped")
        elif place == "header" and not _HEADER.fullmatch(name):
            context.report(where, f"no header can be called {name!r}; it is dropped")
        else:
            found[place, name] = _parameter(raw, name, place, where, context, keep_prose)
    order = re.findall(r"\{([^{}]+)\}", template)
    for name in [name for place, name in found if place == "path" and name not in order]:
        context.report(at, f"the path has no place for its parameter {name!r}; it is dropped")
        del found["path", name]
    for name in order:
        if ("path", name) not in found:
            context.report(at, f"the parameter {name!r} of the path is not declared; it is added")
            found["path", name] = {
                "in": "path",
                "name": name,
                "required": True,
                "schema": {"type": "string"},
            }

    def rank(key: tuple[str, str]) -> tuple[int, int, str]:
        place, name = key
        return _PLACES.index(place), order.index(name) if place == "path" else 0, name

    return [found[key] for key in sorted(found, key=rank)]


def _parameter(
    raw: Mapping[str, Any], name: str, place: str, at: str, context: Context, keep_prose: bool
) -> Schema:
    built: Schema = {"in": place, "name": name}
    if raw.get("required") is True or place == "path":
        built["required"] = True
    for flag in ("allowEmptyValue", "allowReserved", "deprecated"):
        if raw.get(flag) is True:
            built[flag] = True
    style = raw.get("style", _STYLES[place])
    if style != _STYLES[place]:
        built["style"] = style
    explode = raw.get("explode", style == "form")
    if explode != (style == "form"):
        built["explode"] = explode
    if "content" in raw:
        where = child(at, "content")
        built["content"] = {
            media: {"schema": _sent(content.get("schema", {}), child(where, media), context)}
            for media, content in as_mapping(raw["content"], where).items()
        }
    else:
        built["schema"] = _sent(raw.get("schema", {}), at, context)
    if keep_prose and raw.get("description"):
        built["description"] = raw["description"]
    return built


def is_parameter(at: str) -> bool:
    """Whether a pointer leads to the schema of a parameter of an operation."""
    path = tokens(at)
    return path[0] == "paths" and path[3] == "parameters"


def without_null(schema: Schema) -> Schema:
    """Return the schema of what is sent. Outside of a body there is no null: one leaves it out."""
    core, notes = split(schema)
    if "anyOf" in core:
        core = union(branch for branch in core["anyOf"] if not is_null(branch))
    if notes.get("default", ...) is None:
        del notes["default"]
    return core | notes


def _sent(raw: Any, at: str, context: Context) -> Schema:
    return without_null(context.schema(raw, child(at, "schema")))
