"""Run a local process with limits of time, memory and output, and end all that it has started."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Final

import anyio
from anyio.abc import ByteReceiveStream, Process

from asyncposthog.threads import run_in_thread

from .backend import Completed, Ending, ScriptLimits

__all__ = ["run_process"]

_CHECK_SECONDS: Final = 0.1
"""How often the memory of all processes together is added up."""
_DRAIN_SECONDS: Final = 5.0
"""For how long output is read from processes that were killed."""


class _Output:
    """What a process has written, within a limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.exceeded = False

    def add(self, target: bytearray, chunk: bytes) -> None:
        """Keep a chunk, or what fits of it."""
        room = self.limit - len(self.stdout) - len(self.stderr)
        target += chunk[:room]
        self.exceeded = self.exceeded or len(chunk) > room


async def run_process(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | Path,
    limits: ScriptLimits,
    pass_fds: Sequence[int] = (),
) -> Completed:
    """Run a command, and return how it has ended.

    Whatever happens, cancellation included, its process group is killed before this returns.

    Raises:
        OSError: It cannot be started.
    """
    process = await anyio.open_process(
        list(command),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env=env,
        cwd=cwd,
        start_new_session=True,
        pass_fds=pass_fds,
    )
    output = _Output(limits.output)
    ending: Ending = "finished"
    stop = anyio.Event()
    endings: list[Ending] = []

    def end(reason: Ending) -> None:
        endings.append(reason)
        stop.set()

    async def read(stream: ByteReceiveStream, target: bytearray) -> None:
        with suppress(anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
            while True:
                output.add(target, await stream.receive())
                if output.exceeded:
                    end("output")
                    return

    async def watch() -> None:
        while True:
            await anyio.sleep(_CHECK_SECONDS)
            if await run_in_thread(_memory, process.pid) > limits.memory:
                end("memory")
                return

    async def wait() -> None:
        await process.wait()
        stop.set()

    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with anyio.create_task_group() as readers:
            readers.start_soon(read, process.stdout, output.stdout)
            readers.start_soon(read, process.stderr, output.stderr)
            try:
                async with anyio.create_task_group() as watchers:
                    watchers.start_soon(watch)
                    watchers.start_soon(wait)
                    with anyio.move_on_after(limits.seconds) as scope:
                        await stop.wait()
                    watchers.cancel_scope.cancel()
                if scope.cancelled_caught:
                    endings.append("timeout")
            finally:
                _kill(process)
            # Nothing that was killed holds the pipes open; a process that has left the group may.
            readers.cancel_scope.deadline = anyio.current_time() + _DRAIN_SECONDS
    finally:
        await _reap(process)
    if endings:
        ending = endings[0]
    return Completed(
        ending=ending,
        exit_code=process.returncode if ending == "finished" else None,
        stdout=bytes(output.stdout),
        stderr=bytes(output.stderr),
    )


def _kill(process: Process) -> None:
    """Kill the process group. A group of which a member is left keeps its id."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


async def _reap(process: Process) -> None:
    _kill(process)
    with anyio.CancelScope(shield=True):
        await process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                with suppress(Exception):
                    await stream.aclose()


def _memory(pid: int) -> int:
    """Return the bytes of memory of a process and its descendants; pages they share count once."""
    total = 0
    for member in _family(pid):
        try:
            rollup = Path(f"/proc/{member}/smaps_rollup").read_bytes()
        except OSError:
            continue  # it has ended
        for line in rollup.splitlines():
            if line.startswith(b"Pss:"):
                total += int(line.split()[1]) * 1024
                break
    return total


def _family(pid: int) -> Iterator[int]:
    waiting = [pid]
    while waiting:
        member = waiting.pop()
        yield member
        with suppress(OSError):
            for task in Path(f"/proc/{member}/task").iterdir():
                with suppress(OSError):
                    waiting += map(int, (task / "children").read_text().split())
