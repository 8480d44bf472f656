"""Draw figures with Altair, and write them as pictures. Needs `asyncposthog[charts]`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, date, datetime
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from .figures import Bars, Estimates, Figure, Grid, Lines, Stack, Timeline, Unit

if TYPE_CHECKING:
    import altair

__all__ = ["PALETTE", "draw", "require_charts", "save", "svg"]

PALETTE: Final = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#000000",
)  # fmt: skip
"""Colours of Okabe and Ito, which people with colour blindness can tell apart."""

_WIDTH: Final = 560
_ROW: Final = 24
"""The height of a row."""
_TEXT: Final = "#333333"
_MUTED: Final = "#6B6B6B"
_RULE: Final = "#DDDDDD"
_FONT: Final = "Helvetica, Arial, sans-serif"
_MAX_LABEL: Final = 260
"""The width that the labels of an axis may have."""
_HOUR: Final = 3600

Rows = list[dict[str, Any]]


def require_charts() -> Any:
    """Return the module `altair`.

    Raises:
        ImportError: `asyncposthog[charts]` is not installed.
    """
    try:
        altair = import_module("altair")
        import_module("vl_convert")  # Altair writes pictures with it.
    except ImportError:
        raise ImportError(
            "Charts need altair and vl-convert-python: pip install 'asyncposthog[charts]'."
        ) from None
    return altair


def draw(figure: Figure) -> altair.LayerChart:
    """Return a figure as a chart.

    Raises:
        ImportError: `asyncposthog[charts]` is not installed.
    """
    alt = require_charts()
    if figure.empty:
        chart = _empty(alt, figure)
    elif isinstance(figure, Bars):
        chart = _bars(alt, figure)
    elif isinstance(figure, Lines):
        chart = _lines(alt, figure)
    elif isinstance(figure, Grid):
        chart = _grid(alt, figure)
    elif isinstance(figure, Stack):
        chart = _stack(alt, figure)
    elif isinstance(figure, Estimates):
        chart = _estimates(alt, figure)
    else:
        assert isinstance(figure, Timeline)
        chart = _timeline(alt, figure)
    title = alt.TitleParams(
        figure.title,
        subtitle=figure.subtitle,
        anchor="start",
        frame="group",
        fontSize=15,
        color=_TEXT,
        subtitleFontSize=12,
        subtitleColor=_MUTED,
        offset=14,
    )
    styled = (
        chart.properties(title=title, padding=14, background="white")
        .configure(font=_FONT)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=_TEXT,
            titleColor=_MUTED,
            titleFontWeight="normal",
            labelFontSize=12,
            titleFontSize=12,
            gridColor=_RULE,
            domainColor=_MUTED,
            tickColor=_MUTED,
            labelLimit=_MAX_LABEL,
        )
        .configure_legend(
            labelColor=_TEXT, titleColor=_MUTED, titleFontWeight="normal", labelFontSize=12
        )
    )
    return cast("altair.LayerChart", styled)


def save(chart: altair.LayerChart, path: str | os.PathLike[str], *, scale: float = 2) -> None:
    """Write a chart to a file.

    Args:
        chart: The chart.
        path: A file that ends in `.png`, `.svg` or `.html`.
        scale: Pixels of a PNG per unit of the chart.

    Raises:
        ValueError: The name has another ending.
    """
    file = Path(path)
    anything = cast("Any", chart)
    if file.suffix == ".png":
        anything.save(str(file), scale_factor=scale)
    elif file.suffix == ".svg":
        anything.save(str(file))
    elif file.suffix == ".html":
        # Inline: the scripts that draw it are in the page, and not loaded from the network.
        anything.save(str(file), inline=True)
    else:
        raise ValueError(f"the name of a picture ends in .png, .svg or .html, not {file.name!r}")


def svg(chart: altair.LayerChart) -> str:
    """Return a chart as SVG, to be put into a page."""
    buffer = StringIO()
    cast("Any", chart).save(buffer, format="svg")
    return buffer.getvalue()


_ABOVE: Final = {
    "titleAngle": 0, "titleAlign": "right", "titleX": -5, "titleY": -5, "titleBaseline": "bottom",
}  # fmt: skip
"""Puts the title of a vertical axis above its labels, where it can be read without turning."""


def _data(alt: Any, rows: Rows) -> Any:
    # Inline data, without a data frame library.
    return alt.Data(values=rows)


def _number_axis(alt: Any, title: str, unit: Unit, largest: float, **options: Any) -> Any:
    return alt.Axis(title=title, format=_number_format(unit, largest), tickCount=5, **options)


def _number_format(unit: Unit, largest: float) -> str:
    if unit == "percent":
        return ".0%" if largest >= 0.05 else ".1%"
    # Not `~s` for small numbers: it writes 0.1 as 100m.
    return "~s" if largest >= 10_000 else ",.2~f"


def _empty(alt: Any, figure: Figure) -> Any:
    """Return axes with a note in place of data."""
    x, y = _axis_titles(figure)
    data = _data(alt, [{"text": figure.empty}])
    blank = {"labels": False, "ticks": False, "grid": False}
    note = (
        alt.Chart(data)
        .mark_text(fontSize=14, color=_MUTED)
        .encode(
            x=alt.X("x:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(title=x, **blank)),
            y=alt.Y("y:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(title=y or None, **blank)),
            text="text:N",
        )
    )
    placed = note.transform_calculate(x="0.5", y="0.5")
    return alt.layer(placed).properties(width=_WIDTH, height=160)


def _axis_titles(figure: Figure) -> tuple[str, str]:
    if isinstance(figure, Bars | Estimates):
        return figure.values_title, figure.labels_title
    if isinstance(figure, Grid):
        return figure.columns_title, figure.rows_title
    if isinstance(figure, Timeline):
        return figure.times_title, figure.labels_title
    assert isinstance(figure, Lines | Stack)
    return figure.times_title, figure.values_title


def _bars(alt: Any, figure: Bars) -> Any:
    labels = list(dict.fromkeys(bar.label for bar in figure.bars))
    groups = list(dict.fromkeys(bar.group for bar in figure.bars))
    rows: Rows = [
        {"label": bar.label, "value": bar.value, "text": bar.text, "group": bar.group}
        for bar in figure.bars
    ]
    # Room for the texts at the ends of the bars.
    longest = max(bar.value for bar in figure.bars) or 1
    room = max(len(bar.text) for bar in figure.bars) * 6.4
    top = longest * (1 + min(2.0, room / max(1.0, _WIDTH - room)))
    x = alt.X(
        "value:Q",
        scale=alt.Scale(domain=[0, top], nice=False),
        axis=alt.Axis(
            title=figure.values_title,
            format=_number_format(figure.unit, longest),
            values=_ticks(longest, figure.unit),
            grid=False,
        ),
    )
    y = alt.Y(
        "label:N",
        sort=labels,
        axis=alt.Axis(title=figure.labels_title or None, ticks=False, domain=False, **_ABOVE),
        scale=alt.Scale(paddingInner=0.25 if len(groups) == 1 else 0.18),
    )
    base = alt.Chart(_data(alt, rows)).encode(x=x, y=y)
    height = len(labels) * _ROW
    bars, texts = base.mark_bar(), base.mark_text(align="left", dx=5, fontSize=11, color=_TEXT)
    if len(groups) > 1:
        offset = alt.YOffset("group:N", sort=groups)
        colour = alt.Color(
            "group:N",
            sort=groups,
            scale=alt.Scale(domain=groups, range=_colours(len(groups))),
            legend=alt.Legend(title=figure.groups_title or None, orient="top", labelLimit=200),
        )
        bars, texts = bars.encode(yOffset=offset, color=colour), texts.encode(yOffset=offset)
        height = len(labels) * (len(groups) * 17 + 10)
    else:
        bars = bars.encode(color=alt.value(PALETTE[0]))
    return alt.layer(bars, texts.encode(text="text:N")).properties(width=_WIDTH, height=height)


def _ticks(longest: float, unit: Unit) -> list[float]:
    """Return about five round values from 0 to the longest bar: none below the texts beside it."""
    if unit == "percent":
        steps = [0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5]
    else:
        steps = [m * 10.0**e for e in range(12) for m in (1, 2, 5)]
    step = next((step for step in steps if longest / step <= 5), steps[-1])
    return [round(step * i, 6) for i in range(int(longest / step + 1e-9) + 1)]


def _colours(count: int) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(count)]


def _times(alt: Any, title: str, times: Sequence[date], **options: Any) -> Any:
    """Return the encoding of days; each has a tick if there are few."""
    days = sorted(set(times))
    axis: dict[str, Any] = {"title": title, "format": "%-d %b", "grid": False, "labelAngle": 0}
    if len(days) <= 12:
        axis["values"] = [_day(day) for day in days]
    else:
        axis["tickCount"] = 8
    return alt.X("time:T", scale=alt.Scale(type="utc"), axis=alt.Axis(**axis), **options)


def _day(day: date) -> str:
    # In UTC, so that no day depends on the time zone of the machine that draws it.
    return f"{day.isoformat()}T00:00:00Z"


def _lines(alt: Any, figure: Lines) -> Any:
    names = [line.label for line in figure.lines]
    rows: Rows = [
        {"time": _day(day), "value": value, "line": line.label}
        for line in figure.lines
        for day, value in line.points
    ]
    days = [day for line in figure.lines for day, _ in line.points]
    colour = alt.Color(
        "line:N", scale=alt.Scale(domain=names, range=_colours(len(names))), legend=None
    )
    highest = max((value for row in figure.lines for _, value in row.points), default=1) or 1
    axis = _number_axis(alt, figure.values_title, figure.unit, highest, **_ABOVE)
    y = alt.Y("value:Q", axis=axis)
    base = alt.Chart(_data(alt, rows)).encode(x=_times(alt, figure.times_title, days), y=y)
    line = base.mark_line(
        strokeWidth=2, strokeJoin="round", point={"size": 24} if len(set(days)) <= 31 else False
    ).encode(color=colour)
    # The names are moved apart where lines end near each other.
    ends: Rows = []
    last_days = max(days)
    wanted = sorted(figure.lines, key=lambda one: one.points[-1][1])
    below = float("-inf")
    for one in wanted:
        place = max(one.points[-1][1], below + highest * 0.065)
        below = place
        ends.append({"time": _day(last_days), "value": place, "line": one.label})
    labels = (
        alt.Chart(_data(alt, ends))
        .mark_text(align="left", dx=8, fontSize=12)
        .encode(x="time:T", y="value:Q", text="line:N", color=colour)
    )
    return alt.layer(line, labels).properties(width=_WIDTH, height=260)


def _grid(alt: Any, figure: Grid) -> Any:
    row_names = list(dict.fromkeys(cell.row for cell in figure.cells))
    column_names = list(dict.fromkeys(cell.column for cell in figure.cells))
    rows: Rows = [
        {"row": cell.row, "column": cell.column, "value": cell.value, "text": cell.text}
        for cell in figure.cells
    ]
    # Column 0 is all of the cohort: with it in the scale, the others would all look pale.
    others = [cell.value for cell in figure.cells if cell.column != column_names[0]]
    top = max(others, default=0.0) or 1.0
    base = alt.Chart(_data(alt, rows)).encode(
        x=alt.X(
            "column:O",
            sort=column_names,
            axis=alt.Axis(
                title=figure.columns_title, orient="top", labelAngle=0, ticks=False, domain=False
            ),
        ),
        y=alt.Y(
            "row:N",
            sort=row_names,
            axis=alt.Axis(title=figure.rows_title, ticks=False, domain=False, **_ABOVE),
        ),
    )
    cells = base.mark_rect(stroke="white", strokeWidth=2).encode(
        color=alt.Color(
            "value:Q",
            scale=alt.Scale(scheme="blues", domain=[0, top], clamp=True),
            legend=None,
        )
    )
    dark = f"datum.value > {0.55 * top}"
    texts = base.mark_text(fontSize=12).encode(
        text="text:N", color=alt.condition(dark, alt.value("white"), alt.value(_TEXT))
    )
    size = {"width": max(200, len(column_names) * 52), "height": len(row_names) * 28}
    return alt.layer(cells, texts).properties(**size)


def _stack(alt: Any, figure: Stack) -> Any:
    rows: Rows = [
        {
            "time": _day(part.time),
            "value": part.value,
            "label": part.label,
            "order": figure.labels.index(part.label),
        }
        for part in figure.parts
    ]
    days = sorted({part.time for part in figure.parts})
    names = list(figure.labels)
    colour = alt.Color(
        "label:N",
        scale=alt.Scale(domain=names, range=_colours(len(names))),
        legend=alt.Legend(title=None, orient="top", direction="horizontal"),
    )
    axis: dict[str, Any] = {"title": figure.times_title, "labelAngle": 0, "ticks": False}
    labels = {_day(day): f"{day.day} {day:%b}" for day in days}
    step = -(-len(days) // 12)
    top = max(abs(part.value) for part in figure.parts)
    axis["values"] = [_day(day) for day in days[::step]]
    axis["labelExpr"] = f"{json.dumps(labels)}[datum.value]"
    bars = (
        alt.Chart(_data(alt, rows))
        .mark_bar()
        .encode(
            x=alt.X("time:O", axis=alt.Axis(**axis)),
            y=alt.Y(
                "value:Q", axis=_number_axis(alt, figure.values_title, "number", top, **_ABOVE)
            ),
            color=colour,
            order="order:Q",
        )
    )
    zero = alt.Chart(_data(alt, [{"zero": 0}])).mark_rule(color=_TEXT).encode(y="zero:Q")
    return alt.layer(bars, zero).properties(width=_WIDTH, height=260)


def _estimates(alt: Any, figure: Estimates) -> Any:
    names = [one.label for one in figure.estimates]
    rows: Rows = [
        {
            "label": one.label,
            "value": one.value,
            "low": one.value if one.low is None else one.low,
            "high": one.value if one.high is None else one.high,
            "text": one.text,
        }
        for one in figure.estimates
    ]
    lowest = min(0.0, *(row["low"] for row in rows))
    highest = max(*(row["high"] for row in rows), lowest + 1e-9)
    title, unit = figure.values_title, figure.unit
    x = alt.X(
        "value:Q",
        scale=alt.Scale(domain=[lowest, highest * 1.02], nice=True),
        axis=_number_axis(alt, title, unit, highest, grid=False),
    )
    y = alt.Y(
        "label:N",
        sort=names,
        axis=alt.Axis(title=figure.labels_title or None, ticks=False, domain=False, **_ABOVE),
    )
    base = alt.Chart(_data(alt, rows)).encode(y=y)
    rules = base.mark_rule(strokeWidth=3, color=PALETTE[5]).encode(
        x=alt.X("low:Q", title=title), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=110, color=PALETTE[0], opacity=1).encode(x=x)
    texts = base.mark_text(dy=-15, fontSize=12, color=_TEXT).encode(x=x, text="text:N")
    height = max(2, len(names)) * 58
    return alt.layer(rules, points, texts).properties(width=_WIDTH, height=height)


def _timeline(alt: Any, figure: Timeline) -> Any:
    labels = list(dict.fromkeys(mark.label for mark in figure.marks))
    rows: Rows = [{"time": _moment(mark.time), "label": mark.label} for mark in figure.marks]
    times = [mark.time for mark in figure.marks]
    short = (max(times) - min(times)).total_seconds() < 48 * _HOUR
    x = alt.X(
        "time:T",
        scale=alt.Scale(type="utc"),
        axis=alt.Axis(
            title=figure.times_title,
            format="%-d %b %H:%M" if short else "%-d %b",
            labelAngle=0,
            tickCount=6,
        ),
    )
    y = alt.Y(
        "label:N",
        sort=labels,
        axis=alt.Axis(title=figure.labels_title, ticks=False, domain=False, grid=True, **_ABOVE),
    )
    ticks = (
        alt.Chart(_data(alt, rows))
        .mark_tick(thickness=2, height=14, color=PALETTE[0], opacity=0.75)
        .encode(x=x, y=y)
    )
    return alt.layer(ticks).properties(width=_WIDTH, height=max(2, len(labels)) * _ROW)


def _moment(time: datetime) -> str:
    return f"{time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
