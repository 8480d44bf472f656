"""What an export needs of whatever gets the rows, and what it is told on the way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from asyncposthog.export.batch import Batch

__all__ = ["Consume", "Engine", "Prepare", "PreparedBatch", "Steps", "Tally"]

T = TypeVar("T")

Prepare: TypeAlias = Callable[[Batch], T]
"""Turns rows into what a sink writes. It runs in a worker thread, for one batch at a time."""


@dataclass(frozen=True, slots=True)
class PreparedBatch(Generic[T]):
    """Rows that were prepared, in their turn."""

    content: T
    rows: int
    position: Any
    """Where to go on behind it, as JSON data; it means something to its engine alone."""


Consume: TypeAlias = Callable[[PreparedBatch[T]], Awaitable[None]]
"""Takes the next piece. No other is handed on before it returns."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What an export has cost so far. Kept in the checkpoint, so that it survives."""

    windows: int = 0
    """Windows that were read."""
    windows_total: int = 0
    """Those, and the ones that remain as far as is known."""
    splits: int = 0
    """Windows that were cut because they were too much for the server."""
    requests: int = 0
    """Requests that were sent, repeats included."""
    retries: int = 0
    """Those of them that were repeats."""
    waits: int = 0
    """Waits before a repeat, or for a rate limit."""
    waited: float = 0.0
    """Seconds of these, added up over requests that wait side by side."""
    received: int = 0
    """Bytes of the answers."""
    duplicates: int = 0
    """Rows left out because they were there already."""
    expected: int | None = None
    """Rows that were counted beforehand."""
    spooled: bool = False
    """Whether downloaded files wait for another run of the export."""
    late: int = 0
    """Rows beyond those, which a second count confirmed."""
    deleted: int = 0
    """Rows of those that were gone when they were read, which a second count confirmed."""
    notes: list[str] = field(default_factory=list[str])
    """What is worth telling: why an engine was chosen, for one."""


class Steps(Protocol[T]):
    """Pieces, on request. Nothing runs between one request and the next."""

    async def advance(self) -> list[PreparedBatch[T]]:
        """Return the next pieces in order; none at the end."""
        ...


class Engine(Protocol):
    """Gets the rows of an export, in order, from a position on."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What is exported, as JSON data: a checkpoint is good for no other."""
        ...

    async def run(
        self, position: Any, prepare: Prepare[T], consume: Consume[T], tally: Tally
    ) -> None:
        """Get all rows behind a position, ahead of what consumes them.

        Args:
            position: Of the last piece that is done; None: from the beginning.
            prepare: Run for every batch, in a worker thread.
            consume: Given the pieces.
            tally: Kept up to date.

        Raises:
            PostHogError: A query failed for good. Everything before it was handed on.
        """
        ...

    def steps(self, position: Any, prepare: Prepare[T], tally: Tally) -> Steps[T]:
        """Return the same pieces, to be had one step at a time."""
        ...
