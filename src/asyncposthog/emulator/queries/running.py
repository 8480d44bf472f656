"""Queries while they run: in a thread, seen by those who want to cancel them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import get_ident

import anyio

from asyncposthog.emulator.queries.desk import desk_of
from asyncposthog.emulator.state.world import Call
from asyncposthog.emulator.threads import run_in_thread
from asyncposthog.emulator.web.messages import Answer, Later
from asyncposthog.emulator.web.problems import Problem

__all__ = ["Run", "cancelled", "finished", "running"]


def cancelled() -> Problem:
    """What the sender of a query hears that somebody cancelled."""
    return Problem(500, code="error", detail="ClickHouse error while executing query.")


@dataclass(slots=True)
class Run:
    """A query somebody waits for."""

    scope: anyio.CancelScope
    thread: int = field(default_factory=get_ident)
    later: Later | None = None
    stopped: bool = False

    def stop(self) -> None:
        """Cancel it."""
        self.stopped = True
        if self.later is not None:
            self.later.interrupt()
        if self.thread == get_ident():
            # Of another thread's event loop it is seen at its next step.
            self.scope.cancel()


@contextmanager
def running(call: Call, task: str) -> Generator[Run]:
    """Let a query be cancelled by its id while the block runs; then the block just ends.

    Raises:
        Problem: 500, it was cancelled at a moment the block could not be left at.
    """
    runs, key = desk_of(call.world).runs, (call.values[0], task)
    with anyio.CancelScope() as scope:
        run = runs[key] = Run(scope)
        try:
            yield run
            if run.stopped:
                raise cancelled()
        finally:
            if runs.get(key) is run:
                del runs[key]


async def finished(answer: Answer, run: Run | None = None) -> Answer:
    """An answer with all there is to it, the rest made in a thread.

    Raises:
        Problem: It cannot be made, or was cancelled.
    """
    later = answer.later
    if later is None:
        return answer
    if run is not None:
        run.later = later
        if run.stopped:
            raise cancelled()
    made = await run_in_thread(later.run, interrupt=later.interrupt)
    answer.status, answer.content = made
    answer.later = None
    return answer
