"""Responses of `/flags`, and a sink that keeps events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from tests.helpers.fake_transport import Client, Server, client

TOKEN = "phc_public"


def flags_client(server: Any, **settings: Any) -> Client:
    """Return a client with a project token whose requests go to `server`."""
    ph = client(server, **{"project_api_key": TOKEN, **settings})
    # Tests see requests about flags alone.
    ph.__dict__["capture"] = Sink()
    return ph


def record(key: str, enabled: bool = True, variant: str | None = None, **more: Any) -> Any:
    """Return a flag as version 2 of the response has it."""
    metadata = {"id": 1, "version": 3, "payload": None, "has_experiment": False}
    reason = {"code": "condition_match", "condition_index": 0, "description": "Matched"}
    return {
        "key": key,
        "enabled": enabled,
        "variant": variant,
        "reason": reason,
        "metadata": {**metadata, **more.pop("metadata", {})},
        **more,
    }


def response(*records: Any, **more: Any) -> httpx.Response:
    """Return a response of version 2."""
    body = {
        "flags": {item["key"]: item for item in records},
        "errorsWhileComputingFlags": False,
        "requestId": "0198c2a4-0000-7000-8000-000000000001",
        "evaluatedAt": 1_760_000_000_000,
        **more,
    }
    return httpx.Response(200, json=body)


class Sink:
    """Keeps events, like a client that captures them."""

    def __init__(self, accepts: bool = True) -> None:
        self.accepts = accepts
        self.events: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = []

    def nowait(
        self,
        event: str,
        distinct_id: str,
        *,
        properties: Mapping[str, Any] | None = None,
        groups: Mapping[str, Any] | None = None,
    ) -> bool:
        self.events.append((event, distinct_id, dict(properties or {}), dict(groups or {})))
        return self.accepts

    @property
    def names(self) -> list[str]:
        return [event for event, *_ in self.events]


__all__ = ["TOKEN", "Server", "Sink", "flags_client", "record", "response"]
