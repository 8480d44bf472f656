"""The answer to a page's query becomes rows, and the place where the next page begins. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, cast

from pydantic_core import from_json

from asyncposthog.export.batch import Batch
from asyncposthog.export.source import KEY, TIME, Place, Source
from asyncposthog.export.timestamps import as_text, parse_clickhouse
from asyncposthog.export.windows import Window
from asyncposthog.query.clickhouse import ColumnType, column_types

__all__ = [
    "Answer", "NonUniqueKeyError", "Page", "UnexpectedResponseError", "answer_rows", "parse",
    "read_answer", "read_page",
]  # fmt: skip


class UnexpectedResponseError(ValueError):
    """The answer is not that of a query: another attempt may bring a better one."""


class NonUniqueKeyError(ValueError):
    """A whole page has one key: there is no way behind it."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a page brought."""

    batch: Batch
    """Its rows, without those that the next page will bring again."""
    last: Place | None
    """The row behind which the next page begins; None: the window was read to its end."""
    kept: int
    """How many of the rows that the server sent are in it."""
    duplicates: int = 0
    """Rows that were there twice, the same in every column, and are kept once."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The rows that a server sent for a page, by column."""

    source: Source
    window: Window
    limit: int
    names: Sequence[str]
    kinds: Sequence[ColumnType]
    values: Sequence[Sequence[Any]]

    @property
    def received(self) -> int:
        """How many rows the server sent."""
        return len(self._keys)

    @property
    def shown(self) -> tuple[str, ...]:
        """The names of the columns that are handed on."""
        return tuple(self.names[: -1 if self.source.time is None else -2])

    @property
    def full(self) -> bool:
        """Whether it may have been cut short, by the number of its rows alone.

        Such is a page of as many rows as were asked for, and also one of a round number, as from a
        server that cuts at fewer rows than it was asked for.
        """
        return self.received >= self.limit or (self.received > 0 and self.received % 100 == 0)

    @property
    def _keys(self) -> Sequence[str]:
        return self.values[-1]

    @property
    def _times(self) -> Sequence[str]:
        return self.values[-2] if self.source.time is not None else ()

    def page(self, *, cut: bool) -> Page:
        """Return its rows as a page.

        Args:
            cut: Whether there may be more rows behind it. It then ends before the last key that it
                has: all rows of one key come together on the next. Where all have one key, it is
                whole, and the next begins behind that key.

        Raises:
            CrowdedKeyError: More rows than fit onto a page have one key.
            ShapeError: Its rows are not in order, or not those that were asked for.
        """
        source, times, keys = self.source, self._times, self._keys
        kept, last = self.received, None
        if cut and kept:
            kept = _before_last_key(times, keys)
            if not kept and self.received >= self.limit:
                place = f"{source.key} = {keys[0]!r}" + (f", {times[0]}" if times else "")
                raise NonUniqueKeyError(place)
            kept = kept or self.received
            last = _place(times, keys, kept - 1)
            # Each page has to end behind the one before it, or the reading would never end.
            if self.window.after is not None and last <= self.window.after:
                raise UnexpectedResponseError("its rows are not those behind the last one")
        values: Sequence[Sequence[Any]] = self.values
        if kept < self.received:
            values = [column[:kept] for column in values]
        duplicates = 0
        if source.unique and len(set(values[-1])) < kept:
            unique = _without_repeats(values)
            duplicates = kept - len(unique)
            values = [[column[i] for i in unique] for column in values] if duplicates else values
        batch = _batch(source, self.window, self.names, self.kinds, values, last)
        return Page(batch=batch, last=last, kept=kept, duplicates=duplicates)


def parse(content: bytes) -> object:
    """Return the JSON of an answer.

    Raises:
        ShapeError: It is none.
    """
    try:
        # Keys alone: looking up every value as well costs more than it saves.
        return from_json(content, cache_strings="keys")
    except ValueError as error:
        raise UnexpectedResponseError(f"it is not JSON: {error}") from None


def answer_rows(body: object) -> tuple[list[str], object, list[list[Any]]]:
    """Take the columns, types and rows out of an answer.

    Raises:
        ShapeError: It has none.
    """
    if not isinstance(body, dict):
        raise UnexpectedResponseError("it is no object")
    answer = cast("dict[str, Any]", body)
    columns, rows = answer.get("columns"), answer.pop("results", None)
    if answer.get("error"):
        raise UnexpectedResponseError(f"it reports an error: {answer['error']!s:.200}")
    if not isinstance(columns, list) or not isinstance(rows, list):
        raise UnexpectedResponseError("it has no columns and results")
    width = len(cast("list[Any]", columns))
    if not set(map(type, cast("list[object]", rows))) <= {list}:
        raise UnexpectedResponseError("its rows are no lists")
    sizes = set(map(len, cast("list[list[Any]]", rows)))
    if not sizes <= {width}:
        raise UnexpectedResponseError(
            f"rows have {sorted(sizes)} values, and there are {width} columns"
        )
    return cast("tuple[list[str], object, list[list[Any]]]", (columns, answer.get("types"), rows))


def read_answer(source: Source, window: Window, limit: int, body: object) -> Answer:
    """Read an answer.

    Args:
        source: What was asked for.
        window: The window that it was asked of.
        limit: How many rows the query asked for.
        body: The answer. Its rows are taken out of it.

    Raises:
        ShapeError: It is none.
    """
    names, types, rows = answer_rows(body)
    hidden = 1 if source.time is None else 2
    if names[-hidden:] != ([KEY] if source.time is None else [TIME, KEY]):
        raise UnexpectedResponseError(f"its columns are {names!r:.200}")
    kinds = column_types(types, len(names))
    # Half the time of zip(*rows), which goes through all rows for each value.
    values: list[Sequence[Any]] = [list(map(itemgetter(at), rows)) for at in range(len(names))]
    del rows  # the values are needed by column from here on, and memory is dear
    if _not_text(values[-1]) or (source.time is not None and _not_text(values[-2])):
        raise UnexpectedResponseError("its times and keys are not text")
    return Answer(
        source=source, window=window, limit=limit, names=names, kinds=kinds, values=values
    )


def read_page(source: Source, window: Window, limit: int, body: object) -> Page:
    """Read an answer as a page, of which there may be more where it is full.

    Raises:
        ShapeError: It is none.
        CrowdedKeyError: More rows than fit onto a page have one key.
    """
    answer = read_answer(source, window, limit, body)
    return answer.page(cut=answer.full)


def _batch(
    source: Source,
    window: Window,
    names: Sequence[str],
    kinds: Sequence[ColumnType],
    values: Sequence[Sequence[Any]],
    last: Place | None,
) -> Batch:
    """Return the rows without what only orders them."""
    shown = len(names) - (1 if source.time is None else 2)
    keys = _copied(values[-1])
    times = _copied(values[-2]) if source.time is not None else ()
    end = as_position(window, last)
    return Batch(
        columns=tuple(names[:shown]),
        types=tuple(kinds[:shown]),
        raw_columns=tuple(values[:shown]),
        json=frozenset(i for i, name in enumerate(names[:shown]) if name in source.json),
        keys=keys,
        times=times,
        position=lambda n: (
            end if n >= len(keys) else checkpoint_position(_place(times, keys, n - 1))
        ),
    )


def checkpoint_position(place: Place) -> dict[str, Any]:
    """Return a row's place as a position: it, and all before it, are done."""
    return {"time": as_text(place.time), "key": place.key}


def as_position(window: Window, last: Place | None) -> dict[str, Any]:
    """Return where to go on behind a page of a window."""
    if last is not None:
        return checkpoint_position(last)
    return {"time": as_text(window.end), "key": None}


def _copied(texts: Sequence[str]) -> Sequence[str]:
    """Return the same texts, apart in memory: those that came keep all around them from its use."""
    copies = "\0".join(texts).split("\0") if texts else texts
    return copies if len(copies) == len(texts) else texts


def _not_text(values: Sequence[object]) -> bool:
    return not set(map(type, values)) <= {str}


def _before_last_key(times: Sequence[str], keys: Sequence[str]) -> int:
    """Return how many rows come before those with the last key."""
    at = len(keys) - 1
    time = times[-1] if times else None
    while at >= 0 and keys[at] == keys[-1] and (time is None or times[at] == time):
        at -= 1
    return at + 1


def _place(times: Sequence[str], keys: Sequence[str], at: int) -> Place:
    try:
        return Place(parse_clickhouse(times[at]) if times else 0, keys[at])
    except ValueError as error:
        raise UnexpectedResponseError(str(error)) from None


def _without_repeats(values: Sequence[Sequence[Any]]) -> list[int]:
    """Return the places of rows that are not equal to the one before them."""
    rows = list(zip(*values, strict=True))
    return [i for i in range(len(rows)) if not i or rows[i] != rows[i - 1]]
