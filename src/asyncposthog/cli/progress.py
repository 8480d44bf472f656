"""How an export is doing: drawn on a terminal, as JSON lines for programs, or not at all."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from .terminal import counted, plain, stderr_console, to_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from asyncposthog import RateLimits

__all__ = ["Facts", "ProgressDisplay", "ProgressForm", "budget", "duration", "facts", "watch"]

ProgressForm: TypeAlias = Literal["auto", "bar", "json", "none"]

_EVERY: Final = 1.0
_PERIODS: Final = {60: "a minute", 3600: "an hour", 86400: "a day"}


class Numbers(Protocol):
    """What an export tells of itself."""

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
class Facts:
    """What is shown of an export."""

    rows: int
    expected: int | None
    rate: float
    """Rows a second, of this run."""
    windows: int
    windows_total: int
    requests: int
    waits: int
    elapsed: float
    left: float | None
    """Seconds, if it goes on like this; None: nobody can tell yet."""
    fraction: float | None
    """The part that is done."""
    budget: str | None
    """What is left of the rate limit that is nearest to its end."""


def facts(numbers: Numbers, limits: RateLimits | None, since: float = 0.0) -> Facts:
    """Work out what is shown.

    Args:
        numbers: What the export told last.
        limits: What is used of the rate limits.
        since: Seconds since it told that.
    """
    elapsed = numbers.elapsed + since
    rate = (numbers.rows - numbers.rows_before) / elapsed if elapsed > 0 else 0.0
    expected = numbers.expected
    if expected is not None:
        expected = max(expected, numbers.rows)
        fraction = numbers.rows / expected if expected else None
        left = (expected - numbers.rows) / rate if rate > 0 else None
    else:
        total = numbers.windows_total
        fraction = numbers.windows / total if total else None
        left = elapsed * (1 - fraction) / fraction if fraction else None
    return Facts(
        rows=numbers.rows,
        expected=expected,
        rate=rate,
        windows=numbers.windows,
        windows_total=numbers.windows_total,
        requests=numbers.requests,
        waits=numbers.waits,
        elapsed=elapsed,
        left=left,
        fraction=fraction,
        budget=None if limits is None else budget(limits),
    )


def budget(limits: RateLimits) -> str | None:
    """Say what is left of the rate limit that is nearest to its end; None: none was met."""
    windows = [bucket for bucket in limits.buckets.values() if bucket.seconds > 0]
    if not windows:
        return None
    tightest = min(windows, key=lambda bucket: bucket.remaining / max(bucket.limit, 1))
    span = _PERIODS.get(int(tightest.seconds), f"in {tightest.seconds:.0f} s")
    return f"{tightest.remaining:,}/{tightest.limit:,} {span}"


def duration(seconds: float) -> str:
    """Write seconds as 0:07 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ProgressDisplay(Protocol):
    """Is told how the export is doing."""

    def __call__(self, numbers: Numbers, /) -> None: ...


def watch(
    form: ProgressForm, what: str, limits: Callable[[], RateLimits]
) -> AbstractContextManager[ProgressDisplay | None]:
    """Return what shows the progress of an export while a block runs.

    Args:
        form: How; `auto`: a bar on a terminal, else nothing.
        what: What is exported.
        limits: Gives the rate limits of the client.
    """
    if form == "auto":
        form = "bar" if sys.stderr.isatty() else "none"
    if form == "none":
        return nullcontext(None)
    return _Bar(what, limits) if form == "bar" else _Lines(limits)


class _Lines(AbstractContextManager["_Lines"]):
    """A line of JSON a second, on stderr, and one at the end."""

    def __init__(self, limits: Callable[[], RateLimits]) -> None:
        self._limits = limits
        self._last: Numbers | None = None
        self._told = float("-inf")

    def __call__(self, numbers: Numbers) -> None:
        self._last = numbers
        if time.monotonic() - self._told >= _EVERY:
            self._tell(numbers)

    def _tell(self, numbers: Numbers) -> None:
        self._told, self._last = time.monotonic(), None
        sys.stderr.write(to_text(asdict(facts(numbers, self._limits()))) + "\n")
        sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        if self._last is not None:
            self._tell(self._last)


class _Bar(AbstractContextManager["_Bar"]):
    """Two lines at the foot of the terminal, gone at the end."""

    def __init__(self, what: str, limits: Callable[[], RateLimits]) -> None:
        from rich.live import Live

        self._what = what
        self._limits = limits
        self._last: tuple[Numbers, float] | None = None
        self._began = time.monotonic()
        self._live = Live(
            get_renderable=self._render,
            console=stderr_console(),
            refresh_per_second=5,
            transient=True,
        )

    def __enter__(self) -> _Bar:
        self._live.start()
        return self

    def __call__(self, numbers: Numbers) -> None:
        self._last = (numbers, time.monotonic())

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def _render(self) -> RenderableType:
        from rich.text import Text

        if self._last is None:
            waited = duration(time.monotonic() - self._began)
            return Text(f"{plain(self._what)}: looking at what there is… {waited}")
        numbers, told = self._last
        return drawn(self._what, facts(numbers, self._limits(), time.monotonic() - told))


def drawn(what: str, shown: Facts) -> Any:
    """Draw a bar, and a line of numbers under it."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    rows = f"{shown.rows:,} rows"
    if shown.expected is not None:
        rows = f"{shown.rows:,} of about {shown.expected:,} rows"
    head = Table.grid(padding=(0, 1), expand=False)
    part = shown.fraction
    head.add_row(
        Text(plain(what), style="bold"),
        ProgressBar(total=1, completed=part or 0, width=30, pulse=part is None),
        Text("" if part is None else f"{part:4.0%}"),
        Text(rows),
    )
    numbers = [
        f"{shown.rate:,.0f} rows/s",
        f"windows {shown.windows:,}/{shown.windows_total:,}",
        counted(shown.requests, "request")
        + (f", {counted(shown.waits, 'wait')}" if shown.waits else ""),
    ]
    if shown.budget:
        numbers.append(f"budget {shown.budget}")
    clock = duration(shown.elapsed)
    clock += "" if shown.left is None else f", {duration(shown.left)} to go"
    line = Text(" · ".join([*numbers, clock]), style="dim", overflow="ellipsis", no_wrap=True)
    return Group(head, line)
