"""Sinks for object stores: they wrap a sink for local files, and upload what it completes.

Nothing that a later run needs is on the local disk alone: a safe point is one when everything
before it was uploaded. A run on another machine can therefore resume.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol, cast

from asyncposthog.errors import ExportError
from asyncposthog.export.atomic_files import partial_name, translate_os_errors
from asyncposthog.export.batch import Batch
from asyncposthog.export.checkpoint_schema import parquet_state, text_state
from asyncposthog.export.engines.base import PreparedBatch
from asyncposthog.export.object_store import (
    ObjectPath,
    prepare_work_folder,
    remove_work_folder,
)
from asyncposthog.export.report import FileReport

from .base import SafePoint, Sink
from .parquet import ArrowBatch, ParquetSink
from .parquet_targets import ParquetFileSink
from .text import TextSink

__all__ = ["ObjectFileSink", "ObjectFolderSink", "ParquetPieces", "Pieces", "TextPieces"]

SEGMENT_BYTES: Final = 16 * 1024 * 1024
"""Bytes of a text file that are uploaded at a time: a resumed run requests at most this again."""


class ObjectFolderSink:
    """Writer of Parquet files by day below a prefix."""

    is_folder = False  # the lock is that of the work folder

    def __init__(
        self, folder: ObjectPath, *, rows_per_file: int, rows_per_group: int, overwrite: bool
    ) -> None:
        """Store the arguments. Nothing is opened yet.

        Args:
            folder: The common prefix of the files.
            rows_per_file: The number of rows of a day after which another file starts.
            rows_per_group: The number of rows of a row group.
            overwrite: Whether the files of an earlier export are replaced.

        Raises:
            ImportError: pyarrow is not installed.
        """
        self.target = folder.work_folder
        self._folder = folder
        self._sink = ParquetSink(
            self.target, rows_per_file=rows_per_file, rows_per_group=rows_per_group
        )
        self._staging = folder.child(".replacement") if overwrite else folder
        self.replaces = overwrite
        self.state_validator = parquet_state
        self._uploaded = 0
        self._resumed_files = 0
        self._opened = False

    @property
    def rows(self) -> int:
        """Rows written so far."""
        return self._sink.rows

    @property
    def checksum(self) -> int:
        """Checksum of their keys."""
        return self._sink.checksum

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """The format, the prefix, and how the rows are divided."""
        overwrite = {"overwrite": True} if self.replaces else {}
        return {**self._sink.fingerprint, "path": str(self._folder), **overwrite}

    def check(self, state: Mapping[str, Any] | None, owns_output: bool) -> None:
        """Check that the sink can begin; see `Sink.check`."""
        if state is not None:
            self._verify_sizes(self._staging, state)
        elif not self.replaces and not owns_output and self._existing_files(self._folder):
            raise FileExistsError(
                f"{self._folder} already has Parquet files, and they are not those of an "
                "interrupted export. Remove them, choose another folder, or replace them with "
                "overwrite=True."
            )

    def _existing_files(self, folder: ObjectPath) -> list[str]:
        """Return the names of files of exports."""
        return [
            name
            for name in folder.sizes()
            if name.rpartition("/")[2].startswith("part-")
            and name.endswith(".parquet")
            and ("/" not in name or (name.startswith("date=") and name.count("/") == 1))
        ]

    def _verify_sizes(self, folder: ObjectPath, state: Mapping[str, Any]) -> None:
        sizes = folder.sizes()
        for file in state["files"]:
            size = sizes.get(file["name"], -1)
            if size != file["bytes"]:
                raise _changed_error(folder.child(file["name"]), size, file["bytes"])

    def begin(self, state: Mapping[str, Any] | None) -> None:
        """Find out whether the store is writable, and remove what is not part of the state."""
        prepare_work_folder(self.target)
        self._opened = True
        self._folder.child("part").probe()
        self._sink.begin(state)
        self._uploaded = self._resumed_files = len(self._sink.files)
        committed = {file["name"] for file in self._sink.files}
        for name in self._existing_files(self._staging):
            if name not in committed:
                self._staging.child(name).unlink()

    def prepare(self, batch: Batch) -> ArrowBatch:
        """Convert rows to Arrow tables."""
        return self._sink.prepare(batch)

    def write(self, batch: PreparedBatch[ArrowBatch], *, durable: bool) -> SafePoint | None:
        """Write rows, and upload the files that they fill."""
        safe_point = self._sink.write(batch, durable=durable)
        self._upload()
        return safe_point

    def _upload(self) -> None:
        for file in self._sink.files[self._uploaded :]:
            path = self.target / file["name"]
            self._staging.child(file["name"]).put(path)
            path.unlink()
            self._uploaded += 1

    def finish(self) -> Mapping[str, Any]:
        """Complete and upload the last file."""
        state = self._sink.finish()
        self._upload()
        return state

    def commit(self, state: Mapping[str, Any], *, verify: bool) -> tuple[FileReport, ...]:
        """Report the files. If they replace others, copy them to their places first."""
        if self.replaces:
            self._replace(state)
        self._verify_sizes(self._folder, state)
        remove_work_folder(self.target)
        return tuple(
            FileReport(
                path=str(self._folder.child(file["name"])),
                rows=file["rows"],
                bytes=file["bytes"],
                sha256=file["sha256"],
            )
            for file in state["files"]
        )

    def _replace(self, state: Mapping[str, Any]) -> None:
        staged, placed = self._staging.sizes(), self._folder.sizes()
        for file in state["files"]:
            name, size = file["name"], file["bytes"]
            # An earlier run may have removed some of the staged files, after it copied all.
            found = staged.get(name, placed.get(name, -1))
            if found != size:
                raise _changed_error(self._staging.child(name), found, size)
        names = {file["name"] for file in state["files"]}
        for name in sorted(names & staged.keys()):
            self._staging.child(name).copy_to(self._folder.child(name))
        for name in self._existing_files(self._folder):
            if name not in names:
                self._folder.child(name).unlink()
        self._staging.remove_below()

    def close(self, *, keep: bool) -> None:
        """Close everything, and remove what no later run can use."""
        self._sink.close(keep=False)
        if not self._opened:
            return
        remove_work_folder(self.target)
        if not keep:
            with suppress(ExportError):
                for file in self._sink.files[self._resumed_files :]:
                    self._staging.child(file["name"]).unlink()


class Pieces(Protocol):
    """How a file that is being written is stored in pieces, from which it can be built again."""

    def valid(self, state: object) -> bool:
        """Return whether a value is a state that `upload` or `finish` returned."""
        ...

    def download(self, folder: ObjectPath, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Build the local files of a state again, and return the state of the local sink."""
        ...

    def upload(self, folder: ObjectPath, state: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Upload what is new, and return the state to save; None if it is too little."""
        ...

    def finish(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the final state to save."""
        ...


class TextPieces:
    """Pieces of a text file: segments of its bytes."""

    def __init__(self, path: Path) -> None:
        """Store the path of the local file."""
        self._partial = partial_name(path)
        self._segments: list[int] = []

    def valid(self, state: object) -> bool:
        """Return whether a value is a state of a text file, with the sizes of its segments."""
        if not isinstance(state, dict):
            return False
        fields = dict(cast("dict[str, Any]", state))
        sizes = fields.pop("segments", None)
        if not isinstance(sizes, list) or not text_state(fields):
            return False
        return all(type(size) is int and size > 0 for size in cast("list[object]", sizes))

    def download(self, folder: ObjectPath, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Build the local file from its segments."""
        piece = self._partial.with_name("segment")
        self._segments = list(state["segments"])
        with self._partial.open("wb") as file:
            for number in range(len(self._segments)):
                folder.child(_segment_name(number)).get(piece)
                with piece.open("rb") as source:
                    shutil.copyfileobj(source, file)
                piece.unlink()
        return {name: value for name, value in state.items() if name != "segments"}

    def upload(self, folder: ObjectPath, state: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Upload a segment, if there are enough bytes for one."""
        start = sum(self._segments)
        size = state["offset"] - start
        if size < SEGMENT_BYTES:
            return None
        piece = self._partial.with_name("segment")
        with self._partial.open("rb") as source, piece.open("wb") as file:
            source.seek(start)
            while size and (chunk := source.read(min(size, 1024 * 1024))):
                file.write(chunk)
                size -= len(chunk)
        folder.child(_segment_name(len(self._segments))).put(piece)
        piece.unlink()
        self._segments.append(state["offset"] - start)
        return {**state, "segments": list(self._segments)}

    def finish(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the final state to save."""
        return {**state, "segments": list(self._segments)}


class ParquetPieces:
    """Pieces of a Parquet file: the parts that `ParquetFileSink` makes."""

    def __init__(self, path: Path) -> None:
        """Store the path of the local file."""
        self._parts = path.with_name(f".{path.name}.parts")
        self._uploaded = 0

    def valid(self, state: object) -> bool:
        """Return whether a value is a state of a Parquet file."""
        return parquet_state(state)

    def download(self, folder: ObjectPath, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Download the parts."""
        self._parts.mkdir(mode=0o700)
        for file in state["files"]:
            folder.child(file["name"]).get(self._parts / file["name"])
        self._uploaded = len(state["files"])
        return state

    def upload(self, folder: ObjectPath, state: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Upload the parts that are new."""
        for file in state["files"][self._uploaded :]:
            folder.child(file["name"]).put(self._parts / file["name"])
            self._uploaded += 1
        return state

    def finish(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the final state to save."""
        return state


class ObjectFileSink:
    """Writer of one object.

    A local sink writes the file. Pieces of it are uploaded to `.NAME.parts/`; a resumed run builds
    the local file from them. The complete file is uploaded as `.NAME.partial`, which is copied to
    its final name.
    """

    is_folder = False

    def __init__(
        self,
        target: ObjectPath,
        sink: TextSink | ParquetFileSink,
        pieces: Pieces,
        *,
        overwrite: bool,
    ) -> None:
        """Store the arguments. Nothing is opened yet.

        Args:
            target: The object.
            sink: Writes the local file, in `target.work_folder`.
            pieces: The pieces that are uploaded while it is written.
            overwrite: Whether an existing object is replaced.
        """
        self.target = target.work_folder
        self._target = target
        self._sink = cast("Sink[Any]", sink)
        self._pieces = pieces
        self._pieces_folder = target.with_name(f".{target.name}.parts")
        self._partial = target.with_name(f".{target.name}.partial")
        self.replaces = overwrite
        self.state_validator: Callable[[object], bool] = pieces.valid
        self._opened = False
        self._committed = False

    @property
    def rows(self) -> int:
        """Rows written so far."""
        return self._sink.rows

    @property
    def checksum(self) -> int:
        """Checksum of their keys."""
        return self._sink.checksum

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """The format, the URL, and how the rows are divided."""
        return {**self._sink.fingerprint, "path": str(self._target)}

    def check(self, state: Mapping[str, Any] | None, owns_output: bool) -> None:
        """Check that the sink can begin; see `Sink.check`."""
        self._check_target_free(
            "is not an interrupted export"
            if state is None
            else "was created while the export was interrupted"
        )

    def _check_target_free(self, reason: str) -> None:
        if not self.replaces and self._target.size() >= 0:
            raise FileExistsError(
                f"{self._target} already exists and {reason}. Remove it, choose another name, or "
                "replace it with overwrite=True."
            )

    def begin(self, state: Mapping[str, Any] | None) -> None:
        """Find out whether the store is writable, and build the local file of the state again."""
        prepare_work_folder(self.target)
        self._opened = True
        self._target.probe()
        if state is None:
            self._pieces_folder.remove_below()
            self._partial.unlink()
            self._sink.begin(None)
            return
        with translate_os_errors(self.target):
            local = self._pieces.download(self._pieces_folder, state)
        self._sink.check(local, owns_output=True)
        self._sink.begin(local)

    def prepare(self, batch: Batch) -> Any:
        """Convert rows to what the local sink writes."""
        return self._sink.prepare(batch)

    def write(self, batch: PreparedBatch[Any], *, durable: bool) -> SafePoint | None:
        """Write rows to the local file, and upload pieces of it."""
        safe_point = self._sink.write(batch, durable=durable)
        if safe_point is None:
            return None
        with translate_os_errors(self.target):
            state = self._pieces.upload(self._pieces_folder, safe_point.state)
        return None if state is None else SafePoint(safe_point.position, state)

    def finish(self) -> Mapping[str, Any]:
        """Complete the file, and upload it under its partial name."""
        state = self._sink.finish()
        files = self._sink.commit(state, verify=False)
        path = Path(files[0].path)
        self._partial.put(path)
        with translate_os_errors(path):
            path.unlink()
        return self._pieces.finish(state)

    def commit(self, state: Mapping[str, Any], *, verify: bool) -> tuple[FileReport, ...]:
        """Give the object its final name."""
        entry = state["files"][0] if "files" in state else state
        size = entry["bytes"] if "files" in state else entry["offset"]
        # An earlier run may have stopped after any of these steps.
        staged = self._partial.size()
        if staged == size:
            # The copy of an earlier run is not that of someone else.
            if self._target.size() != size:
                self._check_target_free("was created while the export ran")
            self._partial.copy_to(self._target)
            self._committed = True
        found = self._target.size()
        if found != size:
            raise _changed_error(self._target, found, size)
        self._partial.unlink()
        self._pieces_folder.remove_below()
        remove_work_folder(self.target)
        return (
            FileReport(
                path=str(self._target), rows=state["rows"], bytes=size, sha256=entry["sha256"]
            ),
        )

    def close(self, *, keep: bool) -> None:
        """Close everything, and remove what no later run can use."""
        self._sink.close(keep=False)
        if not self._opened:
            return
        remove_work_folder(self.target)
        if not keep:
            with suppress(ExportError):
                self._pieces_folder.remove_below()
                self._partial.unlink()
                if self._committed and not self.replaces:
                    self._target.unlink()


def _changed_error(path: ObjectPath, size: int, expected: int) -> ExportError:
    return ExportError(
        f"{path} is not what the checkpoint says was written: it has {max(size, 0):,} bytes of "
        f"{expected:,}.",
        suggestion="Remove the checkpoint and the output to start again.",
    )


def _segment_name(number: int) -> str:
    return f"segment-{number:06d}"
