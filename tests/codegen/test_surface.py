"""Resources, methods and operations built from documents."""

from __future__ import annotations

from typing import Any

import pytest

from asyncposthog.operation import Pagination, Result
from codegen.overrides import OperationOverrides, Overrides
from codegen.released_names import dump_names, removed_names
from codegen.render.registry import registry_files
from codegen.surface import Method, ReleasedNames, Resource, Surface, build_surface

P = "/api/projects/{project_id}"
STRING = {"type": "string"}
REF = "#/components/schemas/"


def document(
    paths: dict[str, dict[str, Any]], schemas: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {"openapi": "3.1.0", "paths": paths, "components": {"schemas": schemas or {}}}


def build(doc: dict[str, Any], *entries: dict[str, Any], **more: Any) -> Surface:
    operations = tuple(OperationOverrides(f["operation"], f) for f in entries)
    return build_surface(doc, Overrides(operations=operations, **more), ReleasedNames({}, {}))


def answer(schema: dict[str, Any], status: str = "200") -> dict[str, Any]:
    return {status: {"content": {"application/json": {"schema": schema}}}}


def body(schema: dict[str, Any], media: str = "application/json", **more: Any) -> dict[str, Any]:
    return {"content": {media: {"schema": schema}}, "required": True, **more}


def method_of(surface: Surface, name: str) -> Method:
    return next(method for method in surface.methods if method.operation.id == name)


THING = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "readOnly": True},
        "name": STRING,
        "deleted": {"type": "boolean"},
    },
    "required": ["id", "name"],
}
PATCHED = {"type": "object", "properties": THING["properties"]}


def test_a_flat_body_drops_read_only_fields_and_puts_required_ones_first() -> None:
    schema = {
        "type": "object",
        "properties": {"b": STRING, "a": STRING, "id": {**STRING, "readOnly": True}},
        "required": ["a", "id"],
    }
    surface = build(document({f"{P}/x/": {"post": {"requestBody": body(schema)}}}))
    create = method_of(surface, "x.create")
    assert [(a.python_name, a.required) for a in create.arguments] == [("a", True), ("b", False)]
    assert create.operation.body is not None
    assert create.operation.body.fields == (("b", "b"), ("a", "a"))


def test_clashing_argument_names_get_an_underscore() -> None:
    schema = {"type": "object", "properties": {"id": STRING, "from": STRING, "dateRange": STRING}}
    path = f"{P}/x/{{id}}/"
    surface = build(
        document(
            {
                path: {
                    "patch": {
                        "parameters": [{"in": "path", "name": "id", "schema": {"type": "integer"}}],
                        "requestBody": body(schema),
                    }
                }
            }
        )
    )
    update = method_of(surface, "x.update")
    assert [(a.python_name, a.wire_name, a.location) for a in update.arguments] == [
        ("id", "id", "path"),
        ("id_", "id", "field"),
        ("from_", "from", "field"),
        ("date_range", "dateRange", "field"),
    ]


@pytest.mark.parametrize(
    ("schema", "annotation"),
    [
        ({"type": "array", "items": STRING}, "Sequence[str]"),
        ({"anyOf": [STRING, {"type": "null"}]}, "str | None"),
        ({"enum": ["a", "b"], "type": "string"}, "Literal['a', 'b']"),
        ({"const": "x", "type": "string"}, "Literal['x']"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "Mapping[str, int]"),
        ({"type": "object"}, "Mapping[str, JSON]"),
        ({"type": "string", "format": "date-time"}, "Timestamp"),
        ({"type": "string", "format": "uuid"}, "UUID | str"),
        ({}, "JSON"),
        ({"anyOf": [{}, STRING]}, "JSON"),
        ({"$ref": REF + "Color"}, "m.Color"),
        ({"$ref": REF + "Thing"}, "m.Thing | Mapping[str, JSON]"),
        ({"$ref": REF + "Many"}, "Sequence[m.Thing | Mapping[str, JSON]]"),
        ({"$ref": REF + "Loop"}, "Sequence[JSON]"),
    ],
)
def test_annotations_of_arguments(schema: dict[str, Any], annotation: str) -> None:
    schemas = {
        "Color": {"type": "string", "enum": ["red"]},
        "Thing": THING,
        "Many": {"type": "array", "items": {"$ref": REF + "Thing"}},
        "Loop": {"type": "array", "items": {"$ref": REF + "Loop"}},
    }
    request = body({"type": "object", "properties": {"f": schema}})
    surface = build(document({f"{P}/x/": {"post": {"requestBody": request}}}, schemas))
    assert method_of(surface, "x.create").arguments[0].annotation == annotation


def test_non_object_body_is_one_argument() -> None:
    union = {"anyOf": [{"$ref": REF + "Thing"}, {"type": "array", "items": STRING}]}
    surface = build(document({f"{P}/x/": {"post": {"requestBody": body(union)}}}, {"Thing": THING}))
    argument = method_of(surface, "x.create").arguments[0]
    assert (argument.python_name, argument.location, argument.required) == ("body", "body", True)
    assert argument.annotation == "m.Thing | Mapping[str, JSON] | Sequence[str]"


def test_files_of_a_multipart_body() -> None:
    schema = {
        "type": "object",
        "properties": {"file": {"type": "string", "format": "binary"}, "name": STRING},
        "required": ["file"],
    }
    request = body(schema, "multipart/form-data")
    surface = build(document({f"{P}/x/": {"post": {"requestBody": request}}}))
    create = method_of(surface, "x.create")
    assert create.operation.body is not None
    assert (create.operation.body.media, create.operation.body.files) == ("multipart", ("file",))
    assert create.arguments[0].annotation == "FileInput"


def test_delete_becomes_a_patch_where_the_server_refuses_it() -> None:
    path = f"{P}/things/{{id}}/"
    surface = build(
        document(
            {
                path: {
                    "patch": {
                        "requestBody": body({"$ref": REF + "PatchedThing"}),
                        "responses": answer({"$ref": REF + "Thing"}),
                        "security": [{"PersonalAPIKeyAuth": ["thing:write"]}],
                    },
                    "delete": {"responses": {"405": {}}},
                }
            },
            {"Thing": THING, "PatchedThing": PATCHED},
        )
    )
    delete, restore = (
        method_of(surface, "things.delete").operation,
        method_of(surface, "things.restore").operation,
    )
    assert (delete.method, delete.fixed_body, delete.idempotent) == (
        "PATCH", {"deleted": True}, True,
    )  # fmt: skip
    assert restore.fixed_body == {"deleted": False}
    assert delete.scopes == restore.scopes == ("thing:write",)
    assert delete.schema_operations == (f"DELETE {path}",)
    assert [a.location for a in method_of(surface, "things.delete").arguments] == ["path"]


def test_refused_delete_stays_without_a_patch() -> None:
    surface = build(document({f"{P}/things/{{id}}/": {"delete": {"responses": {"405": {}}}}}))
    assert method_of(surface, "things.delete").operation.method == "DELETE"


def test_action_with_the_resource_serializer_requires_no_field() -> None:
    request = body({"$ref": REF + "Thing"})
    surface = build(
        document(
            {
                f"{P}/things/": {"post": {"requestBody": request}},
                f"{P}/things/{{id}}/pause/": {"post": {"requestBody": request}},
            },
            {"Thing": THING},
        )
    )
    assert [a.required for a in method_of(surface, "things.create").arguments] == [True, False]
    fields = [a for a in method_of(surface, "things.pause").arguments if a.location == "field"]
    assert [a.required for a in fields] == [False, False]


@pytest.mark.parametrize(
    ("responses", "result", "returns"),
    [
        ({"204": {}}, Result(kind="none", status=204), "None"),
        ({"200": {}}, Result(kind="json"), "JSON"),
        (answer({}), Result(kind="json"), "JSON"),
        (answer({"type": "object"}), Result(kind="json"), "dict[str, JSON]"),
        (answer(STRING), Result(kind="json"), "str"),
        (
            answer({"$ref": REF + "Thing"}, "201"),
            Result(kind="model", model="Thing", schema="Thing", status=201),
            "m.Thing",
        ),
        (
            answer(THING),
            Result(kind="model", model="XCreateResponse", schema="XCreateResponse"),
            "m.XCreateResponse",
        ),
        (
            answer({"type": "array", "items": {"$ref": REF + "Thing"}}),
            Result(kind="model", model="Thing", array=True, schema="Thing"),
            "_list[m.Thing]",
        ),
        (
            {"200": {"content": {"text/csv": {"schema": STRING}}}},
            Result(kind="text", media="text/csv"),
            "str",
        ),
        (
            {"200": {"content": {"image/png": {"schema": {}}}}},
            Result(kind="bytes", media="image/png"),
            "bytes",
        ),
        (
            {"200": {"content": {"image/png": {}}}, **answer({"$ref": REF + "Thing"}, "202")},
            Result(kind="model", model="Thing", schema="Thing", status=202),
            "m.Thing",
        ),
    ],
)
def test_results(responses: dict[str, Any], result: Result, returns: str) -> None:
    surface = build(document({f"{P}/x/": {"post": {"responses": responses}}}, {"Thing": THING}))
    method = method_of(surface, "x.create")
    assert (method.operation.result, method.returns) == (result, returns)


def paged(*fields: str) -> dict[str, Any]:
    properties: dict[str, Any] = dict.fromkeys(fields, STRING)
    properties["results"] = {"type": "array", "items": {"$ref": REF + "Thing"}}
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("envelope", "query", "style"),
    [
        (paged("count", "next", "previous"), ["limit", "offset"], "offset"),
        (paged("next", "previous"), ["limit", "offset"], "persons"),
        (paged("next", "previous"), ["cursor"], "cursor"),
        (paged("count", "next", "previous"), ["page"], "page"),
    ],
)
def test_paging_styles(envelope: dict[str, Any], query: list[str], style: Any) -> None:
    parameters = [{"in": "query", "name": name, "schema": STRING} for name in query]
    listing = {"parameters": parameters, "responses": answer({"$ref": REF + "Page"})}
    doc = document({f"{P}/x/": {"get": listing}}, {"Thing": THING, "Page": envelope})
    method = method_of(build(doc), "x.list")
    assert method.operation.pagination is not None
    assert method.operation.pagination.style == style
    assert (method.cursor, method.returns) == (True, "m.Thing")


def test_overrides_win_over_the_schema() -> None:
    path = f"{P}/x/"
    doc = document({path: {"get": {"responses": answer({"type": "array", "items": STRING})}}})
    surface = build(
        doc,
        {"operation": f"GET {path}", "name": "x.everything", "pagination": "recordings",
         "page_size": 7, "note": "Mind the gap.", "api_key_allowed": False},
    )  # fmt: skip
    method = method_of(surface, "x.everything")
    assert method.operation.pagination == Pagination(style="recordings", page_size=7)
    assert (method.note, method.operation.api_key_allowed) == ("Mind the gap.", False)


def test_buckets_scopes_and_writes() -> None:
    reading = [{"PersonalAPIKeyAuth": ["x:read"]}]
    doc = document(
        {
            f"{P}/x/": {"get": {}, "post": {"security": reading}},
            f"{P}/y/": {"post": {}, "delete": {}},
        }
    )
    rule = {"match": [f"* {P}/x/"], "buckets": ["query"]}
    surface = build(doc, buckets=(rule,))
    read, search = method_of(surface, "x.get").operation, method_of(surface, "x.create").operation
    assert (read.buckets, read.writes, read.idempotent) == (("query",), False, True)
    assert (search.writes, search.idempotent, search.scopes) == (False, True, ("x:read",))
    create, clear = (
        method_of(surface, "y.create").operation,
        method_of(surface, "y.delete").operation,
    )
    assert (create.buckets, create.writes, create.idempotent) == (
        ("burst", "sustained"), True, False,
    )  # fmt: skip
    assert (clear.writes, clear.idempotent) == (True, True)


def test_users_of_components_follow_every_reference() -> None:
    schemas = {
        "Page": paged("count", "next", "previous"),
        "Thing": {**THING, "properties": {"child": {"$ref": REF + "Child"}}},
        "Child": THING,
        "Filter": THING,
        "Unused": THING,
    }
    request = body({"type": "object", "properties": {"f": {"$ref": REF + "Filter"}}})
    listing = {"responses": answer({"$ref": REF + "Page"})}
    doc = document({f"{P}/x/": {"get": listing, "post": {"requestBody": request}}}, schemas)
    users = build(doc).users
    assert users["Child"] == users["Thing"] == users["Page"] == {"x"}
    assert users["Filter"] == {"x!request"}
    assert "Unused" not in users


def test_a_method_and_a_nested_resource_do_not_share_a_name() -> None:
    doc = document(
        {
            f"{P}/x/": {"post": {}},
            f"{P}/x/create/{{id}}/": {"get": {}},
        }
    )
    surface = build(doc)
    assert [method.operation.id for method in surface.methods] == ["x.create.get", "x.create_2"]
    assert [(f.pointer, f.reason) for f in surface.diagnostics] == [
        (
            "/paths/~1api~1projects~1{project_id}~1x~1/post",
            "'x.create' is a nested resource too; the method is 'x.create_2'",
        )
    ]


def test_renamed_released_method_fails_the_check() -> None:
    path = f"{P}/x/{{id}}/versions/"
    doc = document({path: {"get": {}}, f"{path}{{version}}/": {"get": {}}})
    released = ReleasedNames({f"GET {path}": "x.versions"}, {})
    surface = build_surface(doc, Overrides(), released)
    assert surface.released[f"GET {path}"] == "x.list_versions"
    assert surface.renamed == {f"GET {path}": "x.list_versions"}
    assert removed_names(released, surface, {}) == [
        f"method x.versions (GET {path}), which would be called x.list_versions"
    ]
    assert f"GET {path}: x.versions" in dump_names(released, surface, {})


def test_classes_and_methods_that_would_share_a_name_are_told_apart() -> None:
    surface = build(
        document(
            {
                f"{P}/a/b_c/{{id}}/": {"get": {}},
                f"{P}/a/b/c/{{id}}/": {"get": {}},
                f"{P}/resource/": {"get": {}},
            }
        )
    )
    classes: list[str] = []

    def collect(resource: Resource) -> None:
        classes.append(resource.class_name)
        for nested in resource.children:
            collect(nested)

    for resource in surface.resources:
        collect(resource)
    assert sorted(classes) == ["A", "AB", "ABC", "ABCResource", "ResourceResource"]
    texts = registry_files(surface)
    assert "B_C_GET = " in texts["registry/families/a.py"]
    assert "B_C_GET_ = " in texts["registry/families/a.py"]


def test_restore_is_the_servers_own_where_it_has_one() -> None:
    patched = {"requestBody": body(PATCHED)}
    refused = {"responses": {"405": {}}}
    path = f"{P}/x/{{id}}/"
    surface = build(
        document({path: {"patch": patched, "delete": refused}, f"{path}restore/": {"post": {}}})
    )
    restore = [m for m in surface.methods if m.operation.id == "x.restore"]
    assert [m.operation.method for m in restore] == ["POST"]
    assert "no method of that name is added" in surface.diagnostics[0].reason


@pytest.mark.parametrize(("code", "status"), [("2XX", 200), ("2xx", 200), ("201", 201), ("2", 200)])
def test_status_codes_of_any_kind(code: str, status: int) -> None:
    surface = build(document({f"{P}/x/": {"get": {"responses": answer(STRING, code)}}}))
    assert method_of(surface, "x.get").operation.result.status == status


def test_every_operation_has_a_method_or_is_skipped() -> None:
    surface = build(document({f"{P}/x/": {"get": {}}, "/flags/": {"post": {}}}))
    assert surface.schema_operations == (f"GET {P}/x/",)
    assert [(out.operation, out.reason) for out in surface.skipped] == [
        ("POST /flags/", "its path is not below /api/")
    ]
