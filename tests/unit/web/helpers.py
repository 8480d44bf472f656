"""Captured exceptions, and cookies of PostHog's JavaScript."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from urllib.parse import quote

from asyncposthog import AsyncPostHog
from asyncposthog.capture.exceptions import is_captured, marked_captured
from asyncposthog.contrib.request_context import cookie_name
from posthog_emulator import Emulator

TOKEN = "phc_emulator"


class Captures:
    """Keeps events and exceptions, like a client that captures them."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.exceptions: list[tuple[BaseException, str | None, dict[str, Any]]] = []

    def nowait(self, event: str, distinct_id: str, **more: Any) -> bool:
        return True

    def context(self, **arguments: Any) -> AbstractContextManager[None]:
        return nullcontext()

    async def exception(
        self,
        error: BaseException,
        distinct_id: str | None = None,
        *,
        properties: Mapping[str, Any] | None = None,
        handled: bool = True,
    ) -> str | None:
        assert not handled
        if is_captured(error, 0):
            return None
        with marked_captured(error, 0):
            self.exceptions.append((error, distinct_id, dict(properties or {})))
            if self.failure is not None:
                raise self.failure
        return "uuid"


def emulated(emulator: Emulator, captures: Captures | None = None, **settings: Any) -> AsyncPostHog:
    """Return a client of an emulator, with a sink for what it captures."""
    ph = AsyncPostHog.emulated(emulator, **settings)
    ph.__dict__["capture"] = captures or Captures()
    return ph


def cookie(distinct_id: object = "from-cookie", session: object = "s-cookie") -> str:
    """Return the `Cookie` header that PostHog's JavaScript causes."""
    value = {"distinct_id": distinct_id, "$sesid": [1, session, 1], "$device_id": "d"}
    return f"theme=dark; {cookie_name(TOKEN)}={quote(json.dumps(value))}"


def captured_exceptions(emulator: Emulator) -> list[tuple[str, bool]]:
    """Return the text of each captured exception, and whether the program had handled it."""
    described = [
        event["properties"]["$exception_list"][0]
        for event in emulator.captured_events()
        if event["event"] == "$exception"
    ]
    return [(str(error["value"]), error["mechanism"]["handled"]) for error in described]
