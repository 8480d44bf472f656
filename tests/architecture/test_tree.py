"""What no file of the repository may be or hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from codegen.pipeline import GENERATED_FOLDERS
from codegen.render.text import BANNER
from tests.helpers.subprocesses import ROOT

FOLDERS = (
    ".ci",
    "benchmarks",
    "codegen",
    "docs",
    "examples",
    "openapi",
    "references",
    "scripts",
    "src",
    "tests",
)
TEXT = {".cfg", ".json", ".md", ".py", ".toml", ".txt", ".typed", ".yaml", ".yml", ""}
LONGEST = 800

MACHINES = re.compile(
    r"(?<![\w.~])/(?:work|root|opt|srv|mnt|home/\w+|Users/\w+|tmp/\w+)(?:/|\b)|[A-Z]:\\\\Users"
)
"""Places that exist on one machine only."""

REGISTRIES = re.compile("|".join(("pypi" + r"\.org", "python" + "hosted", "npm" + r"js\.")))


def files() -> Iterator[Path]:
    """Yield the text files that are kept under version control."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            hidden = any(part in {"__pycache__", "out"} for part in path.parts)
            if path.is_file() and path.suffix in TEXT and not hidden:
                yield path
    for path in sorted(ROOT.iterdir()):
        if path.is_file() and path.suffix in TEXT and path.name != ".git":
            yield path


def is_generated(path: Path) -> bool:
    return ROOT / "src" / "asyncposthog" in path.parents and any(
        part in GENERATED_FOLDERS
        for part in path.relative_to(ROOT / "src" / "asyncposthog").parts[:1]
    )


def test_the_patterns_find_what_they_are_for() -> None:
    for place in ("work/main", "root/x", "home/ada/x", "Users/ada/x", "tmp/team/x"):
        assert MACHINES.search(f"see {'/'}{place}"), place
    for place in ("/api/users/@me/", "/home", "https://x.io/work/", "~/work", "a/tmp/b"):
        assert not MACHINES.search(place), place


def test_there_are_files() -> None:
    found = list(files())
    assert len(found) > 500
    assert ROOT / "README.md" in found
    assert ROOT / "src" / "asyncposthog" / "client.py" in found


def test_no_file_written_by_hand_is_long() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in files()
        if path.suffix == ".py" and not is_generated(path)
        if (lines := path.read_text(encoding="utf-8").count("\n")) > LONGEST
    }
    assert long == {}


def test_generated_files_say_so_and_no_others() -> None:
    for path in files():
        if path.suffix == ".py":
            text = path.read_text(encoding="utf-8")
            assert text.startswith(BANNER) is is_generated(path), path


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if MACHINES.search(line) or REGISTRIES.search(line)
    ]
    assert found == []
