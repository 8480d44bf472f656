"""A plain process of the same user: no boundary, for scripts that you have written yourself."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from pathlib import Path
from shutil import rmtree
from typing import Any

from asyncposthog.threads import run_in_thread

from .backend import Completed, Job
from .errors import InsecureSandboxWarning, SandboxError, SandboxUnavailableError
from .process import run_process
from .python_paths import INSIDE, package_folder, user_packages

__all__ = ["Subprocess"]


class Subprocess:
    """The backend `subprocess`. It is no boundary.

    A script can read and change every file of this user, reach every server, and outlive its run.
    It gets an environment and a working folder of its own, and limits of time, memory and output,
    which end what goes wrong, and stop nobody who wants to get around them.
    """

    async def open(self) -> None:
        """Warn that this is no boundary.

        Raises:
            SandboxUnavailableError: The system is not a Unix.
        """
        if os.name != "posix":
            raise SandboxUnavailableError(
                "The backend 'subprocess' needs Linux or macOS.", suggestion="Use the backend E2B."
            )
        warnings.warn(
            "Scripts run as plain processes, without a boundary: they can read all your files and "
            "reach the network. Use 'bubblewrap' or 'e2b' for code that you have not written.",
            InsecureSandboxWarning,
            stacklevel=4,
        )

    async def run(self, job: Job) -> Completed:
        """Run a script.

        Raises:
            SandboxError: Python was not started.
        """
        folder: list[Path] = []
        try:
            await run_in_thread(_make_folder, job, folder)
            try:
                return await run_process(
                    _command(folder[0], job),
                    env=_environment(folder[0], job),
                    cwd=folder[0] / "work",
                    limits=job.limits,
                )
            except OSError as error:
                raise SandboxError(f"Python was not started: {error.strerror}.") from None
        finally:
            if folder:
                await run_in_thread(rmtree, folder[0], True, shield=True)

    async def aclose(self) -> None:
        """Do nothing: each script has ended."""


def _make_folder(job: Job, made: list[Path]) -> None:
    """Make the folder of a script. It is stored, as a result is lost to a cancellation."""
    folder = Path(tempfile.mkdtemp(prefix="asyncposthog-script-"))
    made.append(folder)
    (folder / "work").mkdir()
    (folder / "script.py").write_text(job.script, encoding="utf-8")
    (folder / "parameters.json").write_bytes(job.parameters)


def _command(folder: Path, job: Job) -> list[str]:
    limits = job.limits
    config: dict[str, Any] = {
        "uid": None,
        "limits": {
            # macOS does not enforce it, and the start of a process fails with it.
            "memory": limits.memory if sys.platform == "linux" else None,
            "seconds": int(limits.seconds) + 1,
            "storage": limits.storage,
            # It would count all processes of the user.
            "processes": None,
        },
        "ports": [],
        "proxy": None,
        "names": {},
        "command": [sys.executable, "-P", str(folder / "script.py")],
    }
    return [sys.executable, "-I", "-S", str(package_folder() / INSIDE), json.dumps(config)]


def _environment(folder: Path, job: Job) -> dict[str, str]:
    packages = [str(package_folder().parent)]
    user = user_packages()
    if user is not None:
        packages.append(str(user))
    return {
        "ASYNCPOSTHOG_PARAMETERS": str(folder / "parameters.json"),
        "HOME": str(folder / "work"),
        "LANG": "C.UTF-8",
        "PATH": os.defpath,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",  # what was written before a script is killed is not lost
        "PYTHONPATH": os.pathsep.join(packages),
        "TMPDIR": str(folder / "work"),
        **job.secrets,
    }
