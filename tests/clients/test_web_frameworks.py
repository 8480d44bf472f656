"""The ASGI middleware in Litestar and Quart, which the ordinary tests do not have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from posthog_emulator import Emulator

pytestmark = pytest.mark.clients


def test_litestar_and_quart(emulator: Emulator, run_python: Callable[..., Any]) -> None:
    said = run_python("web", "web_frameworks.py")
    for framework in ("litestar", "quart"):
        assert said[framework] == {
            "/flag": [200, "True"],
            "/sync": [200, "ada"],
            "/stream": [200, "ada"],
            "/fail": [500, ""],
            "/known": [500, ""],
            "/nowhere": [404, ""],
        }
    captured = [
        (event["properties"]["$exception_list"][0], event["distinct_id"], event["properties"])
        for event in emulator.captured_events("$exception")
    ]
    assert {
        (error["value"], error["mechanism"]["handled"], who, properties["$session_id"])
        for error, who, properties in captured
    } == {
        ("litestar fail", False, "ada", "s1"),
        ("litestar known", True, "ada", "s1"),
        ("quart fail", False, "ada", "s1"),
        ("quart known", True, "ada", "s1"),
    }
    assert len(captured) == 4
