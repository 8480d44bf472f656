"""Run other clients of PostHog against a served emulator.

`python scripts/clients.py` installs them with npm and pip into a temporary folder, runs the tests
in `tests/clients`, and removes the folder; with `--folder DIR`, they stay in DIR for the next run.
Other arguments are passed to pytest. Needs node 20 or newer, npm, and the package registries.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests" / "clients"
FOLDER_VARIABLE = "ASYNCPOSTHOG_CLIENTS"
"""The environment variable that tells the tests where the clients are."""


def install(folder: Path) -> None:
    """Install the clients into a folder; what has the right versions already is left alone.

    Raises:
        subprocess.CalledProcessError: npm or pip failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    npm = shutil.which("npm") or "npm"
    if _changed(TESTS / "package.json", folder / "package.json"):
        quiet = ("--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error")
        subprocess.run([npm, "install", "--ignore-scripts", *quiet], cwd=folder, check=True)
        _mark(TESTS / "package.json", folder / "package.json.installed")
    for requirements in sorted((TESTS / "requirements").glob("*.txt")):
        environment = folder / requirements.stem
        installed = environment / "requirements.txt.installed"
        if _same(requirements, installed):
            continue
        # An environment for each: their dependencies exclude one another.
        venv.create(environment, with_pip=True, clear=True)
        pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", "-r", requirements], check=True)
        _mark(requirements, installed)


def _changed(source: Path, copy: Path) -> bool:
    """Copy a file; return whether what it names has still to be installed."""
    shutil.copy(source, copy)
    return not _same(source, copy.with_name(f"{copy.name}.installed"))


def _same(source: Path, copy: Path) -> bool:
    return copy.exists() and copy.read_bytes() == source.read_bytes()


def _mark(source: Path, copy: Path) -> None:
    # Written last, so that an installation that failed is repeated.
    shutil.copy(source, copy)


def run(folder: Path, arguments: Sequence[str]) -> int:
    """Install the clients and run the tests; return the exit status of pytest."""
    install(folder)
    command = [sys.executable, "-m", "pytest", "-m", "clients", str(TESTS), *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, FOLDER_VARIABLE: str(folder)}, check=False
    ).returncode


def main() -> int:
    """Parse the arguments, and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to install the clients")
    options, arguments = parser.parse_known_args()
    if options.folder is not None:
        return run(options.folder.resolve(), arguments)
    with tempfile.TemporaryDirectory(prefix="asyncposthog-clients-") as folder:
        return run(Path(folder), arguments)


if __name__ == "__main__":
    sys.exit(main())
