"""Draw figures as text for a terminal. Needs `asyncposthog[charts]`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from .figures import (
    Bars,
    Estimates,
    Figure,
    Grid,
    Line,
    Lines,
    Stack,
    Timeline,
    format_number,
    format_percent,
)
from .periods import format_date

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["render"]

_COLOURS: Final = (25, 166, 36, 175, 178, 74, 244, 0)
"""The nearest of the 256 colours of terminals to the palette of the pictures."""
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_LEVELS: Final = " ▁▂▃▄▅▆▇█"
_HEIGHT: Final = 15
"""Lines of a chart over time."""
_MAX_LABEL: Final = 32


def render(figure: Figure, width: int = 100) -> Text:
    """Return a figure as text with colours.

    Args:
        figure: The figure.
        width: The number of columns; at least 40 are used.

    Raises:
        ImportError: `asyncposthog[charts]` is not installed.
    """
    try:
        from rich.text import Text
    except ImportError:
        raise _missing() from None
    width = max(40, width)
    text = Text(no_wrap=True, overflow="ignore")
    text.append(f"{_shorten(figure.title, width)}\n", style="bold")
    text.append(f"{_shorten(figure.subtitle, width)}\n\n", style="dim")
    if figure.empty:
        text.append(f"  {figure.empty}\n")
    elif isinstance(figure, Lines):
        _lines(text, figure.lines, figure.values_title, width)
    elif isinstance(figure, Stack):
        _lines(text, _as_lines(figure), figure.values_title, width)
    else:
        for line in _rows(figure, width):
            for piece, style in line:
                text.append(_printable(piece), style=style)
            text.append("\n")
    return text


Piece = tuple[str, str]
"""A text and its style."""


def _missing() -> ImportError:
    return ImportError("Charts need plotext and rich: pip install 'asyncposthog[charts]'.")


def _printable(text: str) -> str:
    """Return a text without control characters, which could change the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _shorten(text: str, length: int) -> str:
    text = _printable(text)
    return text if len(text) <= length else text[: length - 1] + "…"


def _colour(number: int) -> str:
    return f"color({_COLOURS[number % (len(_COLOURS) - 1)]})"


def _rows(figure: Figure, width: int) -> Iterator[list[Piece]]:
    if isinstance(figure, Bars):
        yield from _bars(figure, width)
    elif isinstance(figure, Grid):
        yield from _grid(figure)
    elif isinstance(figure, Estimates):
        yield from _estimates(figure, width)
    else:
        assert isinstance(figure, Timeline)
        yield from _timeline(figure, width)


def _label_width(labels: Sequence[str]) -> int:
    return min(_MAX_LABEL, max(map(len, labels)))


def _bars(figure: Bars, width: int) -> Iterator[list[Piece]]:
    groups = list(dict.fromkeys(bar.group for bar in figure.bars))
    if len(groups) > 1:
        yield [(f"█ {group}  ", _colour(number)) for number, group in enumerate(groups)]
    label_width = _label_width([bar.label for bar in figure.bars])
    longest = max(bar.value for bar in figure.bars) or 1
    room = max(10, width - label_width - max(len(bar.text) for bar in figure.bars) - 4)
    labels = list(dict.fromkeys(bar.label for bar in figure.bars))
    previous = None
    for bar in sorted(figure.bars, key=lambda bar: labels.index(bar.label)):
        label = "" if bar.label == previous else _shorten(bar.label, label_width)
        previous = bar.label
        drawn = _horizontal(bar.value / longest, room)
        yield [
            (f"{label:>{label_width}} ", ""),
            (drawn, _colour(groups.index(bar.group))),
            (f" {bar.text}", ""),
        ]


def _horizontal(share: float, room: int) -> str:
    eighths = round(share * room * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _grid(figure: Grid) -> Iterator[list[Piece]]:
    columns = list(dict.fromkeys(cell.column for cell in figure.cells))
    rows = list(dict.fromkeys(cell.row for cell in figure.cells))
    cells = {(cell.row, cell.column): cell for cell in figure.cells}
    others = [cell.value for cell in figure.cells if cell.column != columns[0]]
    top = max(others, default=0.0) or 1.0
    label_width = max(_label_width(rows), len(figure.rows_title))
    yield [(f"{figure.rows_title:>{label_width}}  {figure.columns_title}", "dim")]
    yield [(f"{'':>{label_width}} ", "")] + [(f"{column:>5}", "dim") for column in columns]
    for row in rows:
        line: list[Piece] = [(f"{_shorten(row, label_width):>{label_width}} ", "")]
        for column in columns:
            cell = cells.get((row, column))
            if cell is not None:
                line.append((f"{cell.text:>4} ", _shade(min(1.0, cell.value / top))))
        yield line


def _shade(share: float) -> str:
    """Return white on a blue that is darker for a larger share, or black on a light one."""
    red, green, blue = (round(light + (dark - light) * share) for light, dark in _BLUES)
    text = "white" if share > 0.5 else "black"
    return f"{text} on rgb({red},{green},{blue})"


_BLUES: Final = ((222, 8), (235, 69), (247, 148))
"""The red, green and blue of the lightest and of the darkest shade."""


def _estimates(figure: Estimates, width: int) -> Iterator[list[Piece]]:
    label_width = _label_width([one.label for one in figure.estimates])
    room = max(20, width - label_width - max(len(one.text) for one in figure.estimates) - 4)
    lows = [one.value if one.low is None else one.low for one in figure.estimates]
    highs = [one.value if one.high is None else one.high for one in figure.estimates]
    lowest, highest = min(0.0, *lows), max(*highs, 1e-9)

    def place(value: float) -> int:
        return round((value - lowest) / (highest - lowest) * (room - 1))

    for one, low, high in zip(figure.estimates, lows, highs, strict=True):
        line = [" "] * room
        for position in range(place(low), place(high) + 1):
            line[position] = "─"
        line[place(one.value)] = "●"
        yield [
            (f"{_shorten(one.label, label_width):>{label_width}} ", ""),
            ("".join(line), _colour(0)),
            (f" {one.text}", ""),
        ]
    shown = format_percent if figure.unit == "percent" else format_number
    start, end = shown(lowest), shown(round(highest, 3))
    yield [(f"{'':>{label_width}} {start}{end:>{max(1, room - len(start))}}", "dim")]


def _timeline(figure: Timeline, width: int) -> Iterator[list[Piece]]:
    labels = list(dict.fromkeys(mark.label for mark in figure.marks))
    times = [mark.time for mark in figure.marks]
    first, last = min(times), max(times)
    label_width = _label_width(labels)
    room = max(20, width - label_width - 8)
    span = max(last - first, timedelta(seconds=1))
    counts = {label: [0] * room for label in labels}
    for mark in figure.marks:
        counts[mark.label][min(room - 1, int((mark.time - first) / span * room))] += 1
    most = max(max(row) for row in counts.values())
    for label, row in counts.items():
        drawn = "".join(_LEVELS[-(-count * 8 // most)] for count in row)
        yield [
            (f"{_shorten(label, label_width):>{label_width}} ", ""),
            (drawn, _colour(0)),
            (f" {sum(row):,}", ""),
        ]
    start, end = _moment(first), _moment(last)
    yield [(f"{'':>{label_width}} {start}{end:>{room - len(start)}}", "dim")]


def _moment(time: datetime) -> str:
    return f"{format_date(time)} {time:%H:%M}"


def _as_lines(figure: Stack) -> tuple[Line, ...]:
    lines: dict[str, list[tuple[date, float]]] = {label: [] for label in figure.labels}
    for part in figure.parts:
        lines[part.label].append((part.time, part.value))
    return tuple(Line(label, tuple(points)) for label, points in lines.items())


def _lines(text: Text, lines: Sequence[Line], values_title: str, width: int) -> None:
    try:
        import plotext
        from rich.text import Text
    except ImportError:
        raise _missing() from None
    text.append(f"{values_title}  ", style="dim")
    for number, line in enumerate(lines):
        text.append(f"━ {_shorten(line.label, _MAX_LABEL)}  ", style=_colour(number))
    text.append("\n")
    module = cast("Any", plotext)
    # The module has one figure for the whole process: it is left empty.
    figure = module.figure
    figure.clear()
    figure.theme("simple")
    figure.plot_size(width, _HEIGHT)
    days = sorted({day for line in lines for day, _ in line.points})
    position = {day: number for number, day in enumerate(days)}
    for number, line in enumerate(lines):
        marker = module.marker("braille", _COLOURS[number % (len(_COLOURS) - 1)])
        xs = [position[day] for day, _ in line.points]
        signal = figure.signal(xs, [value for _, value in line.points], marker=marker)
        figure.draw(signal.lines())
    shown = days[:: max(1, -(-len(days) // 8))]
    figure.ruler("x").ticks([position[day] for day in shown], [f"{d.day} {d:%b}" for d in shown])
    values = [value for line in lines for _, value in line.points]
    ticks = _value_ticks(min(0.0, *values), max(*values, 1.0))
    figure.ruler("y").lim(min(ticks[0], *values), max(ticks[-1], *values))
    figure.ruler("y").ticks(ticks, [format_number(tick) for tick in ticks])
    drawn = str(figure.build())
    figure.clear()
    text.append_text(Text.from_ansi(drawn.rstrip("\n")))
    text.append("\n")


def _value_ticks(lowest: float, highest: float) -> list[float]:
    """Return round values around a range, which has zero in it."""
    steps = (m * 10.0**e for e in range(-3, 12) for m in (1, 2, 5))
    step = next(step for step in steps if (highest - lowest) / step <= 5)
    first, last = int(lowest // step), int(-(-highest // step))
    return [round(number * step, 6) for number in range(first, last + 1)]
