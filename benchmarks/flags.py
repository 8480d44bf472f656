"""Flags: cost of an evaluation by the server and in this process."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from importlib import import_module
from typing import Any

import anyio
import anyio.abc
import httpx

from asyncposthog import AsyncPostHog
from benchmarks.measure import Row, median_of

__all__ = ["rows"]

AREA = "flags"
ROUNDS = 7
REQUESTS = 400
EVALUATIONS = 4000
TOKEN = "phc_benchmark"
FLAGS = 20
COHORT = {
    "type": "AND",
    "values": [{"key": "plan", "type": "person", "operator": "exact", "value": "pro"}],
}
FLAG: dict[str, Any] = {
    "id": 1,
    "key": "beta",
    "active": True,
    "version": 3,
    "filters": {
        "groups": [
            {
                "properties": [
                    {"key": "email", "type": "person", "operator": "icontains", "value": "@x.com"},
                    {"key": "v", "type": "person", "operator": "semver_gte", "value": "1.2"},
                    {"key": "seats", "type": "person", "operator": "gt", "value": 5},
                    {"key": "id", "type": "cohort", "value": 5},
                ],
                "rollout_percentage": 50,
            }
        ],
        "multivariate": {
            "variants": [
                {"key": "a", "rollout_percentage": 50},
                {"key": "b", "rollout_percentage": 50},
            ]
        },
    },
}
PERSON = {"email": "a@x.com", "v": "1.10.0", "seats": 9, "plan": "pro"}


def rows() -> Iterator[Row]:
    """Measure all rows."""
    remote = anyio.run(_remote)
    yield Row.ratio_of(
        AREA, f"one evaluation by the server ({FLAGS} flags), to httpx",
        remote["ours"], remote["httpx"], 1.3, "µs",
    )  # fmt: skip
    local = anyio.run(_local)
    for name, title in (("one", "one flag"), ("many", f"each of {FLAGS} flags")):
        yield Row.ratio_of(
            AREA, f"local, {title}: 3 filters and a cohort, to the function",
            local[name], local["function"], 1.5, "µs",
        )  # fmt: skip


def _response() -> bytes:
    reason = {"code": "condition_match", "condition_index": 0, "description": "Matched"}
    metadata = {"id": 1, "version": 3, "payload": '{"a": 1}', "has_experiment": False}
    flags = {
        f"flag-{number}": {
            "key": f"flag-{number}", "enabled": True, "variant": "b", "reason": reason,
            "metadata": metadata,
        }
        for number in range(FLAGS)
    }  # fmt: skip
    return json.dumps({"flags": flags, "errorsWhileComputingFlags": False}).encode()


async def _serve(listening: Callable[[int], None]) -> None:
    """Answer every request with the same flags, with as little work as possible."""
    body = _response()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    response = head.encode() + b"\r\n" + body

    async def answer(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            buffered = b""
            while True:
                try:
                    buffered += await stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return
                start, separator, rest = buffered.partition(b"\r\n\r\n")
                length = int(start.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
                if separator and len(rest) >= length:
                    buffered = rest[length:]
                    await stream.send(response)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    listening(listener.extra(anyio.abc.SocketAttribute.local_port))
    await listener.serve(answer)


async def _remote() -> dict[str, float]:
    """Return the CPU microseconds of an evaluation, the server of both included."""
    ports: list[int] = []
    seconds: dict[str, float] = {}
    ready = anyio.Event()

    def listening(port: int) -> None:
        ports.append(port)
        ready.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_serve, listening)
        await ready.wait()
        url = f"http://127.0.0.1:{ports[0]}"
        ph = AsyncPostHog("phx_x", project_id=1, host=url, project_api_key=TOKEN)
        async with ph, httpx.AsyncClient(base_url=url) as http:
            ph.flags.configure(send_events=False)

            async def ours() -> None:
                for number in range(REQUESTS):
                    flags = await ph.flags.evaluate(f"user-{number}", person_properties=PERSON)
                    assert flags.is_enabled("flag-3")

            async def plain() -> None:
                for number in range(REQUESTS):
                    body = {"token": TOKEN, "distinct_id": f"user-{number}",
                            "person_properties": PERSON}  # fmt: skip
                    response = await http.post("/flags/?v=2", json=body, timeout=3)
                    response.raise_for_status()
                    assert response.json()["flags"]["flag-3"]["enabled"]

            seconds = await median_of({"ours": ours, "httpx": plain}, ROUNDS)
        tasks.cancel_scope.cancel()
    return {name: value / REQUESTS * 1e6 for name, value in seconds.items()}


async def _local() -> dict[str, float]:
    """Return the CPU microseconds for one flag."""
    flags = [{**FLAG, "key": f"flag-{number}"} for number in range(FLAGS)]
    definitions = {"flags": flags, "cohorts": {"5": COHORT}, "group_type_mapping": {}}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=definitions))
    by_key = {flag["key"]: flag for flag in flags}
    official: Any = import_module("posthog.feature_flags")
    match = official.match_feature_flag_properties
    keys = ["flag-3"]
    ph = AsyncPostHog(
        "phx_x", project_id=1, project_api_key=TOKEN, transport=transport, limits=False
    )
    async with ph, ph.flags.local():
        ph.flags.configure(send_events=False)

        async def evaluate_one() -> None:
            for number in range(EVALUATIONS):
                await ph.flags.evaluate(f"user-{number}", person_properties=PERSON, keys=keys)

        async def many() -> None:
            for number in range(EVALUATIONS // FLAGS):
                await ph.flags.evaluate(f"user-{number}", person_properties=PERSON)

        async def function() -> None:
            for number in range(EVALUATIONS):
                distinct_id = f"user-{number}"
                match(
                    by_key["flag-3"],
                    distinct_id,
                    PERSON,
                    cohort_properties={"5": COHORT},
                    flags_by_key=by_key,
                    evaluation_cache={},
                    bucketing_value=distinct_id,
                )

        jobs: dict[str, Callable[[], Awaitable[None]]] = {
            "one": evaluate_one, "many": many, "function": function
        }  # fmt: skip
        seconds = await median_of(jobs, ROUNDS)
    return {name: value / EVALUATIONS * 1e6 for name, value in seconds.items()}
