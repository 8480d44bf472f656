"""Random faults, in process and on a socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import httpx
import pytest
from anyio import to_thread

from posthog_emulator import Emulator, serve
from posthog_emulator.faults.faults import RANDOM_FAULT_KINDS, Fault, RandomFaultKind, RandomFaults

pytestmark = pytest.mark.anyio

WIDGETS = "/api/projects/1/widgets/"
STATUSES: tuple[RandomFaultKind, ...] = ("429", "500", "502", "503", "504")


def drawn(plan: RandomFaults, count: int) -> list[Fault | None]:
    return [plan.draw() for _ in range(count)]


class Stalls:
    """A sleep that returns at once, and records what exists when it is called."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self.seen: list[tuple[float, int]] = []
        emulator.settings.sleep = self

    async def __call__(self, seconds: float) -> None:
        self.seen.append((seconds, len(self._emulator.items("widgets"))))


# --- The plan ---------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_faults() -> None:
    first, again, other = (
        drawn(RandomFaults(0.2, RANDOM_FAULT_KINDS, seed), 500) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("rate", [0.0, 0.2, 1.0])
def test_the_rate(rate: float) -> None:
    plan = RandomFaults(rate, RANDOM_FAULT_KINDS, 1)
    wrong = sum(fault is not None for fault in drawn(plan, 5000))
    assert wrong == pytest.approx(5000 * rate, rel=0.1)
    assert plan.counts.total() == wrong
    assert set(plan.counts) == (set(RANDOM_FAULT_KINDS) if rate else set[str]())


def test_the_rate_does_not_change_the_kind_of_a_fault() -> None:
    all_wrong, some_wrong = (
        drawn(RandomFaults(rate, RANDOM_FAULT_KINDS, 1), 500) for rate in (1.0, 0.3)
    )
    pairs = [(a, b) for a, b in zip(all_wrong, some_wrong, strict=True) if b is not None]
    assert pairs
    assert all(a == b for a, b in pairs)


@pytest.mark.parametrize("kind", ["429", "503"])
def test_429_and_503_occur_before_the_handler(kind: RandomFaultKind) -> None:
    faults = [fault for fault in drawn(RandomFaults(1, [kind], 1), 200) if fault is not None]
    assert {fault.phase for fault in faults} == {"before"}


@pytest.mark.parametrize("kind", [*STATUSES, "html"])
def test_some_errors_have_retry_after(kind: RandomFaultKind) -> None:
    faults = [fault for fault in drawn(RandomFaults(1, [kind], 1), 200) if fault is not None]
    assert {dict(fault.headers).get("Retry-After") for fault in faults} == {None, "1"}


@pytest.mark.parametrize(
    ("rate", "kinds", "message"),
    [
        (-0.1, ["500"], "rate must be from 0 to 1"),
        (1.1, ["500"], "rate must be from 0 to 1"),
        (0.2, ["501"], r"not \['501'\]"),
        (0.2, [], "not none"),
    ],
)
def test_invalid_arguments(tiny: Emulator, rate: float, kinds: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny.faults.randomize(rate, kinds)


# --- In this process ----------------------------------------------------------------------------


async def outcomes(http: httpx.AsyncClient, count: int) -> list[str]:
    """Create several objects, and return the outcome of each request."""
    seen: list[str] = []
    for number in range(count):
        try:
            answer = await http.post(WIDGETS, json={"name": f"w{number}"})
        except httpx.TransportError as error:
            seen.append(type(error).__name__)
        else:
            text = answer.text if answer.headers["content-type"] == "text/html" else ""
            seen.append(f"{answer.status_code}{' html' * text.startswith('<html>')}")
    return seen


@pytest.mark.parametrize("kind", STATUSES)
async def test_statuses(
    tiny: Emulator, tiny_http: httpx.AsyncClient, kind: RandomFaultKind
) -> None:
    tiny.faults.randomize(1, [kind])
    assert await outcomes(tiny_http, 20) == [kind] * 20
    done = len(tiny.items("widgets"))
    assert done == 0 if kind in {"429", "503"} else 0 < done < 20


async def test_html_errors(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.faults.randomize(1, ["html"])
    answers = [await tiny_http.get(WIDGETS) for _ in range(40)]
    assert {answer.status_code for answer in answers} == {500, 502, 503, 504}
    assert all(answer.text.startswith("<html>") for answer in answers)
    assert all(answer.headers["content-type"].startswith("text/html") for answer in answers)


@pytest.mark.parametrize(
    ("kind", "error"), [("reset", "ReadError"), ("drop", "RemoteProtocolError")]
)
async def test_lost_connections(
    tiny: Emulator, tiny_http: httpx.AsyncClient, kind: RandomFaultKind, error: str
) -> None:
    tiny.faults.randomize(1, [kind])
    assert await outcomes(tiny_http, 20) == [error] * 20
    assert 0 < len(tiny.items("widgets")) < 20
    assert {request.status for request in tiny.requests} == {0}
    assert {request.operation for request in tiny.requests} == {None, "widgets.create"}


async def test_truncated_responses(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.faults.randomize(1, ["truncate"])
    assert set(await outcomes(tiny_http, 20)) == {"RemoteProtocolError", "201"}
    assert len(tiny.items("widgets")) == 20


async def test_stalls_before_after_and_within(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    stalls = Stalls(tiny)
    tiny.settings.stall_seconds = 7
    tiny.faults.randomize(1, ["stall"])
    assert await outcomes(tiny_http, 20) == ["201"] * 20
    assert {seconds for seconds, _ in stalls.seen} == {7}
    stored = [count - number for number, (_, count) in enumerate(stalls.seen)]
    assert set(stored) == {0, 1}


async def test_it_continues_until_cleared(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    plan = tiny.faults.randomize(1, ["500"])
    tiny.faults.fail(418)
    assert await outcomes(tiny_http, 3) == ["418", "500", "500"]
    assert plan.counts == {"500": 2}
    tiny.faults.clear()
    assert await outcomes(tiny_http, 1) == ["201"]
    tiny.faults.randomize(1, ["500"])
    tiny.reset()
    assert await outcomes(tiny_http, 1) == ["201"]


async def test_the_same_requests_fail_in_every_run(
    tiny: Emulator, tiny_http: httpx.AsyncClient
) -> None:
    Stalls(tiny)
    runs: list[list[str]] = []
    for seed in (1, 1, 2):
        tiny.reset()
        tiny.faults.randomize(0.5, seed=seed)
        runs.append(await outcomes(tiny_http, 50))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


# --- On the wire --------------------------------------------------------------------------------

KEY = {"Authorization": "Bearer phx_emulator"}


@pytest.fixture
def client() -> Callable[[str], httpx.AsyncClient]:
    def make(url: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=url, headers=KEY, timeout=60)

    return make


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("reset", {"ReadError"}),
        ("drop", {"RemoteProtocolError"}),
        ("truncate", {"RemoteProtocolError", "201"}),
        ("stall", {"201"}),
        ("502", {"502"}),
    ],
)
async def test_on_a_socket(
    tiny: Emulator,
    client: Callable[[str], httpx.AsyncClient],
    kind: RandomFaultKind,
    expected: set[str],
) -> None:
    Stalls(tiny)
    tiny.faults.randomize(1, [kind])
    async with serve(tiny) as url, client(url) as http:
        assert set(await outcomes(http, 20)) == expected
        tiny.faults.clear()
        assert await outcomes(http, 1) == ["201"]
    assert tiny.app.connections == {}


async def test_a_reset_connection_is_reset(tiny: Emulator) -> None:
    tiny.faults.randomize(1, ["reset"])
    async with serve(tiny) as url:
        # Without anyio, because not every version of it reports the error of the socket.
        with (
            httpx.Client(base_url=url, headers=KEY, timeout=60) as http,
            pytest.raises(httpx.ReadError) as caught,
        ):
            await to_thread.run_sync(http.get, WIDGETS)
    chain: BaseException | None = caught.value
    while chain is not None and not isinstance(chain, ConnectionResetError):
        chain = chain.__cause__ or chain.__context__
    assert isinstance(chain, ConnectionResetError)


async def test_cut_of_a_response_without_body(
    tiny: Emulator, client: Callable[[str], httpx.AsyncClient]
) -> None:
    seeded = tiny.seed("widgets", 1)[0]["id"]
    path = f"{WIDGETS}{seeded}/parts/"
    async with serve(tiny) as url, client(url) as http:
        for seed in range(10):
            tiny.faults.clear()
            part = (await http.post(path, json={"name": "p"})).json()["id"]
            tiny.faults.randomize(1, ["truncate"], seed)
            try:
                answer = await http.delete(f"{path}{part}/")
            except httpx.RemoteProtocolError:
                break
            assert answer.status_code == 204
        else:
            raise AssertionError("no answer was lost")
    assert tiny.items("widgets.parts", parents=[seeded]) == []


async def test_another_asgi_server_only_closes_connections(tiny: Emulator) -> None:
    tiny.faults.randomize(1, ["reset"])
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": WIDGETS,
        "query_string": b"",
        "headers": [],
        "client": ["203.0.113.1", 1],
    }
    await tiny.app(scope, receive, cast("Any", send))
    assert [message["type"] for message in sent] == ["http.response.start"]
    assert sent[0]["headers"] == [(b"content-length", b"1")]
