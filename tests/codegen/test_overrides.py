"""Overrides patch the document and are reported if they do not apply."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from codegen import pipeline
from codegen.overrides import Overrides, apply_overrides, load_overrides, overrides_for
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


def test_guessed_body_stays_optional_without_read_only_fields() -> None:
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
    assert {a.python_name: a.required for a in method.arguments} == {"key": False, "hash": False}


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
