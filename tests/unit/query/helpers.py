"""Responses of the query endpoint."""

from __future__ import annotations

import json
from typing import Any

import httpx

PATH = "/api/projects/1/query/"
COLUMNS = ["event", "n", "at"]
TYPES = [["event", "String"], ["n", "UInt64"], ["at", "DateTime64(6, 'UTC')"]]
ROWS = [["$pageview", 3, "2026-01-02T03:04:05.123456Z"], ["signup", 1, "2026-01-02T03:04:06Z"]]


def table(rows: Any = ROWS, columns: Any = COLUMNS, types: Any = TYPES, **more: Any) -> Any:
    """Return the body of a HogQL response."""
    return {
        "results": rows,
        "columns": columns,
        "types": types,
        "hasMore": False,
        "limit": 100,
        "offset": 0,
        "is_cached": False,
        "last_refresh": "2026-01-02T03:05:00Z",
        "timings": [{"k": "./parse", "t": 0.25}],
        "query_status": None,
        "error": None,
        **more,
    }


def answer(body: Any = None, status: int = 200, **headers: str) -> httpx.Response:
    """Return a response with a JSON body; a HogQL result by default."""
    return httpx.Response(status, json=table() if body is None else body, headers=headers)


def status(query_id: str = "job", *, code: int | None = None, **fields: Any) -> httpx.Response:
    """Return a response about a background query, running by default."""
    body = {
        "id": query_id, "team_id": 1, "query_async": True, "complete": False, "error": False,
        "error_message": None, "results": None, **fields,
    }  # fmt: skip
    code = code or (200 if body["complete"] else 202)
    return httpx.Response(code, json={"query_status": body})


def done(query_id: str = "job", results: Any = None) -> httpx.Response:
    """Return a response about a completed background query."""
    return status(query_id, complete=True, results=table() if results is None else results)


def error(status: int, detail: str, code: str = "invalid_input", **more: Any) -> httpx.Response:
    """Return an error response."""
    kind = "validation_error" if status == 400 else "server_error"
    return httpx.Response(
        status, json={"type": kind, "code": code, "detail": detail, "attr": None, **more}
    )


def sent(request: httpx.Request) -> Any:
    """Return the JSON body of a request."""
    return json.loads(request.content)
