"""Measure the structure of the source tree, and check the bounds that hold for it.

`python scripts/house.py` prints the figures; `--check` ends with 1 if a bound is exceeded.
Imports for type checkers count like any other: a circle among them is a circle of the design.
"""

from __future__ import annotations

import argparse
import ast
import io
import sys
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("asyncposthog", "posthog_emulator")
GENERATED = tuple(
    ROOT / "src" / "asyncposthog" / name for name in ("models", "registry", "resources")
)
EXEMPT = "posthog_emulator.hogql"
"""Its engine is to be replaced, and the circles inside it with it."""
MAX_ROOT_MODULES = 10

Graph = Mapping[str, frozenset[str]]


def modules() -> dict[str, Path]:
    """Return the path of every module that was written by hand, by its dotted name."""
    found: dict[str, Path] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / "src" / package).rglob("*.py")):
            if not any(folder in path.parents for folder in GENERATED):
                parts = path.relative_to(ROOT / "src").with_suffix("").parts
                found[".".join(parts).removesuffix(".__init__")] = path
    return found


def _targets(node: ast.Import | ast.ImportFrom, module: str, is_package: bool) -> Iterator[str]:
    """Yield the dotted names that an import may mean, the longest first for each name."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        parts = module.split(".")
        parts = parts[: len(parts) - node.level + is_package]
        base = ".".join([*parts, node.module] if node.module else parts)
    for alias in node.names:
        yield f"{base}.{alias.name}"


def imports(found: Mapping[str, Path]) -> dict[str, frozenset[str]]:
    """Return which modules each module imports, imports inside functions included."""
    graph: dict[str, frozenset[str]] = {}
    generated = {".".join(folder.relative_to(ROOT / "src").parts) for folder in GENERATED}
    for module, path in found.items():
        seen: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for name in _targets(node, module, path.name == "__init__.py"):
                    if name in generated:
                        continue
                    target = name if name in found else name.rpartition(".")[0]
                    if target in found and target != module:
                        seen.add(target)
        graph[module] = frozenset(seen)
    return graph


def folders(graph: Graph, found: Mapping[str, Path]) -> dict[str, frozenset[str]]:
    """Return the graph of the folders directly below each package."""

    def folder(module: str) -> str | None:
        path = found[module].relative_to(ROOT / "src")
        return ".".join(path.parts[:2]) if len(path.parts) > 2 else None

    merged: dict[str, set[str]] = {}
    for module, targets in graph.items():
        home = folder(module)
        if home is not None:
            away = {folder(target) for target in targets} - {home, None}
            merged.setdefault(home, set()).update(name for name in away if name is not None)
    return {name: frozenset(targets) for name, targets in merged.items()}


def circles(graph: Graph) -> list[list[str]]:
    """Return the groups of nodes that reach each other (Tarjan's algorithm, without recursion)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []
    for root in graph:
        if root in index:
            continue
        work = [(root, iter(sorted(graph[root])))]
        index[root] = low[root] = len(index)
        stack.append(root)
        while work:
            node, targets = work[-1]
            for target in targets:
                if target not in graph:
                    continue
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    work.append((target, iter(sorted(graph[target]))))
                    break
                if target in stack:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    group = [stack.pop()]
                    while group[-1] != node:
                        group.append(stack.pop())
                    if len(group) > 1:
                        found.append(sorted(group))
    return found


def comments(paths: Iterator[Path]) -> tuple[int, int]:
    """Return the lines that are comments, directives to tools left out, and all lines."""
    directives = ("# noqa", "# fmt:", "# type:", "# pyright:", "# pragma:", "#!")
    notes = lines = 0
    for path in paths:
        text = path.read_text(encoding="utf-8")
        lines += text.count("\n")
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            notes += token.type == tokenize.COMMENT and not token.string.startswith(directives)
    return notes, lines


def main() -> int:
    """Print the figures; return 1 if a bound is exceeded and `--check` was given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="end with 1 if a bound is exceeded")
    options = parser.parse_args()
    found = modules()
    graph = imports(found)
    root = sorted(p.stem for p in (ROOT / "src" / "asyncposthog").glob("[a-z]*.py"))
    files = [group for group in circles(graph) if not all(m.startswith(EXEMPT) for m in group)]
    rooms = circles(folders(graph, found))
    notes, lines = comments(iter(found.values()))
    bounds = [
        ("modules at the root of asyncposthog", len(root), MAX_ROOT_MODULES),
        ("import circles of files", len(files), 0),
        ("import circles of folders", len(rooms), 0),
    ]
    print(f"hand-written modules: {len(found)}, lines: {lines:,}")
    print(f"comments per 1,000 lines: {1000 * notes / lines:.1f}")
    for what, value, bound in bounds:
        print(f"{what}: {value} (at most {bound})")
    for group in [*files, *rooms]:
        print("  circle:", " <-> ".join(group))
    exceeded = any(value > bound for _, value, bound in bounds)
    return int(options.check and exceeded)


if __name__ == "__main__":
    sys.exit(main())
