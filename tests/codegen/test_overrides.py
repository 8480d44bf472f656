"""Overrides patch the document, and say when they no longer apply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from codegen.overrides import Overrides, apply, facts_for, load_overrides

BASE = {"verb": "replace", "reason": "r", "source": "s"}


def patched(document: dict[str, Any], *entries: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    result, findings = apply(document, Overrides(document=entries))
    return result, [finding.reason for finding in findings]


def test_each_verb() -> None:
    document = {"a": {"b": [{"name": "x", "v": 1}], "c": 1}, "d": 2}
    result, findings = patched(
        document,
        {"verb": "add", "pointer": "/a/new", "value": {"k": 1}},
        {"verb": "add", "pointer": "/a/new", "value": {"l": 2}},
        {"verb": "replace", "pointer": "/a/b/x/v", "value": 5},
        {"verb": "add", "pointer": "/a/b/-", "value": {"name": "y"}},
        {"verb": "rename", "pointer": "/a/c", "value": "e"},
        {"verb": "remove", "pointer": "/d"},
    )
    assert findings == []
    assert result == {
        "a": {"b": [{"name": "x", "v": 5}, {"name": "y"}], "new": {"k": 1, "l": 2}, "e": 1}
    }
    assert document["d"] == 2


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"verb": "replace", "pointer": "/nope/x", "value": 1}, "nothing at 'nope'"),
        ({"verb": "remove", "pointer": "/nope"}, "nothing at 'nope'"),
        ({"verb": "replace", "pointer": "/a", "value": 1}, "says so itself"),
        ({"verb": "add", "pointer": "/a", "value": 1}, "says so itself"),
        ({"verb": "remove", "pointer": "/l/7"}, "nothing at '7'"),
        (
            {"verb": "add", "pointer": "/n", "value": {"$ref": "#/components/schemas/No"}},
            "has no No",
        ),
        ({"verb": "move_paths", "from": "/x/", "to": "/y/"}, "no path is below it"),
    ],
)
def test_an_entry_that_does_not_apply_is_found(entry: dict[str, Any], reason: str) -> None:
    _, findings = patched({"a": 1, "l": [1], "paths": {}}, entry)
    assert len(findings) == 1
    assert reason in findings[0]


def test_moved_twins_collapse_and_are_remembered() -> None:
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
    result, findings = patched(document, move)
    assert findings == []
    item = result["paths"]["/api/projects/{project_id}/a/"]
    assert item["get"] == {
        "tags": ["kept"],
        "x-twins": ["GET /api/environments/{environment_id}/a/"],
    }
    assert item["post"]["x-moved"] is True
    assert [p["name"] for p in item["post"]["parameters"]] == ["project_id", "id"]


def test_the_file_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "overrides.yaml"

    def load(text: str) -> Overrides:
        file.write_text(text, encoding="utf-8")
        return load_overrides(file)

    with pytest.raises(ValueError, match="has no source"):
        load("document: [{verb: remove, pointer: /a, reason: because}]")
    with pytest.raises(ValueError, match="needs a verb"):
        load("document: [{verb: zap, pointer: /a, reason: a, source: b}]")
    with pytest.raises(ValueError, match="unknown facts"):
        load("operations: [{operation: GET /a, colour: red, reason: a, source: b}]")
    with pytest.raises(ValueError, match="unknown sections"):
        load("surprise: 1")
    two = load(
        "operations:\n"
        "- {operation: GET /a, status: 202, reason: a, source: b}\n"
        "- {operation: GET /a, name: x.y, reason: a, source: b}\n"
    )
    facts = facts_for(two, "GET /a")
    assert (facts.get("status"), facts.get("name")) == (202, "x.y")
    assert facts_for(two, "GET /b").get("status") is None
