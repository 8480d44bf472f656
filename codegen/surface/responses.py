"""Responses of operations and their annotations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asyncposthog.operation import Pagination, Result
from codegen.json_access import mapping, properties
from codegen.json_schema import component_of, reference_to, resolve
from codegen.overrides import OperationOverrides

from .annotations import result_annotation
from .inline_schemas import ComponentRegistry

__all__ = ["MethodResponse", "declared_response", "method_response"]


@dataclass(frozen=True, slots=True)
class MethodResponse:
    """The successful response of an operation."""

    result: Result
    returns: str
    """The annotation of the result; of one item if the method returns a cursor."""
    components: tuple[str, ...]
    """The components it refers to."""


@dataclass(frozen=True, slots=True)
class DeclaredResponse:
    """The 2xx response the schema declares: its status, media type and schema."""

    status: int
    media: str | None
    schema: Mapping[str, Any]


def declared_response(
    operation: Mapping[str, Any], overrides: OperationOverrides
) -> DeclaredResponse:
    """Return the successful response: the first 2xx with content, JSON preferred.

    An operation that has a 302 and no 2xx redirects to a file of another origin.
    """
    responses = mapping(operation, "responses")
    good = sorted(code for code in responses if re.fullmatch(r"2([0-9]{2}|XX)", code, re.I))
    if not good and "302" in responses and not overrides.get("status"):
        return DeclaredResponse(302, None, {})
    status = int(overrides.get("status") or (_status_code(good[0]) if good else 200))
    variants: list[tuple[str, str, Mapping[str, Any]]] = []
    for code in good:
        content = mapping(responses[code], "content")
        variants += [(code, media, mapping(body, "schema")) for media, body in content.items()]
    variants.sort(key=lambda variant: not _is_json(variant[1]))
    if not variants:
        return DeclaredResponse(status, None, {})
    schemas = [schema for _, media, schema in variants if _is_json(media)]
    # Different status codes may have different bodies: the result is their union.
    distinct = [s for index, s in enumerate(schemas) if s not in schemas[:index]]
    schema = variants[0][2] if len(distinct) < 2 else {"anyOf": distinct}
    return DeclaredResponse(
        int(overrides.get("status") or _status_code(variants[0][0])), variants[0][1], schema
    )


def _status_code(code: str) -> int:
    """Return a status code; 200 for the range `2XX`."""
    return int(code) if code.isdecimal() else 200


def method_response(
    declared: DeclaredResponse,
    name: str,
    components: ComponentRegistry,
    pagination: Pagination | None,
    overrides: OperationOverrides,
) -> MethodResponse:
    """Return the `Result` and the annotation for a declared response.

    Args:
        declared: The response in the schema.
        name: The start of the names of components made of inline schemas, in Pascal case.
        components: The components; inline schemas are added.
        pagination: The paging style, if the operation is a list.
        overrides: `result` sets the kind: none, json, text or bytes.

    Returns:
        The response. It refers to components as `{Component}`, because class names are known only
        after all inline schemas have become components.
    """
    forced = "bytes" if declared.status == 302 else overrides.get("result")
    if forced in {"none", "text", "bytes"}:
        annotation = {"none": "None", "text": "str", "bytes": "bytes"}[forced]
        media = {"none": "application/json", "text": "text/plain"}.get(forced, "*/*")
        return MethodResponse(
            Result(kind=forced, status=declared.status, media=media), annotation, ()
        )
    if declared.media is None:
        # A view that declares no response may still return JSON. Only 204 rules that out.
        if declared.status == 204 or forced == "none":
            return MethodResponse(Result(kind="none", status=declared.status), "None", ())
        return MethodResponse(Result(kind="json", status=declared.status), "JSON", ())
    if not _is_json(declared.media):
        kind = "text" if declared.media.startswith("text/") else "bytes"
        annotation = "str" if kind == "text" else "bytes"
        return MethodResponse(
            Result(kind=kind, status=declared.status, media=declared.media), annotation, ()
        )
    return _json_response(declared, name, components, pagination)


def _json_response(
    declared: DeclaredResponse,
    name: str,
    components: ComponentRegistry,
    pagination: Pagination | None,
) -> MethodResponse:
    schema = declared.schema
    flat = resolve(schema, components.schemas)
    array = flat.get("type") == "array" and (component_of(schema) is None or pagination is not None)
    target = mapping(flat, "items") if array else schema
    component = components.promote_inline(
        target, f"{name}ResponseItem" if array else f"{name}Response"
    )
    if component is None:
        inner = result_annotation(target, components.schemas)
        annotation = inner if pagination and array else (f"_list[{inner}]" if array else inner)
        return MethodResponse(Result(kind="json", status=declared.status), annotation, ())
    result = Result(
        kind="model",
        model=f"{{{component}}}",
        array=array,
        schema=component,
        status=declared.status,
    )
    if pagination is None:
        annotation = f"_list[m.{{{component}}}]" if array else f"m.{{{component}}}"
        return MethodResponse(result, annotation, (component,))
    if array:
        return MethodResponse(result, f"m.{{{component}}}", (component,))
    return MethodResponse(
        result, _item_annotation(component, name, components, pagination), (component,)
    )


def _item_annotation(
    component: str, name: str, components: ComponentRegistry, pagination: Pagination
) -> str:
    """Return the annotation of one item of a page; make a component of it if it is inline."""
    envelope = components.schemas[component]
    items = mapping(properties(envelope), pagination.items or "results")
    target = mapping(resolve(items, components.schemas), "items")
    inline = component_of(target) is None
    item = components.promote_inline(target, f"{component}Item")
    if item is None:
        return result_annotation(target, components.schemas)
    if inline and items.get("type") == "array":
        updated = {**envelope, "properties": {**envelope["properties"]}}
        updated["properties"][pagination.items or "results"] = {
            **items,
            "items": reference_to(item),
        }
        components.schemas[component] = updated
    return f"m.{{{item}}}"


def _is_json(media: str) -> bool:
    return media == "application/json" or media.endswith("+json") or media == "*/*"
