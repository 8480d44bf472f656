"""Queries of log records that were sent by OpenTelemetry, against what was sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import httpx
import pytest

from posthog_emulator import Emulator

pytestmark = pytest.mark.anyio

AT = 1_777_636_800
"""2026-05-01T12:00:00Z."""
RECORDS: list[tuple[int, str, int, str, dict[str, Any]]] = [
    # second, service, severity, body, attributes
    (0, "shop", 9, "started", {"port": "80"}),
    (10, "shop", 17, "Payment failed", {"tries": 3, "user": "ann"}),
    (20, "mail", 13, "slow", {"tries": 12, "user": "bob"}),
    (30, "mail", 17, "payment lost", {"user": "ann"}),
    (-90_000, "mail", 17, "long ago", {}),
]
RANGE = {"date_from": "2026-05-01T00:00:00Z", "date_to": "2026-05-01T23:00:00Z"}
NOTHING: dict[str, Any] = {"type": "AND", "values": []}
Ask: TypeAlias = "Callable[..., Awaitable[dict[str, Any]]]"


def pairs(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int)
         else {"stringValue": value}}
        for key, value in values.items()
    ]  # fmt: skip


@pytest.fixture
async def ask(connect: Callable[..., httpx.AsyncClient]) -> AsyncIterator[Ask]:
    emulator = Emulator()
    emulator.freeze("2026-05-02T00:00:00Z")
    resources: list[dict[str, Any]] = []
    for second, service, severity, body, attributes in RECORDS:
        record = {
            "timeUnixNano": str((AT + second) * 10**9), "severityNumber": severity,
            "body": {"stringValue": body}, "attributes": pairs(attributes),
        }  # fmt: skip
        resource = {"attributes": pairs({"service.name": service})}
        resources.append({"resource": resource, "scopeLogs": [{"logRecords": [record]}]})
    async with connect(emulator) as http:
        sent = await http.post("/i/v1/logs", json={"resourceLogs": resources},
                               headers={"Authorization": "Bearer phc_emulator"})  # fmt: skip
        assert sent.status_code == 200

        async def answer(kind: str = "LogsQuery", **query: Any) -> dict[str, Any]:
            shared = {"dateRange": RANGE, "filterGroup": NOTHING, "serviceNames": [],
                      "severityLevels": []}  # fmt: skip
            given = {"kind": kind, **(shared if kind.startswith("Log") else {}), **query}
            body = {"query": given, "refresh": "force_blocking"}
            response = await http.post("/api/projects/1/query/", json=body)
            assert response.status_code == 200, response.text
            return response.json()

        yield answer


def group(*filters: tuple[str, str, str, Any]) -> dict[str, Any]:
    each = [
        {"type": kind, "key": key, "operator": operator, "value": value}
        for kind, key, operator, value in filters
    ]
    return {"type": "AND", "values": [{"type": "AND", "values": each}]}


async def test_log_records(ask: Ask) -> None:
    async def bodies(**query: Any) -> list[str]:
        return [one["body"] for one in (await ask(**query))["results"]]

    newest = ["payment lost", "slow", "Payment failed", "started"]
    (latest, *_) = (await ask())["results"]
    assert latest["timestamp"] == "2026-05-01T12:00:30.000000Z"
    assert (latest["level"], latest["severity_number"]) == ("error", 17)
    assert latest["attributes"] == {"user": "ann"}
    assert latest["resource_attributes"] == {"service.name": "mail"}
    assert (await ask(excludeAttributes=True))["results"][0]["attributes"] == {}
    assert await bodies() == newest
    assert await bodies(orderBy="earliest") == newest[::-1]
    assert await bodies(severityLevels=["warn", "info"]) == ["slow", "started"]
    assert await bodies(serviceNames=["shop"]) == ["Payment failed", "started"]
    assert await bodies(searchTerm="PAYMENT") == ["payment lost", "Payment failed"]
    wanted = group(("log_attribute", "user", "exact", ["ann"]), ("log", "level", "exact", "error"))
    assert await bodies(filterGroup=wanted) == ["payment lost", "Payment failed"]
    # As numbers: as text, 12 would come before 3.
    assert await bodies(filterGroup=group(("log_attribute", "tries", "gt", "5"))) == ["slow"]
    mail = group(("log_resource_attribute", "service.name", "is_not", "mail"))
    assert await bodies(filterGroup=mail) == ["Payment failed", "started"]
    page = await ask(limit=3)
    assert (len(page["results"]), page["hasMore"]) == (3, True)
    rest = await ask(limit=3, after=page["nextCursor"])
    assert [one["body"] for one in rest["results"]] == ["started"]
    assert (rest["hasMore"], rest["nextCursor"]) == (False, None)
    by_hogql = await ask("HogQLQuery", query="SELECT body FROM logs ORDER BY timestamp LIMIT 1")
    assert by_hogql["results"] == [["long ago"]]


async def test_attributes_and_their_values(ask: Ask) -> None:
    found = await ask("LogAttributesQuery", attributeType="log")
    assert [one["name"] for one in found["results"]] == ["user", "tries", "port"]
    assert found["count"] == 3
    found = await ask("LogAttributesQuery", attributeType="resource", search="SERV")
    (one,) = found["results"]
    assert (one["name"], one["propertyFilterType"]) == ("service.name", "log_resource_attribute")
    values = {"attributeType": "log", "attributeKey": "user"}
    found = await ask("LogValuesQuery", **values)
    assert [one["name"] for one in found["results"]] == ["ann", "bob"]
    found = await ask("LogValuesQuery", **values, search="b", limit=1)
    assert found["results"] == [{"id": "bob", "name": "bob"}]
