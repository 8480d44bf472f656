"""Sink that passes batches to a function."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from asyncposthog.export.batch import Batch
from asyncposthog.export.checkpoint_schema import callback_state
from asyncposthog.export.checksum import MASK, key_sum
from asyncposthog.export.engines.base import PreparedBatch
from asyncposthog.export.report import FileReport

from .base import SafePoint

__all__ = ["BatchCallback", "CallbackSink", "call_with_batch", "check_callback"]

BatchCallback: TypeAlias = Callable[[Batch], Awaitable[object] | object]
"""Receives a batch; a function or an async function."""


def check_callback(value: object) -> None:
    """Check that a value can be called.

    Raises:
        TypeError: It cannot.
    """
    if not callable(value):
        raise TypeError(f"to_callback() takes a function of a batch, not {type(value).__name__}")


async def call_with_batch(callback: BatchCallback, batch: Batch) -> None:
    """Call a function with a batch, unless it has no rows."""
    result = callback(batch) if len(batch) else None
    if inspect.isawaitable(result):
        await result


class CallbackSink:
    """Counter of the rows that a function received. The export calls the function itself."""

    def __init__(self, name: str) -> None:
        """Start with no rows.

        Args:
            name: The name of the function.
        """
        self._name = name
        self.target = None
        self.is_folder = False
        self.replaces = False
        self.state_validator = callback_state
        self.rows = 0
        self.checksum = 0

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """The name of the function."""
        return {"format": "callback", "name": self._name}

    def check(self, state: Mapping[str, Any] | None, owns_output: bool) -> None:
        """Do nothing: there is no output that could exist."""

    def begin(self, state: Mapping[str, Any] | None) -> None:
        """Continue with the counts of an earlier run."""
        if state is not None:
            self.rows, self.checksum = state["rows"], state["sum"]

    def prepare(self, batch: Batch) -> Batch:
        """Return the batch unchanged."""
        return batch

    def write(self, batch: PreparedBatch[Batch], *, durable: bool) -> SafePoint | None:
        """Count a batch that was received."""
        self.rows += len(batch.content)
        self.checksum = (self.checksum + key_sum(batch.content.keys)) & MASK
        return SafePoint(batch.position, self.finish())

    def finish(self) -> Mapping[str, Any]:
        """Return the counts."""
        return {"rows": self.rows, "sum": self.checksum}

    def commit(self, state: Mapping[str, Any], *, verify: bool) -> tuple[FileReport, ...]:
        """Return no files."""
        return ()

    def close(self, *, keep: bool) -> None:
        """Do nothing: there is nothing to close."""
