"""Folders of temporary files that belong to one user."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from asyncposthog.errors import ExportError
from asyncposthog.export.atomic_files import translate_os_errors

__all__ = ["private_folder"]


def private_folder(name: str, content: str) -> Path:
    """Return a folder of the user for temporary files, which others cannot read.

    Args:
        name: A part of its name.
        content: What is stored in it, for the error.

    Raises:
        ExportError: It cannot be created, or belongs to another user.
    """
    user = str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    root = Path(tempfile.gettempdir()) / f"asyncposthog-{name}-{user}"
    with translate_os_errors(root):
        root.mkdir(mode=0o700, exist_ok=True)
        status = root.lstat()
        if not stat.S_ISDIR(status.st_mode) or (
            hasattr(os, "getuid") and status.st_uid != os.getuid()
        ):
            raise ExportError(
                f"Cannot store {content} in {root}: it belongs to another user, or is not a "
                "folder.",
                suggestion="Set TMPDIR to another folder for temporary files.",
            )
        # The temporary folder of the system is shared, and the files contain events.
        if status.st_mode & 0o077:
            root.chmod(0o700)
    return root
