"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from .error_messages import UsageProblem

__all__ = ["check_new", "whole_file"]


def check_new(path: Path, *, force: bool = False) -> None:
    """Refuse a file that exists, and a folder that does not.

    Raises:
        UsageProblem: Writing there would destroy something, or cannot work.
    """
    if path.is_dir():
        raise UsageProblem(f"{path} is a folder.", "Give the name of a file.")
    if path.exists() and not force:
        raise UsageProblem(f"{path} exists.", "Give another name, or --overwrite to replace it.")
    if not path.parent.is_dir():
        raise UsageProblem(f"There is no folder {path.parent}.")


@contextmanager
def whole_file(path: Path) -> Generator[IO[bytes]]:
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
