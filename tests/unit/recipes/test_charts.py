"""Figures as pictures and in the terminal."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from asyncposthog import recipes
from asyncposthog.recipes.figures import (
    Bar,
    Bars,
    Cell,
    Estimate,
    Estimates,
    Figure,
    Grid,
    Line,
    Lines,
    Mark,
    Stack,
    StackPart,
    Timeline,
    format_bytes,
    format_count,
    format_number,
    format_percent,
    format_seconds,
)
from asyncposthog.recipes.periods import Period

DAYS = [date(2026, 1, day) for day in range(1, 15)]
NOW = datetime(2026, 1, 1, 9, tzinfo=UTC)
HEAD: dict[str, Any] = {"title": "A title", "subtitle": "1 to 14 Jan 2026"}

FIGURES: list[Figure] = [
    Bars(
        **HEAD,
        labels_title="Step",
        values_title="Share of persons",
        bars=(Bar("visit", 1.0, "100 % · 10"), Bar("pay", 0.31, "31 % · 3")),
        unit="percent",
    ),
    Bars(
        **HEAD,
        labels_title="Step",
        values_title="Persons",
        bars=tuple(
            Bar(label, value, f"{value:,} persons", group)
            for group in ("Chrome", "Firefox")
            for label, value in (("visit", 2000), ("pay", 0))
        ),
        groups_title="$browser",
    ),
    Lines(
        **HEAD,
        times_title="Day",
        values_title="Events",
        lines=(
            Line("visit", tuple((day, float(day.day**2)) for day in DAYS)),
            Line("pay", tuple((day, 0.0) for day in DAYS)),
        ),
    ),
    Grid(
        **HEAD,
        rows_title="Week · persons",
        columns_title="Weeks later",
        values_title="% of the cohort",
        cells=(Cell("1 Jan", "0", 1.0, "100"), Cell("1 Jan", "1", 0.5, "50"),
               Cell("8 Jan", "0", 1.0, "100")),
    ),
    Stack(
        **HEAD,
        times_title="Week from",
        values_title="Persons",
        labels=("new", "dormant"),
        parts=tuple(
            StackPart(day, label, value)
            for day in DAYS
            for label, value in (("new", 5), ("dormant", -3))
        ),
    ),
    Estimates(
        **HEAD,
        labels_title="Group",
        values_title="Events per person",
        estimates=(Estimate("paid", 4.5, 3.0, 6.0, "4.5 by 2 persons"),
                   Estimate("free", 2.0, None, None, "2 by 1 person")),
    ),
    Timeline(
        **HEAD,
        times_title="Time (UTC)",
        labels_title="Event",
        marks=tuple(Mark(NOW + timedelta(hours=h), "visit" if h % 2 else "look") for h in range(9)),
    ),
]  # fmt: skip


def texts(figure: Figure) -> list[str]:
    """Return what is to be readable on a chart."""
    if isinstance(figure, Bars):
        return [text for bar in figure.bars for text in (bar.label, bar.text, bar.group)]
    if isinstance(figure, Lines):
        return [line.label for line in figure.lines]
    if isinstance(figure, Grid):
        return [text for cell in figure.cells for text in (cell.row, cell.text)]
    if isinstance(figure, Stack):
        return list(figure.labels)
    if isinstance(figure, Estimates):
        return [text for one in figure.estimates for text in (one.label, one.text)]
    assert isinstance(figure, Timeline)
    return [mark.label for mark in figure.marks]


def titles(figure: Figure) -> list[str]:
    names = ("labels_title", "values_title", "times_title", "rows_title", "columns_title")
    found = [getattr(figure, name) for name in names if hasattr(figure, name)]
    # The values of a grid are in its subtitle.
    return [title for title in found if not (isinstance(figure, Grid) and "%" in title)]


def test_pictures_have_titles_units_and_direct_labels(tmp_path: Path) -> None:
    from asyncposthog.recipes.altair_charts import PALETTE, draw, save, svg

    for figure in FIGURES:
        picture = svg(draw(figure))
        shown = re.sub(r"\s+", " ", " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", picture)))
        for text in [figure.title, figure.subtitle, *titles(figure), *texts(figure)]:
            assert text in shown, (type(figure).__name__, text, shown)
        colours = set(re.findall(r"#[0-9A-Fa-f]{6}", picture))
        if not isinstance(figure, Grid):
            assert colours & set(PALETTE)
        # Axes have plain numbers: neither 2e+1 nor 100m.
        assert not re.search(r">\d+e\+\d|>\d+m<", picture)
        empty = str(draw(replace(figure, empty="No events from 1 to 14 Jan 2026")).to_dict())
        for text in ["No events from 1 to 14 Jan 2026", figure.title, *titles(figure)]:
            assert text in empty
    chart = draw(FIGURES[0])
    save(chart, tmp_path / "chart.png", scale=1)
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    save(chart, tmp_path / "chart.html")
    page = (tmp_path / "chart.html").read_text(encoding="utf-8")
    assert not re.search(r"<script[^>]+src=|<link[^>]+href=", page)
    assert "Share of persons" in page
    with pytest.raises(ValueError, match=r"ends in .png, .svg or .html, not 'chart.pdf'"):
        save(chart, tmp_path / "chart.pdf")


def test_the_terminal_shows_titles_labels_and_a_drawing() -> None:
    from asyncposthog.recipes.terminal_charts import render

    for figure in FIGURES:
        for width in (20, 72, 140):
            text = render(figure, width)
            assert text.plain.startswith(f"{figure.title}\n{figure.subtitle}\n")
            for label in texts(figure):
                if width > 20:
                    assert label in text.plain, (type(figure).__name__, label)
            assert re.search(r"[█─●▁-█⠀-⣿]|100", text.plain)
            if width > 20:
                assert max(map(len, text.plain.splitlines())) <= width
        empty = render(replace(figure, empty="No events"), 72)
        assert "No events" in empty.plain
    hostile = Bars(
        title="a\x1b[2Jb",
        subtitle="",
        labels_title="",
        values_title="",
        bars=(Bar("c\x1b]0;x\x07", 1, "d\re"),),
    )
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", render(hostile).plain)


def test_longer_bars_have_larger_values() -> None:
    from asyncposthog.recipes.terminal_charts import render

    bars = tuple(Bar(f"bar {n}", n, str(n)) for n in (8, 4, 2, 1, 0))
    figure = Bars(**HEAD, labels_title="", values_title="", bars=bars)
    lines = render(figure, 60).plain.splitlines()[3:]
    full = [line.count("█") for line in lines]
    for n, count in enumerate(full[:4]):
        assert abs(count - full[0] / 2**n) <= 1
    assert full == sorted(full, reverse=True)
    assert full[4] == 0


def test_numbers_are_written_for_people() -> None:
    assert [format_number(v) for v in (0, 1234567, 12.34, 1.234, 0.0456)] == [
        "0", "1,234,567", "12.3", "1.23", "0.046",
    ]  # fmt: skip
    assert [format_count(v, "person") for v in (0, 1, 2000)] == [
        "0 persons", "1 person", "2,000 persons",
    ]  # fmt: skip
    assert [format_percent(v) for v in (0, 0.1234, 1)] == ["0 %", "12.3 %", "100 %"]
    assert [format_seconds(v) for v in (0.5, 90, 5400, 172800)] == [
        "0.5 s", "1.5 min", "1.5 h", "2 d",
    ]  # fmt: skip
    assert [format_bytes(v) for v in (12, 1500, 2e6, 3.1e9)] == ["12 B", "1.5 kB", "2 MB", "3.1 GB"]


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    result = recipes.TopEvents(rows=(), period=Period(NOW, NOW + timedelta(days=1)))
    for module, call, extra in (
        ("altair", result.plot, "charts"),
        ("vl_convert", result.plot, "charts"),
        ("pyarrow", result.to_arrow, "arrow"),
        ("polars", result.to_polars, "polars"),
        ("pandas", result.to_pandas, "pandas"),
    ):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(ImportError, match=rf"asyncposthog\[{extra}\]"):
                call()
    from asyncposthog.recipes.terminal_charts import render

    monkeypatch.setitem(sys.modules, "plotext", None)
    with pytest.raises(ImportError, match=r"asyncposthog\[charts\]"):
        render(FIGURES[2])
