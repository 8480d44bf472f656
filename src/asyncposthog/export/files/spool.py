"""Where files are kept until their rows are handed on. A run that was killed finds them again."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from pydantic_core import from_json, to_json

from asyncposthog.errors import ExportError
from asyncposthog.export.durable import clear_errors, write_atomically

__all__ = ["JobFolder", "Spool"]

_STALE: Final = 3 * 86_400
"""Seconds after which what another export left behind is thrown away."""


@dataclass(frozen=True, slots=True)
class JobFolder:
    """The files of one job."""

    path: Path

    def note(self) -> dict[str, Any]:
        """Return what is known of the job; nothing where none was begun."""
        try:
            found: object = from_json((self.path / "job.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return cast("dict[str, Any]", found) if isinstance(found, dict) else {}

    def write(self, note: Mapping[str, Any]) -> None:
        """Note what is known of the job."""
        with clear_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / "job.json", to_json(note))

    def clear(self) -> None:
        """Forget the job, and its files."""
        shutil.rmtree(self.path, ignore_errors=True)

    def part(self, number: int) -> Path:
        """Return where a part is once it was fetched as a whole."""
        return self.path / f"part-{number:05d}.parquet"

    def run(self, number: int) -> Path:
        """Return where a part's rows are once they are in order."""
        return self.path / f"part-{number:05d}.arrow"


@dataclass(frozen=True, slots=True)
class Spool:
    """The folder of one export."""

    folder: Path

    @classmethod
    def of(cls, identity: Mapping[str, Any]) -> Spool:
        """Return the folder of an export that may be gone on with, always the same.

        Raises:
            ExportError: It cannot be had.
        """
        root = Path(tempfile.gettempdir()) / f"asyncposthog-files-{_user()}"
        with clear_errors(root):
            root.mkdir(mode=0o700, exist_ok=True)
            _check_owner(root)
        name = hashlib.sha256(to_json(identity)).hexdigest()[:24]
        _sweep(root, name)
        return cls(root / name)

    @classmethod
    def passing(cls) -> Spool:
        """Return a folder for one run alone."""
        return cls(Path(tempfile.mkdtemp(prefix="asyncposthog-")))

    def job(self, number: int) -> JobFolder:
        """Return the folder of a job."""
        return JobFolder(self.folder / f"job-{number:05d}")

    def remove(self) -> None:
        """Throw everything away."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")


def _check_owner(root: Path) -> None:
    """Refuse a folder that somebody else has laid there for us."""
    state = root.lstat()
    foreign = hasattr(os, "getuid") and state.st_uid != os.getuid()
    if foreign or not root.is_dir() or root.is_symlink():
        raise ExportError(
            f"{root} is not ours, so that downloaded files cannot be kept there.",
            suggestion="Name another folder for temporary files in TMPDIR.",
        )


def _sweep(root: Path, but: str) -> None:
    limit = time.time() - _STALE
    for old in root.iterdir():
        if old.name != but and old.stat().st_mtime < limit:
            shutil.rmtree(old, ignore_errors=True)
