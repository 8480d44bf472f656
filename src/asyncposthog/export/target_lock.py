"""Locks on the target and the checkpoint of an export while it runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from asyncposthog.errors import ExportError

from .atomic_files import reject_symlink, translate_os_errors
from .locks import FileLock, lock_path

__all__ = ["TargetLock"]


class TargetLock:
    """Exclusive right to write a target and a checkpoint, from `acquire` until `release`."""

    def __init__(self, target: Path | None, checkpoint: Path | None, *, is_folder: bool) -> None:
        """Store the arguments. Nothing is touched yet.

        Args:
            target: The file or folder to write; None: there is none.
            checkpoint: The checkpoint; None: there is none.
            is_folder: Whether the target is a folder, which is created if missing.
        """
        self._target = target
        self._checkpoint = checkpoint
        self._is_folder = is_folder
        self._abort: Callable[[], object] | None = None
        self._locks: list[FileLock] = []
        self._created_folders: list[Path] = []

    def acquire(self, abort: Callable[[], object]) -> None:
        """Check the paths and lock them, before anything is read or written.

        Args:
            abort: Called by another export that needs the lock if the event loop of this one was
                closed before it could release it.

        Raises:
            FileExistsError: The target has to be a folder, and is something else.
            ExportError: Another export has locked one of them; one is a symbolic link; both are the
                same file; or they cannot be written.
        """
        self._abort = abort
        target, checkpoint = self._target, self._checkpoint
        if target is not None and checkpoint is not None and _is_same_file(target, checkpoint):
            raise ExportError(
                f"{target} cannot be both the output and the checkpoint.",
                suggestion="Give the checkpoint another name.",
            )
        if target is not None:
            self._lock_target(target)
        if checkpoint is not None:
            reject_symlink(checkpoint)
            with translate_os_errors(checkpoint):
                self._lock(lock_path(checkpoint), f"The checkpoint {checkpoint} is used")

    def _lock_target(self, target: Path) -> None:
        if not self._is_folder:
            reject_symlink(target)
            with translate_os_errors(target):
                self._lock(lock_path(target), f"{target} is written")
            return
        if target.exists() and not target.is_dir():
            raise FileExistsError(f"{target} is not a folder. Remove it, or choose another.")
        with translate_os_errors(target):
            missing = [path for path in (target, *target.parents) if not path.exists()]
            for path in reversed(missing):
                with suppress(FileExistsError):  # another export creates it at the same time
                    path.mkdir()
                    self._created_folders.insert(0, path)
            # Inside the folder: the one above may be read-only, as that of a mounted volume.
            self._lock(target / ".asyncposthog.lock", f"{target} is written")

    def _lock(self, path: Path, what: str) -> None:
        lock = FileLock.acquire(path, self._abort)
        if lock is None:
            holder = FileLock.holder(path)
            raise ExportError(
                f"{what} by another running export{f' ({holder})' if holder else ''}.",
                suggestion="Wait until it has ended, or choose another target and checkpoint.",
            )
        self._locks.append(lock)

    def release(self, *, failed: bool, resumed: bool) -> None:
        """Release the locks. Does nothing the second time.

        Args:
            failed: Whether the export failed; created folders that are empty are then removed.
            resumed: Whether an earlier run started the export, and may have created the folder.
        """
        while self._locks:
            self._locks[-1].release()
            self._locks.pop()
        if failed:
            folders = self._created_folders
            if resumed and not folders and self._is_folder and self._target is not None:
                folders = [self._target]
            for folder in folders:
                with suppress(OSError):  # the folder is not empty
                    folder.rmdir()
        self._created_folders = []


def _is_same_file(first: Path, second: Path) -> bool:
    return os.path.realpath(first) == os.path.realpath(second)
