"""One small document through `normalise`, and the shapes it comes out in."""

from __future__ import annotations

import json
from typing import Any

from codegen.normalise import Normalised, normalise

REF = "#/components/schemas/"
USER = {"type": "object", "properties": {"id": {"type": "integer"}}}
ROLE = {"type": "string", "enum": ["admin", "member"]}
COMPONENTS: dict[str, Any] = {
    "BlankEnum": {"enum": [""]},
    "Nothing": {"enum": [None]},
    "NullEnum": {"enum": [None]},
    "Role": ROLE,
    "User": USER,
}
NULL = {"type": "null"}
BLANK = {"const": "", "type": "string"}
TEXT = {"type": "string"}


def run(
    schema: Any,
    version: str = "3.1.0",
    prose: bool = False,
    paths: dict[str, Any] | None = None,
    parameters: dict[str, Any] | None = None,
    requestBodies: dict[str, Any] | None = None,  # noqa: N803
    responses: dict[str, Any] | None = None,
    **components: Any,
) -> Normalised:
    """Normalise a document with a component `It`; check that this is pure and idempotent."""
    document = {
        "openapi": version,
        "info": {"title": "t", "version": "1"},
        "paths": paths or {},
        "components": {
            "schemas": {**COMPONENTS, **components, "It": schema},
            "parameters": parameters or {},
            "requestBodies": requestBodies or {},
            "responses": responses or {},
        },
    }
    before = json.dumps(document)
    found = normalise(document, keep_prose=prose)
    assert json.dumps(document) == before, "the input was changed"
    assert normalise(found.document, keep_prose=prose).document == found.document
    return found


def form(schema: Any, version: str = "3.1.0", prose: bool = False, **components: Any) -> Any:
    """Return the normalised form of what must not need a finding."""
    found = run(schema, version, prose, **components)
    assert found.findings == ()
    return found.document["components"]["schemas"]["It"]


def reasons(schema: Any, version: str = "3.1.0", **components: Any) -> dict[str, str]:
    findings = run(schema, version, **components).findings
    return {
        finding.pointer.removeprefix("/components/schemas/It"): finding.reason
        for finding in findings
    }


def ref(name: str) -> dict[str, str]:
    return {"$ref": REF + name}


def nullable(*schemas: Any, **notes: Any) -> dict[str, Any]:
    return {"anyOf": [*schemas, NULL], **notes}
