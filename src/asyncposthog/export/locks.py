"""Locks on files, between tasks, threads and processes. The lock of a process that died is free.

A lock is an advisory lock of the operating system on a small file beside what it protects. The
file is removed on release; a file that was left by a killed process is taken over. So is the lock
of a run whose event loop was closed before the run could end, as by Ctrl-C three times in a
Python prompt. A file that is not the lock file of an export is neither changed nor removed.
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

__all__ = ["FileLock", "lock_name"]

_TAKEN: Final = frozenset({errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK})
_FAR: Final = 1 << 30
"""The byte that is locked on Windows, where what is locked cannot be read."""

_LONGEST: Final = 300
"""Bytes. A file that is longer is no lock file."""
_CONTENT: Final = re.compile(rb"process [0-9]+ on [^\n]*")

_held: dict[tuple[int, int], FileLock] = {}
"""All locks of this process, by device and inode."""
# Reentrant: the garbage collector may end a run, and release its lock, in the middle of `take`.
_mutex = RLock()


def lock_name(path: Path) -> Path:
    """Return the name of the lock file of a file: in the same folder, and hidden."""
    return path.with_name(f".{path.name}.lock")


class FileLock:
    """A lock that this process holds, from `take` until `release`."""

    def __init__(
        self,
        path: Path,
        key: tuple[int, int],
        descriptor: int,
        abandon: Callable[[], object] | None,
    ) -> None:
        """Keep what identifies it; use `take`."""
        self._path = path
        self._key = key
        self.descriptor = descriptor
        self._abandon = abandon
        self._loop: AbstractEventLoop | None = caller_event_loop()

    @classmethod
    def take(cls, path: Path, abandon: Callable[[], object] | None = None) -> FileLock | None:
        """Take a lock at once; None if another task or process has it.

        Where the file system has no locks, it holds within this process alone.

        Args:
            path: The lock file.
            abandon: Ends the run that has the lock, if its event loop was closed before it could.
                It is called in the thread that takes the lock next.

        Raises:
            ExportError: It is a symbolic link, no regular file, or a file of something else.
            OSError: It cannot be opened.
        """
        while True:
            lock, descriptor = None, open_or_create(path)
            try:
                found = os.fstat(descriptor)
                key = found.st_dev, found.st_ino
                with _mutex:
                    holder = _held.get(key)
                    free = holder is None and _lock(descriptor)
                    # Who had it before may have removed the file in between: it locks nothing.
                    if free and _is_at(path, key):
                        _write_content(path, descriptor)
                        lock = _held[key] = cls(path, key, descriptor, abandon)
            finally:
                if lock is None:
                    os.close(descriptor)
            if lock is not None:
                return lock
            if holder is not None and holder._is_abandoned:
                holder._take_over()
            elif not free:
                return None

    @property
    def _is_abandoned(self) -> bool:
        return self._loop is not None and self._loop.is_closed()

    def _take_over(self) -> None:
        """End the run that has the lock, which its event loop has left behind."""
        assert self._loop is not None
        join_threads(self._loop)
        try:
            if self._abandon is not None:
                self._abandon()
        finally:
            self.release()

    def release(self) -> None:
        """Give the lock back and remove its file. Does nothing the second time."""
        with _mutex:
            if _held.get(self._key) is not self:
                return
            if sys.platform != "win32" and _is_at(self._path, self._key):
                with suppress(OSError):
                    self._path.unlink()
            del _held[self._key]
            # Not by closing alone: a process that was forked meanwhile has the same open file.
            _unlock(self.descriptor)
            os.close(self.descriptor)
            if sys.platform == "win32":  # pragma: no cover - an open file cannot be removed
                with suppress(OSError):
                    self._path.unlink()

    @staticmethod
    def holder(path: Path) -> str | None:
        """Return which process has a lock, as far as its file says so."""
        try:
            content = read(path, _LONGEST)
        except OSError:
            return None
        return content.decode(errors="replace") if _CONTENT.fullmatch(content) else None


def _is_at(path: Path, key: tuple[int, int]) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == key


def _write_content(path: Path, descriptor: int) -> None:
    """Write into a lock file which process has the lock.

    Raises:
        ExportError: It is a file of something else.
    """
    os.lseek(descriptor, 0, os.SEEK_SET)
    content = os.read(descriptor, _LONGEST)
    if os.fstat(descriptor).st_nlink > 1:
        why = "it is a hard link to another file"
    elif content and _CONTENT.fullmatch(content) is None:
        why = "its content is not that of a lock file"
    else:
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, f"process {os.getpid()} on {platform.node()}".encode())
        return
    raise ExportError(
        f"{path} is in the way: the export keeps its lock there, and {why}.",
        suggestion="Remove or rename it, or choose another target.",
    )


def _lock(descriptor: int) -> bool:
    """Lock an open file; False if another process has the lock."""
    try:
        if sys.platform == "win32":  # pragma: no cover
            os.lseek(descriptor, _FAR, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _TAKEN
    return True


def _unlock(descriptor: int) -> None:
    with suppress(OSError):
        if sys.platform == "win32":  # pragma: no cover
            os.lseek(descriptor, _FAR, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _forget() -> None:
    """Close the locks of the parent in a forked process: they are not its own."""
    global _mutex  # another thread of the parent may have held it
    _mutex = RLock()
    for lock in _held.values():
        with suppress(OSError):
            os.close(lock.descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
