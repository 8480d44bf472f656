"""The service of docs/web.md works as it is written there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).resolve().parents[3] / "docs" / "web.md"


async def test_the_service_of_the_page(
    posthog_emulator: Emulator, posthog_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTHOG_HOST", posthog_url)
    monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", posthog_emulator.key)
    monkeypatch.setenv("POSTHOG_PROJECT_ID", "1")
    monkeypatch.setenv("POSTHOG_PROJECT_API_KEY", "phc_emulator")
    posthog_emulator.set_flag("new-home", distinct_id="ada")
    posthog_emulator.set_flag("discount", distinct_id="ada")
    found = re.search(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert found is not None
    names: dict[str, Any] = {"__name__": "service"}
    exec(compile(found.group(1), str(PAGE), "exec"), names)  # the snippet is ours
    app = names["app"]
    ada = {"X-POSTHOG-DISTINCT-ID": "ada"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as http,
    ):
        assert (await http.get("/home", headers=ada)).json() == {"new": True}
        assert (await http.get("/home")).json() == {"new": False}
        assert (await http.get("/price", headers=ada)).json() == {"price": 80}
        assert (await http.post("/orders", headers=ada)).json() == {"ordered": True}
    [event] = posthog_emulator.captured_events("ordered")
    assert event["distinct_id"] == "ada"
