"""Run a local process with limits of time, memory and output, and end all that it has started."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL
from typing import Final

import anyio
from anyio.abc import Process

from asyncposthog.threads import run_in_thread
from asyncposthog.transport.native_cancellation import shield_from_native_cancellation

from .backend import Completed, Ending, ScriptLimits

__all__ = ["run_process"]

_CHECK_SECONDS: Final = 0.1
"""How often the memory of all processes together is added up."""
_CHUNK: Final = 65536
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
) -> Completed:
    """Run a command, and return how it has ended.

    Whatever happens, cancellation included, its process group is killed before this returns.

    Raises:
        OSError: It cannot be started.
    """
    output = _Output(limits.output)
    endings: list[Ending] = []
    stop = anyio.Event()

    def end(reason: Ending) -> None:
        endings.append(reason)
        stop.set()

    async def read(pipe: int, target: bytearray) -> None:
        while chunk := await _read(pipe):
            output.add(target, chunk)
            if output.exceeded:
                end("output")
                return

    async def watch(pid: int) -> None:
        while True:
            await anyio.sleep(_CHECK_SECONDS)
            if await run_in_thread(_memory, pid) > limits.memory:
                end("memory")
                return

    async def wait(process: Process) -> None:
        await process.wait()
        stop.set()

    with _pipe() as stdout, _pipe() as stderr:
        spawned: list[Process] = []

        async def spawn() -> None:
            # A start that is cancelled half-way kills the process alone, and not its children.
            with anyio.CancelScope(shield=True):
                spawned.append(
                    await anyio.open_process(
                        list(command),
                        stdin=DEVNULL,
                        stdout=stdout.write,
                        stderr=stderr.write,
                        env=env,
                        cwd=cwd,
                        start_new_session=True,
                    )
                )

        try:
            await shield_from_native_cancellation(spawn)
            process = spawned[0]
            stdout.close_write()
            stderr.close_write()
            async with anyio.create_task_group() as readers:
                readers.start_soon(read, stdout.read, output.stdout)
                readers.start_soon(read, stderr.read, output.stderr)
                async with anyio.create_task_group() as watchers:
                    watchers.start_soon(watch, process.pid)
                    watchers.start_soon(wait, process)
                    with anyio.move_on_after(limits.seconds):
                        await stop.wait()
                    watchers.cancel_scope.cancel()
                if not stop.is_set():
                    endings.append("timeout")
                _kill(process)
                # Nothing that was killed holds the pipes open; what has left the group may.
                readers.cancel_scope.deadline = anyio.current_time() + _DRAIN_SECONDS
        finally:
            if spawned:
                await _end(spawned[0], stdout, stderr)
    ending: Ending = endings[0] if endings else "finished"
    return Completed(
        ending=ending,
        exit_code=process.returncode if ending == "finished" else None,
        stdout=bytes(output.stdout),
        stderr=bytes(output.stderr),
    )


async def _end(process: Process, *pipes: _Pipe) -> None:
    """Kill a process group, and wait until all that it has started has ended."""
    _kill(process)
    with anyio.CancelScope(shield=True):
        await process.wait()
    # What bubblewrap has started ends after it. The pipes are closed when all of it has.
    with anyio.move_on_after(_DRAIN_SECONDS, shield=True):
        for pipe in pipes:
            pipe.close_write()
            while await _read(pipe.read):
                pass


@dataclass(slots=True)
class _Pipe:
    """A pipe of our own: the event loops keep theirs open as long as any process has it."""

    read: int
    write: int

    def close_write(self) -> None:
        """Close our copy of the end that the process writes to."""
        if self.write >= 0:
            os.close(self.write)
            self.write = -1


@contextmanager
def _pipe() -> Generator[_Pipe]:
    pipe = _Pipe(*os.pipe())
    try:
        os.set_blocking(pipe.read, False)
        yield pipe
    finally:
        os.close(pipe.read)
        pipe.close_write()


async def _read(pipe: int) -> bytes:
    """Return what a process has written; nothing at the end."""
    while True:
        await anyio.wait_readable(pipe)
        with suppress(BlockingIOError):
            return os.read(pipe, _CHUNK)


def _kill(process: Process) -> None:
    """Kill the process group. A group of which a member is left keeps its id."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


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
