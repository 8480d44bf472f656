"""What one export alone may write to: its target and its checkpoint, locked while it runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from asyncposthog.errors import ExportError

from .atomic_files import refuse_link, translate_os_errors
from .locks import FileLock, lock_name

__all__ = ["Claim"]


class Claim:
    """The right to write a target and a checkpoint, from `take` until `release`."""

    def __init__(self, target: Path | None, checkpoint: Path | None, *, is_folder: bool) -> None:
        """Touch nothing yet.

        Args:
            target: The file or folder to write; None: there is none.
            checkpoint: The checkpoint; None: there is none.
            is_folder: Whether the target is a folder. It is made if need be.
        """
        self._target = target
        self._checkpoint = checkpoint
        self._is_folder = is_folder
        self._abandon: Callable[[], object] | None = None
        self._locks: list[FileLock] = []
        self._made: list[Path] = []

    def take(self, abandon: Callable[[], object]) -> None:
        """Check the paths and lock them, before anything is read or written.

        Args:
            abandon: Ends the export if its event loop was closed before it could.

        Raises:
            FileExistsError: The target has to be a folder, and is something else.
            ExportError: Another export has one of them; or one is a symbolic link, both are the
                same, or they cannot be written.
        """
        self._abandon = abandon
        target, checkpoint = self._target, self._checkpoint
        if target is not None and checkpoint is not None and _same(target, checkpoint):
            raise ExportError(
                f"{target} cannot be both the output and the checkpoint.",
                suggestion="Give the checkpoint another name.",
            )
        if target is not None:
            self._take_target(target)
        if checkpoint is not None:
            refuse_link(checkpoint)
            with translate_os_errors(checkpoint):
                self._lock(lock_name(checkpoint), f"The checkpoint {checkpoint} is used")

    def _take_target(self, target: Path) -> None:
        if not self._is_folder:
            refuse_link(target)
            with translate_os_errors(target):
                self._lock(lock_name(target), f"{target} is written")
            return
        if target.exists() and not target.is_dir():
            raise FileExistsError(f"{target} is no folder. Remove it, or choose another.")
        with translate_os_errors(target):
            missing = [path for path in (target, *target.parents) if not path.exists()]
            for path in reversed(missing):
                with suppress(FileExistsError):  # another export makes it at the same time
                    path.mkdir()
                    self._made.insert(0, path)
            # Inside: the folder above may be read-only, as that of a mounted volume is.
            self._lock(target / ".asyncposthog.lock", f"{target} is written")

    def _lock(self, path: Path, what: str) -> None:
        lock = FileLock.take(path, self._abandon)
        if lock is None:
            holder = FileLock.holder(path)
            raise ExportError(
                f"{what} by another export that is running{f' ({holder})' if holder else ''}.",
                suggestion="Wait until that has ended, or choose another target and checkpoint.",
            )
        self._locks.append(lock)

    def release(self, *, failed: bool, resumed: bool) -> None:
        """Release the locks. Does nothing the second time.

        Args:
            failed: Whether the export failed: folders that were made and are empty are removed.
            resumed: Whether an earlier run had begun it, and may have made the folder.
        """
        while self._locks:
            self._locks[-1].release()
            self._locks.pop()
        if failed:
            folders = self._made
            if resumed and not folders and self._is_folder and self._target is not None:
                folders = [self._target]
            for folder in folders:
                with suppress(OSError):  # it is not empty
                    folder.rmdir()
        self._made = []


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
