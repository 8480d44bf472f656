"""A served emulator, and the programs of other clients.

`make clients` installs the clients and runs these tests; `make test` does not ask for them.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from posthog_emulator import Emulator, serve_sync

HERE = Path(__file__).resolve().parent
PROGRAMS = HERE / "programs"
SOURCE = HERE.parent.parent / "src"
TIMEOUT = 120.0


@pytest.fixture(scope="session")
def folder() -> Path:
    """Return the folder with the installed clients."""
    path = os.environ.get("ASYNCPOSTHOG_CLIENTS")
    if path is None:
        pytest.fail("run `make clients`, which installs the clients", pytrace=False)
    return Path(path)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Yield an emulator with demo data and some flags."""
    with Emulator() as emulator:
        emulator.add_demo_data(2_000, until=datetime.now(UTC))
        emulator.set_flag("on")
        emulator.set_flag("off", enabled=False)
        emulator.set_flag("layout", "b", payload={"columns": 2})
        emulator.set_flag("special", distinct_id="ada")
        emulator.set_flag("size", "7")
        emulator.add("feature_flags", conditional("staff", "email", "@example.com", "icontains"))
        emulator.add("feature_flags", conditional("pro", "plan", "pro", "exact"))
        yield emulator


def conditional(key: str, name: str, value: str, operator: str) -> dict[str, Any]:
    """Return a flag for the persons with a value of a property."""
    test = {"key": name, "value": value, "operator": operator, "type": "person"}
    groups = [{"properties": [test], "rollout_percentage": 100}]
    return {"key": key, "active": True, "filters": {"groups": groups}}


@pytest.fixture
def url(emulator: Emulator) -> Iterator[str]:
    """Yield the base URL of the emulator."""
    with serve_sync(emulator) as url:
        yield url


Run = Callable[..., str]


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Run:
    """Return a function that runs a program of a client.

    It returns the standard output, or, for another exit status than 0, the standard error.
    """

    def run(
        *command: str | Path, environment: dict[str, str] | None = None, status: int = 0
    ) -> str:
        # An empty home: no program finds settings, or leaves any behind.
        inherited = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        done = subprocess.run(
            [str(part) for part in command],
            cwd=folder,
            env={
                **inherited,
                "HOME": str(tmp_path),
                "DO_NOT_TRACK": "1",
                "PYTHONWARNINGS": "ignore",
                **(environment or {}),
            },
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        output = f"{command[0]}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        assert done.returncode == status, output
        return done.stdout if status == 0 else done.stderr

    return run


@pytest.fixture
def run_node(run: Run, url: str) -> Callable[..., Any]:
    """Return a function that runs a program with node, and returns the JSON that it prints."""

    def run_node(program: str, *arguments: str) -> Any:
        return json.loads(run("node", PROGRAMS / program, url, *arguments))

    return run_node


@pytest.fixture
def run_python(run: Run, folder: Path, url: str) -> Callable[..., Any]:
    """Return a function that runs a program with Python, and returns the JSON that it prints."""

    def run_python(environment: str, program: str, *arguments: str) -> Any:
        python = folder / environment / "bin" / "python"
        output = run(
            python, PROGRAMS / program, url, *arguments,
            environment={"RUNTIME__DLTHUB_TELEMETRY": "false", "PYTHONPATH": str(SOURCE)},
        )  # fmt: skip
        return json.loads(output.splitlines()[-1])

    return run_python
