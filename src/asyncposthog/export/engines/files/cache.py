"""Folder for downloaded files until their rows are exported. A run that resumes uses them again.

Each folder is locked by the run that uses it. Folders that no run uses are removed by the next one.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
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
from asyncposthog.export.checkpoint_schema import job_state
from asyncposthog.export.locks import FileLock
from asyncposthog.export.temporary_folders import private_folder

__all__ = ["DownloadCache", "JobFolder"]

_STALE_SECONDS: Final = 86_400
"""Seconds after which the files of an interrupted export are removed."""
_MAX_STATE_BYTES: Final = 16 * 1024 * 1024
"""Maximum size of a state file. A larger file is not one."""
_STATE_FILE: Final = re.compile(rb'\{"sha256":"([0-9a-f]{64})",\n"job":(.*)\}\n', re.DOTALL)
_TEMPORARY_PREFIX: Final = "temporary-"
"""Prefix of the names of folders that no other run can use."""


@dataclass(frozen=True, slots=True)
class JobFolder:
    """Files of one job."""

    path: Path

    def read_state(self) -> dict[str, Any]:
        """Return the state of the job; an empty dict if none was started, or its file is damaged.

        The files are then made and fetched again.
        """
        try:
            match = _STATE_FILE.fullmatch(read(self.path / "job.json", _MAX_STATE_BYTES))
            if match is None or hashlib.sha256(match[2]).hexdigest() != match[1].decode():
                return {}
            read_state: object = from_json(match[2], allow_inf_nan=False)
        except (OSError, ValueError, ExportError):
            return {}
        return cast("dict[str, Any]", read_state) if job_state(read_state) else {}

    def write_state(self, read_state: Mapping[str, Any]) -> None:
        """Store the state of the job."""
        with translate_os_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            body = to_json(read_state)
            head = f'{{"sha256":"{hashlib.sha256(body).hexdigest()}",\n"job":'
            write_atomically(self.path / "job.json", head.encode() + body + b"}\n")

    def clear(self) -> None:
        """Remove the state of the job, and its files."""
        shutil.rmtree(self.path, ignore_errors=True)

    def part(self, number: int) -> Path:
        """Return the path of a part once it is fetched completely."""
        return self.path / f"part-{number:05d}.parquet"

    def sorted_part(self, number: int) -> Path:
        """Return the path of the sorted rows of a part."""
        return self.path / f"part-{number:05d}.arrow"


class DownloadCache:
    """Folder of one export, which this run alone uses until `remove` or `release`."""

    def __init__(self, folder: Path, lock: FileLock) -> None:
        """Store what `resumable` or `temporary` has locked."""
        self.folder = folder
        self._lock = lock

    @classmethod
    def resumable(cls, fingerprint: Mapping[str, Any]) -> DownloadCache:
        """Return the folder of a resumable export: the one of an earlier run, if no other uses it.

        Raises:
            ExportError: The folder cannot be locked.
        """
        name = hashlib.sha256(to_json(fingerprint)).hexdigest()[:24]
        root = private_folder("files", "downloaded files")
        with translate_os_errors(root):
            # The same rows may be exported to two targets at a time: each run gets a folder.
            names = (f"{name}-{number}" if number else name for number in range(1_000))
            cache = next(filter(None, (cls._lock_folder(root / name) for name in names)))
        _remove_stale(root)
        return cache

    @classmethod
    def temporary(cls) -> DownloadCache:
        """Return a folder for one run.

        Raises:
            ExportError: The folder cannot be created.
        """
        root = private_folder("files", "downloaded files")
        with translate_os_errors(root):
            cache = cls._lock_folder(root / f"{_TEMPORARY_PREFIX}{token_hex(12)}")
            assert cache is not None
            cache.folder.mkdir(mode=0o700)
        _remove_stale(root)
        return cache

    @classmethod
    def _lock_folder(cls, folder: Path) -> DownloadCache | None:
        lock = FileLock.acquire(_lock_path(folder))
        return None if lock is None else cls(folder, lock)

    def job(self, number: int) -> JobFolder:
        """Return the folder of a job."""
        return JobFolder(self.folder / f"job-{number:05d}")

    @property
    def holds_files(self) -> bool:
        """Whether there is something that another run can use."""
        return self.folder.is_dir()

    def remove(self) -> None:
        """Remove all files, and release the lock."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()

    def release(self) -> None:
        """Release the lock and keep the files for another run. Does nothing after `remove`."""
        with suppress(OSError):
            os.utime(self.folder)  # its age is counted from now
        self._lock.release()


def _lock_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _remove_stale(root: Path) -> None:
    """Remove the folders that no run uses: temporary ones at once, others after a day."""
    with suppress(OSError):
        names = {path.name.removesuffix(".lock") for path in root.iterdir()}
        oldest = time.time() - _STALE_SECONDS
        for name in names:
            with suppress(OSError, ExportError):
                _remove_if_stale(root / name, oldest)


def _remove_if_stale(folder: Path, oldest: float) -> None:
    def is_stale() -> bool:
        if folder.name.startswith(_TEMPORARY_PREFIX) or not folder.exists():
            return True
        return folder.lstat().st_mtime < oldest

    if not is_stale():
        return
    lock = FileLock.acquire(_lock_path(folder))
    if lock is None:
        return
    try:
        # Again under the lock: another run may have used it in between.
        if is_stale():
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        lock.release()
