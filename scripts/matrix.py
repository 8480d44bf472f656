"""Run the tests against the built wheel, each time in a new virtual environment.

`python scripts/matrix.py wheel lowest highest` uses the pinned dependencies, the lowest supported
ones, and the latest ones. The tests run in this checkout, but `src` is not on the path, so they
import the wheel.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARALLEL = ("-n", "auto", "--maxprocesses", "4", "--dist", "worksteal")
# Workers, and the interpreters that tests start, are to find what one of them has compiled.
_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
WHERE = "import asyncposthog, sys; sys.exit(sys.prefix not in asyncposthog.__file__)"


def lowest() -> list[str]:
    """Return a pin of each runtime dependency to the lowest version of `pyproject.toml`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    requirements = [
        *project["dependencies"],
        *(line for lines in extras.values() for line in lines),
    ]
    matches = (re.match(r"([\w-]+)(?:\[\w+\])?>=([\w.]+)", line) for line in requirements)
    pins = {match[1]: match[2] for match in matches if match}
    # The SDK of OpenTelemetry, which only the tests use, has to have the version of its API.
    pins["opentelemetry-sdk"] = pins["opentelemetry-api"]
    return sorted(f"{name}=={version}" for name, version in pins.items())


def pinned() -> list[str]:
    """Return the pins of `constraints.txt`."""
    return (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def run(kind: str, wheel: Path) -> int:
    """Create the environment and run the tests in it; return the exit code."""
    home = ROOT / f".venv-{kind}"
    shutil.rmtree(home, ignore_errors=True)
    _do(sys.executable, "-m", "venv", str(home))
    python = str(home / "bin" / "python")
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _do(*pip, "--upgrade", "pip")
    constraints = home / "constraints.txt"
    constraints.write_text("\n".join(pinned() if kind == "wheel" else []), encoding="utf-8")
    _do(*pip, "--constraint", str(constraints), f"{wheel}[all]", "--group", "test")
    tests = ["tests", "examples"]
    if kind == "lowest":
        # The generator is not part of the wheel, and needs a newer pydantic than the client. The
        # example needs FastAPI, which needs newer packages as well.
        tests = ["tests", "--ignore=tests/codegen", "--ignore=tests/architecture"]
        _do(*pip, *lowest())
    _do(python, "-I", "-c", WHERE)
    print(f"the tests against the wheel, {kind} dependencies:", flush=True)
    command = [python, "-m", "pytest", *PARALLEL, *tests]
    environment = {name: value for name, value in os.environ.items() if name != _NO_BYTECODE}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def _do(*command: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


def main() -> int:
    """Build the wheel and run the tests in each environment; return the highest exit code."""
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    _do(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(dist))
    wheel = next(dist.glob("*.whl"))
    results = {kind: run(kind, wheel) for kind in sys.argv[1:] or ["wheel"]}
    for kind, code in results.items():
        print(f"{kind}: {'passed' if code == 0 else 'FAILED'}")
    return max(results.values())


if __name__ == "__main__":
    raise SystemExit(main())
