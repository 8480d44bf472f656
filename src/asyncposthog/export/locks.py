"""Locks on files, between tasks, threads and processes. The lock of a process that died is free.

A lock is an advisory lock of the operating system on a small file beside what it protects. The
file is removed on release; a file that was left by a killed process is taken over.
"""

from __future__ import annotations

import errno
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path
from threading import Lock as Mutex
from typing import Final

from .atomic_files import open_or_create, read

if sys.platform == "win32":  # pragma: no cover
    import msvcrt
else:
    import fcntl

__all__ = ["FileLock", "lock_name"]

_TAKEN: Final = frozenset({errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK})
_FAR: Final = 1 << 30
"""The byte that is locked on Windows, where what is locked cannot be read."""

_held: dict[tuple[int, int], int] = {}
"""The descriptors of all locks of this process, by device and inode."""
_mutex = Mutex()


def lock_name(path: Path) -> Path:
    """Return the name of the lock file of a file: in the same folder, and hidden."""
    return path.with_name(f".{path.name}.lock")


class FileLock:
    """A lock that this process holds, from `take` until `release`."""

    def __init__(self, path: Path, key: tuple[int, int], descriptor: int) -> None:
        """Keep what identifies it; use `take`."""
        self._path = path
        self._key = key
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> FileLock | None:
        """Take a lock at once; None if another task or process has it.

        Where the file system has no locks, it holds within this process alone.

        Args:
            path: The lock file.

        Raises:
            ExportError: It is a symbolic link, or no regular file.
            OSError: It cannot be opened.
        """
        while True:
            descriptor = open_or_create(path)
            found = os.fstat(descriptor)
            key = found.st_dev, found.st_ino
            with _mutex:
                free = key not in _held and _lock(descriptor)
                # Who had it before may have removed the file in between: then it locks nothing.
                current = free and _is_at(path, key)
                if current:
                    _held[key] = descriptor
            if current:
                with suppress(OSError):
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, f"process {os.getpid()} on {platform.node()}".encode())
                return cls(path, key, descriptor)
            os.close(descriptor)
            if not free:
                return None

    def release(self) -> None:
        """Give the lock back and remove its file. Does nothing the second time."""
        with _mutex:
            if _held.get(self._key) != self._descriptor:
                return
            if sys.platform != "win32" and _is_at(self._path, self._key):
                with suppress(OSError):
                    self._path.unlink()
            del _held[self._key]
            # Not by closing alone: a process that was forked meanwhile has the same open file.
            _unlock(self._descriptor)
            os.close(self._descriptor)
            if sys.platform == "win32":  # pragma: no cover - an open file cannot be removed
                with suppress(OSError):
                    self._path.unlink()

    @staticmethod
    def holder(path: Path) -> str | None:
        """Return which process has a lock, as far as its file says so."""
        try:
            return read(path, 300).decode() or None
        except (OSError, ValueError):
            return None


def _is_at(path: Path, key: tuple[int, int]) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == key


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
    _mutex = Mutex()
    for descriptor in _held.values():
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
