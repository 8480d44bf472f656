"""Run the tests against the built wheel, in environments of their own.

`python scripts/matrix.py wheel lowest highest`: the wheel with the pinned dependencies, with the
lowest this package says it supports, and with the newest there are. The source folder is not on
the path of any of them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = ("anyio", "httpx", "pydantic", "tenacity", "uvicorn", "jsonschema")


def lowest() -> list[str]:
    """Pin each run-time dependency to the lowest version `pyproject.toml` allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["emulator"]]
    pins: list[str] = []
    for requirement in wanted:
        name, _, rest = requirement.partition(">=")
        pins.append(f"{name}=={rest.split(',')[0]}")
    return pins


def pinned() -> list[str]:
    """Take the run-time pins of `constraints.txt`."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.partition("==")[0].lower() in RUNTIME]


def run(kind: str, wheel: Path) -> int:
    """Make the environment afresh and run the tests in it."""
    home = ROOT / f".venv-{kind}"
    shutil.rmtree(home, ignore_errors=True)
    _do(sys.executable, "-m", "venv", str(home))
    python = str(home / "bin" / "python")
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _do(*pip, "--upgrade", "pip")
    pins = {"lowest": lowest, "wheel": pinned}.get(kind, list[str])()
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(pins) + "\n", encoding="utf-8")
        _do(*pip, "--constraint", str(constraints), f"{wheel}[emulator]", "--group", "test",
            "--group", "codegen")  # fmt: skip
        shutil.copytree(ROOT, Path(folder) / "work", ignore=shutil.ignore_patterns(
            "src", ".venv*", ".git", "dist"))  # fmt: skip
        shutil.copytree(ROOT / "src", Path(folder) / "work" / "src")
        print(f"tests against the wheel, {kind} dependencies:", flush=True)
        shutil.rmtree(Path(folder) / "work" / "src")
        return subprocess.run(  # noqa: S603
            [python, "-m", "pytest", "--import-mode=importlib"],
            cwd=Path(folder) / "work",
            check=False,
        ).returncode


def _do(*command: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True)  # noqa: S603


def main() -> int:
    """Build the wheel and run each kind asked for."""
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
