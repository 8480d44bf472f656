"""`ph.import_events`: send old events in order, with an outcome for each, resumable."""

from __future__ import annotations

import inspect
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from pydantic_core import from_json, to_json

from asyncposthog.capture.events import EventBuilder
from asyncposthog.capture.plan import Record, take_batch
from asyncposthog.capture.results import EventResult
from asyncposthog.errors import CaptureError, ConfigurationError, PostHogError
from asyncposthog.export.atomic_files import read, remove, write_atomically
from asyncposthog.threads import run_in_thread

from .rows import event_fields
from .sources import InvalidRow, Source, SourceFormat, fingerprint, open_rows

if TYPE_CHECKING:
    import os

    from asyncposthog.capture.service import Capture

__all__ = ["ImportReport", "OnResult", "import_events"]

OnResult: TypeAlias = Callable[[int, EventResult], Awaitable[object] | object]

_VERSION: Final = 1
_MAX_FAILURES: Final = 100
_MAX_CHECKPOINT_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The result of an import."""

    rows: int
    """Rows of the source, those of earlier runs included."""
    resumed: int
    """Rows of earlier runs, which were not sent again."""
    delivered: int
    """Events that the server has accepted, also with a warning."""
    warned: int
    """Events that it has accepted with a warning."""
    dropped: Mapping[str, int]
    """Events that the server has refused, by its reason."""
    invalid: int
    """Rows that are not events. They were not sent."""
    failures: tuple[tuple[int, EventResult], ...] = field(repr=False)
    """The first hundred rows of this run that were not delivered, with their numbers from 0."""


@dataclass(slots=True)
class _Progress:
    """What is done: the counters of a checkpoint."""

    rows: int = 0
    delivered: int = 0
    warned: int = 0
    invalid: int = 0
    dropped: Counter[str] = field(default_factory=Counter[str])
    failures: list[tuple[int, EventResult]] = field(default_factory=list[tuple[int, EventResult]])

    def record(self, row: int, result: EventResult) -> None:
        self.rows += 1
        if result.delivered:
            self.delivered += 1
            self.warned += result.status == "warning"
            return
        if result.status == "invalid":
            self.invalid += 1
        else:
            self.dropped[result.detail or result.status] += 1
        if len(self.failures) < _MAX_FAILURES:
            self.failures.append((row, result))


async def import_events(
    capture: Capture,
    source: Source,
    *,
    format: SourceFormat | None,
    checkpoint: str | os.PathLike[str] | None,
    historical: bool,
    events_per_second: float | None,
    batch_events: int,
    max_retries: int,
    on_result: OnResult | None,
) -> ImportReport:
    """Send the events of a source; see `AsyncPostHog.import_events`."""
    if batch_events < 1:
        raise ConfigurationError(f"batch_events must be 1 or more, not {batch_events}.")
    if events_per_second is not None and not events_per_second > 0:
        raise ConfigurationError(f"events_per_second must be more than 0, not {events_per_second}.")
    identity = {
        "project": capture.owner,
        "source": await run_in_thread(fingerprint, source),
        "historical": historical,
    }
    path = None if checkpoint is None else Path(checkpoint)
    progress = _Progress()
    if path is not None:
        progress = await run_in_thread(_load, path, identity)
    resumed = progress.rows
    builder = EventBuilder(capture.settings, capture.clock.time, enrich=False)
    started_at, before = capture.clock.monotonic(), progress.rows
    waiting: deque[Record] = deque()
    places: deque[tuple[int, EventResult | None]] = deque()
    """The rows that are not reported, in order, with the result of those that are not sent."""

    async def report(answers: Mapping[str, EventResult], uuids: deque[str]) -> None:
        """Report the rows up to the last one that was sent."""
        while places and (places[0][1] is not None or uuids):
            row, result = places.popleft()
            if result is None:
                result = answers[uuids.popleft()]
            progress.record(row, result)
            if on_result is not None:
                called = on_result(row, result)
                if inspect.isawaitable(called):
                    await called

    async def send() -> None:
        """Send one request, and write the checkpoint."""
        batch = take_batch(waiting, batch_events, capture.settings.max_batch_bytes)
        if events_per_second is not None:
            sent = progress.rows - before
            ahead = sent / events_per_second - (capture.clock.monotonic() - started_at)
            if ahead > 0:
                await capture.clock.sleep(ahead)
        answers = await capture.send_records(batch, "events", max_retries, historical=historical)
        failed = [answers[r.uuid] for r in batch if answers[r.uuid].status == "failed"]
        if failed:
            raise _interrupted(failed[0], progress.rows, path)
        await report(answers, deque(record.uuid for record in batch))
        if path is not None:
            await run_in_thread(_save, path, identity, progress, shield=True)

    number = progress.rows
    async with aclosing(open_rows(source, format, progress.rows)) as chunks:
        async for chunk in chunks:
            for row in chunk:
                built = _build(builder, row)
                places.append((number, built if isinstance(built, EventResult) else None))
                if isinstance(built, Record):
                    waiting.append(built)
                number += 1
            while len(waiting) >= batch_events:
                await send()
    while waiting:
        await send()
    await report({}, deque())
    if path is not None:
        await run_in_thread(_remove, path, shield=True)
    return ImportReport(
        progress.rows,
        resumed,
        progress.delivered,
        progress.warned,
        dict(progress.dropped),
        progress.invalid,
        tuple(progress.failures),
    )


def _build(builder: EventBuilder, row: object) -> Record | EventResult:
    if isinstance(row, InvalidRow):
        return EventResult(None, "invalid", row.reason)
    try:
        record = builder.build_from_mapping(event_fields(row))
    except (TypeError, ValueError) as error:
        return EventResult(None, "invalid", str(error))
    return EventResult(None, "drop", "before_send") if record is None else record


def _interrupted(result: EventResult, rows: int, path: Path | None) -> PostHogError:
    again = (
        "Pass checkpoint= to continue an import instead of repeating it."
        if path is None
        else "Import again with the same checkpoint to continue."
    )
    error = CaptureError(
        f"The import was interrupted after {rows:,} rows: {result.error or result.detail}",
        suggestion=again,
    )
    error.__cause__ = result.error
    return error


def _load(path: Path, identity: Mapping[str, Any]) -> _Progress:
    if not path.exists():
        return _Progress()
    try:
        state: Any = from_json(read(path, _MAX_CHECKPOINT_BYTES))
        if state["version"] != _VERSION:
            raise ValueError("it was written by another version")
        saved = state["identity"]
        progress = _Progress(
            int(state["rows"]),
            int(state["delivered"]),
            int(state["warned"]),
            int(state["invalid"]),
            Counter(cast("dict[str, int]", state["dropped"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CaptureError(
            f"{path} is not the checkpoint of an import: {error}.",
            suggestion="Pass another path, or remove the file.",
        ) from None
    if saved != identity:
        raise CaptureError(
            f"The checkpoint {path} belongs to the import of another source or project, or the "
            "file has changed.",
            suggestion="Pass another path, or remove the checkpoint to begin anew.",
        )
    return progress


def _save(path: Path, identity: Mapping[str, Any], progress: _Progress) -> None:
    state = {
        "version": _VERSION,
        "identity": identity,
        "rows": progress.rows,
        "delivered": progress.delivered,
        "warned": progress.warned,
        "invalid": progress.invalid,
        "dropped": dict(progress.dropped),
    }
    write_atomically(path, to_json(state, indent=1))


def _remove(path: Path) -> None:
    if path.exists():
        remove(path)
