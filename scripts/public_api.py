"""Print the public API, or compare it with the snapshot in `references/`.

`--check` prints a diff and exits with 1 if they differ; `--write` updates the snapshot. A removed
line in the diff of the snapshot is a breaking change.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncposthog
import asyncposthog.models as models

ROOT = Path(__file__).resolve().parent.parent
SNAPSHOT = ROOT / "references" / "public_api.txt"
RESOURCES = ROOT / "src" / "asyncposthog" / "resources"


def lines() -> Iterator[str]:
    """Yield a line for each public name."""
    for name in sorted(asyncposthog.__all__):
        yield from _describe(f"asyncposthog.{name}", getattr(asyncposthog, name))
    for path in sorted(RESOURCES.glob("*.py")):
        yield from _resource_methods(path)
    yield from (f"asyncposthog.models.{name}" for name in sorted(models.__all__))


def _describe(where: str, value: object) -> Iterator[str]:
    if not inspect.isclass(value):
        yield f"{where}{_signature(value) if callable(value) else ''}"
        return
    bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
    yield f"{where}({bases})"
    for name, member in sorted(vars(value).items()):
        if name.startswith("_") and name != "__init__":
            continue
        bound: object = getattr(value, name) if isinstance(member, classmethod) else member
        yield f"{where}.{name}{_signature(bound) if inspect.isroutine(bound) else ''}"


def _signature(value: object) -> str:
    try:
        return str(inspect.signature(value))  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        return "(...)"


def _resource_methods(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for member in node.body:
            if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
                prefix = "async " if isinstance(member, ast.AsyncFunctionDef) else ""
                returns = f" -> {ast.unparse(member.returns)}" if member.returns else ""
                yield (
                    f"asyncposthog.resources.{path.stem}.{node.name}: {prefix}{member.name}"
                    f"({ast.unparse(member.args)}){returns}"
                )


def main() -> int:
    """Write, check or print; return the exit code."""
    text = "\n".join(lines()) + "\n"
    if "--write" in sys.argv:
        SNAPSHOT.write_text(text, encoding="utf-8")
        return 0
    if "--check" not in sys.argv:
        print(text, end="")
        return 0
    snapshot = SNAPSHOT.read_text(encoding="utf-8")
    difference = list(
        difflib.unified_diff(
            snapshot.splitlines(),
            text.splitlines(),
            "references/public_api.txt",
            "now",
            lineterm="",
            n=0,
        )
    )
    if not difference:
        print(f"{len(snapshot.splitlines())} public names are as in the snapshot")
        return 0
    print("\n".join(difference[:100]))
    print("the public API has changed; if that is intended, run scripts/public_api.py --write")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
