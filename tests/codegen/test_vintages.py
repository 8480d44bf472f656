"""`generate --out` makes a working package of documents of several times and versions.

The documents of March 2024 and November 2025 are not stored here. Small documents in their style
stand for them: OpenAPI 3.0.3 as drf-spectacular writes it, with `nullable`, `allOf` around
references, no scopes and everything below /api/projects/; and 3.1 with scopes and both roots.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codegen import pipeline

from .hostile_schemas import TEXT, Package, content, ref

MAY_2026 = pipeline.ROOT / "openapi" / "vintages" / "2026-05.json"


def parameters(*names: str) -> list[dict[str, Any]]:
    return [{"in": "path", "name": n, "required": True, "schema": TEXT} for n in names]


def answer(schema: Any) -> dict[str, Any]:
    return {"200": {"description": "", **content(schema)}}


def march_2024() -> dict[str, Any]:
    """Return a document in the style of March 2024: OpenAPI 3.0.3 without scopes."""
    flags = "/api/projects/{project_id}/feature_flags/"
    page = {
        "type": "object",
        "properties": {
            "count": {"type": "integer"},
            "next": {"type": "string", "nullable": True, "format": "uri"},
            "previous": {"type": "string", "nullable": True, "format": "uri"},
            "results": {"type": "array", "items": ref("FeatureFlag")},
        },
    }
    flag = {
        "type": "object",
        "properties": {
            "id": {"type": "integer", "readOnly": True},
            "key": {"type": "string", "maxLength": 400},
            "created_by": {"allOf": [ref("UserBasic")], "readOnly": True},
            "deleted": {"type": "boolean"},
            "rollout": {"type": "integer", "nullable": True},
        },
        "required": ["created_by", "id", "key"],
    }
    paging = [
        {"in": "query", "name": n, "schema": {"type": "integer"}} for n in ("limit", "offset")
    ]
    item = {"parameters": parameters("id", "project_id")}
    body = {"requestBody": {**content(ref("FeatureFlag")), "required": True}}
    paths = {
        flags: {
            "get": {
                "operationId": "feature_flags_list",
                "parameters": [*paging, *parameters("project_id")],
                "responses": answer(ref("PaginatedFeatureFlagList")),
            },
            "post": {
                "operationId": "feature_flags_create",
                "parameters": parameters("project_id"),
                **body,
                "responses": {"201": {"description": "", **content(ref("FeatureFlag"))}},
            },
        },
        f"{flags}{{id}}/": {
            "get": {**item, "responses": answer(ref("FeatureFlag"))},
            "delete": {**item, "responses": {"204": {"description": "No response body"}}},
        },
        f"{flags}local_evaluation/": {
            "get": {
                "parameters": parameters("project_id"),
                "responses": {"200": {"description": ""}},
            }
        },
        "/api/projects/{project_id}/persons/funnel/": {
            "post": {
                "parameters": parameters("project_id"),
                "responses": {"200": {"description": ""}},
            }
        },
    }
    user = {"type": "object", "properties": {"id": {"type": "integer"}, "email": TEXT}}
    schemas = {"FeatureFlag": flag, "PaginatedFeatureFlagList": page, "UserBasic": user}
    return {
        "openapi": "3.0.3",
        "info": {"title": "PostHog API", "version": "1.0.0"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def november_2025() -> dict[str, Any]:
    """Return a document in the style of November 2025: OpenAPI 3.1, scopes, both roots."""
    document = march_2024()
    schema = document["components"]["schemas"]["FeatureFlag"]
    schema["properties"]["rollout"] = {"type": ["integer", "null"]}
    paths: dict[str, Any] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            scope = "read" if method == "get" else "write"
            operation["security"] = [{"PersonalAPIKeyAuth": [f"feature_flag:{scope}"]}]
        other = json.loads(json.dumps(item).replace("project_id", "environment_id"))
        paths[path] = item
        paths[path.replace("/projects/{project_id}", "/environments/{environment_id}")] = other
    schemes = {"PersonalAPIKeyAuth": {"type": "http", "scheme": "bearer"}}
    components = {**document["components"], "securitySchemes": schemes}
    return {**document, "openapi": "3.1.0", "paths": paths, "components": components}


def generated(tmp_path: Path, source: Path) -> Package:
    return Package(pipeline.build(str(source), standalone=True), tmp_path)


@pytest.mark.parametrize("vintage", [march_2024, november_2025], ids=["2024-03", "2025-11"])
def test_documents_in_the_style_of_older_instances(tmp_path: Path, vintage: Any) -> None:
    source = tmp_path / "schema.json"
    source.write_text(json.dumps(vintage()), encoding="utf-8")
    package = generated(tmp_path, source)
    declared = {name for name, o in package.operations.items() if not o.schema_gap_source}
    assert {
        "feature_flags.list", "feature_flags.create", "feature_flags.get", "feature_flags.delete",
        "feature_flags.local_evaluation",
    } <= declared  # fmt: skip
    assert not any("environments" in name for name in declared)
    assert package.operations["feature_flags.list"].pagination is not None
    assert not package.operations["feature_flags.local_evaluation"].deprecated
    assert package.generated.surface.skipped == ()
    flag = package.models["FeatureFlag"].model_validate(
        {"id": 1, "key": "beta", "created_by": {"id": 2}, "rollout": None}
    )
    assert flag.created_by.id == 2
    assert package.call("feature_flags.get", 7).url.path == "/api/projects/3/feature_flags/7/"


def test_the_document_of_may_2026(monkeypatch: pytest.MonkeyPatch) -> None:
    # Formatting does not affect these checks. `tests/architecture/test_generated.py` makes and
    # uses a package of the newest document.
    monkeypatch.setattr(pipeline, "format_files", dict[str, str])
    package = pipeline.build(str(MAY_2026), standalone=True)
    for name, text in package.files.items():
        if name.endswith(".py"):
            compile(text, name, "exec")
    surface = package.surface
    reached = {o for method in surface.methods for o in method.operation.schema_operations}
    assert len(reached) == len(surface.schema_operations) == 1043
    assert surface.skipped == ()
    names = [method.operation.id for method in surface.methods]
    assert len(set(names)) == len(names)
    assert {"feature_flags.local_evaluation", "persons.get", "events.list"} <= set(names)
