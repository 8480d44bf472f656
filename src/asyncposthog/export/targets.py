"""Parse the name of an output: a file or a folder, and its format. Pure."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

__all__ = ["FileFormat", "Target", "format_from_name", "parse_target"]

FileFormat: TypeAlias = Literal["jsonl", "csv", "parquet"]

_SUFFIX_FORMATS: Final[dict[str, FileFormat]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_FORMAT_NAMES: Final[dict[FileFormat, str]] = {
    "jsonl": "JSON lines",
    "csv": "CSV",
    "parquet": "Parquet",
}
_UNSUPPORTED_SUFFIXES: Final = frozenset(
    {".arrow", ".avro", ".feather", ".ipc", ".orc", ".tsv", ".xls", ".xlsx"}
)
"""Suffixes of formats that cannot be written: a file of such a name would have other content."""
_COMPRESSION_SUFFIXES: Final = frozenset({".gz", ".zst", ".bz2", ".xz", ".zip", ".lz4"})


@dataclass(frozen=True, slots=True)
class Target:
    """File or folder that an export is written to."""

    path: Path
    is_folder: bool
    """Whether it is a folder of files."""


def format_from_name(value: str | os.PathLike[str]) -> FileFormat | None:
    """Return the format that a name implies; None if it implies none, as that of a folder."""
    return None if _is_folder(value) else _format_and_compression(Path(value))[0]


def parse_target(value: str | os.PathLike[str], format: FileFormat) -> Target:
    """Return the file or folder that a name means.

    JSONL and CSV are written to one file. Parquet is written to one file if the name ends in
    `.parquet` or `.pq`, and to a folder otherwise; a trailing slash always means a folder.

    Args:
        value: The name that the user gave.
        format: The format to write.

    Raises:
        TypeError: The name is not a str or a path of text.
        ValueError: The name is empty, that of another format, or that of a format or a compression
            that cannot be written.
    """
    if not isinstance(os.fspath(_path_like(value)), str):
        raise TypeError(f"an output must be a str or a path of text, not {type(value).__name__}")
    if not os.fspath(value):
        raise ValueError("the output has an empty name: use '.' for the current folder")
    path = Path(value)
    if _is_folder(value) or not path.name:
        if format != "parquet":
            raise ValueError(
                f"{os.fspath(value)!r} is the name of a folder, but {_FORMAT_NAMES[format]} is "
                "written to one file: use a name without a slash at the end"
            )
        return Target(path, is_folder=True)
    named_format, compression = _format_and_compression(path)
    suffix = (path.with_suffix("") if compression else path).suffix.lower()
    if suffix in _UNSUPPORTED_SUFFIXES:
        raise ValueError(
            f"{str(path)!r} has the suffix of a format that is not written: use .jsonl, .csv or "
            ".parquet"
        )
    if named_format is not None and named_format != format:
        folder_hint = f", or '{path}/' for a folder" if format == "parquet" else ""
        raise ValueError(
            f"{str(path)!r} has the suffix of {_FORMAT_NAMES[named_format]}, but the format is "
            f"{_FORMAT_NAMES[format]}: use another name{folder_hint}, or the other format"
        )
    if compression and format == "parquet":
        raise ValueError(
            f"{str(path)!r} has the suffix {compression}, but Parquet files are compressed "
            "internally: use a name that ends in .parquet"
        )
    if compression not in {"", ".gz"}:
        raise ValueError(
            f"{str(path)!r} has the suffix {compression}, but the only compression is .gz: use "
            "that, or a name without it"
        )
    return Target(path, is_folder=format == "parquet" and named_format is None)


def _path_like(value: object) -> str | bytes | os.PathLike[str]:
    if not isinstance(value, str | bytes | os.PathLike):
        raise TypeError(f"an output must be a str or a path, not {type(value).__name__}")
    return cast("str | bytes | os.PathLike[str]", value)


def _is_folder(value: str | os.PathLike[str]) -> bool:
    return os.fspath(value).endswith(tuple(filter(None, ("/", os.sep, os.altsep))))


def _format_and_compression(path: Path) -> tuple[FileFormat | None, str]:
    """Return the format that a name implies, and its compression suffix."""
    suffix = path.suffix.lower()
    compression = suffix if suffix in _COMPRESSION_SUFFIXES else ""
    inner = path.with_suffix("").suffix.lower() if compression else suffix
    return _SUFFIX_FORMATS.get(inner), compression
