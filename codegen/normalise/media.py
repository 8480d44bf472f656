"""Normalise request bodies, which keep one media type, and responses, which keep all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from codegen.json_access import ResolvedObject, as_mapping, join_pointer

from .keywords import Context, Schema, branches, split
from .unions import union
from .walk import without_prose

__all__ = ["body", "responses"]

JSON: Final = "application/json"
MULTIPART: Final = "multipart/form-data"
_ENCODING = ("allowReserved", "contentType", "explode", "style")


def body(target: ResolvedObject, context: Context, *, keep_prose: bool) -> Schema | None:
    """Return a request body with one media type, or None if it has no media type."""
    raw, pointer = target
    contents = _contents(raw, pointer, context)
    if not contents:
        context.report(pointer, "a request body without a media type; it is dropped")
        return None
    media = _select_media_type(contents, context)
    selected = contents[media]
    if media not in {JSON, MULTIPART}:
        context.report(
            join_pointer(pointer, "content"), f"neither JSON nor multipart: {media} is kept"
        )
    for other, content in contents.items():
        if without_prose(content.get("schema", {})) != without_prose(selected.get("schema", {})):
            reason = f"its schema differs from that of {media}, which is kept"
            context.report(join_pointer(pointer, "content", other), reason)
    built: Schema = {"content": {media: selected}}
    if raw.get("required") is True:
        built["required"] = True
    if keep_prose and raw.get("description"):
        built["description"] = raw["description"]
    return built


def responses(
    listed: Mapping[str, ResolvedObject], context: Context, *, keep_prose: bool
) -> dict[str, Schema]:
    """Return the responses of an operation, by status code."""
    by_status: dict[str, Schema] = {}
    for code, (raw, pointer) in listed.items():
        # OpenAPI requires a description for each response.
        prose = raw.get("description") if keep_prose else ""
        response: Schema = {"description": prose or ""}
        contents = _contents(raw, pointer, context)
        if contents:
            response["content"] = contents
        for key in ("headers", "links"):
            if raw.get(key):
                context.report(
                    join_pointer(pointer, key), f"the {key} of a response; they are dropped"
                )
        by_status[str(code)] = response
    return by_status


def _contents(raw: Mapping[str, Any], pointer: str, context: Context) -> dict[str, Schema]:
    """Return the normalised media types, without their parameters (`; charset=…`)."""
    contents: dict[str, Schema] = {}
    where = join_pointer(pointer, "content")
    for name, value in as_mapping(raw.get("content") or {}, where).items():
        below = join_pointer(where, name)
        media = str(name).partition(";")[0].strip().lower()
        content = as_mapping(value, below)
        if media in contents:
            context.report(below, f"{media} is listed before; this one is dropped")
            continue
        built: Schema = {}
        if "schema" in content:
            built["schema"] = context.normalise(content["schema"], join_pointer(below, "schema"))
        encoding = as_mapping(content.get("encoding") or {}, join_pointer(below, "encoding"))
        if encoding:
            built["encoding"] = {
                field: {key: rules[key] for key in _ENCODING if key in rules}
                for field, rules in encoding.items()
            }
        contents[media] = built
    return contents


def _select_media_type(contents: Mapping[str, Schema], context: Context) -> str:
    # drf-spectacular lists the media types of all parsers of a view: by default JSON, form data and
    # multipart. Only a body with a file has to be multipart.
    multipart = contents.get(MULTIPART)
    if multipart is not None and _has_file(multipart.get("schema", {}), context):
        return MULTIPART
    for media in (JSON, *(name for name in sorted(contents) if name.endswith("+json")), MULTIPART):
        if media in contents:
            return media
    return min(contents)  # no order is better, but the result must not depend on the document's


def _has_file(schema: Mapping[str, Any], context: Context) -> bool:
    """Whether a body has a field that is a file or a list of files."""
    core, _ = split(schema)
    if "$ref" in core:
        core, _ = split(context.resolve(core["$ref"]) or {})
    return any(
        _is_file(value)
        for branch in branches(core)
        for value in branch.get("properties", {}).values()
    )


def _is_file(schema: Mapping[str, Any]) -> bool:
    core, _ = split(schema)
    if core.get("type") == "array" and isinstance(core.get("items"), Mapping):
        return _is_file(core["items"])
    if "anyOf" in core:
        return any(map(_is_file, union(core["anyOf"]).get("anyOf", ())))
    # OpenAPI 3.0 writes `format: binary`, 3.1 `contentMediaType` without an encoding.
    plain = "contentMediaType" in core and "contentEncoding" not in core
    return core.get("format") == "binary" or plain
