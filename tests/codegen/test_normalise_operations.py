"""Normalising paths, parameters, bodies, responses and security."""

from __future__ import annotations

from typing import Any

import pytest

from codegen.diagnostics import SchemaError

from .normalise_helpers import NULL, TEXT, nullable, ref, run

PROJECT = {"in": "path", "name": "project_id", "required": True, "schema": TEXT}
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"


def built(
    operation: dict[str, Any],
    path: str = "/api/x/",
    version: str = "3.1.0",
    prose: bool = False,
    item: dict[str, Any] | None = None,
    **rest: Any,
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    result = run({}, version, prose, paths={path: {"post": operation, **(item or {})}}, **rest)
    reasons = [
        (diagnostic.pointer.removeprefix("/paths/~1api~1x~1/"), diagnostic.reason)
        for diagnostic in result.diagnostics
    ]
    return result.document["paths"][path]["post"], reasons


def clean(operation: dict[str, Any], **rest: Any) -> dict[str, Any]:
    result, reasons = built(operation, **rest)
    assert reasons == []
    return result


def query(name: str, schema: Any, **rest: Any) -> dict[str, Any]:
    return {"in": "query", "name": name, "schema": schema, **rest}


def test_parameters_are_resolved_and_stand_in_one_order() -> None:
    template = "/api/projects/{project_id}/x/{id}/{key}/"
    by_reference = {"$ref": "#/components/parameters/ProjectIdPath"}
    header = {"in": "header", "name": "X-PostHog-Task-Id", "schema": TEXT, "required": False}
    key = {"name": "key", "in": "path", "schema": TEXT, "description": "x"}

    result = clean(
        {"parameters": [query("b", TEXT), header, key, query("a", TEXT), by_reference]},
        path=template,
        item={
            "parameters": [
                query("a", {"type": "integer"}),
                {"in": "path", "name": "id", "required": True, "schema": {"type": "integer"}},
                query("c", TEXT, required=True),
            ]
        },
        parameters={"ProjectIdPath": PROJECT},
    )

    assert result["parameters"] == [
        PROJECT,
        {"in": "path", "name": "id", "required": True, "schema": {"type": "integer"}},
        {"in": "path", "name": "key", "required": True, "schema": TEXT},
        query("a", TEXT),
        query("b", TEXT),
        query("c", TEXT, required=True),
        {"in": "header", "name": "X-PostHog-Task-Id", "schema": TEXT},
    ]


@pytest.mark.parametrize("version", ["3.0.3", "3.1.0"])
@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"style": "form", "explode": True}, {}),
        ({"style": "form", "explode": False}, {"explode": False}),
        ({"explode": True}, {}),
        ({"style": "spaceDelimited"}, {"style": "spaceDelimited"}),
        ({"style": "deepObject", "explode": True}, {"style": "deepObject", "explode": True}),
        ({"deprecated": True, "allowEmptyValue": False, "example": "a"}, {"deprecated": True}),
    ],
)
def test_only_non_default_styles_are_kept(
    version: str, raw: dict[str, Any], expected: dict[str, Any]
) -> None:
    schema = {"type": "array", "items": {"type": "string", "format": "uuid"}}

    result = clean({"parameters": [query("id__in", schema, **raw)]}, version=version)

    assert result["parameters"] == [query("id__in", schema, **expected)]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": ["string", "null"], "default": None}, TEXT),
        ({"anyOf": [{"type": "integer"}, NULL], "default": 1}, {"type": "integer", "default": 1}),
        ({"oneOf": [ref("Role"), ref("BlankEnum"), ref("NullEnum")]}, None),
    ],
)
def test_a_parameter_is_never_null(schema: Any, expected: Any) -> None:
    blank = {"anyOf": [ref("Role"), {"const": "", "type": "string"}]}

    result = clean({"parameters": [query("a", schema)]})

    assert result["parameters"] == [query("a", expected or blank)]


def test_a_parameter_may_have_a_media_type() -> None:
    content = {JSON: {"schema": {"type": ["object", "null"]}, "example": {}}}

    result = clean({"parameters": [{"in": "query", "name": "a", "content": content}]})

    expected = {JSON: {"schema": {"type": "object"}}}
    assert result["parameters"] == [{"in": "query", "name": "a", "content": expected}]


def test_unrepresentable_parameters_are_reported() -> None:
    result, reasons = built(
        {
            "parameters": [
                {"in": "cookie", "name": "a", "schema": TEXT},
                {"in": "header", "name": "Accept", "schema": TEXT},
                {"in": "path", "name": "stray", "schema": TEXT, "required": True},
            ]
        },
        path="/api/{project_id}/",
    )

    assert result["parameters"] == [PROJECT]
    words = " ".join(reason for _, reason in reasons)
    for word in ("cookie", "Accept", "'stray'", "'project_id'"):
        assert word in words
    assert len(reasons) == 4


def body_of(*media: str, schema: Any = None, **rest: Any) -> dict[str, Any]:
    content = {name: {"schema": schema or ref("User")} for name in media}
    return {"requestBody": {"content": content, **rest}}


BINARY = {"type": "string", "format": "binary"}
FILE = {"type": "object", "properties": {"f": BINARY}}
FILES = {"type": "object", "properties": {"f": {"type": "array", "items": BINARY}}}
IMAGE = {"properties": {"f": {"type": ["string", "null"], "contentMediaType": "image/png"}}}
LINK = {"type": "object", "properties": {"f": {"type": "string", "format": "uri"}}}


@pytest.mark.parametrize(
    ("media", "schema", "media_type"),
    [
        ((JSON, FORM, MULTIPART), ref("User"), JSON),
        ((FORM, MULTIPART, "application/json; charset=utf-8"), ref("User"), JSON),
        ((JSON,), FILE, JSON),
        ((MULTIPART,), ref("User"), MULTIPART),
        ((MULTIPART, FORM), ref("User"), MULTIPART),
        ((JSON, FORM, MULTIPART), FILE, MULTIPART),
        ((JSON, MULTIPART), FILES, MULTIPART),
        ((JSON, MULTIPART), IMAGE, MULTIPART),
        ((JSON, MULTIPART), ref("It"), MULTIPART),
        ((JSON, MULTIPART), LINK, JSON),
    ],
)
def test_body_keeps_one_media_type(media: tuple[str, ...], schema: Any, media_type: str) -> None:
    operation = body_of(*media, schema=schema)

    result = run(FILE, paths={"/api/x/": {"post": operation}})

    assert result.diagnostics == ()
    assert list(result.document["paths"]["/api/x/"]["post"]["requestBody"]["content"]) == [
        media_type
    ]


def test_body_is_required_only_if_the_schema_says_so() -> None:
    assert clean(body_of(JSON, required=True))["requestBody"]["required"] is True
    assert "required" not in clean(body_of(JSON, required=False))["requestBody"]
    assert "required" not in clean(body_of(JSON))["requestBody"]


def test_a_body_by_reference() -> None:
    bodies = {"User": body_of(JSON)["requestBody"]}

    result = clean(
        {"requestBody": {"$ref": "#/components/requestBodies/User"}}, requestBodies=bodies
    )

    assert result["requestBody"] == {"content": {JSON: {"schema": ref("User")}}}


def test_unrepresentable_bodies_are_reported() -> None:
    _, other = built(body_of("text/plain"))
    _, differing = built(
        {"requestBody": {"content": {JSON: {"schema": TEXT}, FORM: {"schema": ref("User")}}}}
    )
    none, empty = built({"requestBody": {"content": {}}})

    assert [pointer for pointer, _ in other] == ["post/requestBody/content"]
    assert [pointer for pointer, _ in differing] == [
        "post/requestBody/content/application~1x-www-form-urlencoded"
    ]
    assert [pointer for pointer, _ in empty] == ["post/requestBody"]
    assert "requestBody" not in none


def test_responses_keep_every_status_and_media_type() -> None:
    responses = {
        200: {
            "description": "An image",
            "content": {"image/jpeg": {"schema": BINARY}, "text/csv": {"schema": ref("User")}},
        },
        "202": {"description": "", "content": {JSON: {"schema": {"type": ["array", "null"]}}}},
        "204": {"description": "No response body"},
        "400": {"$ref": "#/components/responses/Bad"},
        "404": {"description": "x", "content": {JSON: {}}},
        "x-note": {},
    }
    bad = {"description": "x", "content": {JSON: {"schema": {"description": "anything"}}}}

    result = clean({"responses": responses}, responses={"Bad": bad})

    assert result["responses"] == {
        "200": {
            "description": "",
            "content": {"image/jpeg": {"schema": BINARY}, "text/csv": {"schema": ref("User")}},
        },
        "202": {
            "description": "",
            "content": {JSON: {"schema": nullable({"type": "array", "items": {}})}},
        },
        "204": {"description": ""},
        "400": {"description": "", "content": {JSON: {"schema": {}}}},
        "404": {"description": "", "content": {JSON: {}}},
    }


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ([{}], []),
        ([], []),
        ([{"PersonalAPIKeyAuth": ["b:read", "a:read"]}], ["a:read", "b:read"]),
        ([{"PersonalAPIKeyAuth": ["a:read"]}, {"PersonalAPIKeyAuth": ["a:read"]}], ["a:read"]),
        ([{"PersonalAPIKeyAuth": ["b"]}, {"PersonalAPIKeyAuth": ["a"]}], ["a", "b"]),
        ([{"PersonalAPIKeyAuth": []}, {"SessionAuth": ["x"]}], []),
    ],
)
def test_security_is_one_list_of_scopes(raw: Any, expected: list[str]) -> None:
    public = not any("PersonalAPIKeyAuth" in requirement for requirement in raw)

    result = clean({"security": raw})

    assert result["security"] == ([] if public else [{"PersonalAPIKeyAuth": expected}])


def test_absent_security_stays_absent() -> None:
    assert "security" not in clean({})


def test_security_that_no_key_or_any_key_satisfies_is_reported() -> None:
    optional, with_key = built({"security": [{"PersonalAPIKeyAuth": ["a"]}, {}]})
    foreign, two = built({"security": [{"SessionAuth": []}]})

    assert optional["security"] == [{"PersonalAPIKeyAuth": ["a"]}]
    assert foreign["security"] == [{"SessionAuth": []}]
    assert [pointer for pointer, _ in (*with_key, *two)] == ["post/security"] * 2


def test_tags_are_unique_and_unknown_keys_are_dropped() -> None:
    result = clean(
        {
            "operationId": "x_create",
            "tags": ["billing", "other", "billing"],
            "summary": "x",
            "description": "y",
            "deprecated": True,
            "x-product": ["a"],
        }
    )

    assert result == {"operationId": "x_create", "tags": ["billing", "other"], "deprecated": True}


def test_prose_is_kept_on_request() -> None:
    operation = {
        "summary": "short",
        "description": "long",
        "parameters": [query("a", TEXT | {"description": "inner"}, description="outer")],
        "requestBody": {"description": "body", "content": {JSON: {"schema": TEXT}}},
        "responses": {"200": {"description": "fine"}},
    }

    result = clean(operation, prose=True)

    assert result == operation
    assert clean(result) == clean(operation)


def test_unusable_methods_and_keys_are_reported() -> None:
    result = run(
        {},
        paths={
            "/api/x/": {
                "head": {},
                "options": {},
                "summary": "x",
                "x-y": {},
                "get": {"operationId": "a", "callbacks": {"c": {}}, "servers": [{"url": "/"}]},
                "put": {
                    "operationId": "a",
                    "responses": {"200": {"description": "", "headers": {"h": {}}}},
                },
            }
        },
    )

    assert [
        diagnostic.pointer.removeprefix("/paths/~1api~1x~1/") for diagnostic in result.diagnostics
    ] == [
        "get/callbacks",
        "get/servers",
        "head",
        "options",
        "put",
        "put/responses/200/headers",
    ]
    assert list(result.document["paths"]["/api/x/"]) == ["get", "put"]


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ({"parameters": [{"$ref": "#/components/parameters/No"}]}, "names nothing"),
        ({"parameters": [{"$ref": "#/components/parameters/Loop"}]}, "leads in circles"),
        ({"requestBody": {"$ref": "elsewhere.json"}}, "/post/requestBody: its reference"),
        ({"responses": [1]}, "/post/responses: an object is expected here, not an array"),
        ({"parameters": [{"in": "query"}]}, "/post/parameters/0/name: a string is expected"),
        ({"security": ["a"]}, "/post/security/0: an object is expected here, not a string"),
    ],
)
def test_broken_operation_error_has_a_pointer(operation: dict[str, Any], words: str) -> None:
    loop = {"$ref": "#/components/parameters/Loop"}

    with pytest.raises(SchemaError) as caught:
        built(operation, parameters={"Loop": loop})

    assert words in str(caught.value)
