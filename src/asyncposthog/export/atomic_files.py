"""Files that are complete or absent: written under another name, synced, then renamed.

The names are predictable, and folders may be shared with other users. Therefore no file is opened
through a symbolic link: links are followed in the path that the user gave, but not below it.
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
    "commit",
    "create",
    "make_folder",
    "move",
    "open_or_create",
    "partial_name",
    "read",
    "reject_symlink",
    "remove",
    "reopen",
    "sha256_of",
    "sync_folder",
    "translate_os_errors",
    "write_atomically",
]

_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SYMLINK_ERRORS: Final = frozenset({errno.ELOOP, errno.EMLINK})
_PRIVATE_MODE: Final = 0o600
_HAS_DIR_FD: Final = {os.open, os.stat, os.unlink, os.rename} <= os.supports_dir_fd
"""Whether names can be looked up relative to an open folder."""
# Without O_NONBLOCK, opening a named pipe waits for its other end.
_SAFE_FLAGS: Final = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)
_umask_lock = Lock()


def partial_name(path: Path) -> Path:
    """Return the name of a file until it is complete: in the same folder, and hidden."""
    return path.with_name(f".{path.name}.partial")


def create(path: Path, root: Path | None = None) -> FileIO:
    """Return a new file, open for reading and writing, that only its owner can read.

    An existing regular file is removed.

    Args:
        path: The file.
        root: A folder above the file that the user named. Links below it are not followed. By
            default the folder of the file.

    Raises:
        ExportError: The path exists and is not a regular file, for example a symbolic link.
        OSError: The file cannot be written.
    """
    with _open_parent(path, root) as (name, folder):
        existing = _lstat(name, folder)
        if existing is not None and stat.S_ISREG(existing.st_mode):
            os.unlink(name, dir_fd=folder)
        elif existing is not None:
            raise _wrong_type_error(path, existing)
        return FileIO(_open(path, name, folder, os.O_RDWR | os.O_CREAT | os.O_EXCL), "r+")


def reopen(path: Path, root: Path | None = None) -> FileIO:
    """Return an existing file, open for reading and writing.

    Args:
        path: The file.
        root: See `create`.

    Raises:
        ExportError: The path is a symbolic link, or not a regular file.
        OSError: The file cannot be written.
    """
    with _open_parent(path, root) as (name, folder):
        return FileIO(_open(path, name, folder, os.O_RDWR), "r+")


def open_or_create(path: Path) -> int:
    """Return the descriptor of a file, open for reading and writing; it is created if missing.

    Raises:
        ExportError: The path is a symbolic link, or not a regular file.
        OSError: The file cannot be written.
    """
    with _open_parent(path, None) as (name, folder):
        return _open(path, name, folder, os.O_RDWR | os.O_CREAT)


def read(path: Path, limit: int | None = None) -> bytes:
    """Return the content of a file.

    Args:
        path: The file.
        limit: The number of bytes to read, at most; None: all.

    Raises:
        ExportError: The path is a symbolic link, or not a regular file.
        OSError: The file cannot be read.
    """
    with _open_parent(path, None) as (name, folder):
        descriptor = _open(path, name, folder, os.O_RDONLY)
    with open(descriptor, "rb") as file:
        return file.read() if limit is None else file.read(limit)


def sha256_of(path: Path, root: Path | None = None) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Args:
        path: The file.
        root: See `create`.

    Raises:
        ExportError: The path is a symbolic link, or not a regular file.
        OSError: The file cannot be read.
    """
    with _open_parent(path, root) as (name, folder):
        descriptor = _open(path, name, folder, os.O_RDONLY)
    with open(descriptor, "rb", buffering=0) as file:
        return file_digest(file, "sha256").hexdigest()


def remove(path: Path) -> None:
    """Remove a file, if it exists.

    Raises:
        ExportError: The path is not a regular file, for example a symbolic link.
        OSError: The file cannot be removed.
    """
    with _open_parent(path, None) as (name, folder):
        existing = _lstat(name, folder)
        if existing is not None and not stat.S_ISREG(existing.st_mode):
            raise _wrong_type_error(path, existing)
        if existing is not None:
            os.unlink(name, dir_fd=folder)


def make_folder(path: Path, root: Path | None = None) -> bool:
    """Create a folder if it is missing; return whether it was created.

    Args:
        path: The folder.
        root: See `create`.

    Raises:
        ExportError: The path is not a folder, for example a symbolic link.
        OSError: The folder cannot be created.
    """
    with _open_parent(path, root) as (name, folder):
        existing = _lstat(name, folder)
        if existing is not None and not stat.S_ISDIR(existing.st_mode):
            raise _wrong_type_error(path, existing)
        if existing is None:
            os.mkdir(name, dir_fd=folder)
            _sync(folder)
        return existing is None


def reject_symlink(path: Path) -> None:
    """Raise if a path is a symbolic link.

    Raises:
        ExportError: The path is a symbolic link.
    """
    if path.is_symlink():
        raise _symlink_error(path)


def sync_folder(folder: Path) -> None:
    """Sync the entries of a folder to disk, so that they survive a power failure."""
    if os.name == "nt":  # pragma: no cover - folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def commit(partial: Path, path: Path, root: Path | None = None) -> None:
    """Give a complete, synced file its final name.

    It gets the permissions of the file that it replaces, or else those of a new file.

    Args:
        partial: The file, which `create` made.
        path: Its final name, in the same folder.
        root: See `create`.

    Raises:
        ExportError: The final name is that of a symbolic link, or not of a regular file.
        OSError: The file cannot be renamed.
    """
    with _open_parent(path, root) as (name, folder):
        source = partial.name if folder is not None else str(partial)
        replaced = _lstat(name, folder)
        mode = 0o666 & ~_umask() if replaced is None else replaced.st_mode & 0o777
        _chmod_and_close(_open(partial, source, folder, os.O_RDONLY), mode)
        _rename(source, path, name, folder)


def move(source: Path, path: Path, root: Path) -> None:
    """Move a complete file to another folder. It gets the permissions of the file that it replaces.

    Args:
        source: The file.
        path: Its new path.
        root: See `create`; of both paths.

    Raises:
        ExportError: The new path is that of a symbolic link, or not of a regular file.
        OSError: The file cannot be moved.
    """
    with (
        _open_parent(source, root) as (source_name, source_folder),
        _open_parent(path, root) as (name, folder),
    ):
        replaced = _lstat(name, folder)
        if replaced is not None and not stat.S_ISREG(replaced.st_mode):
            raise _wrong_type_error(path, replaced)
        if replaced is not None:
            _chmod_and_close(
                _open(source, source_name, source_folder, os.O_RDONLY), replaced.st_mode & 0o777
            )
        os.replace(source_name, name, src_dir_fd=source_folder, dst_dir_fd=folder)
        _sync(folder)


def _chmod_and_close(descriptor: int, mode: int) -> None:
    """Set the permissions of an open file, and close it."""
    try:
        if hasattr(os, "fchmod"):
            with suppress(OSError):  # a file system without permissions
                os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the content of a file; at any time there is either the old or the new content.

    Only the owner can read the file.

    Raises:
        ExportError: The path or its partial file is a symbolic link.
        OSError: The file cannot be written.
    """
    partial = partial_name(path)
    try:
        with BufferedWriter(create(partial)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with _open_parent(path, None) as (name, folder):
            _rename(partial.name if folder is not None else str(partial), path, name, folder)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextmanager
def _open_parent(path: Path, root: Path | None) -> Generator[tuple[str, int | None]]:
    """Open the folder of a file; yield the name of the file relative to it, and the descriptor.

    Without support for descriptors of folders, yield the whole path and None.
    """
    if not _HAS_DIR_FD:
        for folder in path.parents:
            if root is None or folder == root:
                break
            reject_symlink(folder)
        yield str(path), None
        return
    start = path.parent if root is None else root
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    descriptor = os.open(start, flags)
    try:
        # One component at a time, relative to the open folder above it: no link can be put into
        # a part of the path that was checked already.
        for depth, part in enumerate(parts := path.parent.relative_to(start).parts):
            try:
                inner = os.open(part, flags | os.O_NOFOLLOW, dir_fd=descriptor)
            except NotADirectoryError:  # Linux's error for a link that has to be a folder
                raise _symlink_error(start.joinpath(*parts[: depth + 1])) from None
            os.close(descriptor)
            descriptor = inner
        yield path.name, descriptor
    finally:
        os.close(descriptor)


def _open(path: Path, name: str, folder: int | None, flags: int) -> int:
    """Open a regular file without following a link."""
    if not hasattr(os, "O_NOFOLLOW"):
        reject_symlink(path)
    try:
        descriptor = os.open(name, flags | _SAFE_FLAGS, _PRIVATE_MODE, dir_fd=folder)
    except OSError as error:
        if error.errno in _SYMLINK_ERRORS:
            raise _symlink_error(path) from None
        raise
    existing = os.fstat(descriptor)
    if not stat.S_ISREG(existing.st_mode):
        os.close(descriptor)
        raise _wrong_type_error(path, existing)
    return descriptor


def _lstat(name: str, folder: int | None) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _rename(source: str, path: Path, name: str, folder: int | None) -> None:
    existing = _lstat(name, folder)
    if existing is not None and not stat.S_ISREG(existing.st_mode):
        raise _wrong_type_error(path, existing)
    os.replace(source, name, src_dir_fd=folder, dst_dir_fd=folder)
    _sync(folder)


def _sync(folder: int | None) -> None:
    if folder is not None:
        os.fsync(folder)


def _umask() -> int:
    """Return the permissions that this process removes from new files."""
    with suppress(OSError, ValueError, IndexError):
        status = Path("/proc/self/status").read_bytes()
        return int(status.split(b"\nUmask:", 1)[1].split(None, 1)[0], 8)
    # The only way to read it is to set it. The strictest value is harmless for files that other
    # threads create in the meantime.
    with _umask_lock:
        mask = os.umask(0o077)
        os.umask(mask)
    return mask


def _symlink_error(path: Path) -> ExportError:
    return ExportError(
        f"{path} is a symbolic link, which an export does not follow.",
        suggestion="Remove the link, or use the path that it points to.",
    )


def _wrong_type_error(path: Path, existing: os.stat_result) -> ExportError:
    if stat.S_ISLNK(existing.st_mode):
        return _symlink_error(path)
    kind = "a folder" if stat.S_ISDIR(existing.st_mode) else "not a regular file"
    return ExportError(
        f"{path} is {kind}, and the export needs that name for a file.",
        suggestion="Remove it, or choose another target.",
    )


@contextmanager
def translate_os_errors(path: Path) -> Generator[None]:
    """Convert an OSError to an error that says what to do.

    Raises:
        ExportError: In place of an OSError, which is its cause.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            problem, action = f"Cannot write {path}: the disk is full", "Free some space"
        elif isinstance(error, PermissionError) or error.errno == errno.EROFS:
            problem, action = f"Cannot write {path}: {error.strerror}", "Choose another target"
        elif isinstance(error, FileNotFoundError) and not path.parent.exists():
            problem = f"Cannot write {path}: there is no folder {path.parent}"
            action = "Create the folder"
        else:
            problem, action = f"Cannot write {path}: {error}", "Fix this"
        raise ExportError(
            f"{problem}.",
            suggestion=f"{action} and run the export again; with a checkpoint it resumes.",
        ) from error
