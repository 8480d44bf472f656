"""A server that generates pages of events: `python -m benchmarks.synthetic_events_server ROWS`.

It replaces the emulator where that would take too long: it stores nothing, so ten million events
cost no more than ten. It answers only the queries of an export of events.
"""

from __future__ import annotations

import json
import re
import socketserver
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

__all__ = ["START", "STEP", "end_of"]

START = datetime(2026, 5, 1, tzinfo=UTC)
STEP = 250_000
"""Microseconds between timestamps."""
SHARING = 3
"""Rows per timestamp."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ORIGIN = round(START.timestamp()) * 1_000_000

_COLUMNS = (
    ("uuid", "UUID"), ("event", "String"), ("timestamp", "DateTime64(6, 'UTC')"),
    ("distinct_id", "String"), ("person_id", "UUID"), ("properties", "String"),
    ("elements_chain", "String"), ("created_at", "DateTime64(6, 'UTC')"),
    ("export_time", "String"), ("export_key", "String"),
)  # fmt: skip
_COUNTS = (("bucket", "UInt32"), ("rows", "UInt64"))
_LIMIT = re.compile(r"LIMIT (\d+)$")


def end_of(rows: int) -> datetime:
    """Return the first timestamp after so many rows."""
    return START + timedelta(microseconds=-(-rows // SHARING) * STEP)


def _properties(number: int) -> str:
    page = ("features", "pricing", "docs", "blog/a-year-of-boats")[number % 4]
    return json.dumps(
        {
            "$current_url": f"https://www.paperboat.example/{page}",
            "$host": "www.paperboat.example",
            "$pathname": f"/{page}",
            "$referrer": "https://www.google.com/",
            "$referring_domain": "www.google.com",
            "utm_source": "google",
            "utm_medium": "cpc",
            "utm_campaign": "brand",
            "$session_id": f"019e7ab6-2a65-75e6-aae0-{number:012x}",
            "$window_id": f"019e7ab6-2a65-7638-9a1d-{number:012x}",
            "$feature/new-onboarding": "control",
            "$lib": "web",
            "$lib_version": "1.256.0",
            "$browser": ("Chrome", "Safari", "Firefox")[number % 3],
            "$browser_version": 100 + number % 40,
            "$os": "Windows",
            "$device_type": "Desktop",
            "$screen_width": 1920,
            "$screen_height": 1080,
            "$geoip_country_code": "NL",
            "$geoip_country_name": "Netherlands",
            "$geoip_city_name": "Utrecht",
            "$geoip_time_zone": "Europe/Amsterdam",
        },
        separators=(",", ":"),
    )


_PROPERTIES = tuple(json.dumps(_properties(number)) for number in range(997))
_KEY = "019e7ab6-0000-7000-8000-"
_USER = "019e7ab6-2a65-7c6e-81b4-"


def _page(rows: int, sql: str, values: dict[str, Any]) -> bytes:
    limit = _LIMIT.search(sql)
    assert limit is not None, sql
    first = _first(values["export_from"])
    if "export_after_key" in values:
        first = int(values["export_after_key"].removeprefix(_KEY), 16) + 1
    last = min(rows, _first(values["export_to"]), first + int(limit[1]))
    return _answer(_COLUMNS, _rows(first, last))


def _rows(first: int, last: int) -> Iterator[str]:
    """Yield rows as JSON, in pieces.

    Cheaply: the server shares the cores with the measured export.
    """
    for moment in range(first // SHARING, -(-last // SHARING)):
        at = _text(ORIGIN + moment * STEP)
        shown = f"{at[:10]}T{at[11:]}Z"
        begin = moment * SHARING
        for number in range(max(first, begin), min(last, begin + SHARING)):
            key = f"{_KEY}{number:012x}"
            user = f"{_USER}{number // 20:012x}"
            comma = "," if number > first else ""
            yield f'{comma}["{key}","$pageview","{shown}","{user}","{user}",'
            yield _PROPERTIES[number % 997]
            yield f',"","{shown}","{at}","{key}"]'


def _counts(rows: int, values: dict[str, Any]) -> bytes:
    length = values["export_step"] * 1_000_000
    begin, end = _first(values["export_from"]), min(rows, _first(values["export_to"]))
    body: list[str] = []
    while begin < end:
        bucket = (ORIGIN + begin // SHARING * STEP) // length
        stop = min(end, _number_at((bucket + 1) * length))
        body.append(f"[{bucket},{stop - begin}]")
        begin = stop
    return _answer(_COUNTS, [",".join(body)])


def _first(text: str) -> int:
    """Return the number of the first row at or after a timestamp."""
    return _number_at(
        (datetime.fromisoformat(f"{text}+00:00") - EPOCH) // timedelta(microseconds=1)
    )


def _number_at(micros: int) -> int:
    return max(0, -(-(micros - ORIGIN) // STEP)) * SHARING


def _text(micros: int) -> str:
    seconds, fraction = divmod(micros, 1_000_000)
    return f"{_second(seconds)}.{fraction:06d}"


@lru_cache(maxsize=4)
def _second(number: int) -> str:
    return (EPOCH + timedelta(seconds=number)).strftime("%Y-%m-%d %H:%M:%S")


def _answer(columns: tuple[tuple[str, str], ...], body: Iterable[str]) -> bytes:
    names = json.dumps([name for name, _ in columns])
    end = f'],"columns":{names},"types":{json.dumps(columns)}}}'
    return "".join(('{"results":[', *body, end)).encode()


def _asked(rows: int, body: bytes) -> bytes:
    query = json.loads(body)["query"]
    if "intDiv" in query["query"]:
        return _counts(rows, query["values"])
    return _page(rows, query["query"], query["values"])


class _Server(socketserver.ThreadingTCPServer):
    """A TCP server with a thread per connection."""

    daemon_threads = True

    def __init__(self, rows: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.rows = rows


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        while line := self.rfile.readline():
            length, cancels = 0, line.startswith(b"DELETE")
            while line not in {b"", b"\r\n"}:
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
                line = self.rfile.readline()
            if cancels:  # The cancellation of a query.
                self.wfile.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                continue
            page = _asked(server.rows, self.rfile.read(length))
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            self.wfile.write(head + b"Content-Length: %d\r\n\r\n" % len(page))
            self.wfile.write(page)


if __name__ == "__main__":
    with _Server(int(sys.argv[1])) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
