"""Progress of an export: a bar on a terminal, JSON lines for programs, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from .terminal import pluralize, stderr_console, strip_control, to_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from asyncposthog import RateLimits

__all__ = [
    "ProgressDisplay",
    "ProgressFormat",
    "ProgressSnapshot",
    "budget",
    "duration",
    "show_progress",
    "snapshot",
]

ProgressFormat: TypeAlias = Literal["auto", "bar", "json", "none"]

_LINE_SECONDS: Final = 1.0
_PERIODS: Final = {60: "a minute", 3600: "an hour", 86400: "a day"}


class ProgressSource(Protocol):
    """Progress values of an export, as `asyncposthog.export.Progress` has them."""

    @property
    def rows(self) -> int: ...
    @property
    def expected(self) -> int | None: ...
    @property
    def windows(self) -> int: ...
    @property
    def windows_total(self) -> int: ...
    @property
    def requests(self) -> int: ...
    @property
    def waits(self) -> int: ...
    @property
    def elapsed(self) -> float: ...
    @property
    def rows_before(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressSnapshot:
    """Progress values that are displayed."""

    rows: int
    expected: int | None
    rate: float
    """Rows per second of this run."""
    windows: int
    windows_total: int
    requests: int
    waits: int
    elapsed: float
    remaining_seconds: float | None
    """Estimated seconds until the end at the present rate; None: unknown."""
    fraction: float | None
    """Completed fraction, from 0 to 1."""
    budget: str | None
    """Remaining requests of the rate limit that is closest to its maximum."""


def snapshot(
    source: ProgressSource, limits: RateLimits | None, seconds_since: float = 0.0
) -> ProgressSnapshot:
    """Return the values to display.

    Args:
        source: The last progress of the export.
        limits: The usage of the rate limits; None: unknown.
        seconds_since: Seconds since that progress was reported.
    """
    elapsed = source.elapsed + seconds_since
    # Rows of earlier runs took none of the elapsed time.
    rate = (source.rows - source.rows_before) / elapsed if elapsed > 0 else 0.0
    expected = source.expected
    if expected is not None:
        # Rows that arrive after the count can exceed it; the bar must not show more than 100 %.
        expected = max(expected, source.rows)
        fraction = source.rows / expected if expected else None
        remaining_seconds = (expected - source.rows) / rate if rate > 0 else None
    else:
        total = source.windows_total
        fraction = source.windows / total if total else None
        remaining_seconds = elapsed * (1 - fraction) / fraction if fraction else None
    return ProgressSnapshot(
        rows=source.rows,
        expected=expected,
        rate=rate,
        windows=source.windows,
        windows_total=source.windows_total,
        requests=source.requests,
        waits=source.waits,
        elapsed=elapsed,
        remaining_seconds=remaining_seconds,
        fraction=fraction,
        budget=None if limits is None else budget(limits),
    )


def budget(limits: RateLimits) -> str | None:
    """Describe the rate limit that is closest to its maximum; None if no limit was used."""
    windows = [bucket for bucket in limits.buckets.values() if bucket.seconds > 0]
    if not windows:
        return None
    tightest = min(windows, key=lambda bucket: bucket.remaining / max(bucket.limit, 1))
    span = _PERIODS.get(int(tightest.seconds), f"in {tightest.seconds:.0f} s")
    return f"{tightest.remaining:,}/{tightest.limit:,} {span}"


def duration(seconds: float) -> str:
    """Format seconds as 0:07 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ProgressDisplay(Protocol):
    """Receives the progress of an export."""

    def __call__(self, source: ProgressSource, /) -> None: ...


def show_progress(
    format: ProgressFormat, label: str, limits: Callable[[], RateLimits]
) -> AbstractContextManager[ProgressDisplay | None]:
    """Return a context manager that displays the progress of an export.

    Args:
        format: The form; `auto` is a bar on a terminal, and nothing otherwise.
        label: What is exported.
        limits: Returns the rate limits of the client.
    """
    if format == "auto":
        return show_progress("bar" if sys.stderr.isatty() else "none", label, limits)
    if format == "none":
        return nullcontext(None)
    return _Bar(label, limits) if format == "bar" else _Lines(limits)


class _Lines(AbstractContextManager["_Lines"]):
    """Writer of a line of JSON per second to stderr, and one at the end."""

    def __init__(self, limits: Callable[[], RateLimits]) -> None:
        self._limits = limits
        self._last: ProgressSource | None = None
        self._written_at = float("-inf")

    def __call__(self, source: ProgressSource) -> None:
        self._last = source
        if time.monotonic() - self._written_at >= _LINE_SECONDS:
            self._write_line(source)

    def _write_line(self, source: ProgressSource) -> None:
        self._written_at, self._last = time.monotonic(), None
        sys.stderr.write(to_text(asdict(snapshot(source, self._limits()))) + "\n")
        sys.stderr.flush()

    # The last progress may have come within a second of the last line, and was not written.
    def __exit__(self, *_: object) -> None:

        if self._last is not None:
            self._write_line(self._last)


class _Bar(AbstractContextManager["_Bar"]):
    """Display of two lines at the bottom of the terminal, removed at the end."""

    def __init__(self, label: str, limits: Callable[[], RateLimits]) -> None:
        from rich.live import Live

        self._what = label
        self._limits = limits
        self._last: tuple[ProgressSource, float] | None = None
        self._started_at = time.monotonic()
        self._live = Live(
            get_renderable=self._render,
            console=stderr_console(),
            refresh_per_second=5,
            transient=True,
        )

    def __enter__(self) -> _Bar:
        self._live.start()
        return self

    def __call__(self, source: ProgressSource) -> None:
        self._last = (source, time.monotonic())

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def _render(self) -> RenderableType:
        from rich.text import Text

        if self._last is None:
            elapsed_text = duration(time.monotonic() - self._started_at)
            return Text(f"{strip_control(self._what)}: looking at what there is… {elapsed_text}")
        source, updated_at = self._last
        return render_bar(
            self._what, snapshot(source, self._limits(), time.monotonic() - updated_at)
        )


def render_bar(label: str, progress: ProgressSnapshot) -> Any:
    """Return a progress bar, with a line of numbers below it."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    rows = f"{progress.rows:,} rows"
    if progress.expected is not None:
        rows = f"{progress.rows:,} of about {progress.expected:,} rows"
    head = Table.grid(padding=(0, 1), expand=False)
    fraction = progress.fraction
    head.add_row(
        Text(strip_control(label), style="bold"),
        ProgressBar(total=1, completed=fraction or 0, width=30, pulse=fraction is None),
        Text("" if fraction is None else f"{fraction:4.0%}"),
        Text(rows),
    )
    numbers = [
        f"{progress.rate:,.0f} rows/s",
        f"windows {progress.windows:,}/{progress.windows_total:,}",
        pluralize(progress.requests, "request")
        + (f", {pluralize(progress.waits, 'wait')}" if progress.waits else ""),
    ]
    if progress.budget:
        numbers.append(f"budget {progress.budget}")
    clock = duration(progress.elapsed)
    clock += (
        ""
        if progress.remaining_seconds is None
        else f", {duration(progress.remaining_seconds)} to go"
    )
    line = Text(" · ".join([*numbers, clock]), style="dim", overflow="ellipsis", no_wrap=True)
    return Group(head, line)
