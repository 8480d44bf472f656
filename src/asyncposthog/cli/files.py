"""Files that appear completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from .error_messages import UsageError

__all__ = ["atomic_write", "check_output_path"]


def check_output_path(path: Path, *, overwrite: bool = False) -> None:
    """Check that a file can be written.

    Args:
        path: The file.
        overwrite: Whether an existing file is replaced.

    Raises:
        UsageError: The file exists, is a folder, or its folder does not exist.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder.", "Use the name of a file.")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists.", "Use another name, or --overwrite to replace it.")
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent}.")


@contextmanager
def atomic_write(path: Path) -> Generator[IO[bytes]]:
    """Open a temporary file beside a path, and rename it to the path if the block succeeds."""
    with NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False
    ) as file:
        try:
            yield file
            file.flush()
            # Before the rename: otherwise a power failure could leave the new name with an empty
            # file.
            os.fsync(file.fileno())
        except BaseException:
            os.unlink(file.name)
            raise
    # NamedTemporaryFile creates files that only the owner can read.
    os.chmod(file.name, 0o666 & ~_umask())
    os.replace(file.name, path)


def _umask() -> int:
    # Setting it is the only portable way to read it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
