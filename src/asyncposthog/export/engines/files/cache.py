"""Where files are kept until their rows are handed on. A run that was killed finds them again.

Each folder is locked by the run that uses it. What no run uses any more is removed by the next.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, cast

from pydantic_core import from_json, to_json

from asyncposthog.errors import ExportError
from asyncposthog.export.atomic_files import read, translate_os_errors, write_atomically
from asyncposthog.export.checkpoint_schema import job_note
from asyncposthog.export.locks import FileLock

__all__ = ["DownloadCache", "JobFolder"]

_STALE: Final = 86_400
"""Seconds after which what an interrupted export left behind is removed."""
_LARGEST: Final = 16 * 1024 * 1024
"""Bytes. A note that is larger is none of ours."""
_NOTE: Final = re.compile(rb'\{"sha256":"([0-9a-f]{64})",\n"job":(.*)\}\n', re.DOTALL)
_PASSING: Final = "passing-"
"""What the names of folders begin with that no other run can use."""


@dataclass(frozen=True, slots=True)
class JobFolder:
    """The files of one job."""

    path: Path

    def note(self) -> dict[str, Any]:
        """Return what is known of the job; nothing where none was begun, or the note is damaged.

        Then the files are made and fetched anew.
        """
        try:
            found = _NOTE.fullmatch(read(self.path / "job.json", _LARGEST))
            if found is None or hashlib.sha256(found[2]).hexdigest() != found[1].decode():
                return {}
            note: object = from_json(found[2], allow_inf_nan=False)
        except (OSError, ValueError, ExportError):
            return {}
        return cast("dict[str, Any]", note) if job_note(note) else {}

    def write(self, note: Mapping[str, Any]) -> None:
        """Note what is known of the job."""
        with translate_os_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            body = to_json(note)
            head = f'{{"sha256":"{hashlib.sha256(body).hexdigest()}",\n"job":'
            write_atomically(self.path / "job.json", head.encode() + body + b"}\n")

    def clear(self) -> None:
        """Forget the job, and its files."""
        shutil.rmtree(self.path, ignore_errors=True)

    def part(self, number: int) -> Path:
        """Return where a part is once it was fetched as a whole."""
        return self.path / f"part-{number:05d}.parquet"

    def run(self, number: int) -> Path:
        """Return where a part's rows are once they are in order."""
        return self.path / f"part-{number:05d}.arrow"


class DownloadCache:
    """The folder of one export, which this run alone uses until `remove` or `release`."""

    def __init__(self, folder: Path, lock: FileLock) -> None:
        """Keep what `of` or `passing` has locked."""
        self.folder = folder
        self._lock = lock

    @classmethod
    def of(cls, identity: Mapping[str, Any]) -> DownloadCache:
        """Return the folder of an export that may be resumed: the same as before, if it is free.

        Raises:
            ExportError: It cannot be had.
        """
        name = hashlib.sha256(to_json(identity)).hexdigest()[:24]
        root = _root()
        with translate_os_errors(root):
            # The same rows may be exported to two targets at a time.
            names = (f"{name}-{number}" if number else name for number in range(1_000))
            spool = next(filter(None, (cls._locked(root / name) for name in names)))
        _remove_stale(root)
        return spool

    @classmethod
    def passing(cls) -> DownloadCache:
        """Return a folder for one run alone.

        Raises:
            ExportError: It cannot be had.
        """
        root = _root()
        with translate_os_errors(root):
            spool = cls._locked(root / f"{_PASSING}{token_hex(12)}")
            assert spool is not None
            spool.folder.mkdir(mode=0o700)
        _remove_stale(root)
        return spool

    @classmethod
    def _locked(cls, folder: Path) -> DownloadCache | None:
        lock = FileLock.take(_lock_of(folder))
        return None if lock is None else cls(folder, lock)

    def job(self, number: int) -> JobFolder:
        """Return the folder of a job."""
        return JobFolder(self.folder / f"job-{number:05d}")

    @property
    def holds_files(self) -> bool:
        """Whether there is something that another run can use."""
        return self.folder.is_dir()

    def remove(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()

    def release(self) -> None:
        """Leave the files to another run; nothing after `remove`."""
        with suppress(OSError):
            os.utime(self.folder)  # its age counts from here
        self._lock.release()


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")


def _root() -> Path:
    """Return the folder of all spools of this user.

    Raises:
        ExportError: It cannot be had, or is not this user's alone.
    """
    root = Path(tempfile.gettempdir()) / f"asyncposthog-files-{_user()}"
    with translate_os_errors(root):
        root.mkdir(mode=0o700, exist_ok=True)
        state = root.lstat()
        if not stat.S_ISDIR(state.st_mode) or (
            hasattr(os, "getuid") and state.st_uid != os.getuid()
        ):
            raise ExportError(
                f"{root} belongs to another user, or is no folder: downloaded files cannot be kept "
                "there.",
                suggestion="Set TMPDIR to another folder for temporary files.",
            )
        if state.st_mode & 0o077:
            root.chmod(0o700)
    return root


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _remove_stale(root: Path) -> None:
    """Remove what no run uses: what cannot be resumed at once, all else after a while."""
    with suppress(OSError):
        names = {path.name.removesuffix(".lock") for path in root.iterdir()}
        limit = time.time() - _STALE
        for name in names:
            with suppress(OSError, ExportError):
                _remove_if_stale(root / name, limit)


def _remove_if_stale(folder: Path, limit: float) -> None:
    def is_stale() -> bool:
        if folder.name.startswith(_PASSING) or not folder.exists():
            return True
        return folder.lstat().st_mtime < limit

    if not is_stale():
        return
    lock = FileLock.take(_lock_of(folder))
    if lock is None:
        return
    try:
        if is_stale():  # still: another run may have used it in between
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        lock.release()
