"""Any function that takes batches."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from asyncposthog.export.batch import Batch
from asyncposthog.export.checkpoint_schema import function_state
from asyncposthog.export.checksum import MASK, key_sum
from asyncposthog.export.engines.base import PreparedBatch
from asyncposthog.export.report import FileReport

from .base import Mark

__all__ = ["FunctionSink", "Receive", "check_receive", "hand_over"]

Receive: TypeAlias = Callable[[Batch], Awaitable[object] | object]
"""Takes a batch; a function or an async function."""


def check_receive(value: object) -> None:
    """Refuse what cannot be called with a batch.

    Raises:
        TypeError: It cannot.
    """
    if not callable(value):
        raise TypeError(f"to() takes a function of a batch, not {type(value).__name__}")


async def hand_over(receive: Receive, batch: Batch) -> None:
    """Call a function with a batch, where it has rows."""
    result = receive(batch) if len(batch) else None
    if inspect.isawaitable(result):
        await result


class FunctionSink:
    """Counts what a function was given. It is called before, in the event loop."""

    def __init__(self, name: str) -> None:
        """Begin with nothing.

        Args:
            name: The function's.
        """
        self._name = name
        self.target = None
        self.is_folder = False
        self.replaces = False
        self.shape = function_state
        self.rows = 0
        self.checksum = 0

    @property
    def identity(self) -> Mapping[str, Any]:
        """The function, by its name."""
        return {"format": "function", "name": self._name}

    def check(self, state: Mapping[str, Any] | None, ours: bool) -> None:
        """Find nothing to complain about."""

    def begin(self, state: Mapping[str, Any] | None) -> None:
        """Go on counting."""
        if state is not None:
            self.rows, self.checksum = state["rows"], state["sum"]

    def prepare(self, batch: Batch) -> Batch:
        """Return the batch as it is."""
        return batch

    def write(self, piece: PreparedBatch[Batch], *, durable: bool) -> Mark | None:
        """Count a batch that was received."""
        self.rows += len(piece.content)
        self.checksum = (self.checksum + key_sum(piece.content.keys)) & MASK
        return Mark(piece.position, self.finish())

    def finish(self) -> Mapping[str, Any]:
        """Return the counts."""
        return {"rows": self.rows, "sum": self.checksum}

    def publish(self, state: Mapping[str, Any], *, verify: bool) -> tuple[FileReport, ...]:
        """Return no files."""
        return ()

    def close(self, *, keep: bool) -> None:
        """Close nothing."""
