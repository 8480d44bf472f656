"""What a script needs of this Python: folders to read, and where its packages are."""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncposthog

__all__ = ["INSIDE", "package_folder", "readable_paths", "user_packages"]

INSIDE = "sandbox/inside.py"
"""The program that starts a script, below the folder of this package. It is not imported here: it
needs modules that only a Unix has."""

_PARTS = ("bin", "lib", "lib64", "pyvenv.cfg")
"""What a script needs below a prefix. A virtual environment may be made in the folder of a project,
whose other files are not to be seen."""


def package_folder() -> Path:
    """Return the folder of this package."""
    return Path(asyncposthog.__file__).resolve().parent


def user_packages() -> Path | None:
    """Return the folder of the user's own packages, if Python uses it."""
    if not site.ENABLE_USER_SITE:
        return None
    path = Path(site.getusersitepackages())
    return path if path.is_dir() else None


def readable_paths() -> Iterator[Path]:
    """Yield the files and folders of Python, without those below `/usr`."""
    seen: set[Path] = set()
    for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix):
        for part in _PARTS:
            path = Path(os.path.abspath(prefix)) / part
            if path not in seen and path.exists() and not path.is_relative_to("/usr"):
                seen.add(path)
                yield path
    packages = user_packages()
    if packages is not None:
        yield packages
