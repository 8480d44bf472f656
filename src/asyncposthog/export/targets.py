"""What the name of an output says: one file or a folder, and of which format. Pure."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

__all__ = ["Form", "Target", "form_of_name", "read_target"]

Form: TypeAlias = Literal["jsonl", "csv", "parquet"]

_FORMS: Final[dict[str, Form]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_WORDS: Final[dict[Form, str]] = {"jsonl": "JSON lines", "csv": "CSV", "parquet": "Parquet"}
_OTHER: Final = frozenset({".arrow", ".avro", ".feather", ".ipc", ".orc", ".tsv", ".xls", ".xlsx"})
"""Formats that are not written, so that a file of such a name would be another than it says."""
_COMPRESSED: Final = frozenset({".gz", ".zst", ".bz2", ".xz", ".zip", ".lz4"})


@dataclass(frozen=True, slots=True)
class Target:
    """Where an export is written to."""

    path: Path
    folder: bool
    """Whether it is a folder of files."""


def form_of_name(given: str | os.PathLike[str]) -> Form | None:
    """Return the format that a name says; None where it says none, as that of a folder."""
    return None if _is_folder(given) else _read(Path(given))[0]


def read_target(given: str | os.PathLike[str], form: Form) -> Target:
    """Return where an export is written to.

    JSON lines and CSV are one file. Parquet is one file where the name ends in `.parquet` or
    `.pq`, else a folder; a slash at the end always means a folder.

    Args:
        given: What the user named.
        form: The format to write.

    Raises:
        TypeError: It is no path of text.
        ValueError: The name is that of another format, or of a format or a compression that is
            not written.
    """
    if not isinstance(os.fspath(_path_like(given)), str):
        raise TypeError(f"an output must be a str or a path of text, not {type(given).__name__}")
    if not os.fspath(given):
        raise ValueError("the output has no name: name a file or a folder, '.' for this one")
    path = Path(given)
    if _is_folder(given) or not path.name:
        if form != "parquet":
            raise ValueError(
                f"{os.fspath(given)!r} names a folder, and {_WORDS[form]} is written to one file: "
                "name that, without a slash at the end"
            )
        return Target(path, folder=True)
    named, compression = _read(path)
    other = (path.with_suffix("") if compression else path).suffix.lower()
    if other in _OTHER:
        raise ValueError(
            f"{str(path)!r} is named as {other}, which is not written: use .jsonl, .csv or .parquet"
        )
    if named is not None and named != form:
        folder = f", or '{path}/' for a folder" if form == "parquet" else ""
        raise ValueError(
            f"{str(path)!r} is named as {_WORDS[named]}, but {_WORDS[form]} is to be written: use "
            f"another name{folder}, or the other format"
        )
    if compression and form == "parquet":
        raise ValueError(
            f"{str(path)!r} is named as compressed by {compression}, but Parquet is compressed "
            "inside: use a name that ends in .parquet"
        )
    if compression not in {"", ".gz"}:
        raise ValueError(
            f"{str(path)!r} is named as compressed by {compression}, and only .gz is written: use "
            "that, or a name without it"
        )
    return Target(path, folder=form == "parquet" and named is None)


def _path_like(given: object) -> str | bytes | os.PathLike[str]:
    if not isinstance(given, str | bytes | os.PathLike):
        raise TypeError(f"an output must be a str or a path, not {type(given).__name__}")
    return cast("str | bytes | os.PathLike[str]", given)


def _is_folder(given: str | os.PathLike[str]) -> bool:
    return os.fspath(given).endswith(tuple(filter(None, ("/", os.sep, os.altsep))))


def _read(path: Path) -> tuple[Form | None, str]:
    """Return the format that a name says, and its compression."""
    suffix = path.suffix.lower()
    compression = suffix if suffix in _COMPRESSED else ""
    inner = path.with_suffix("").suffix.lower() if compression else suffix
    return _FORMS.get(inner), compression
