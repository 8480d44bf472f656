"""Print the public API, or check it against the snapshot in `references/`.

`--check` fails with a diff when they differ; `--write` renews the snapshot. The snapshot is read
in review: a line that disappears is a break for somebody.
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
    """Yield one line for each public name."""
    for name in sorted(asyncposthog.__all__):
        yield from _describe(f"asyncposthog.{name}", getattr(asyncposthog, name))
    for path in sorted(RESOURCES.glob("*.py")):
        yield from _services(path)
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


def _services(path: Path) -> Iterator[str]:
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
    known = SNAPSHOT.read_text(encoding="utf-8")
    difference = list(
        difflib.unified_diff(
            known.splitlines(),
            text.splitlines(),
            "references/public_api.txt",
            "now",
            lineterm="",
            n=0,
        )
    )
    if not difference:
        print(f"{len(known.splitlines())} public names are as released")
        return 0
    print("\n".join(difference[:100]))
    print("the public API changed: if that is meant, run `python scripts/public_api.py --write`")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
