"""What an export remembers of its last stretch, so that a later one can read that again.

Rows arrive late. An export with `overlap` that goes on where the last one ended begins so much
earlier, and leaves out what was delivered. For that it keeps a file beside its checkpoint: a
record for each row of the overlap, of 16 bytes that tell its key and 8 that tell its time. During
a run, records are appended; how many are good is in the checkpoint, and so are the name of the file
and the SHA-256 of those. At the end of a run those that the next one needs go into another file.
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
from .checkpoint import Checkpoint, check, differences
from .timestamps import as_text, parse_clickhouse

__all__ = ["DedupedBatch", "Memory", "continuation_checkpoint", "goes_on"]

T = TypeVar("T")

_KEY: Final = 16
_SIZE: Final = 24
"""Bytes of a record: the key first, by which records that are known are sorted."""
_MAY_DIFFER: Final = ("end", "path", "format", "name", "rows_per_file", "rows_per_group")
"""What may differ between an export and the one that goes on with it."""


def goes_on(path: Path, found: Checkpoint, identity: Mapping[str, Any], *, until_now: bool) -> bool:
    """Tell whether an export goes on where another has ended, rather than being that one.

    Args:
        path: Where the checkpoint of the other is.
        found: That checkpoint.
        identity: What is to be exported.
        until_now: Whether it ends now, whenever that is.

    Raises:
        ExportError: They are of different rows.
    """
    if found.phase != "done" or found.memory is None:
        return False
    if not until_now and not any(differences(found.identity, identity)):
        return False
    check(path, _fixed(found.identity), _fixed(identity))
    return True


def _fixed(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in identity.items() if name not in _MAY_DIFFER}


def continuation_checkpoint(
    found: Checkpoint, identity: Mapping[str, Any], settled: Mapping[str, Any], overlap: int
) -> Checkpoint:
    """Return the checkpoint of an export that begins where another has ended.

    Args:
        found: The checkpoint of the other.
        identity: What is exported.
        settled: What was decided for it.
        overlap: Microseconds by which it begins earlier.

    Raises:
        ExportError: It ends before the other.
    """
    assert found.memory is not None
    until = parse_clickhouse(found.settled["end"])
    if parse_clickhouse(settled["end"]) < until:
        raise ExportError(
            f"It was exported until {as_text(until)} UTC already, and not only until "
            f"{settled['end']}.",
            suggestion="Give a later end, or another checkpoint.",
        )
    begin = max(parse_clickhouse(identity["start"]), until - overlap)
    memory = {**found.memory, "base": found.memory["size"], "until": as_text(until)}
    return Checkpoint(identity=identity, settled={**settled, "from": as_text(begin)}, memory=memory)


@dataclass(frozen=True, slots=True)
class DedupedBatch(Generic[T]):
    """What was prepared of the rows that are new."""

    content: T
    records: bytes
    """Of those that have to be remembered."""
    known: int
    """How many rows were left out."""


class Memory:
    """The records of one run."""

    def __init__(self, checkpoint: Path, state: Mapping[str, Any] | None, keep_from: int) -> None:
        """Open nothing yet.

        Args:
            checkpoint: The path of the checkpoint.
            state: What the checkpoint says; None: nothing was exported before.
            keep_from: From which moment on rows have to be remembered.
        """
        self._folder = checkpoint.parent
        self._stem = self.stem(checkpoint)
        self._digest = sha256()
        new = {
            "file": f"{self._stem}1",
            "base": 0,
            "size": 0,
            "sha256": self._digest.hexdigest(),
            "until": None,
        }
        self._state: dict[str, Any] = dict(state or new)
        self._first = self._path
        self._opened = False
        self._keep_from = keep_from
        self._until = (
            None if self._state["until"] is None else parse_clickhouse(self._state["until"])
        )
        self._known = b""
        self._count = 0
        self._file: FileIO | None = None

    @staticmethod
    def stem(checkpoint: Path) -> str:
        """Return what the names of its files begin with.

        Args:
            checkpoint: The path of the checkpoint.
        """
        return f"{checkpoint.name}.delivered-"

    @property
    def _path(self) -> Path:
        return self._folder / self._state["file"]

    def begin(self) -> None:
        """Read what is known, and open the file to append to it.

        Raises:
            ExportError: It is not what the checkpoint says.
        """
        base, size = self._state["base"], self._state["size"]
        with translate_os_errors(self._path):
            exists = os.path.lexists(self._path)
            self._file = reopen(self._path) if exists else create(self._path)
            self._opened = True
            there, why = os.fstat(self._file.fileno()).st_size // _SIZE, ""
            content = read(self._path, size * _SIZE)
            self._digest = sha256(content)
            if there < size:
                why = f"it has {there:,} records of {size:,}"
            elif self._digest.hexdigest() != self._state["sha256"]:
                why = "its bytes changed"
            if why:
                raise ExportError(
                    f"{self._path} is not what the checkpoint says was written: {why}.",
                    suggestion="It belongs to the checkpoint, and goes where that goes. Restore "
                    "it, or begin anew with another checkpoint and another output.",
                )
            self._known = content[: base * _SIZE]
            self._file.truncate(size * _SIZE)
            self._file.seek(size * _SIZE)
        self._count = base

    def screened(self, prepare: Prepare[T]) -> Prepare[DedupedBatch[T]]:
        """Return what prepares the rows that were not delivered yet. It runs in threads."""

        def prepare_new(batch: Batch) -> DedupedBatch[T]:
            new = self._new(batch)
            kept = batch if new is None else _taken(batch, new)
            return DedupedBatch(prepare(kept), self._records(kept), len(batch) - len(kept))

        return prepare_new

    def _new(self, batch: Batch) -> list[int] | None:
        """Return the places of the rows that are new; None: all are."""
        if self._until is None or not len(batch) or parse_clickhouse(batch.times[0]) >= self._until:
            return None
        stop = bisect_left(batch.times, self._until, key=parse_clickhouse)
        again = (place for place in range(stop) if not self._contains(_key(batch.keys[place])))
        new = [*again, *range(stop, len(batch))]
        return None if len(new) == len(batch) else new

    def _contains(self, key: bytes) -> bool:
        known = self._known

        def at(place: int) -> bytes:
            return known[place * _SIZE : place * _SIZE + _KEY]

        place = bisect_left(range(self._count), key, key=at)
        return place < self._count and at(place) == key

    def _records(self, batch: Batch) -> bytes:
        if not len(batch) or parse_clickhouse(batch.times[-1]) < self._keep_from:
            return b""
        first = bisect_left(batch.times, self._keep_from, key=parse_clickhouse)
        return b"".join(map(_record, batch.keys[first:], batch.times[first:]))

    def append(self, records: bytes) -> None:
        """Note rows that are about to be written."""
        if records:
            assert self._file is not None
            with translate_os_errors(self._path):
                left = memoryview(records)
                while left:
                    left = left[self._file.write(left) :]
            self._digest.update(records)
            self._state["size"] += len(records) // _SIZE

    def sync(self) -> Mapping[str, Any]:
        """Make the records durable, and return the state for the checkpoint."""
        assert self._file is not None
        with translate_os_errors(self._path):
            os.fsync(self._file.fileno())
        self._state["sha256"] = self._digest.hexdigest()
        return dict(self._state)

    def finish(self) -> Mapping[str, Any]:
        """Write what the next run needs, and return the state for the checkpoint.

        What this run had is still there: `clean` removes it.
        """
        with translate_os_errors(self._path):
            content = read(self._path, self._state["size"] * _SIZE)
            kept = _sorted(content, self._keep_from)
            number = int(self._state["file"].removeprefix(self._stem)) + 1
            self._state = {
                "file": f"{self._stem}{number}",
                "base": len(kept) // _SIZE,
                "size": len(kept) // _SIZE,
                "sha256": sha256(kept).hexdigest(),
                "until": None,
            }
            write_atomically(self._path, kept)
        return dict(self._state)

    def clean(self) -> None:
        """Remove what is of earlier runs."""
        self.close()
        for path in self._folder.glob(f"{self._stem}*"):
            if path != self._path:
                path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove what a run has begun that will not be resumed."""
        self.close()
        if self._path != self._first:
            self._path.unlink(missing_ok=True)
        if self._opened and self._until is None:
            self._first.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _taken(batch: Batch, places: Sequence[int]) -> Batch:
    """Return the rows at some places, which ascend."""
    count, position = len(batch), batch.position

    def behind(n: int) -> Any:
        return position(count if n >= len(places) else places[n - 1] + 1)

    return replace(
        batch,
        raw_columns=tuple([column[i] for i in places] for column in batch.raw_columns),
        keys=[batch.keys[i] for i in places],
        times=[batch.times[i] for i in places],
        position=behind,
    )


def _key(key: str) -> bytes:
    """Return 16 bytes that tell a key: those of the UUID that it is, or a digest."""
    if len(key) == 36:
        try:
            content = bytes.fromhex(key.replace("-", ""))
        except ValueError:
            content = b""
        if len(content) == _KEY:
            return content
    return blake2b(key.encode(), digest_size=_KEY).digest()


def _record(key: str, time: str) -> bytes:
    return _key(key) + parse_clickhouse(time).to_bytes(_SIZE - _KEY, "big", signed=True)


def _sorted(content: bytes, keep_from: int) -> bytes:
    """Return the records from a moment on, each once, by their keys."""
    records: Sequence[bytes] = [content[i : i + _SIZE] for i in range(0, len(content), _SIZE)]
    kept = {r for r in records if int.from_bytes(r[_KEY:], "big", signed=True) >= keep_from}
    return b"".join(sorted(kept))
