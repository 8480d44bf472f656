"""Find the operations of a path, in a trie over path segments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from asyncposthog.operation import Operation

__all__ = ["RouteMatch", "Router", "canonical_path"]

_DEPRECATED_ROOT = "/api/environments/"
_ROOT = "/api/projects/"


def canonical_path(path: str) -> str:
    """Return the path below `/api/projects/` for one below the deprecated `/api/environments/`."""
    if path.startswith(_DEPRECATED_ROOT):
        return _ROOT + path[len(_DEPRECATED_ROOT) :]
    return path


@dataclass(slots=True)
class _Node:
    static: dict[str, _Node] = field(default_factory=dict[str, "_Node"])
    parameter: _Node | None = None
    multi_segment: _Node | None = None
    """The node after a parameter that may contain slashes."""
    methods: dict[str, list[Operation]] = field(default_factory=dict[str, list[Operation]])


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """The operations of a path, and the values of its placeholders."""

    methods: dict[str, list[Operation]]
    values: tuple[str, ...]
    """The value of each placeholder, `@current` and `@me` unresolved, in order."""
    deprecated: bool
    """Whether the path begins with `/api/environments/`."""


class Router:
    """Finds the operations of a path. Static segments win over placeholders.

    `@current` and `@me` are values of a placeholder, even if an operation's path has them
    literally.

    Args:
        operations: The operations to register.
    """

    def __init__(self, operations: Iterable[Operation] = ()) -> None:
        self._root = _Node()
        for operation in operations:
            self.add(operation)

    def add(self, operation: Operation) -> None:
        """Register an operation under its path."""
        multi_segment = {
            p.name for p in operation.parameters if p.location == "path" and p.multi_segment
        }
        node = self._root
        for segment in canonical_path(operation.path).split("/"):
            if segment[:1] not in ("{", "@"):
                node = node.static.setdefault(segment, _Node())
            elif segment[1:-1] in multi_segment:
                node.multi_segment = node.multi_segment or _Node()
                node = node.multi_segment
            else:
                node.parameter = node.parameter or _Node()
                node = node.parameter
        registered = node.methods.setdefault(operation.method, [])
        # The schema has many operations twice: below /api/projects/ and /api/environments/.
        if all(_variant(other) != _variant(operation) for other in registered):
            registered.append(operation)

    def find(self, path: str) -> RouteMatch | None:
        """Return the operations of a path; None if there are none.

        The trailing slash may be missing: the routes of the server accept both.
        """
        complete = path if path.endswith("/") else f"{path}/"
        match = _find(self._root, canonical_path(complete).split("/"), 0)
        if match is None:
            return None
        node, values = match
        return RouteMatch(node.methods, values, path.startswith(_DEPRECATED_ROOT))


def _variant(operation: Operation) -> tuple[object, list[str]]:
    """Return what distinguishes operations of the same method and path."""
    literals = [segment for segment in operation.path.split("/") if segment.startswith("@")]
    return operation.fixed_body, literals


def _find(node: _Node, segments: list[str], index: int) -> tuple[_Node, tuple[str, ...]] | None:
    if index == len(segments):
        return (node, ()) if node.methods else None
    segment = segments[index]
    child = node.static.get(segment)
    if child is not None:
        match = _find(child, segments, index + 1)
        if match is not None:
            return match
    # Empty segments never match a placeholder: `/cohorts//` is not the cohort with an empty id.
    if node.parameter is not None and segment:
        match = _find(node.parameter, segments, index + 1)
        if match is not None:
            return match[0], (segment, *match[1])
    if node.multi_segment is not None and segment:
        for end in range(index + 1, len(segments) + 1):
            match = _find(node.multi_segment, segments, end)
            if match is not None:
                return match[0], ("/".join(segments[index:end]), *match[1])
    return None
