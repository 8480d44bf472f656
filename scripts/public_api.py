"""Print the public API, or compare it with the snapshot in `references/`.

`--check` prints a diff and exits with 1 if they differ; `--write` updates the snapshot. A removed
line in the diff of the snapshot is a breaking change.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from pkgutil import iter_modules

import asyncposthog
import asyncposthog.models as models

ROOT = Path(__file__).resolve().parent.parent
SNAPSHOT = ROOT / "references" / "public_api.txt"
RESOURCES = ROOT / "src" / "asyncposthog" / "resources"
PACKAGES = ("contrib", "dbapi", "driver", "gateways", "recipes", "sandbox", "toolkit")
"""Packages that users import by their own names; of `contrib`, each module."""


def lines() -> Iterator[str]:
    """Yield a line for each public name."""
    for name in sorted(asyncposthog.__all__):
        yield from _describe(f"asyncposthog.{name}", getattr(asyncposthog, name))
    yield from _packages()
    yield from _resources()
    yield from (f"asyncposthog.models.{name}" for name in sorted(models.__all__))


def _packages() -> Iterator[str]:
    names = [f"asyncposthog.{package}" for package in PACKAGES if package != "contrib"]
    contrib = importlib.import_module("asyncposthog.contrib")
    names += [f"{contrib.__name__}.{module.name}" for module in iter_modules(contrib.__path__)]
    for name in sorted(names):
        module = importlib.import_module(name)
        for member in sorted(getattr(module, "__all__", ())):
            yield from _describe(f"{name}.{member}", getattr(module, member))


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
        # A function as a default value is printed with its address.
        return re.sub(r" at 0x\w+", "", str(inspect.signature(value)))  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        return "(...)"


def _resources() -> Iterator[str]:
    """Yield a line for each generated method, by the name that users write.

    The classes of resources are not part of the public API, so their names are not in the lines.
    """
    classes: dict[str, ast.ClassDef] = {}
    # Two families can have nested resources of one class name, so the name of the file is added.
    for path in sorted(RESOURCES.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                classes[f"{path.stem}.{node.name}"] = node
    for member in _functions(classes["__init__.Resources"]):
        yield from _methods(
            f"asyncposthog.AsyncPostHog.{member.name}",
            f"{member.name}.{ast.unparse(member.returns)}" if member.returns else "",
            classes,
        )


def _methods(where: str, class_name: str, classes: Mapping[str, ast.ClassDef]) -> Iterator[str]:
    for member in sorted(_functions(classes[class_name]), key=lambda member: member.name):
        returns = ast.unparse(member.returns) if member.returns else ""
        if member.decorator_list:  # the property of a nested resource
            family = class_name.partition(".")[0]
            yield from _methods(f"{where}.{member.name}", f"{family}.{returns}", classes)
            continue
        prefix = "async " if isinstance(member, ast.AsyncFunctionDef) else ""
        arguments = ast.unparse(member.args).removeprefix("self, ").removeprefix("self")
        yield f"{prefix}{where}.{member.name}({arguments}) -> {returns}"


def _functions(node: ast.ClassDef) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [
        member for member in node.body if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


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
