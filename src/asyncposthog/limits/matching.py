"""Ad-hoc paths: which operation of the registry a path belongs to."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib import import_module
from typing import Final

from asyncposthog import registry
from asyncposthog.operation import Operation

__all__ = ["match"]

_PROJECT: Final = re.compile(r"/api/(?:projects|environments)/([^/]+)/")
_ORGANIZATION: Final = re.compile(r"/api/organizations/[^/]+/")


@lru_cache(maxsize=1024)
def match(method: str, path: str) -> Operation | None:
    """Return the operation of the registry that a request stands for, or None.

    Only the family that the path names is imported.

    Args:
        method: An HTTP method, in capitals.
        path: The path, encoded, without its query: `/api/projects/1/persons/`.
    """
    method = "GET" if method == "HEAD" else method  # the same view answers both
    path = path.partition("?")[0]
    path = path if path.endswith("/") else f"{path}/"
    path = _PROJECT.sub(r"/api/projects/\1/", path, count=1)
    best: Operation | None = None
    for operation, pattern in _patterns(_family(path)):
        if operation.method != method or not pattern.fullmatch(path):
            continue
        # `/persons/bulk_delete/` rather than `/persons/{id}/`.
        if best is None or operation.path.count("{") < best.path.count("{"):
            best = operation
    return best


def _family(path: str) -> str:
    """Return the name of the family that a path belongs to, by its first own segment."""
    project = _PROJECT.match(path)
    if project is None:
        return "organizations" if _ORGANIZATION.match(path) else path[5:].partition("/")[0]
    return path[project.end() :].partition("/")[0].replace("-", "_") or "projects"


@cache
def _families() -> frozenset[str]:
    return frozenset(registry.FAMILIES)


def _patterns(family: str) -> tuple[tuple[Operation, re.Pattern[str]], ...]:
    return _compiled(family) if family in _families() else ()


@cache
def _compiled(family: str) -> tuple[tuple[Operation, re.Pattern[str]], ...]:
    module = import_module(f"{registry.__name__}.families.{family}")
    operations: tuple[Operation, ...] = module.OPERATIONS
    return tuple((operation, re.compile(_pattern(operation))) for operation in operations)


def _pattern(operation: Operation) -> str:
    long = {p.name for p in operation.path_parameters if p.multi_segment}
    parts = re.split(r"\{([^{}]*)\}", operation.path)
    return "".join(
        (".+" if part in long else "[^/]+") if index % 2 else re.escape(part)
        for index, part in enumerate(parts)
    )
