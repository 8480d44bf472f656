"""Agents: the size of definitions, the search, the cost of a call, and 25 tasks."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx

from asyncposthog import AsyncPostHog, registry
from asyncposthog.catalog.search import search
from asyncposthog.toolkit import Toolkit, WriteRequest
from asyncposthog.toolkit.results import CHARS_PER_TOKEN, dumps
from benchmarks.agent_tasks import TASKS, Agent, make_world
from benchmarks.measure import Row, alternate, median_of
from posthog_emulator import Emulator

PHRASINGS = Path(__file__).resolve().parent / "agents_phrasings.tsv"
AREA = "agents"
ROUNDS, CALLS = 15, 100


def rows() -> Iterator[Row]:
    """Yield the rows of the area."""
    yield from _definitions()
    yield _search()
    yield from anyio.run(_overhead)
    yield from anyio.run(_evaluation)
    yield _import_time()


def _at_most(name: str, value: float, target: float, unit: str) -> Row:
    return Row(AREA, name, value, None, None, target, value <= target, unit)


def _at_least(name: str, value: float, target: float, unit: str) -> Row:
    return Row(AREA, name, value, None, None, target, value >= target, unit)


def _kit() -> Toolkit:
    return Toolkit(AsyncPostHog("phx_benchmark", project_id=1))


def _definitions() -> Iterator[Row]:
    kit = _kit()
    yield _at_most("tokens of the default definitions", kit.definition_tokens, 700, "tokens")
    operations = list(registry.operations())
    reachable = anyio.run(_reachable, kit)
    yield _at_least(
        "operations reachable through the default tools", reachable, len(operations), "operations"
    )
    everything = _kit().only()
    for operation in operations:
        everything.expose(operation)
    yield Row.information(
        AREA,
        "tokens of definitions, one tool per operation",
        everything.definition_tokens,
        "tokens",
    )


async def _reachable(kit: Toolkit) -> int:
    """Return how many operations can be described, and their calls prepared or refused."""
    reachable = 0
    for operation in registry.operations():
        described = await kit.call("describe_operation", {"operation": operation.id})
        reachable += described.successful
    return reachable


def _search() -> Row:
    hits = 0
    lines = PHRASINGS.read_text(encoding="utf-8").splitlines()
    pairs = [line.split("\t") for line in lines if not line.startswith("#")]
    for text, ids in pairs:
        hits += bool(set(ids.split()) & {match.operation.id for match in search(text)})
    return _at_least(f"phrasings found of {len(pairs)}", hits, 95, "phrasings")


async def _overhead() -> list[Row]:
    """Compare tool calls with plain calls of the client, over a transport that answers at once."""
    flag: dict[str, Any] = {
        "id": 1,
        "key": "new-nav",
        "name": "New navigation",
        "active": True,
        "filters": {},
    }
    page: dict[str, Any] = {"count": 20, "next": None, "previous": None, "results": [flag] * 20}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=flag if request.url.path.endswith("/1/") else page)

    transport = httpx.MockTransport(answer)
    async with AsyncPostHog("phx_benchmark", project_id=1, transport=transport, limits=False) as ph:
        kit = Toolkit(ph).expose(ph.feature_flags.get)
        call_arguments: dict[str, Any] = {"operation": "feature_flags.get", "arguments": {"id": 1}}
        many = {"operation": "feature_flags.list"}
        result: list[Row] = []
        for name, plain, tool in (
            (
                "get: a tool call over a plain call",
                lambda: ph.feature_flags.get(1),
                lambda: kit.call("read_operation", call_arguments),
            ),
            (
                "get: an exposed tool over a plain call",
                lambda: ph.feature_flags.get(1),
                lambda: kit.call("feature_flags_get", {"id": 1}),
            ),
            (
                "list of 20: a tool call over a plain call",
                lambda: ph.feature_flags.list(),
                lambda: kit.call("read_operation", many),
            ),
        ):
            jobs = {"ours": _repeated(tool), "theirs": _repeated(plain)}
            seconds = await median_of(jobs, ROUNDS)
            ours, theirs = (seconds[n] / CALLS * 1e6 for n in ("ours", "theirs"))
            result.append(Row.ratio_of(AREA, name, ours, theirs, 1.3, "µs"))
        return result


def _repeated(call: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        for _ in range(CALLS):
            await call()

    return run


async def _evaluation() -> list[Row]:
    """Solve the tasks with the default tools; compare with one tool per operation."""
    emulator = Emulator()
    solved, calls, result_tokens, direct_calls, direct_tokens = 0, 0, 0, 0, 0
    approved: list[str] = []

    async def approve(request: WriteRequest) -> bool:
        approved.append(f"{request.method} {request.url}".replace("http://emulator.localhost", ""))
        return True

    async with AsyncPostHog.emulated(emulator) as ph:
        await make_world(emulator, ph)
        unapproved = 0
        for task in TASKS:
            emulator.requests.clear()
            approved.clear()
            agent = Agent(Toolkit(ph, approve=approve))
            answer = await task.script(agent)
            for request in emulator.requests:
                # Queries are POSTs that only read.
                is_write = request.method != "GET" and "/query/" not in request.path
                unapproved += is_write and f"{request.method} {request.path}" not in approved
            calls += agent.calls
            result_tokens += agent.result_tokens
            direct_calls += len(agent.operations)
            direct_tokens += await _direct_result_tokens(ph, agent.operations)
            solved += await task.check(ph, answer)
    default = _kit().definition_tokens
    everything = _kit().only()
    for operation in registry.operations():
        everything.expose(operation)
    # A model gets the definitions with each of its requests: one for each call, and the last one.
    ours = default * (calls + len(TASKS)) + result_tokens
    theirs = everything.definition_tokens * (direct_calls + len(TASKS)) + direct_tokens
    return [
        _at_least(f"tasks solved of {len(TASKS)}", solved, len(TASKS), "tasks"),
        _at_most("writes that were not approved", unapproved, 0, "requests"),
        Row(AREA, "calls per task, beside one tool per operation", calls / len(TASKS),
            direct_calls / len(TASKS), calls / direct_calls, None, True, "calls"),
        Row(AREA, "tokens of results per task", result_tokens / len(TASKS),
            direct_tokens / len(TASKS), result_tokens / direct_tokens, None, True, "tokens"),
        Row(AREA, "tokens read per task, definitions included", ours / len(TASKS),
            theirs / len(TASKS), ours / theirs, None, True, "tokens"),
    ]  # fmt: skip


async def _direct_result_tokens(ph: AsyncPostHog, operations: list[str]) -> int:
    """Return the size of the whole results that reads have without a choice of fields."""
    tokens = 0
    for name in operations:
        operation = registry.find(name)
        if operation.writes or operation.path_parameters or name == "query.create":
            tokens += 300  # about an object, or the result of a query
            continue
        kit = Toolkit(ph, core=False, max_result_tokens=1_000_000).expose(operation)
        result = await kit.call(name.replace(".", "_"), {})
        tokens += len(dumps(result.data)) // CHARS_PER_TOKEN
    return tokens


def _import_time() -> Row:
    client = "from asyncposthog import AsyncPostHog\n"
    codes = {"toolkit": f"{client}from asyncposthog.toolkit import Toolkit", "client": client}
    measured = alternate(codes, 7)
    ours, theirs = measured["toolkit"][0], measured["client"][0]
    return Row.ratio_of(
        AREA, "importing the toolkit over the client alone", ours, theirs, 1.2, "ms"
    )


if __name__ == "__main__":
    print(json.dumps([row.as_json() for row in rows()], indent=1))
