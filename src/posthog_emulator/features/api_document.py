"""`GET /api/schema/`: the operations of the emulator as an OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posthog_emulator.http.messages import Request, Response, json_response
from posthog_emulator.state import EmulatorState

__all__ = ["ROUTES"]


def _schema(state: EmulatorState, request: Request) -> Response:
    """Return the paths, their parameters and statuses. Schemas are left out."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in state.operations:
        if operation.schema_gap_source is not None:
            continue
        response: dict[str, Any] = {"description": ""}
        if operation.result.kind != "none":
            response["content"] = {operation.result.media: {}}
        paths.setdefault(operation.path, {})[operation.method.lower()] = {
            "operationId": operation.id.replace(".", "_"),
            "parameters": [
                {
                    "in": parameter.location,
                    "name": parameter.name,
                    "required": parameter.location == "path" or parameter.required,
                    "schema": {},
                }
                for parameter in operation.parameters
            ],
            "responses": {str(operation.result.status): response},
        }
    return json_response(
        200,
        {"openapi": "3.1.0", "info": {"title": "PostHog API", "version": "1.0.0"}, "paths": paths},
    )


ROUTES: Mapping[str, Any] = {"/api/schema": _schema}
"""The handler by path, without trailing slash."""
