"""Overrides patch the document and are reported if they do not apply."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from codegen import pipeline
from codegen.overrides import (
    OperationOverrides,
    Overrides,
    apply_overrides,
    load_overrides,
    overrides_for,
    unused_rules,
)
from codegen.surface import ReleasedNames, build_surface

BASE = {"verb": "replace", "reason": "r", "source": "s"}


def patched(document: dict[str, Any], *entries: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    result, diagnostics = apply_overrides(document, Overrides(document=entries))
    return result, [diagnostic.reason for diagnostic in diagnostics]


def test_each_verb() -> None:
    document = {"a": {"b": [{"name": "x", "v": 1}], "c": 1}, "d": 2}
    result, diagnostics = patched(
        document,
        {"verb": "add", "pointer": "/a/new", "value": {"k": 1}},
        {"verb": "add", "pointer": "/a/new", "value": {"l": 2}},
        {"verb": "replace", "pointer": "/a/b/x/v", "value": 5},
        {"verb": "add", "pointer": "/a/b/-", "value": {"name": "y"}},
        {"verb": "rename", "pointer": "/a/c", "value": "e"},
        {"verb": "remove", "pointer": "/d"},
    )
    assert diagnostics == []
    assert result == {
        "a": {"b": [{"name": "x", "v": 5}, {"name": "y"}], "new": {"k": 1, "l": 2}, "e": 1}
    }
    assert document["d"] == 2


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"verb": "replace", "pointer": "/nope/x", "value": 1}, "nothing at 'nope'"),
        ({"verb": "remove", "pointer": "/nope"}, "nothing at 'nope'"),
        ({"verb": "replace", "pointer": "/a", "value": 1}, "has this value already"),
        ({"verb": "add", "pointer": "/a", "value": 1}, "has this value already"),
        ({"verb": "remove", "pointer": "/l/7"}, "nothing at '7'"),
        (
            {"verb": "add", "pointer": "/n", "value": {"$ref": "#/components/schemas/No"}},
            "has no No",
        ),
        ({"verb": "move_paths", "from": "/x/", "to": "/y/"}, "no path starts with it"),
    ],
)
def test_override_that_does_not_apply_is_reported(entry: dict[str, Any], reason: str) -> None:
    _, diagnostics = patched({"a": 1, "l": [1], "paths": {}}, entry)
    assert len(diagnostics) == 1
    assert reason in diagnostics[0]


def test_moved_twins_collapse_and_are_recorded() -> None:
    document = {
        "paths": {
            "/api/environments/{environment_id}/a/": {
                "get": {"parameters": [{"in": "path", "name": "environment_id"}]},
                "post": {
                    "parameters": [
                        {"in": "path", "name": "environment_id"},
                        {"in": "path", "name": "id"},
                    ]
                },
            },
            "/api/projects/{project_id}/a/": {"get": {"tags": ["kept"]}},
        }
    }
    move = {
        "verb": "move_paths",
        "from": "/api/environments/{environment_id}/",
        "to": "/api/projects/{project_id}/",
    }
    result, diagnostics = patched(document, move)
    assert diagnostics == []
    item = result["paths"]["/api/projects/{project_id}/a/"]
    assert item["get"] == {
        "tags": ["kept"],
        "x-twins": ["GET /api/environments/{environment_id}/a/"],
    }
    assert item["post"]["x-moved"] is True
    assert [p["name"] for p in item["post"]["parameters"]] == ["project_id", "id"]


THING = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "readOnly": True},
        "key": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "kind": {"type": "string", "readOnly": True},
        "owner": {"type": "integer"},
        "hash": {"type": "string"},
    },
    "required": ["hash", "id", "owner"],
}
PLACE = "POST /api/projects/{project_id}/things/"


def with_body(path: str = "/api/projects/{project_id}/things/", **body: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}
    return {
        "openapi": "3.1.0",
        "paths": {path: {"post": {"requestBody": {"content": content, **body}, "parameters": []}}},
        "components": {"schemas": {"Thing": THING}},
    }


def test_body_override_sets_required_and_removes_read_only_fields() -> None:
    entry = {"verb": "body", "operation": PLACE, "required": ["key", "kind"]}
    entry |= {"optional": ["hash"], "read_only": ["owner"]}
    document, diagnostics = patched(with_body(), entry)
    assert diagnostics == []
    assert document["components"]["schemas"]["Thing"] == THING, "answers stay as they are"
    (operation,) = (item["post"] for item in document["paths"].values())
    assert operation["requestBody"] == {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "integer", "readOnly": True},
                        "key": {"type": "string"},
                        "kind": {"type": "string"},
                        "hash": {"type": "string"},
                    },
                    "required": ["id", "key", "kind"],
                }
            }
        },
    }
    surface = build_surface(document, Overrides(), ReleasedNames({}, {}))
    (method,) = surface.methods
    assert [(a.python_name, a.required) for a in method.arguments] == [
        ("key", True),
        ("kind", True),
        ("hash", False),
    ]


def test_guessed_body_is_one_mapping_also_without_read_only_fields() -> None:
    document, action = with_body(), "/api/projects/{project_id}/things/check/"
    item = document["paths"]["/api/projects/{project_id}/things/"]
    answer = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}}
    document["paths"]["/api/projects/{project_id}/things/{id}/"] = {
        "get": {"responses": {"200": answer}}
    }
    document["paths"][action] = {"post": {**item["post"], "responses": {"200": answer}}}
    entry = {"verb": "body", "operation": f"POST {action}", "read_only": ["owner"]}
    document, diagnostics = patched(document, entry)
    assert diagnostics == []
    surface = build_surface(document, Overrides(), ReleasedNames({}, {}))
    (method,) = (m for m in surface.methods if m.operation.id == "things.check")
    assert [(a.python_name, a.required) for a in method.arguments] == [("body", False)]


NULLABLE = {"verb": "nullable", "component": "User", "fields": ["created_by"]}


def with_user(field: dict[str, Any]) -> dict[str, Any]:
    thing = {"type": "object", "properties": {"created_by": field}}
    return {"paths": {}, "components": {"schemas": {"Thing": thing, "User": {"type": "object"}}}}


def test_nullable_override_changes_every_read_only_reference() -> None:
    user = {"$ref": "#/components/schemas/User"}
    document, diagnostics = patched(with_user({**user, "readOnly": True}), NULLABLE)
    assert diagnostics == []
    assert document["components"]["schemas"]["Thing"]["properties"]["created_by"] == {
        "anyOf": [user, {"type": "null"}],
        "readOnly": True,
    }


@pytest.mark.parametrize("field", [{"$ref": "#/components/schemas/User"}, {"type": "string"}])
def test_nullable_override_without_such_a_field_is_reported(field: dict[str, Any]) -> None:
    document, diagnostics = patched(with_user(field), NULLABLE)
    assert document["components"]["schemas"]["Thing"]["properties"]["created_by"] == field
    assert diagnostics == [
        "override nullable does not apply: no read-only created_by refers to User"
    ]


def test_body_override_ignores_placeholder_names() -> None:
    document = with_body("/api/projects/{team}/things/")
    _, diagnostics = patched(document, {"verb": "body", "operation": PLACE, "required": ["key"]})
    assert diagnostics == []


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"operation": "POST /api/gone/", "required": ["key"]}, "no such operation"),
        ({"operation": PLACE, "required": ["key", "gone"]}, "the body has no gone"),
        ({"operation": PLACE, "read_only": ["gone"]}, "the body has no gone"),
        ({"operation": PLACE, "read_only": ["kind"], "optional": ["key"]}, "these fields already"),
    ],
)
def test_body_override_of_missing_body_or_field_is_reported(
    entry: dict[str, Any], reason: str
) -> None:
    _, diagnostics = patched(with_body(), {"verb": "body", **entry})
    assert len(diagnostics) == 1
    assert reason in diagnostics[0]


@pytest.mark.parametrize(
    "path",
    [
        "/api/projects/{project_id}/cohorts/{id}/duplicate_as_static_cohort/",
        "/api/projects/{team_id}/cohorts/{cohort_id}/duplicate_as_static_cohort/",
        "/api/environments/{environment_id}/cohorts/{id}/duplicate_as_static_cohort/",
    ],
)
def test_get_with_write_scope_is_a_write_in_older_schemas(path: str) -> None:
    ours = load_overrides(pipeline.OVERRIDES_FILE)
    parameters = [{"in": "path", "name": name} for name in re.findall("{(.+?)}", path)]
    document, _ = apply_overrides(
        {"paths": {path: {"get": {"parameters": parameters}}}, "components": {"schemas": {}}}, ours
    )
    surface = build_surface(document, ours, ReleasedNames({}, {}))
    (operation,) = (m.operation for m in surface.methods if "duplicate" in m.operation.path)
    assert operation.writes
    assert not operation.idempotent


def test_get_with_write_scope_is_a_write() -> None:
    def writes(*scopes: str) -> bool:
        raw = {"get": {"security": [{"PersonalAPIKeyAuth": list(scopes)}]}}
        document = {"paths": {"/api/x/": raw}, "components": {"schemas": {}}}
        (method,) = build_surface(document, Overrides(), ReleasedNames({}, {})).methods
        return method.operation.writes

    assert writes("cohort:write")
    assert not writes("cohort:read")
    assert not writes("cohort:read", "cohort:write")
    assert not writes()


def test_entry_for_older_documents_is_reported_if_it_applies() -> None:
    older = {"verb": "remove", "pointer": "/a", "older": True}
    assert patched({"b": 1}, older) == ({"b": 1}, [])
    result, reasons = patched({"a": 1, "b": 1}, older)
    assert result == {"b": 1}
    assert reasons == ["override remove applies; remove its mark `older`"]


def test_only_what_the_schema_lacks_is_added() -> None:
    path = "/api/users/"
    entry = {
        "verb": "add",
        "pointer": "/paths/~1api~1users~1",
        "only_missing": True,
        "value": {"get": {"deprecated": True}, "post": {"deprecated": True}},
    }
    result, reasons = patched({"paths": {path: {"get": {}}}}, entry)
    assert reasons == []
    assert result["paths"][path] == {"get": {}, "post": {"deprecated": True, "x-added": True}}
    _, reasons = patched({"paths": {path: {"get": {}, "post": {}}}}, entry)
    assert reasons == ["override add does not apply: the schema has it already"]


def test_rules_about_operations_that_do_not_exist_are_reported() -> None:
    document = {"paths": {"/api/a/{id}/": {"get": {}}}}
    rule = {"reason": "r", "source": "s"}
    overrides = Overrides(
        operations=(
            OperationOverrides("GET /api/a/{uuid}/", {}),
            OperationOverrides("GET /api/b/", {}),
            OperationOverrides("GET /api/c/", {"older": True}),
            OperationOverrides("GET /api/a/{id}/", {"older": True}),
        ),
        buckets=({**rule, "match": ["GET /api/a/*", "POST *"], "buckets": []},),
    )
    assert [(d.pointer, d.reason) for d in unused_rules(document, overrides)] == [
        ("GET /api/b/", "override does not apply: there is no such operation"),
        ("GET /api/a/{id}/", "override applies; remove its mark `older`"),
        ("POST *", "override does not apply: there is no such operation"),
    ]


def test_every_override_applies_to_the_pinned_document() -> None:
    ours = load_overrides(pipeline.OVERRIDES_FILE)
    pinned = json.loads(pipeline.PINNED_SCHEMA.read_text(encoding="utf-8"))
    document, diagnostics = apply_overrides(pinned, ours)
    assert (*diagnostics, *unused_rules(document, ours)) == ()


def test_every_override_for_older_documents_applies_to_one() -> None:
    ours = load_overrides(pipeline.OVERRIDES_FILE)
    file = pipeline.ROOT / "openapi" / "vintages" / "2026-05.json"
    _, diagnostics = apply_overrides(json.loads(file.read_text(encoding="utf-8")), ours)
    applied = [d for d in diagnostics if "remove its mark" in d.reason]
    assert len(applied) == sum(bool(entry.get("older")) for entry in ours.document)


def test_the_file_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "overrides.yaml"

    def load(text: str) -> Overrides:
        file.write_text(text, encoding="utf-8")
        return load_overrides(file)

    with pytest.raises(ValueError, match="has no source"):
        load("document: [{verb: remove, pointer: /a, reason: because}]")
    with pytest.raises(ValueError, match="needs a verb"):
        load("document: [{verb: zap, pointer: /a, reason: a, source: b}]")
    with pytest.raises(ValueError, match="required is a list of fields"):
        load("document: [{verb: body, operation: GET /a, required: b, reason: a, source: b}]")
    with pytest.raises(ValueError, match=r"\['b'\] is named twice"):
        load(
            "document:\n"
            "- {verb: body, operation: GET /a, required: [b], optional: [b], reason: a, source: b}"
        )
    with pytest.raises(ValueError, match="unknown keys"):
        load("operations: [{operation: GET /a, colour: red, reason: a, source: b}]")
    with pytest.raises(ValueError, match="unknown sections"):
        load("surprise: 1")
    two = load(
        "operations:\n"
        "- {operation: GET /a, status: 202, reason: a, source: b}\n"
        "- {operation: GET /a, name: x.y, reason: a, source: b}\n"
    )
    facts = overrides_for(two, "GET /a")
    assert (facts.get("status"), facts.get("name")) == (202, "x.y")
    assert overrides_for(two, "GET /b").get("status") is None
