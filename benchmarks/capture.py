"""Capture: speed, cost, loss and memory, beside the official SDK, against the same stub server."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from asyncposthog import AsyncPostHog, CaptureSettings
from asyncposthog.transport.clock import SystemClock
from benchmarks.measure import Row

__all__ = ["rows"]

AREA = "capture"
ROUNDS = 3
BURST = 30_000
THROUGHPUT = 60_000
HOLDS = 20_000
SPOOLED = 1_000_000
KILLED = 100_000
KILLS = 3
TOKEN = "phc_benchmark"
PROPERTIES = {"plan": "pro", "seats": 7, "path": "/pricing", "ratio": 0.25, "beta": True}


class FastClock(SystemClock):
    """A clock whose sleeps are sixty times shorter: an outage of a minute takes a second."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 60)


def rows() -> Iterator[Row]:
    """Measure all rows."""
    with _server() as url:
        yield from _burst(url)
        yield from _throughput(url)
        yield _hold(url)
        yield _survival(url)
        yield _memory()


def _burst(url: str) -> Iterator[Row]:
    delivered: dict[str, float] = {}
    for name in ("ours", "async", "sync"):
        _control(url, reset=True, latency=0.3)
        _work(name, "burst", url)
        delivered[name] = _count(url)["distinct"] - 1
    _control(url, reset=True)
    title = f"burst of {BURST:,} events, default settings, slow server"
    ours, rival = delivered["ours"], delivered["async"]
    yield Row(AREA, title, ours, rival, ours / rival, BURST, ours == BURST, "delivered")
    yield Row.information(
        AREA, "  the same with the official sync client", delivered["sync"], "delivered"
    )


def _throughput(url: str) -> Iterator[Row]:
    speeds: dict[str, list[float]] = {"ours": [], "async": [], "sync": []}
    costs: list[float] = []
    same_level: list[float] = []
    best_level: list[float] = []
    for _ in range(ROUNDS):
        for name, samples in speeds.items():
            _control(url, reset=True)
            result = _work(name, "throughput", url)
            assert _count(url)["distinct"] == THROUGHPUT + 1, name
            samples.append(THROUGHPUT / result["elapsed"])
            if name == "ours":
                costs.append(result["cpu"] / result["baseline_6"])
                same_level.append(result["cpu"] / result["baseline_3"])
                best_level.append(result["cpu"] / result["baseline_9"])
    ours, other, sync = (statistics.median(samples) for samples in speeds.values())
    for rival, speed, target in (("async", other, 2.0), ("sync", sync, 1.2)):
        name = f"events/s delivered, small events, official {rival} client"
        ratio = ours / speed
        yield Row(AREA, name, ours, speed, ratio, target, ratio >= target, "events/s")
    cost = statistics.median(costs)
    name = "CPU per event delivered / to_json of the same events and one gzip"
    yield Row(AREA, name, cost, 1.0, cost, 2.0, cost <= 2.0, "times")
    name = "  the same with gzip at the level that capture uses, 3 instead of 6"
    yield Row.information(AREA, name, statistics.median(same_level), "times")
    name = "  the same with gzip at level 9, the default of gzip.compress"
    yield Row.information(AREA, name, statistics.median(best_level), "times")


def _hold(url: str) -> Row:
    _control(url, reset=True)
    result = _work("ours", "hold", url)
    microseconds = result["p99"]
    return Row(
        AREA,
        "time capture() holds the event loop, p99",
        microseconds,
        None,
        None,
        50,
        microseconds <= 50,
        "µs",
    )


def _survival(url: str) -> Row:
    """Measure events that are missing after faults, an outage and kills, with a spool."""
    _control(url, reset=True, fault_rate=0.2)
    with tempfile.TemporaryDirectory() as folder:
        spool, log = Path(folder, "spool.db"), Path(folder, "accepted.log")
        for kill in range(KILLS + 1):
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.capture", "ours", "survive", url, spool, log]
            )
            if kill < KILLS:
                goal = KILLED * (kill + 1) // (KILLS + 1)
                while _lines(log) < goal:
                    time.sleep(0.01)
                if kill == 1:
                    _control(url, down=True)
                    time.sleep(1.0)  # a minute, by the clock of the process
                    _control(url, down=False)
                process.send_signal(signal.SIGKILL)
            process.wait()
        accepted = set(log.read_text().split())
    received = set(_count(url, "uuids")["uuids"])
    lost = len(accepted - received)
    name = f"{KILLED:,} events, 20 % faults, outage, {KILLS} SIGKILLs, spool: lost"
    _control(url, reset=True)
    return Row(AREA, name, lost, None, None, 0, lost == 0 and len(accepted) >= KILLED, "events")


def _lines(path: Path) -> int:
    return path.stat().st_size // 37 if path.exists() else 0


def _memory() -> Row:
    with tempfile.TemporaryDirectory() as folder:
        result = _work("ours", "memory", "http://127.0.0.1:9", str(Path(folder, "spool.db")))
    peak = result["peak"]
    name = f"peak memory, {SPOOLED:,} events queued, dead server, spool"
    assert result["queued"] == SPOOLED
    return Row(AREA, name, peak, None, None, 200, peak <= 200, "MiB")


@contextmanager
def _server() -> Generator[str]:
    command = [sys.executable, "-m", "benchmarks.capture_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def _control(url: str, **changes: Any) -> None:
    request = urllib.request.Request(f"{url}/control", json.dumps(changes).encode())
    urllib.request.urlopen(request).close()


def _count(url: str, what: str = "count") -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/{what}") as response:
        return json.load(response)


def _work(who: str, what: str, url: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.capture", who, what, url, *arguments],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


# What follows runs in a process of its own.


def _client(url: str, **settings: Any) -> AsyncPostHog:
    return AsyncPostHog(project_api_key=TOKEN, host=url, capture=CaptureSettings(**settings))


class _Watch:
    """Measures time and CPU, without the imports and the first connection."""

    def __init__(self) -> None:
        self.started, self.cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        elapsed, cpu = time.perf_counter() - self.started, time.process_time() - self.cpu
        return {"elapsed": elapsed, "cpu": cpu}


async def _send_ours(url: str, count: int) -> dict[str, float]:
    async with _client(url, close_timeout=300.0) as client:
        capture = client.capture
        await capture("first", "ada")
        await capture.flush()
        watch = _Watch()
        for number in range(count):
            await capture("page viewed", f"user-{number % 1000}", properties=PROPERTIES)
    return watch.read()


async def _send_async(url: str, count: int, *, patient: bool) -> dict[str, float]:
    from posthog import AsyncPosthog

    client = AsyncPosthog(TOKEN, host=url)
    client.capture("first", distinct_id="ada")
    await client.flush()
    watch = _Watch()
    for number in range(count):
        client.capture("page viewed", distinct_id=f"user-{number % 1000}", properties=PROPERTIES)
        # It drops what is more than its queue takes; for the speed, it is not given more.
        if patient and number % 5000 == 4999:
            await client.flush()
    await client.flush(timeout_seconds=300)
    await client.shutdown()
    return watch.read()


def _send_sync(url: str, count: int, *, patient: bool) -> dict[str, float]:
    from posthog import Posthog

    client = Posthog(TOKEN, host=url)
    client.capture("first", distinct_id="ada")
    client.flush()
    watch = _Watch()
    for number in range(count):
        client.capture("page viewed", distinct_id=f"user-{number % 1000}", properties=PROPERTIES)
        if patient and number % 5000 == 4999:
            client.flush()
    client.shutdown()
    return watch.read()


def _timed(who: str, url: str, count: int, *, patient: bool) -> dict[str, float]:
    if who == "ours":
        result = asyncio.run(_send_ours(url, count))
        for level in (3, 6, 9):
            result[f"baseline_{level}"] = _baseline(count, level)
        return result
    if who == "async":
        return asyncio.run(_send_async(url, count, patient=patient))
    return _send_sync(url, count, patient=patient)


def _baseline(count: int, level: int) -> float:
    """Return the CPU seconds of serialising the same events, and compressing them at once."""
    from asyncposthog.capture.events import EventBuilder

    builder = EventBuilder(CaptureSettings(), time.time)
    events: list[Any] = []
    for number in range(count):
        record = builder.build("page viewed", f"user-{number % 1000}", PROPERTIES)
        assert record is not None
        events.append(from_json(record.body))
    started = time.process_time()
    zlib.compress(b",".join([to_json(event) for event in events]), level, 31)
    return time.process_time() - started


async def _holds(url: str) -> dict[str, float]:
    durations: list[int] = []
    async with _client(url, close_timeout=300.0) as client:
        capture = client.capture
        await capture("first", "ada")
        await capture.flush()
        gc.collect()
        for number in range(HOLDS):
            call = capture("page viewed", f"user-{number % 1000}", properties=PROPERTIES)
            # Each step of the coroutine holds the loop; those in between belong to others.
            while True:
                started = time.perf_counter_ns()
                try:
                    waited = call.send(None)
                except StopIteration:
                    durations.append(time.perf_counter_ns() - started)
                    break
                durations.append(time.perf_counter_ns() - started)
                await _pass(waited)
            if not number % 100:
                await asyncio.sleep(0)
    durations.sort()
    return {
        "p99": durations[len(durations) * 99 // 100] / 1000,
        "median": durations[len(durations) // 2] / 1000,
    }


class _pass:  # noqa: N801
    """Passes what a coroutine waits for on to the event loop."""

    def __init__(self, waited: Any) -> None:
        self.waited = waited

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self.waited)


async def _survive(url: str, spool: str, log: str) -> None:
    client = AsyncPostHog(
        project_api_key=TOKEN,
        host=url,
        clock=FastClock(),
        capture=CaptureSettings(spool=spool, close_timeout=300.0),
    )
    async with client:
        with open(log, "ab", buffering=0) as accepted:  # noqa: ASYNC230

            async def capture_one() -> None:
                while _lines(Path(log)) < KILLED:
                    uuid = await client.capture("page viewed", "ada", properties=PROPERTIES)
                    accepted.write(f"{uuid}\n".encode())

            async with asyncio.TaskGroup() as group:
                for _ in range(50):
                    group.create_task(capture_one())


async def _fill(url: str, spool: str) -> dict[str, float]:
    client = _client(url, spool=spool, close_timeout=0.1)
    async with client:
        capture = client.capture

        async def many(count: int) -> None:
            for number in range(count):
                await capture("page viewed", f"user-{number % 1000}", properties=PROPERTIES)

        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(many(SPOOLED // 100))
        stats = capture.stats
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"peak": peak, "queued": stats.queued + stats.in_flight}


def main() -> None:
    """Run one measurement: `WHO WHAT URL …`."""
    for name in [name for name in os.environ if name.startswith("POSTHOG_")]:
        del os.environ[name]
    who, what, url, *arguments = sys.argv[1:]
    result: dict[str, float]
    if what == "burst":
        result = _timed(who, url, BURST, patient=False)
    elif what == "throughput":
        result = _timed(who, url, THROUGHPUT, patient=True)
    elif what == "hold":
        result = asyncio.run(_holds(url))
    elif what == "survive":
        asyncio.run(_survive(url, *arguments))
        return
    else:
        result = asyncio.run(_fill(url, *arguments))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
