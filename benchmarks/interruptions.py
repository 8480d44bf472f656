"""Exports that are interrupted at random moments, by every means that asyncio and signals offer.

`python -m benchmarks.interruptions [RUNS [SEED [FORM …]]]`: run it alone, and print what went
wrong. Each
run exports a few thousand rows in a process of its own, which is interrupted, and then exports
again to the end: the same command has to continue, and to end in the same bytes as a run that was
not interrupted. The moments depend on the seed, and on how fast the machine is.
"""

from __future__ import annotations

import asyncio
import faulthandler
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.export_canned import START, end_of
from benchmarks.measure import Row

__all__ = ["Interruptions", "interrupt_exports", "rows"]

AREA = "export"
RUNS: Final = int(os.environ.get("INTERRUPTIONS", "250"))
"""How many runs `make bench` makes; 1,000 take about four times as long."""
ROWS: Final = 2_400
PAGE: Final = 300
LIMIT: Final = 60.0
"""Seconds after which a run is taken to hang."""

FORMS: Final = {"parquet": "events", "jsonl": "e.jsonl", "csv": "e.csv", "gzip": "e.jsonl.gz"}
SIGNALS: Final = {
    "SIGINT": signal.SIGINT,
    "SIGTERM": signal.SIGTERM,
    "SIGTERM, handled": signal.SIGTERM,
}
WAYS: Final = (*SIGNALS, "task.cancel()", "asyncio.timeout", "TaskGroup failure")

INTERRUPTED: Final = 77
"""The exit status of a process whose export was interrupted as it should be."""
FAILED: Final = 78
CRASHES: Final = ("Fatal Python error", "pure virtual", "terminate called", "Segmentation fault")


@dataclass
class Interruptions:
    """What came of a number of runs."""

    interrupted: int = 0
    """Runs that the interruption reached before they were done."""
    crashed: list[str] = field(default_factory=list[str])
    """Those that ended by a signal of their own, hung, or ended in an unexpected error."""
    stuck: list[str] = field(default_factory=list[str])
    """Those that the same command did not continue."""
    different: list[str] = field(default_factory=list[str])
    """Those that ended in other files than a run that was not interrupted."""


def rows() -> Iterator[Row]:
    """Measure what has a target."""
    found = interrupt_exports(RUNS)
    name = f"{RUNS:,} exports interrupted at random moments: "
    for what, runs in (
        ("crashes", found.crashed),
        ("not resumable", found.stuck),
        ("not identical in the end", found.different),
    ):
        yield Row(AREA, name + what, len(runs), None, None, 0, not runs, "runs")
    yield Row.information(AREA, "  interrupted before their end", found.interrupted, "runs")


@dataclass(frozen=True)
class _Run:
    """One run: what is exported, and how it is interrupted."""

    number: int
    form: str
    way: str
    moment: float
    """When, as a part of the time that an export takes."""
    presses: int
    """How often."""

    def __str__(self) -> str:
        return f"run {self.number}: {self.form} by {self.way} ×{self.presses} at {self.moment:.0%}"


def interrupt_exports(
    runs: int, seed: int = 0, processes: int = 2, forms: Sequence[str] = tuple(FORMS)
) -> Interruptions:
    """Interrupt so many exports, and continue each of them.

    Args:
        runs: How many.
        seed: Chooses other moments.
        processes: How many at a time.
        forms: What is written.
    """
    found = Interruptions()
    with tempfile.TemporaryDirectory() as folder, _server() as port:
        helpers = [_Helper(port) for _ in range(processes)]
        try:
            wholes = {form: _Whole.make(helpers[0], form, Path(folder)) for form in forms}
            plan = [_chosen(number, seed, forms) for number in range(runs)]

            def work(helper: _Helper, mine: list[_Run]) -> None:
                for run in mine:
                    _interrupt(helper, run, wholes[run.form], Path(folder), found)

            with ThreadPoolExecutor(processes) as pool:
                shares = [plan[n::processes] for n in range(processes)]
                list(pool.map(work, helpers, shares))
        finally:
            for helper in helpers:
                helper.close()
    return found


def _chosen(number: int, seed: int, forms: Sequence[str]) -> _Run:
    chance = random.Random(f"{seed}:{number}")
    form = forms[number % len(forms)]
    way = WAYS[number // len(forms) % len(WAYS)]
    return _Run(number, form, way, chance.uniform(0, 1.05), chance.choice([1, 1, 2, 3]))


def _interrupt(
    helper: _Helper, run: _Run, whole: _Whole, folder: Path, found: Interruptions
) -> None:
    place = folder / f"run-{run.number}"
    place.mkdir()
    target = place / FORMS[run.form]
    first = helper.export(run.form, target, run.way, run.moment * whole.seconds, run.presses)
    deaths = {-SIGNALS[run.way]} if run.way in SIGNALS else set[int]()
    if first.status not in {0, INTERRUPTED, *deaths} or first.crashed:
        found.crashed.append(f"{run}: {first}")
    found.interrupted += first.status != 0
    # One that was interrupted behind its last step is complete.
    if first.status == 0 or _files(place) == whole.files:
        second = first
    else:
        second = helper.export(run.form, target)
        if second.crashed:
            found.crashed.append(f"{run}, then continued: {second}")
        elif second.status != 0:
            found.stuck.append(f"{run}: {second}")
    if second.status in {0, INTERRUPTED} and _files(place) != whole.files:
        found.different.append(f"{run}: {sorted(_files(place).items() ^ whole.files.items())}")
    shutil.rmtree(place)


def _files(place: Path) -> dict[str, str]:
    """Return the digests of all files in a folder by their names."""
    return {
        path.relative_to(place).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in place.rglob("*")
        if path.is_file()
    }


@dataclass(frozen=True)
class _Whole:
    """An export that was not interrupted."""

    files: dict[str, str]
    seconds: float

    @classmethod
    def make(cls, helper: _Helper, form: str, folder: Path) -> _Whole:
        seconds: list[float] = []
        place = folder / f"whole-{form}"
        for _ in range(2):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            began = time.perf_counter()
            done = helper.export(form, place / FORMS[form])
            seconds.append(time.perf_counter() - began)
            if done.status != 0:
                raise RuntimeError(f"an export that was not interrupted failed: {done}")
        return cls(_files(place), min(seconds))


@contextmanager
def _server() -> Generator[int]:
    """Run the server that makes up events in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.export_canned", str(ROWS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # it complains of every connection that breaks off
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@dataclass(frozen=True)
class _Ended:
    """How a process ended."""

    status: int
    """Its exit status; negative: the signal that ended it."""
    output: str

    @property
    def crashed(self) -> bool:
        return self.status in {-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGKILL} or any(
            text in self.output for text in CRASHES
        )

    def __str__(self) -> str:
        return f"status {self.status}, {self.output[-600:].strip()!r}"


class _Helper:
    """A process that has everything imported, and forks for every export."""

    def __init__(self, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.interruptions", "helper", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def export(
        self, form: str, target: Path, way: str = "", delay: float = 0.0, presses: int = 1
    ) -> _Ended:
        """Export, interrupted or not."""
        given, taken = self._process.stdin, self._process.stdout
        assert given is not None
        assert taken is not None
        print(json.dumps([form, str(target), way, delay, presses]), file=given, flush=True)
        return _Ended(*json.loads(taken.readline()))

    def close(self) -> None:
        """End the process."""
        with self._process:
            self._process.communicate()


# What follows runs in the helper and in the processes that it forks.


def _help(port: int) -> None:
    from asyncposthog import AsyncPostHog

    # Imported once, and not by every export; pyarrow imports pandas where it is installed.
    for module in ("anyio._backends._asyncio", "httpcore", "pyarrow.parquet", "pandas", "trio"):
        with suppress(ImportError):
            import_module(module)
    AsyncPostHog("phx_x", project_id=1).export.events(START, end_of(ROWS))
    for line in sys.stdin:
        form, target, way, delay, presses = json.loads(line)
        print(json.dumps(_forked(port, form, target, way, delay, presses)), flush=True)


def _forked(
    port: int, form: str, target: str, way: str, delay: float, presses: int
) -> tuple[int, str]:
    """Export in a process of its own; return its exit status, and what it said."""
    ready, say_ready = os.pipe()
    with tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            os.close(ready)
            os.dup2(errors.fileno(), 2)
            faulthandler.enable(2)

            async def work() -> None:
                os.write(say_ready, b".")
                await _export(port, form, Path(target))

            sys.exit(_interrupted(work, way, delay, presses))
        os.close(say_ready)
        os.read(ready, 1)
        os.close(ready)
        if way in SIGNALS:
            time.sleep(delay)
            for _ in range(presses):
                os.kill(child, SIGNALS[way])
                time.sleep(0.003)
        status = _waited(child)
        errors.seek(0)
        return status, errors.read().decode(errors="replace")


def _waited(child: int) -> int:
    """Return the exit status of a process; kill it if it hangs."""
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


async def _export(port: int, form: str, target: Path) -> None:
    from asyncposthog import AsyncPostHog

    host = f"http://127.0.0.1:{port}"
    # Without certificates, which take longer to load than all the rest.
    transport = httpx.AsyncHTTPTransport(verify=False)
    async with AsyncPostHog(
        "phx_x", project_id=1, host=host, limits=False, transport=transport
    ) as ph:
        job = ph.export.events(START, end_of(ROWS), engine="query", page_size=PAGE)
        if form == "parquet":
            await job.to_parquet(target, rows_per_file=250, rows_per_group=250)
        elif form == "csv":
            await job.to_csv(target)
        else:
            await job.to_jsonl(target)


def _interrupted(work: Callable[[], Awaitable[None]], way: str, delay: float, presses: int) -> int:
    """Run something that is interrupted in a certain way; return the exit status."""
    try:
        asyncio.run(_ways(work, way, delay, presses))
    except (KeyboardInterrupt, asyncio.CancelledError, TimeoutError):
        return INTERRUPTED
    except BaseExceptionGroup as group:
        return INTERRUPTED if [str(e) for e in group.exceptions] == [_OTHER] else _said(group)
    except BaseException as error:
        return _said(error)
    return 0


def _said(error: BaseException) -> int:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    return FAILED


_OTHER: Final = "another task failed"


async def _ways(work: Callable[[], Awaitable[None]], way: str, delay: float, presses: int) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    if way == "asyncio.timeout":
        async with asyncio.timeout(delay):
            await work()
    elif way == "TaskGroup failure":
        async with asyncio.TaskGroup() as group:
            failing = group.create_task(_fail(delay))
            await work()
            failing.cancel()
    else:
        if way == "task.cancel()":
            for press in range(presses):
                loop.call_later(delay + press * 0.003, task.cancel)
        elif way == "SIGTERM, handled":
            loop.add_signal_handler(signal.SIGTERM, task.cancel)
        await work()


async def _fail(delay: float) -> Any:
    await asyncio.sleep(delay)
    raise RuntimeError(_OTHER)


def _main(arguments: list[str]) -> None:
    if arguments[:1] == ["helper"]:
        _help(int(arguments[1]))
        return
    runs, seed = (int(n) for n in [*arguments[:2], *("1000", "0")[len(arguments) :]])
    began = time.perf_counter()
    found = interrupt_exports(runs, seed, forms=arguments[2:] or tuple(FORMS))
    for what in ("crashed", "stuck", "different"):
        for run in getattr(found, what):
            print(f"{what}: {run}")
    print(
        f"{runs:,} runs, {found.interrupted:,} interrupted before their end: "
        f"{len(found.crashed)} crashed, {len(found.stuck)} not resumable, "
        f"{len(found.different)} not identical in the end; {time.perf_counter() - began:.0f} s"
    )


if __name__ == "__main__":
    _main(sys.argv[1:])
