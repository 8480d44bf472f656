"""Modules that a client and a query import, and modules that they do not."""

from __future__ import annotations

from tests.helpers.subprocesses import run_json

CLIENT = """
import json, sys
from asyncposthog import AsyncPostHog
AsyncPostHog("phx_x", project_id=1)
print(json.dumps(sorted(sys.modules)))
"""

QUERY = """
import anyio, httpx, json, sys
from asyncposthog import AsyncPostHog

BODY = {"results": [["2026-01-01", 1]], "columns": ["d", "n"], "types": ["Date", "UInt8"]}

async def main():
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=BODY))
    async with AsyncPostHog("phx_x", project_id=1, transport=transport) as ph:
        return (await ph.query("SELECT d, n FROM t LIMIT 5")).dicts()

assert len(anyio.run(main)) == 1
print(json.dumps(sorted(sys.modules)))
"""


def test_a_client_imports_no_query_modules() -> None:
    loaded = run_json(CLIENT)
    assert [name for name in loaded if name.startswith("asyncposthog.query")] == []


def test_a_query_imports_no_models_and_no_extras() -> None:
    loaded = set(run_json(QUERY))
    assert "asyncposthog.query.service" in loaded
    assert not loaded & {"pyarrow", "pandas", "polars", "numpy", "asyncposthog.resources.insights"}
    assert [name for name in loaded if name.startswith("asyncposthog.models")] == []
