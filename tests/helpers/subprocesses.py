"""Running Python beside the tests, where nothing has been imported yet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncposthog

__all__ = ["PACKAGE", "ROOT", "python", "run_json"]

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = Path(asyncposthog.__file__).resolve().parent
"""The package under test: of the tree, or of an installed wheel."""


def python(
    *arguments: str, cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run this Python with warnings as errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )


def run_json(script: str, *, environment: Mapping[str, str] | None = None) -> Any:
    """Run a script and return the JSON it prints last."""
    done = python("-c", script, environment=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
