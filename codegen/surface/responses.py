"""What an operation answers with, and how a signature says so."""

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
    """The successful answer of one operation."""

    result: Result
    returns: str
    """The annotation; of one item where the operation is a cursor."""
    components: tuple[str, ...]
    """Components it is made of."""


@dataclass(frozen=True, slots=True)
class DeclaredResponse:
    """The 2xx response the schema declares: its status, media type and schema."""

    status: int
    media: str | None
    schema: Mapping[str, Any]


def declared_response(
    operation: Mapping[str, Any], overrides: OperationOverrides
) -> DeclaredResponse:
    """Pick the successful response that says most: the first 2xx with content."""
    responses = mapping(operation, "responses")
    good = sorted(code for code in responses if re.fullmatch(r"2([0-9]{2}|XX)", code, re.I))
    status = int(overrides.get("status") or (_status_code(good[0]) if good else 200))
    variants: list[tuple[str, str, Mapping[str, Any]]] = []
    for code in good:
        content = mapping(responses[code], "content")
        variants += [(code, media, mapping(body, "schema")) for media, body in content.items()]
    variants.sort(key=lambda variant: not _is_json(variant[1]))
    if not variants:
        return DeclaredResponse(status, None, {})
    schemas = [schema for _, media, schema in variants if _is_json(media)]
    distinct = [s for index, s in enumerate(schemas) if s not in schemas[:index]]
    schema = variants[0][2] if len(distinct) < 2 else {"anyOf": distinct}
    return DeclaredResponse(
        int(overrides.get("status") or _status_code(variants[0][0])), variants[0][1], schema
    )


def _status_code(code: str) -> int:
    """Return a status code; `2XX` stands for any, of which 200 is the usual one."""
    return int(code) if code.isdecimal() else 200


def method_response(
    declared: DeclaredResponse,
    name: str,
    components: ComponentRegistry,
    pagination: Pagination | None,
    overrides: OperationOverrides,
) -> MethodResponse:
    """Turn a declared response into a `Result` and an annotation.

    Args:
        declared: What the schema says.
        name: The Pascal-case stem for components made of inline schemas.
        components: Where inline schemas are hoisted to.
        pagination: The paging style, if the operation is a list.
        overrides: `result` forces a kind: none, json, text or bytes.

    Returns:
        The answer; it names components as `{Component}`, because class names are settled only
        when everything has been hoisted.
    """
    forced = overrides.get("result")
    if forced in {"none", "text", "bytes"}:
        annotation = {"none": "None", "text": "str", "bytes": "bytes"}[forced]
        media = {"none": "application/json", "text": "text/plain"}.get(forced, "*/*")
        return MethodResponse(
            Result(kind=forced, status=declared.status, media=media), annotation, ()
        )
    if declared.media is None:
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
    """Annotate one item of an envelope, hoisting it where it is inline."""
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
