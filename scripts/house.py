"""Measure the structure of the source tree, and check it against upper bounds.

`python scripts/house.py` prints the figures; `--check` exits with 1 if a bound is exceeded.
Imports for type checkers count like all others: a cycle among them is a cycle of the design.
"""

from __future__ import annotations

import argparse
import ast
import io
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import anyio
from call_path import client_get, emulator_list

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("asyncposthog", "posthog_emulator")
GENERATED = tuple(
    ROOT / "src" / "asyncposthog" / name for name in ("models", "registry", "resources")
)
MAX_ROOT_MODULES = 10
MAX_GET_FILES = 14
MAX_GET_FUNCTIONS = 40
TARGET_LIST_FILES = 22
"""Files that a request for a collection of the emulator should walk through; not checked."""

Graph = Mapping[str, frozenset[str]]


def modules() -> dict[str, Path]:
    """Return the path of every hand-written module, by its dotted name."""
    paths: dict[str, Path] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / "src" / package).rglob("*.py")):
            if not any(folder in path.parents for folder in GENERATED):
                parts = path.relative_to(ROOT / "src").with_suffix("").parts
                paths[".".join(parts).removesuffix(".__init__")] = path
    return paths


def _targets(node: ast.Import | ast.ImportFrom, module: str, is_package: bool) -> Iterator[str]:
    """Yield the dotted names that an import statement imports."""
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


def imports(paths: Mapping[str, Path]) -> dict[str, frozenset[str]]:
    """Return the modules that each module imports, including imports inside functions."""
    graph: dict[str, frozenset[str]] = {}
    generated = {".".join(folder.relative_to(ROOT / "src").parts) for folder in GENERATED}
    for module, path in paths.items():
        targets: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for name in _targets(node, module, path.name == "__init__.py"):
                    if name in generated:
                        continue
                    target = name if name in paths else name.rpartition(".")[0]
                    if target in paths and target != module:
                        targets.add(target)
        graph[module] = frozenset(targets)
    return graph


def folders(graph: Graph, paths: Mapping[str, Path]) -> dict[str, frozenset[str]]:
    """Return the import graph of the folders directly below each package."""

    def folder(module: str) -> str | None:
        path = paths[module].relative_to(ROOT / "src")
        return ".".join(path.parts[:2]) if len(path.parts) > 2 else None

    merged: dict[str, set[str]] = {}
    for module, targets in graph.items():
        home = folder(module)
        if home is not None:
            others = {folder(target) for target in targets} - {home, None}
            merged.setdefault(home, set()).update(name for name in others if name is not None)
    return {name: frozenset(targets) for name, targets in merged.items()}


def import_cycles(graph: Graph) -> list[list[str]]:
    """Return the strongly connected components of a graph (Tarjan's algorithm, iterative)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    cycles: list[list[str]] = []
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
                        cycles.append(sorted(group))
    return cycles


def comments(paths: Iterable[Path]) -> tuple[int, int]:
    """Return the number of comment lines, without directives to tools, and of all lines."""
    directives = ("# noqa", "# fmt:", "# type:", "# pyright:", "# pragma:", "#!")
    comment_lines = lines = 0
    for path in paths:
        text = path.read_text(encoding="utf-8")
        lines += text.count("\n")
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            is_comment = token.type == tokenize.COMMENT
            comment_lines += is_comment and not token.string.startswith(directives)
    return comment_lines, lines


def main() -> int:
    """Print the figures; with `--check`, return 1 if a bound is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bound is exceeded")
    options = parser.parse_args()
    paths = modules()
    graph = imports(paths)
    root = sorted(p.stem for p in (ROOT / "src" / "asyncposthog").glob("[a-z]*.py"))
    file_cycles = import_cycles(graph)
    folder_cycles = import_cycles(folders(graph, paths))
    comment_lines, lines = comments(paths.values())
    get_files, get_functions = anyio.run(client_get)
    list_files, _ = anyio.run(emulator_list)
    bounds = [
        ("modules at the root of asyncposthog", len(root), MAX_ROOT_MODULES),
        ("import cycles of files", len(file_cycles), 0),
        ("import cycles of folders", len(folder_cycles), 0),
        ("files that a get of the client walks through", get_files, MAX_GET_FILES),
        ("functions that a get of the client walks through", get_functions, MAX_GET_FUNCTIONS),
    ]
    print(f"hand-written modules: {len(paths)}, lines: {lines:,}")
    print(f"comments per 1,000 lines: {1000 * comment_lines / lines:.1f}")
    print(
        f"files that a list of the emulator walks through: {list_files} "
        f"(target: {TARGET_LIST_FILES})"
    )
    for what, value, bound in bounds:
        print(f"{what}: {value} (at most {bound})")
    for group in [*file_cycles, *folder_cycles]:
        print("  cycle:", " <-> ".join(group))
    exceeded = any(value > bound for _, value, bound in bounds)
    return int(options.check and exceeded)


if __name__ == "__main__":
    sys.exit(main())
