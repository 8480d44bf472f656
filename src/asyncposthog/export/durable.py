"""Files that are whole or not there: written under another name, synced, then renamed."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from asyncposthog.errors import ExportError

__all__ = ["clear_errors", "partial_name", "publish", "sync_folder", "write_atomically"]

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def partial_name(path: Path) -> Path:
    """Return the name that a file has until it is complete; in the same folder, and hidden."""
    return path.with_name(f".{path.name}.partial")


def sync_folder(folder: Path) -> None:
    """Make what happened to a folder's entries survive a power failure."""
    if os.name == "nt":  # pragma: no cover - folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(partial: Path, path: Path) -> None:
    """Give a complete, synced file its name."""
    partial.replace(path)
    sync_folder(path.parent)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file by another, so that at any moment there is the old or the new one."""
    partial = partial_name(path)
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    publish(partial, path)


@contextmanager
def clear_errors(path: Path) -> Generator[None]:
    """Say what to do about a file that cannot be written.

    Raises:
        ExportError: In place of the OSError, which is its cause.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            what, advice = f"There is no room left to write {path}", "Make room"
        elif isinstance(error, PermissionError) or error.errno == errno.EROFS:
            what, advice = f"{path} cannot be written: {error.strerror}", "Choose another target"
        elif isinstance(error, FileNotFoundError) and not path.parent.exists():
            what, advice = f"{path} cannot be written: there is no such folder", "Make it"
        else:
            what, advice = f"{path} cannot be written: {error}", "See to that"
        raise ExportError(
            f"{what}.",
            suggestion=f"{advice}, and run the export again; one with a checkpoint goes on where "
            "it stopped. What was written so far is valid.",
        ) from error
