"""Read the rows of files and iterables, some at a time."""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Final, Literal, TypeAlias, cast

import anyio.lowlevel
from pydantic_core import from_json

from asyncposthog.errors import CaptureError, ConfigurationError
from asyncposthog.threads import run_in_thread

__all__ = ["InvalidRow", "Source", "SourceFormat", "fingerprint", "open_rows"]

SourceFormat: TypeAlias = Literal["jsonl", "csv", "parquet"]
Source: TypeAlias = (
    "str | os.PathLike[str] | Iterable[Mapping[str, object]] | AsyncIterable[Mapping[str, object]]"
)

_CHUNK: Final = 1000
_HEAD_BYTES: Final = 65_536
_SUFFIXES: Final[dict[str, SourceFormat]] = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A row that cannot be read."""

    reason: str


def _path(source: object) -> Path | None:
    if isinstance(source, str | os.PathLike):
        return Path(cast("str | os.PathLike[str]", source))
    return None


def _format(path: Path, format: SourceFormat | None) -> SourceFormat:
    if format is not None:
        if format not in _SUFFIXES.values():
            raise ConfigurationError(f"format must be jsonl, csv or parquet, not {format!r}.")
        return format
    name = path.name.removesuffix(".gz")
    detected = _SUFFIXES.get(Path(name).suffix.lower())
    if detected is None:
        raise ConfigurationError(
            f"The name {path.name} does not tell its format.",
            suggestion="Pass format='jsonl', 'csv' or 'parquet'.",
        )
    return detected


def fingerprint(source: object) -> dict[str, Any]:
    """Return what tells one source from another: for a file, its size and its beginning.

    Raises:
        CaptureError: The file cannot be read.
    """
    path = _path(source)
    if path is None:
        return {"kind": "iterable"}
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        return {"kind": "file", "bytes": path.stat().st_size, "head": sha256(head).hexdigest()}
    except OSError as error:
        raise _read_error(path, error) from None


async def open_rows(
    source: Source, form: SourceFormat | None, skip: int
) -> AsyncGenerator[list[object]]:
    """Yield the rows of a source in lists, without the first `skip` of them.

    Raises:
        CaptureError: The file cannot be read.
        ConfigurationError: Its format is unknown, or a package for it is not installed.
    """
    path = _path(source)
    if path is not None:
        rows = _file_rows(path, _format(path, form))
        with closing(_chunks(rows, skip)) as chunks:
            while chunk := await _next(chunks, path):
                yield chunk
        return
    if isinstance(source, AsyncIterable):
        chunk: list[object] = []
        async for row in cast("AsyncIterable[object]", source):
            if skip:
                skip -= 1
                continue
            chunk.append(row)
            if len(chunk) == _CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk
        return
    if not isinstance(cast("object", source), Iterable):
        raise TypeError(
            f"source must be a path or an iterable of mappings, not {type(source).__name__}"
        )
    for chunk in _chunks(iter(cast("Iterable[object]", source)), skip):
        yield chunk
        await anyio.lowlevel.checkpoint()


async def _next(chunks: Iterator[list[object]], path: Path) -> list[object]:
    try:
        return await run_in_thread(next, chunks, cast("list[object]", []))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise _read_error(path, error) from None


def _chunks(rows: Iterator[object], skip: int) -> Generator[list[object]]:
    for _ in range(skip):
        if next(rows, None) is None:
            return
    chunk: list[object] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _file_rows(path: Path, form: SourceFormat) -> Iterator[object]:
    if form == "parquet":
        yield from _parquet_rows(path)
        return
    with _open_text(path) as file:
        if form == "csv":
            # A cell may be as large as an event.
            csv.field_size_limit(16 * 1024 * 1024)
            yield from csv.DictReader(file)
            return
        for line in file:
            if not line.strip():
                continue
            try:
                yield from_json(line)
            except ValueError as error:
                yield InvalidRow(f"the line is not JSON: {error}")


def _open_text(path: Path) -> IO[str]:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _parquet_rows(path: Path) -> Iterator[object]:
    try:
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError:
        raise ConfigurationError(
            "Reading Parquet needs a package that is not installed.",
            suggestion="Run: pip install 'asyncposthog[parquet]'.",
        ) from None
    try:
        file = parquet.ParquetFile(path)
    except import_module("pyarrow").ArrowInvalid as error:
        raise _read_error(path, error) from None
    with file:
        for batch in file.iter_batches(batch_size=_CHUNK):
            yield from batch.to_pylist()


def _read_error(path: Path, error: Exception) -> CaptureError:
    return CaptureError(f"{path} cannot be read: {error}.")
