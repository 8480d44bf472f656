"""Files that appear whole or not at all."""

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
    """Refuse a file that exists, and a folder that does not.

    Raises:
        UsageProblem: Writing there would destroy something, or cannot work.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder.", "Give the name of a file.")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists.", "Give another name, or --overwrite to replace it.")
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent}.")


@contextmanager
def atomic_write(path: Path) -> Generator[IO[bytes]]:
    """Open a file under another name beside it, and rename it when the block ends well."""
    with NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False
    ) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            os.unlink(file.name)
            raise
    os.chmod(file.name, 0o666 & ~_umask())
    os.replace(file.name, path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
