"""The emulator does not import the client, and imports its own parts lazily."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import posthog_emulator

PACKAGE = Path(posthog_emulator.__file__ or "").parent
# The plugin makes clients for the emulator, so it is the one module that knows both packages.
MODULES = sorted({*PACKAGE.rglob("*.py")} - {PACKAGE / "pytest_plugin.py"})
ALLOWED = ("posthog_emulator", "asyncposthog.operation", "asyncposthog.types")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_it_imports_nothing_of_the_client(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            assert not name.startswith("asyncposthog") or name.startswith(ALLOWED), name


def test_import_loads_neither_extras_nor_registry() -> None:
    program = (
        "import sys, posthog_emulator; "
        "print([name for name in ('httpx', 'jsonschema', 'uvicorn', 'asyncposthog.registry') "
        "if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("[]\n", "")
