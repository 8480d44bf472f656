"""Keys of the rows that an export delivered near its end, so that a later one can skip them.

Rows arrive late. An export with `overlap` that continues another one starts that much earlier, and
leaves out the rows that were delivered. To know them, it keeps a file beside its checkpoint with
one record per row of the overlap: 16 bytes that identify the row's key, and 8 bytes with its time.
During a run, records are appended. The checkpoint states the name of the file, the number of valid
records and their SHA-256. At the end of a run, the records that the next one needs are written to
another file, sorted by key.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b, sha256
from io import FileIO
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from asyncposthog.errors import ExportError
from asyncposthog.export.engines.base import Prepare

from .atomic_files import create, read, reopen, translate_os_errors, write_atomically
from .batch import Batch
from .checkpoint import Checkpoint, check_same_export, differences
from .timestamps import format_clickhouse, parse_clickhouse

__all__ = ["DedupedBatch", "DeliveredKeys", "continuation_checkpoint", "continues_previous"]

T = TypeVar("T")

_KEY_BYTES: Final = 16
_RECORD_BYTES: Final = 24
"""Bytes of a record: the key, by which the records of earlier runs are sorted, and the time."""
_MAY_DIFFER: Final = ("end", "path", "format", "name", "rows_per_file", "rows_per_group")
"""Fields of the fingerprint in which an export may differ from the one that it continues."""


def continues_previous(
    path: Path, stored: Checkpoint, fingerprint: Mapping[str, Any], *, open_ended: bool
) -> bool:
    """Return whether an export continues a completed one, rather than being the same export.

    Args:
        path: The path of the checkpoint.
        stored: The checkpoint of the completed export.
        fingerprint: The fingerprint of this export.
        open_ended: Whether this export ends at the time it starts.

    Raises:
        ExportError: They are exports of different rows.
    """
    if stored.phase != "done" or stored.delivered is None:
        return False
    if not open_ended and not any(differences(stored.fingerprint, fingerprint)):
        return False
    check_same_export(path, _comparable(stored.fingerprint), _comparable(fingerprint))
    return True


def _comparable(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fingerprint.items() if name not in _MAY_DIFFER}


def continuation_checkpoint(
    stored: Checkpoint, fingerprint: Mapping[str, Any], bounds: Mapping[str, Any], overlap: int
) -> Checkpoint:
    """Return the first checkpoint of an export that continues a completed one.

    Args:
        stored: The checkpoint of the completed export.
        fingerprint: The fingerprint of this export.
        bounds: The time range of this export.
        overlap: Microseconds by which it starts before the end of the completed one.

    Raises:
        ExportError: It ends before the completed one.
    """
    assert stored.delivered is not None
    delivered_until = parse_clickhouse(stored.bounds["end"])
    # Its checkpoint would state an earlier end, and the next export would deliver rows again.
    if parse_clickhouse(bounds["end"]) < delivered_until:
        raise ExportError(
            f"The end of the export, {bounds['end']} UTC, is before that of the previous one, "
            f"which exported until {format_clickhouse(delivered_until)} UTC.",
            suggestion="Use a later end, or another checkpoint.",
        )
    start = max(parse_clickhouse(fingerprint["start"]), delivered_until - overlap)
    delivered = {
        **stored.delivered,
        "previous_records": stored.delivered["records"],
        "delivered_until": format_clickhouse(delivered_until),
    }
    return Checkpoint(
        fingerprint=fingerprint,
        bounds={**bounds, "start": format_clickhouse(start)},
        delivered=delivered,
    )


@dataclass(frozen=True, slots=True)
class DedupedBatch(Generic[T]):
    """A prepared batch of the rows that were not delivered before."""

    content: T
    records: bytes
    """Records of those rows that the next export has to know."""
    skipped: int
    """Number of rows left out."""


class DeliveredKeys:
    """Records of the rows that one run, and those before it, delivered."""

    def __init__(self, checkpoint: Path, state: Mapping[str, Any] | None, keep_from: int) -> None:
        """Store the arguments. Nothing is opened yet.

        Args:
            checkpoint: The path of the checkpoint.
            state: The state in the checkpoint; None: nothing was exported before.
            keep_from: The time, in microseconds since 1970, from which rows are recorded.
        """
        self._folder = checkpoint.parent
        self._stem = self.stem(checkpoint)
        self._digest = sha256()
        new = {
            "file": f"{self._stem}1",
            "previous_records": 0,
            "records": 0,
            "sha256": self._digest.hexdigest(),
            "delivered_until": None,
        }
        self._state: dict[str, Any] = dict(state or new)
        self._first_path = self._path
        self._file_opened = False
        self._keep_from = keep_from
        self._delivered_until = (
            None
            if self._state["delivered_until"] is None
            else parse_clickhouse(self._state["delivered_until"])
        )
        self._previous_records = b""
        self._previous_count = 0
        self._file: FileIO | None = None

    @staticmethod
    def stem(checkpoint: Path) -> str:
        """Return the prefix of the names of the files.

        Args:
            checkpoint: The path of the checkpoint.
        """
        return f"{checkpoint.name}.delivered-"

    @property
    def _path(self) -> Path:
        return self._folder / self._state["file"]

    def open(self) -> None:
        """Read the records of earlier runs, and open the file to append to it.

        Raises:
            ExportError: The file does not match the checkpoint, or cannot be read.
        """
        previous, total = self._state["previous_records"], self._state["records"]
        with translate_os_errors(self._path):
            exists = os.path.lexists(self._path)
            self._file = reopen(self._path) if exists else create(self._path)
            self._file_opened = True
            on_disk, reason = os.fstat(self._file.fileno()).st_size // _RECORD_BYTES, ""
            content = read(self._path, total * _RECORD_BYTES)
            self._digest = sha256(content)
            if on_disk < total:
                reason = f"it has {on_disk:,} records of {total:,}"
            elif self._digest.hexdigest() != self._state["sha256"]:
                reason = "its bytes changed"
            if reason:
                raise ExportError(
                    f"{self._path} is not what the checkpoint says was written: {reason}.",
                    suggestion="The file belongs to the checkpoint and moves with it. Restore it, "
                    "or start again with another checkpoint and another output.",
                )
            self._previous_records = content[: previous * _RECORD_BYTES]
            # Later records are of rows that an interrupted run did not save.
            self._file.truncate(total * _RECORD_BYTES)
            self._file.seek(total * _RECORD_BYTES)
        self._previous_count = previous

    def deduplicating(self, prepare: Prepare[T]) -> Prepare[DedupedBatch[T]]:
        """Return a function that prepares only rows that were not delivered. It runs in threads."""

        def prepare_new(batch: Batch) -> DedupedBatch[T]:
            new = self._new_rows(batch)
            new_rows = batch if new is None else _select_rows(batch, new)
            return DedupedBatch(
                prepare(new_rows), self._records_of(new_rows), len(batch) - len(new_rows)
            )

        return prepare_new

    def _new_rows(self, batch: Batch) -> list[int] | None:
        """Return the indexes of rows that were not delivered; None: none was."""
        if (
            self._delivered_until is None
            or not len(batch)
            or parse_clickhouse(batch.times[0]) >= self._delivered_until
        ):
            return None
        stop = bisect_left(batch.times, self._delivered_until, key=parse_clickhouse)
        late_rows = (
            index for index in range(stop) if not self._contains(_key_bytes(batch.keys[index]))
        )
        new = [*late_rows, *range(stop, len(batch))]
        return None if len(new) == len(batch) else new

    def _contains(self, key: bytes) -> bool:
        records = self._previous_records

        def key_at(index: int) -> bytes:
            return records[index * _RECORD_BYTES : index * _RECORD_BYTES + _KEY_BYTES]

        index = bisect_left(range(self._previous_count), key, key=key_at)
        return index < self._previous_count and key_at(index) == key

    def _records_of(self, batch: Batch) -> bytes:
        if not len(batch) or parse_clickhouse(batch.times[-1]) < self._keep_from:
            return b""
        first = bisect_left(batch.times, self._keep_from, key=parse_clickhouse)
        return b"".join(map(_record, batch.keys[first:], batch.times[first:]))

    def append(self, records: bytes) -> None:
        """Append the records of rows that are about to be delivered."""
        if records:
            assert self._file is not None
            with translate_os_errors(self._path):
                remaining = memoryview(records)
                while remaining:
                    remaining = remaining[self._file.write(remaining) :]
            self._digest.update(records)
            self._state["records"] += len(records) // _RECORD_BYTES

    def sync(self) -> Mapping[str, Any]:
        """Sync the records to disk, and return the state for the checkpoint."""
        assert self._file is not None
        with translate_os_errors(self._path):
            os.fsync(self._file.fileno())
        self._state["sha256"] = self._digest.hexdigest()
        return dict(self._state)

    def finish(self) -> Mapping[str, Any]:
        """Write the records that the next run needs to a new file.

        The file of this run stays until `remove_old_files`.

        Returns:
            The state for the checkpoint.
        """
        with translate_os_errors(self._path):
            content = read(self._path, self._state["records"] * _RECORD_BYTES)
            next_records = _sorted(content, self._keep_from)
            number = int(self._state["file"].removeprefix(self._stem)) + 1
            self._state = {
                "file": f"{self._stem}{number}",
                "previous_records": len(next_records) // _RECORD_BYTES,
                "records": len(next_records) // _RECORD_BYTES,
                "sha256": sha256(next_records).hexdigest(),
                "delivered_until": None,
            }
            write_atomically(self._path, next_records)
        return dict(self._state)

    def remove_old_files(self) -> None:
        """Remove the files of this and earlier runs, except the one for the next run."""
        self.close()
        for path in self._folder.glob(f"{self._stem}*"):
            if path != self._path:
                path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the files of a run that will not be resumed."""
        self.close()
        if self._path != self._first_path:
            self._path.unlink(missing_ok=True)
        if self._file_opened and self._delivered_until is None:
            self._first_path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _select_rows(batch: Batch, indexes: Sequence[int]) -> Batch:
    """Return the rows at ascending indexes."""
    count, position = len(batch), batch.position

    def position_after(n: int) -> Any:
        return position(count if n >= len(indexes) else indexes[n - 1] + 1)

    return replace(
        batch,
        raw_columns=tuple([column[i] for i in indexes] for column in batch.raw_columns),
        keys=[batch.keys[i] for i in indexes],
        times=[batch.times[i] for i in indexes],
        position=position_after,
    )


def _key_bytes(key: str) -> bytes:
    """Return 16 bytes that identify a key: those of a UUID, or a digest."""
    if len(key) == 36:
        try:
            content = bytes.fromhex(key.replace("-", ""))
        except ValueError:
            content = b""
        if len(content) == _KEY_BYTES:
            return content
    return blake2b(key.encode(), digest_size=_KEY_BYTES).digest()


def _record(key: str, time: str) -> bytes:
    # Eight signed bytes: a timestamp before 1970 is negative.
    return _key_bytes(key) + parse_clickhouse(time).to_bytes(
        _RECORD_BYTES - _KEY_BYTES, "big", signed=True
    )


def _sorted(content: bytes, keep_from: int) -> bytes:
    """Return the records from a time on, each once, sorted by key."""
    records: Sequence[bytes] = [
        content[i : i + _RECORD_BYTES] for i in range(0, len(content), _RECORD_BYTES)
    ]
    recent = {r for r in records if int.from_bytes(r[_KEY_BYTES:], "big", signed=True) >= keep_from}
    return b"".join(sorted(recent))
