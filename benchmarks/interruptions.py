"""Exports that are interrupted at random times, by signals and by cancellation in asyncio.

`python -m benchmarks.interruptions [RUNS [SEED [FORMAT …]]]` runs it alone and prints failures.
Each run exports a few thousand rows in a new process, which is interrupted, and then exports again
to the end: the same command has to resume, and to produce the same bytes as a run without
interruption. The times depend on the seed and on the speed of the machine.
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
import traceback
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.measure import Row
from benchmarks.synthetic_events_server import START, end_of

__all__ = ["Interruptions", "interrupt_exports", "rows"]

AREA = "export"
RUNS: Final = int(os.environ.get("INTERRUPTIONS", "250"))
"""How many runs `make bench` makes; 1,000 take about four times as long."""
ROWS: Final = 2_400
PAGE: Final = 300
LIMIT: Final = 60.0
"""Seconds after which a run counts as hanging."""

FORMATS: Final = {"parquet": "events", "jsonl": "e.jsonl", "csv": "e.csv", "gzip": "e.jsonl.gz"}
SIGNALS: Final = {
    "SIGINT": signal.SIGINT,
    "SIGTERM": signal.SIGTERM,
    "SIGTERM, handled": signal.SIGTERM,
}
METHODS: Final = (*SIGNALS, "task.cancel()", "asyncio.timeout", "TaskGroup failure")

INTERRUPTED: Final = 77
"""The exit status of a process whose export was interrupted as expected."""
FAILED: Final = 78
CRASHES: Final = ("Fatal Python error", "pure virtual", "terminate called", "Segmentation fault")


@dataclass
class Interruptions:
    """The outcomes of a number of runs."""

    interrupted: int = 0
    """Runs that were interrupted before they were complete."""
    crashed: list[str] = field(default_factory=list[str])
    """Runs that crashed, hung, or ended with an unexpected error."""
    stuck: list[str] = field(default_factory=list[str])
    """Runs that the same command did not resume."""
    different: list[str] = field(default_factory=list[str])
    """Runs that produced other files than a run without interruption."""


def rows() -> Iterator[Row]:
    """Measure the rows with targets."""
    result = interrupt_exports(RUNS)
    name = f"{RUNS:,} exports interrupted at random moments: "
    for what, runs in (
        ("crashes", result.crashed),
        ("not resumable", result.stuck),
        ("not identical in the end", result.different),
    ):
        yield Row(AREA, name + what, len(runs), None, None, 0, not runs, "runs")
    yield Row.information(AREA, "  interrupted before their end", result.interrupted, "runs")


@dataclass(frozen=True)
class _InterruptedExport:
    """One run: the format, and how it is interrupted."""

    number: int
    format_: str
    method: str
    moment: float
    """When, as a fraction of the duration of an export."""
    repeats: int
    """How often the signal or cancellation is repeated."""

    def __str__(self) -> str:
        method = f"{self.method} ×{self.repeats}"
        return f"run {self.number}: {self.format_} by {method} at {self.moment:.0%}"


def interrupt_exports(
    runs: int, seed: int = 0, processes: int = 2, formats: Sequence[str] = tuple(FORMATS)
) -> Interruptions:
    """Interrupt exports, and resume each of them.

    Args:
        runs: How many.
        seed: The seed of times and repetitions.
        processes: How many run at a time.
        formats: The file formats.
    """
    result = Interruptions()
    with tempfile.TemporaryDirectory() as folder, _server() as port:
        helpers = [_Helper(port) for _ in range(processes)]
        try:
            references = {
                format_: _Reference.make(helpers[0], format_, Path(folder)) for format_ in formats
            }
            plan = [_random_run(number, seed, formats) for number in range(runs)]

            def work(helper: _Helper, mine: list[_InterruptedExport]) -> None:
                for run in mine:
                    _interrupt(helper, run, references[run.format_], Path(folder), result)

            with ThreadPoolExecutor(processes) as pool:
                shares = [plan[n::processes] for n in range(processes)]
                list(pool.map(work, helpers, shares))
        finally:
            for helper in helpers:
                helper.close()
    return result


def _random_run(number: int, seed: int, formats: Sequence[str]) -> _InterruptedExport:
    rng = random.Random(f"{seed}:{number}")
    # Every method once, then every method with another format.
    round_, place = divmod(number, len(METHODS))
    format_, method = formats[(number + round_) % len(formats)], METHODS[place]
    return _InterruptedExport(
        number, format_, method, rng.uniform(0, 1.05), rng.choice([1, 1, 2, 3])
    )


def _interrupt(
    helper: _Helper,
    run: _InterruptedExport,
    reference: _Reference,
    folder: Path,
    result: Interruptions,
) -> None:
    directory = folder / f"run-{run.number}"
    directory.mkdir()
    target = directory / FORMATS[run.format_]
    first = helper.export(
        run.format_, target, run.method, run.moment * reference.seconds, run.repeats
    )
    signals = {-SIGNALS[run.method]} if run.method in SIGNALS else set[int]()
    if first.status not in {0, INTERRUPTED, *signals} or first.crashed:
        result.crashed.append(f"{run}: {first}")
    result.interrupted += first.status != 0
    # A run that was interrupted after its last step is complete.
    if first.status == 0 or _files(directory) == reference.files:
        second = first
    else:
        second = helper.export(run.format_, target)
        if second.crashed:
            result.crashed.append(f"{run}, then continued: {second}")
        elif second.status != 0:
            result.stuck.append(f"{run}: {second}")
    if second.status in {0, INTERRUPTED} and _files(directory) != reference.files:
        result.different.append(
            f"{run}: {sorted(_files(directory).items() ^ reference.files.items())}"
        )
    shutil.rmtree(directory)


def _files(directory: Path) -> dict[str, str]:
    """Return the digests of all files in a directory by name."""
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


@dataclass(frozen=True)
class _Reference:
    """The files and the duration of an export without interruption."""

    files: dict[str, str]
    seconds: float

    @classmethod
    def make(cls, helper: _Helper, format_: str, folder: Path) -> _Reference:
        seconds: list[float] = []
        directory = folder / f"whole-{format_}"
        for _ in range(2):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
            started_at = time.perf_counter()
            done = helper.export(format_, directory / FORMATS[format_])
            seconds.append(time.perf_counter() - started_at)
            if done.status != 0:
                raise RuntimeError(f"an export that was not interrupted failed: {done}")
        return cls(_files(directory), min(seconds))


@contextmanager
def _server() -> Generator[int]:
    """Run the server with synthetic events in another process."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.synthetic_events_server", str(ROWS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # It logs an error for every aborted connection.
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@dataclass(frozen=True)
class _ProcessResult:
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
        return f"status {self.status}, {self.output[-8000:].strip()!r}"


class _Helper:
    """A process with all modules imported, which forks for every export."""

    def __init__(self, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.interruptions", "helper", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def export(
        self, format_: str, target: Path, method: str = "", delay: float = 0.0, repeats: int = 1
    ) -> _ProcessResult:
        """Export, with or without an interruption."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        print(json.dumps([format_, str(target), method, delay, repeats]), file=stdin, flush=True)
        return _ProcessResult(*json.loads(stdout.readline()))

    def close(self) -> None:
        """End the process."""
        with self._process:
            self._process.communicate()


# The rest runs in the helper and in the processes that it forks.


def _serve_requests(port: int) -> None:
    from asyncposthog import AsyncPostHog

    # Imported here, so that forks need not; pyarrow imports pandas if it is installed.
    for module in ("anyio._backends._asyncio", "httpcore", "pyarrow.parquet", "pandas", "trio"):
        with suppress(ImportError):
            import_module(module)
    AsyncPostHog("phx_x", project_id=1).export.events(START, end_of(ROWS))
    for line in sys.stdin:
        format_, target, method, delay, repeats = json.loads(line)
        print(
            json.dumps(_export_in_fork(port, format_, target, method, delay, repeats)), flush=True
        )


def _export_in_fork(
    port: int, format_: str, target: str, method: str, delay: float, repeats: int
) -> tuple[int, str]:
    """Export in a forked process; return its exit status and its error output."""
    ready, say_ready = os.pipe()
    with tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            os.close(ready)
            os.dup2(errors.fileno(), 2)
            faulthandler.enable(2)

            async def work() -> None:
                os.write(say_ready, b".")
                await _export(port, format_, Path(target))

            sys.exit(_exit_status(work, method, delay, repeats))
        os.close(say_ready)
        os.read(ready, 1)
        os.close(ready)
        if method in SIGNALS:
            time.sleep(delay)
            for _ in range(repeats):
                os.kill(child, SIGNALS[method])
                time.sleep(0.003)
        status = _wait_for_exit(child)
        errors.seek(0)
        return status, errors.read().decode(errors="replace")


def _wait_for_exit(child: int) -> int:
    """Return the exit status of a process; kill it if it hangs."""
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


async def _export(port: int, format_: str, target: Path) -> None:
    from asyncposthog import AsyncPostHog

    host = f"http://127.0.0.1:{port}"
    # Without certificates: loading them takes longer than all the rest.
    transport = httpx.AsyncHTTPTransport(verify=False)
    async with AsyncPostHog(
        "phx_x", project_id=1, host=host, limits=False, transport=transport
    ) as ph:
        job = ph.export.events(START, end_of(ROWS), engine="query", page_size=PAGE)
        if format_ == "parquet":
            await job.to_parquet(target, rows_per_file=250, rows_per_group=250)
        elif format_ == "csv":
            await job.to_csv(target)
        else:
            await job.to_jsonl(target)


def _exit_status(
    work: Callable[[], Awaitable[None]], method: str, delay: float, repeats: int
) -> int:
    """Run a coroutine function that is interrupted; return the exit status."""
    try:
        asyncio.run(_run_and_interrupt(work, method, delay, repeats))
    except (KeyboardInterrupt, asyncio.CancelledError, TimeoutError):
        return INTERRUPTED
    except BaseExceptionGroup as group:
        return (
            INTERRUPTED
            if [str(e) for e in group.exceptions] == [_TASK_FAILURE]
            else _print_error(group)
        )
    except BaseException as error:
        return _print_error(error)
    return 0


def _print_error(error: BaseException) -> int:
    traceback.print_exception(error, file=sys.stderr)
    return FAILED


_TASK_FAILURE: Final = "another task failed"


async def _run_and_interrupt(
    work: Callable[[], Awaitable[None]], method: str, delay: float, repeats: int
) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    if method == "asyncio.timeout":
        async with asyncio.timeout(delay):
            await work()
    elif method == "TaskGroup failure":
        async with asyncio.TaskGroup() as group:
            failing = group.create_task(_fail(delay))
            await work()
            failing.cancel()
    else:
        if method == "task.cancel()":
            for repeat in range(repeats):
                loop.call_later(delay + repeat * 0.003, task.cancel)
        elif method == "SIGTERM, handled":
            loop.add_signal_handler(signal.SIGTERM, task.cancel)
        await work()


async def _fail(delay: float) -> Any:
    await asyncio.sleep(delay)
    raise RuntimeError(_TASK_FAILURE)


def _main(arguments: list[str]) -> None:
    if arguments[:1] == ["helper"]:
        _serve_requests(int(arguments[1]))
        return
    runs, seed = (int(n) for n in [*arguments[:2], *("1000", "0")[len(arguments) :]])
    started_at = time.perf_counter()
    result = interrupt_exports(runs, seed, formats=arguments[2:] or tuple(FORMATS))
    for what in ("crashed", "stuck", "different"):
        for run in getattr(result, what):
            print(f"{what}: {run}")
    print(
        f"{runs:,} runs, {result.interrupted:,} interrupted before their end: "
        f"{len(result.crashed)} crashed, {len(result.stuck)} not resumable, "
        f"{len(result.different)} not identical in the end; "
        f"{time.perf_counter() - started_at:.0f} s"
    )


if __name__ == "__main__":
    _main(sys.argv[1:])
