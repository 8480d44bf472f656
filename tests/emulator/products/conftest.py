"""A client that sends JSON to one project of an emulator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from posthog_emulator import FIDELITY_HEADER, Emulator
from tests.emulator.conftest import client
from tests.emulator.virtual_time import VirtualTime


@dataclass
class Api:
    """Sends requests to the account's project, and expects responses from the state."""

    http: httpx.AsyncClient
    emulator: Emulator
    time: VirtualTime

    async def send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Send a request to a path of the project."""
        return await self.http.request(method, f"/api/projects/1/{path}", json=body)

    async def ok(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request that succeeds, and return the JSON of the response."""
        answer = await self.send(method, path, body)
        assert answer.is_success, answer.text
        assert answer.headers[FIDELITY_HEADER] == "stateful"
        return answer.json() if answer.content else None

    async def refused(self, method: str, path: str, body: Any = None) -> tuple[str, str, Any]:
        """Send a request that is a 400, and return its code, detail and attr."""
        answer = await self.send(method, path, body)
        assert answer.status_code == 400, answer.text
        error = answer.json()
        assert error["type"] == "validation_error"
        return error["code"], error["detail"], error["attr"]

    async def get(self, path: str) -> Any:
        """Return what a path of the project has."""
        return await self.ok("GET", path)

    async def post(self, path: str, body: Any = None) -> Any:
        """Create an object, or take an action."""
        return await self.ok("POST", path, body)

    async def patch(self, path: str, body: Any) -> Any:
        """Change an object."""
        return await self.ok("PATCH", path, body)

    async def flag(self, key: str, **fields: Any) -> Any:
        """Create a flag that is on for everyone."""
        filters = {"groups": [{"properties": [], "rollout_percentage": 100}]}
        return await self.post("feature_flags/", {"key": key, "filters": filters, **fields})

    async def capture(self, *events: dict[str, Any], path: str = "/batch/") -> None:
        """Capture events."""
        body = {"api_key": "phc_emulator", "batch": list(events)}
        answer = await self.http.post(path, json=body)
        assert answer.status_code == 200, answer.text


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """Yield a client of a new emulator with a clock of its own."""
    time = VirtualTime()
    emulator = Emulator(clock=time.clock, sleep=time.sleep)
    async with client(emulator) as http:
        yield Api(http, emulator, time)
    emulator.close()
