"""`capture` and `import events`: send events."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from . import exit_codes
from .error_messages import UsageError
from .session import session
from .terminal import print_status, print_success, strip_control, write
from .values import parse_untyped

__all__ = ["CaptureOptions", "ImportOptions", "capture_event", "import_events"]

_SHOWN_FAILURES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureOptions:
    """Options of `capture`."""

    event: str
    distinct_id: str
    properties: Sequence[str] = ()
    data: str | None = None
    groups: Sequence[str] = ()
    timestamp: str | None = None
    uuid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """Options of `import events`."""

    path: Path
    format: str
    checkpoint: Path | None = None
    historical: bool = True
    events_per_second: float | None = None


async def capture_event(options: CaptureOptions) -> int:
    """Send one event, and print the server's answer as JSON."""
    properties: dict[str, Any] = {}
    if options.data is not None:
        try:
            data: object = json.loads(options.data)
        except ValueError as error:
            raise UsageError(f"--properties is not JSON: {error}.") from None
        if not isinstance(data, dict):
            raise UsageError("--properties must be a JSON object.")
        properties |= cast("dict[str, Any]", data)
    properties |= _pairs("--property", options.properties)
    groups = {name: str(value) for name, value in _pairs("--group", options.groups).items()}
    async with session.make_client(needs_key=False) as client:
        try:
            result = await client.capture.immediate(
                options.event,
                options.distinct_id,
                properties=properties,
                groups=groups or None,
                timestamp=options.timestamp,
                uuid=options.uuid,
            )
        except ValueError as error:
            if type(error) is not ValueError:
                raise
            raise UsageError(f"{error}.") from None
    shown = {"uuid": result.uuid, "status": result.status, "detail": result.detail}
    write(json.dumps(shown) + "\n")
    return exit_codes.OK if result.delivered else exit_codes.ERROR


def _pairs(option: str, arguments: Sequence[str]) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for text in arguments:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} takes NAME=VALUE, not {text!r}.")
        pairs[name] = parse_untyped(value)
    return pairs


async def import_events(options: ImportOptions) -> int:
    """Send the events of a file, and say what became of them."""
    path = options.path
    checkpoint = options.checkpoint or path.with_name(f".{path.name}.import.json")
    form = None if options.format == "auto" else cast("Any", options.format)
    session.resume_hint = (
        "Run the same command again to continue:",
        f"  {shlex.join(('asyncposthog', *session.arguments))}",
    )
    async with session.make_client(needs_key=False) as client:
        report = await client.import_events(
            path,
            format=form,
            checkpoint=checkpoint,
            historical=options.historical,
            events_per_second=options.events_per_second,
        )
    session.resume_hint = ()
    for row, result in report.failures[:_SHOWN_FAILURES]:
        print_status(strip_control(f"Row {row:,}: {result.status}: {result.detail}"))
    hidden = report.rows - report.delivered - min(len(report.failures), _SHOWN_FAILURES)
    if hidden > 0:
        print_status(f"… and {hidden:,} more rows.")
    counts: dict[str, object] = {
        "rows": report.rows,
        "delivered": report.delivered,
        "dropped": dict(report.dropped),
        "invalid": report.invalid,
    }
    write(json.dumps(counts) + "\n")
    if report.delivered == report.rows:
        print_success(f"{report.rows:,} events were imported.")
        return exit_codes.OK
    return exit_codes.ERROR
