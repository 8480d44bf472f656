"""File locks between tasks, threads and processes. The lock of a process that died is free.

A lock is an advisory lock of the operating system on a small file beside the protected one. The
file is removed on release. A file that a killed process left behind is taken over, and so is the
lock of a run whose event loop was closed before the run could end, as by pressing Ctrl-C three
times at a Python prompt. A file that is not a lock file of an export is neither changed nor
removed.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import sys
from asyncio import AbstractEventLoop
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import Final

from asyncposthog.errors import ExportError
from asyncposthog.threads import caller_event_loop, join_threads

from .atomic_files import open_or_create, read

if sys.platform == "win32":  # pragma: no cover
    import msvcrt
else:
    import fcntl

__all__ = ["FileLock", "lock_path"]

_LOCKED_ERRORS: Final = frozenset({errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK})
_LOCK_OFFSET: Final = 1 << 30
"""Offset of the byte that is locked on Windows, where a locked byte cannot be read."""

_MAX_BYTES: Final = 300
"""Maximum size of a lock file. A larger file is not one."""
_CONTENT: Final = re.compile(rb"process [0-9]+ on [^\n]*")

_locks: dict[tuple[int, int], FileLock] = {}
"""All locks of this process, by device and inode."""
# Reentrant: the garbage collector may end a run and release its lock in the middle of `acquire`.
_registry_lock = RLock()


def lock_path(path: Path) -> Path:
    """Return the path of the lock file of a file: in the same folder, and hidden."""
    return path.with_name(f".{path.name}.lock")


class FileLock:
    """Lock that this process holds, from `acquire` until `release`."""

    def __init__(
        self,
        path: Path,
        key: tuple[int, int],
        descriptor: int,
        abort: Callable[[], object] | None,
    ) -> None:
        """Store the arguments. Called by `acquire`."""
        self._path = path
        self._key = key
        self.descriptor = descriptor
        self._abort = abort
        self._loop: AbstractEventLoop | None = caller_event_loop()

    @classmethod
    def acquire(cls, path: Path, abort: Callable[[], object] | None = None) -> FileLock | None:
        """Acquire a lock without waiting; None if another task or process holds it.

        On a file system without locks, it holds within this process only.

        Args:
            path: The lock file.
            abort: Ends the run that holds the lock, if its event loop was closed before it could
                release it. Called in the thread that acquires the lock next.

        Raises:
            ExportError: The path is a symbolic link, not a regular file, or another program's file.
            OSError: It cannot be opened.
        """
        while True:
            lock, descriptor = None, open_or_create(path)
            try:
                status = os.fstat(descriptor)
                key = status.st_dev, status.st_ino
                with _registry_lock:
                    holder = _locks.get(key)
                    acquired = holder is None and _try_lock(descriptor)
                    # The previous holder may have removed the file after it was opened here. A lock
                    # on a file without a name excludes no one, so the file is opened again.
                    if acquired and _is_file_at(path, key):
                        _write_content(path, descriptor)
                        lock = _locks[key] = cls(path, key, descriptor, abort)
            finally:
                if lock is None:
                    os.close(descriptor)
            if lock is not None:
                return lock
            if holder is not None and holder._is_abandoned:
                holder._take_over()
            elif not acquired:
                return None

    @property
    def _is_abandoned(self) -> bool:
        return self._loop is not None and self._loop.is_closed()

    def _take_over(self) -> None:
        """End the run that holds the lock, whose event loop was closed."""
        assert self._loop is not None
        join_threads(self._loop)
        try:
            if self._abort is not None:
                self._abort()
        finally:
            self.release()

    def release(self) -> None:
        """Release the lock and remove its file. Does nothing the second time."""
        with _registry_lock:
            if _locks.get(self._key) is not self:
                return
            if sys.platform != "win32" and _is_file_at(self._path, self._key):
                with suppress(OSError):
                    self._path.unlink()
            del _locks[self._key]
            # Closing alone is not enough: a process that was forked meanwhile shares the open file.
            _unlock(self.descriptor)
            os.close(self.descriptor)
            if sys.platform == "win32":  # pragma: no cover - an open file cannot be removed
                with suppress(OSError):
                    self._path.unlink()

    @staticmethod
    def holder(path: Path) -> str | None:
        """Return which process holds a lock, as written in its file; None if that is unknown."""
        try:
            content = read(path, _MAX_BYTES)
        except OSError:
            return None
        return content.decode(errors="replace") if _CONTENT.fullmatch(content) else None


def _is_file_at(path: Path, key: tuple[int, int]) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == key


def _write_content(path: Path, descriptor: int) -> None:
    """Write the id of this process into a lock file.

    Raises:
        ExportError: The file is not a lock file.
    """
    os.lseek(descriptor, 0, os.SEEK_SET)
    content = os.read(descriptor, _MAX_BYTES)
    if os.fstat(descriptor).st_nlink > 1:
        # Writing to it would change the other file.
        reason = "it is a hard link to another file"
    elif content and _CONTENT.fullmatch(content) is None:
        reason = "its content is not that of a lock file"
    else:
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, f"process {os.getpid()} on {platform.node()}".encode())
        return
    raise ExportError(
        f"Cannot use {path} as the lock file of the export: {reason}.",
        suggestion="Remove or rename it, or choose another target.",
    )


def _try_lock(descriptor: int) -> bool:
    """Lock an open file; return False if another process holds the lock."""
    try:
        if sys.platform == "win32":  # pragma: no cover
            os.lseek(descriptor, _LOCK_OFFSET, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _LOCKED_ERRORS
    return True


def _unlock(descriptor: int) -> None:
    with suppress(OSError):
        if sys.platform == "win32":  # pragma: no cover
            os.lseek(descriptor, _LOCK_OFFSET, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _close_inherited_locks() -> None:
    """Close the locks of the parent in a forked process, which does not own them."""
    # A new lock: another thread of the parent may have held the old one when it forked.
    global _registry_lock
    _registry_lock = RLock()
    for lock in _locks.values():
        with suppress(OSError):
            os.close(lock.descriptor)
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited_locks)
