"""HogQL of the emulator: a million events grouped, and export pages."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from typing import Any

import httpx

from benchmarks.measure import Row
from posthog_emulator import Emulator

AREA = "emulator"
EVENTS = 1_000_000
PAGE = 50_000
GROUPED = "SELECT event, count() FROM events GROUP BY event"
EXPORT = (
    "SELECT uuid, event, distinct_id, person_id, timestamp, properties, $session_id, created_at "
    f"FROM events WHERE timestamp >= {{at}} ORDER BY timestamp, uuid LIMIT {PAGE}"
)


def rows() -> Iterator[Row]:
    """Measure the rows of this module."""
    emulator = Emulator()
    fill(emulator)
    grouped, paged, side = asyncio.run(measured(emulator))
    name = f"HogQL: GROUP BY event over {EVENTS:,} events"
    yield Row(AREA, name, grouped, None, None, 0.3, grouped <= 0.3, "s")
    yield Row.information(AREA, f"HogQL: rows of a page of {PAGE:,}, 8 columns", PAGE / paged, "/s")
    name = f"HogQL: three such pages side by side, {os.cpu_count()} cores"
    yield Row.information(AREA, name, 3 * PAGE / side, "/s")


def fill(emulator: Emulator) -> None:
    """Put a million events into project 1."""
    emulator.state.events.write(
        "INSERT INTO events SELECT 1, generateUUIDv4(), concat('event ', toString(i * 7919 % 40)), "
        "concat('user ', toString(i % 9973)), generateUUIDv4(), "
        "toDateTime64('2026-01-01', 6, 'UTC') + toIntervalMicrosecond(i * 2000003), "
        "toDateTime64('2026-01-01', 6, 'UTC'), "
        'concat(\'{"$browser":"Chrome","$current_url":"https://example.com/\', '
        "toString(i % 100), '\",\"n\":', toString(i), '}'), '', concat('s', toString(i % 50000)), "
        f"'', '', '', '', '', '', 'full', i FROM (SELECT number AS i FROM numbers({EVENTS}))"
    )


async def measured(emulator: Emulator) -> tuple[float, float, float]:
    """Return the seconds of the grouping, of one page, and of three concurrent pages."""
    headers = {"Authorization": f"Bearer {emulator.key}"}
    async with httpx.AsyncClient(
        transport=emulator.transport(), base_url="http://emulator", headers=headers, timeout=60
    ) as http:

        async def ask(sql: str, values: dict[str, Any]) -> None:
            query = {"kind": "HogQLQuery", "query": sql, "values": values}
            body = {"query": query, "refresh": "force_blocking"}
            answer = await http.post("/api/projects/1/query/", json=body)
            assert answer.status_code == 200, answer.text

        async def best(times: int, sql: str, values: dict[str, Any], beside: int = 1) -> float:
            seconds: list[float] = []
            for _ in range(times):
                started = time.perf_counter()
                await asyncio.gather(*(ask(sql, values) for _ in range(beside)))
                seconds.append(time.perf_counter() - started)
            return min(seconds)

        await ask("SELECT 1", {})
        values = {"at": "2026-01-10 00:00:00"}
        grouped = await best(5, GROUPED, {})
        return grouped, await best(3, EXPORT, values), await best(2, EXPORT, values, 3)
