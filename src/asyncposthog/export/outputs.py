"""Open the target that a user named: a local file or folder, or objects in a store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from .checkpoint import default_path
from .object_store import FileSystem, ObjectPath, is_url, open_target
from .sinks.text import TextSink
from .targets import parse_target

__all__ = ["Output", "ParquetSizes", "StoreArguments", "open_parquet", "open_text"]

_ROWS_PER_FILE: Final = 500_000
"""Rows of one file in a folder of Parquet files, by default."""


@dataclass(frozen=True, slots=True)
class StoreArguments:
    """The arguments of an export that say how to reach a store."""

    filesystem: FileSystem | None = None
    options: Mapping[str, Any] | None = None

    def open(self, value: str | os.PathLike[str]) -> ObjectPath | str | os.PathLike[str]:
        """Return the object of a URL or of a path in a filesystem; otherwise the value.

        Raises:
            ImportError: A package for such URLs is not installed.
            TypeError: The filesystem is not one of fsspec.
            ValueError: The URL or the arguments are not valid.
        """
        if self.filesystem is None and not is_url(value):
            if self.options is not None:
                raise ValueError("storage_options are for a URL, and the target is a local file")
            return value
        return open_target(value, self.filesystem, self.options)


@dataclass(frozen=True, slots=True)
class ParquetSizes:
    """How rows are divided into files and row groups."""

    rows_per_file: int | None
    rows_per_group: int


@dataclass(frozen=True, slots=True)
class Output:
    """A sink and the checkpoint for it."""

    sink: Any
    checkpoint: Path | ObjectPath | None
    keep_checkpoint: bool
    """Whether the user named the checkpoint."""


def open_text(
    format: Literal["jsonl", "csv"],
    target: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str] | bool | None,
    store: StoreArguments,
    *,
    overwrite: bool,
) -> Output:
    """Return the output for a file of lines.

    Raises:
        ImportError: A package for such URLs is not installed.
        ValueError: The target is the name of another format.
    """
    opened = store.open(target)
    if not isinstance(opened, ObjectPath):
        path = parse_target(opened, format).path
        sink: Any = TextSink(path, format, overwrite=overwrite)
        return _with_checkpoint(sink, path, "file", checkpoint, store)
    from .sinks.objects import ObjectFileSink, TextPieces

    parse_target(_name(opened, target), format)
    local = _local_path(opened)
    inner = TextSink(local, format)
    sink = ObjectFileSink(opened, inner, TextPieces(local), overwrite=overwrite)
    return _with_checkpoint(sink, opened, "file", checkpoint, store)


def open_parquet(
    target: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str] | bool | None,
    store: StoreArguments,
    sizes: ParquetSizes,
    *,
    overwrite: bool,
) -> Output:
    """Return the output for a Parquet file, or for a folder of them.

    Raises:
        ImportError: pyarrow or a package for such URLs is not installed.
        ValueError: The target is the name of another format, or a number does not apply to it.
    """
    from .sinks.parquet import ParquetSink
    from .sinks.parquet_targets import ParquetFileSink, ParquetReplacementSink

    opened = store.open(target)
    name = _name(opened, target) if isinstance(opened, ObjectPath) else opened
    parsed = parse_target(name, "parquet")
    rows, group = sizes.rows_per_file or _ROWS_PER_FILE, sizes.rows_per_group
    if not parsed.is_folder and sizes.rows_per_file is not None:
        raise ValueError(
            f"rows_per_file is for a folder of files, and {str(parsed.path)!r} is one file: "
            f"leave it out, or write to '{parsed.path}/'"
        )
    sink: Any
    kind: Literal["file", "folder"] = "folder" if parsed.is_folder else "file"
    if isinstance(opened, ObjectPath):
        from .sinks.objects import ObjectFileSink, ObjectFolderSink, ParquetPieces

        if parsed.is_folder:
            sink = ObjectFolderSink(
                opened, rows_per_file=rows, rows_per_group=group, overwrite=overwrite
            )
        else:
            local = _local_path(opened)
            inner = ParquetFileSink(local, rows_per_group=group, overwrite=False)
            sink = ObjectFileSink(opened, inner, ParquetPieces(local), overwrite=overwrite)
        return _with_checkpoint(sink, opened, kind, checkpoint, store)
    if parsed.is_folder:
        sink_class = ParquetReplacementSink if overwrite else ParquetSink
        sink = sink_class(parsed.path, rows_per_file=rows, rows_per_group=group)
    else:
        sink = ParquetFileSink(parsed.path, rows_per_group=group, overwrite=overwrite)
    return _with_checkpoint(sink, parsed.path, kind, checkpoint, store)


def _name(opened: ObjectPath, target: str | os.PathLike[str]) -> str:
    """Return the path of an object, with the slash that says it is a folder."""
    return opened.path + ("/" if os.fspath(target).endswith("/") else "")


def _local_path(opened: ObjectPath) -> Path:
    """Return the local file for an object until it is uploaded."""
    return opened.work_folder / opened.name


def _with_checkpoint(
    sink: Any,
    output: Path | ObjectPath,
    kind: Literal["file", "folder"],
    value: str | os.PathLike[str] | bool | None,
    store: StoreArguments,
) -> Output:
    if value is False:
        return Output(sink, None, keep_checkpoint=False)
    if value is None or value is True:
        if isinstance(output, ObjectPath):
            is_folder = kind == "folder"
            name = ".checkpoint" if is_folder else f".{output.name}.checkpoint"
            path = output.child(name) if is_folder else output.with_name(name)
            return Output(sink, path, keep_checkpoint=False)
        form = "parquet" if kind == "folder" else "jsonl"
        return Output(sink, default_path(output, form), keep_checkpoint=False)
    if is_url(value):
        opened = open_target(value, store.filesystem, store.options)
        path = opened if isinstance(opened, ObjectPath) else Path(opened)
        return Output(sink, path, keep_checkpoint=True)
    return Output(sink, Path(value), keep_checkpoint=True)
