"""Files that are whole or not there: written under another name, synced, then renamed.

The names are predictable, and folders may be shared with other users. So no file here is opened
through a symbolic link: links are followed in the path that the user gave, and nowhere below it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from hashlib import file_digest
from io import BufferedWriter, FileIO
from pathlib import Path
from threading import Lock
from typing import Final

from asyncposthog.errors import ExportError

__all__ = [
    "create",
    "make_folder",
    "move",
    "open_or_create",
    "partial_name",
    "publish",
    "read",
    "refuse_link",
    "remove",
    "reopen",
    "sha256_of",
    "sync_folder",
    "translate_os_errors",
    "write_atomically",
]

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_LINK: Final = frozenset({errno.ELOOP, errno.EMLINK})
_PRIVATE: Final = 0o600
_BY_FOLDER: Final = {os.open, os.stat, os.unlink, os.rename} <= os.supports_dir_fd
"""Whether names can be looked up in an open folder."""
# Without O_NONBLOCK, opening a named pipe waits for its other end.
_SAFE: Final = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)
_umask_guard = Lock()


def partial_name(path: Path) -> Path:
    """Return the name that a file has until it is complete; in the same folder, and hidden."""
    return path.with_name(f".{path.name}.partial")


def create(path: Path, below: Path | None = None) -> FileIO:
    """Return a new file, open for reading and writing, that only its owner can read.

    A regular file that has the name is removed.

    Args:
        path: The file.
        below: A folder above it that the user named. No link below it is followed. By default the
            folder that the file is in.

    Raises:
        ExportError: Something else has the name, a symbolic link for one.
        OSError: It cannot be written.
    """
    with _parent(path, below) as (name, folder):
        found = _state(name, folder)
        if found is not None and stat.S_ISREG(found.st_mode):
            os.unlink(name, dir_fd=folder)
        elif found is not None:
            raise _in_the_way(path, found)
        return FileIO(_open(path, name, folder, os.O_RDWR | os.O_CREAT | os.O_EXCL), "r+")


def reopen(path: Path, below: Path | None = None) -> FileIO:
    """Return a file that exists, open for reading and writing.

    Args:
        path: The file.
        below: See `create`.

    Raises:
        ExportError: It is a symbolic link, or no regular file.
        OSError: It cannot be written.
    """
    with _parent(path, below) as (name, folder):
        return FileIO(_open(path, name, folder, os.O_RDWR), "r+")


def open_or_create(path: Path) -> int:
    """Return the descriptor of a file, open for reading and writing; empty if there was none.

    Raises:
        ExportError: It is a symbolic link, or no regular file.
        OSError: It cannot be written.
    """
    with _parent(path, None) as (name, folder):
        return _open(path, name, folder, os.O_RDWR | os.O_CREAT)


def read(path: Path, limit: int | None = None) -> bytes:
    """Return the content of a file.

    Args:
        path: The file.
        limit: Bytes to read at most.

    Raises:
        ExportError: It is a symbolic link, or no regular file.
        OSError: It cannot be read.
    """
    with _parent(path, None) as (name, folder):
        descriptor = _open(path, name, folder, os.O_RDONLY)
    with open(descriptor, "rb") as file:
        return file.read() if limit is None else file.read(limit)


def sha256_of(path: Path, below: Path | None = None) -> str:
    """Return the SHA-256 of the content of a file.

    Args:
        path: The file.
        below: See `create`.

    Raises:
        ExportError: It is a symbolic link, or no regular file.
        OSError: It cannot be read.
    """
    with _parent(path, below) as (name, folder):
        descriptor = _open(path, name, folder, os.O_RDONLY)
    with open(descriptor, "rb", buffering=0) as file:
        return file_digest(file, "sha256").hexdigest()


def remove(path: Path) -> None:
    """Remove a file, if there is one.

    Raises:
        ExportError: Something else has the name, a symbolic link for one.
        OSError: It cannot be removed.
    """
    with _parent(path, None) as (name, folder):
        found = _state(name, folder)
        if found is not None and not stat.S_ISREG(found.st_mode):
            raise _in_the_way(path, found)
        if found is not None:
            os.unlink(name, dir_fd=folder)


def make_folder(path: Path, below: Path | None = None) -> bool:
    """Make a folder below one that the user named. Return whether it was made.

    Args:
        path: The folder.
        below: See `create`.

    Raises:
        ExportError: Something else has the name, a symbolic link for one.
        OSError: It cannot be made.
    """
    with _parent(path, below) as (name, folder):
        found = _state(name, folder)
        if found is not None and not stat.S_ISDIR(found.st_mode):
            raise _in_the_way(path, found)
        if found is None:
            os.mkdir(name, dir_fd=folder)
            _sync(folder)
        return found is None


def refuse_link(path: Path) -> None:
    """Refuse a path that is a symbolic link.

    Raises:
        ExportError: It is.
    """
    if path.is_symlink():
        raise _is_link(path)


def sync_folder(folder: Path) -> None:
    """Make what happened to a folder's entries survive a power failure."""
    if os.name == "nt":  # pragma: no cover - folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(partial: Path, path: Path, below: Path | None = None) -> None:
    """Give a complete, synced file its name.

    It gets the permissions of the file that it replaces; where there is none, those that a new
    file usually has.

    Args:
        partial: The file, which `create` has made.
        path: Its name, in the same folder.
        below: See `create`.

    Raises:
        ExportError: The name is that of a symbolic link.
        OSError: It cannot be renamed.
    """
    with _parent(path, below) as (name, folder):
        source = partial.name if folder is not None else str(partial)
        replaced = _state(name, folder)
        mode = 0o666 & ~_umask() if replaced is None else replaced.st_mode & 0o777
        _set_mode(_open(partial, source, folder, os.O_RDONLY), mode)
        _rename(source, path, name, folder)


def move(source: Path, path: Path, below: Path) -> None:
    """Move a complete file to another folder. It gets the permissions of the file it replaces.

    Args:
        source: The file.
        path: Its new name.
        below: See `create`; of both.

    Raises:
        ExportError: The new name is that of a symbolic link, or of no regular file.
        OSError: It cannot be moved.
    """
    with _parent(source, below) as (old, origin), _parent(path, below) as (name, folder):
        replaced = _state(name, folder)
        if replaced is not None and not stat.S_ISREG(replaced.st_mode):
            raise _in_the_way(path, replaced)
        if replaced is not None:
            _set_mode(_open(source, old, origin, os.O_RDONLY), replaced.st_mode & 0o777)
        os.replace(old, name, src_dir_fd=origin, dst_dir_fd=folder)
        _sync(folder)


def _set_mode(descriptor: int, mode: int) -> None:
    """Set the permissions of an open file, and close it."""
    try:
        if hasattr(os, "fchmod"):
            with suppress(OSError):  # a file system without permissions
                os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file by another, so that at any moment there is the old or the new one.

    Only its owner can read it.

    Raises:
        ExportError: It is a symbolic link, or its partial file is.
        OSError: It cannot be written.
    """
    partial = partial_name(path)
    try:
        with BufferedWriter(create(partial)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with _parent(path, None) as (name, folder):
            _rename(partial.name if folder is not None else str(partial), path, name, folder)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextmanager
def _parent(path: Path, below: Path | None) -> Generator[tuple[str, int | None]]:
    """Open the folder that a file is in; yield the name that the file has there, and the folder."""
    if not _BY_FOLDER:
        for folder in path.parents:
            if below is None or folder == below:
                break
            refuse_link(folder)
        yield str(path), None
        return
    top = path.parent if below is None else below
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    descriptor = os.open(top, flags)
    try:
        for at, part in enumerate(parts := path.parent.relative_to(top).parts):
            try:
                inner = os.open(part, flags | os.O_NOFOLLOW, dir_fd=descriptor)
            except NotADirectoryError:  # what Linux says of a link, if it has to be a folder
                raise _is_link(top.joinpath(*parts[: at + 1])) from None
            os.close(descriptor)
            descriptor = inner
        yield path.name, descriptor
    finally:
        os.close(descriptor)


def _open(path: Path, name: str, folder: int | None, flags: int) -> int:
    """Open a regular file without following a link."""
    if not hasattr(os, "O_NOFOLLOW"):
        refuse_link(path)
    try:
        descriptor = os.open(name, flags | _SAFE, _PRIVATE, dir_fd=folder)
    except OSError as error:
        if error.errno in _LINK:
            raise _is_link(path) from None
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise _in_the_way(path, found)
    return descriptor


def _state(name: str, folder: int | None) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _rename(source: str, path: Path, name: str, folder: int | None) -> None:
    found = _state(name, folder)
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise _in_the_way(path, found)
    os.replace(source, name, src_dir_fd=folder, dst_dir_fd=folder)
    _sync(folder)


def _sync(folder: int | None) -> None:
    if folder is not None:
        os.fsync(folder)


def _umask() -> int:
    """Return the permissions that this process takes from new files."""
    with suppress(OSError, ValueError, IndexError):
        status = Path("/proc/self/status").read_bytes()
        return int(status.split(b"\nUmask:", 1)[1].split(None, 1)[0], 8)
    # There is no way to read it but to set it. The strictest value does no harm meanwhile.
    with _umask_guard:
        mask = os.umask(0o077)
        os.umask(mask)
    return mask


def _is_link(path: Path) -> ExportError:
    return ExportError(
        f"{path} is a symbolic link, and an export writes through none.",
        suggestion="Remove the link, or give the path that it points to.",
    )


def _in_the_way(path: Path, found: os.stat_result) -> ExportError:
    if stat.S_ISLNK(found.st_mode):
        return _is_link(path)
    kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
    return ExportError(
        f"{path} is {kind}, and the export needs that name for a file.",
        suggestion="Remove it, or choose another target.",
    )


@contextmanager
def translate_os_errors(path: Path) -> Generator[None]:
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
            what = f"{path} cannot be written: there is no folder {path.parent}"
            advice = "Make the folder"
        else:
            what, advice = f"{path} cannot be written: {error}", "See to that"
        raise ExportError(
            f"{what}.",
            suggestion=f"{advice}, and run the export again; one with a checkpoint goes on where "
            "it stopped.",
        ) from error
