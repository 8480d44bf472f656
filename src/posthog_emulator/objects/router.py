"""From a path to the operations that live there: a trie over path segments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from asyncposthog.operation import Operation

__all__ = ["Match", "Router", "canonical_path"]

_OLD_ROOT = "/api/environments/"
_NEW_ROOT = "/api/projects/"


def canonical_path(path: str) -> str:
    """The path below `/api/projects/` of one below the deprecated `/api/environments/`."""
    return _NEW_ROOT + path[len(_OLD_ROOT) :] if path.startswith(_OLD_ROOT) else path


@dataclass(slots=True)
class _Node:
    static: dict[str, _Node] = field(default_factory=dict[str, "_Node"])
    parameter: _Node | None = None
    rest: _Node | None = None
    """After a parameter that may contain slashes."""
    methods: dict[str, list[Operation]] = field(default_factory=dict[str, list[Operation]])


@dataclass(frozen=True, slots=True)
class Match:
    """Where a path leads."""

    methods: dict[str, list[Operation]]
    values: tuple[str, ...]
    """What stands at each placeholder, `@current` and `@me` included, in order."""
    deprecated: bool
    """Whether the request used `/api/environments/`."""


class Router:
    """Finds the operations of a path. Static segments win over placeholders.

    `@current` and `@me` are values of a placeholder, also where a template spells them out.
    """

    def __init__(self, operations: Iterable[Operation] = ()) -> None:
        self._root = _Node()
        for operation in operations:
            self.add(operation)

    def add(self, operation: Operation) -> None:
        """Register an operation under its path template."""
        long = {p.name for p in operation.parameters if p.location == "path" and p.multi_segment}
        node = self._root
        for segment in canonical_path(operation.path).split("/"):
            if segment[:1] not in ("{", "@"):
                node = node.static.setdefault(segment, _Node())
            elif segment[1:-1] in long:
                node.rest = node.rest or _Node()
                node = node.rest
            else:
                node.parameter = node.parameter or _Node()
                node = node.parameter
        present = node.methods.setdefault(operation.method, [])
        # A twin below /api/environments/ adds nothing to the operation that is already there.
        if all(_kind(other) != _kind(operation) for other in present):
            present.append(operation)

    def find(self, path: str) -> Match | None:
        """The operations at a path; None when there are none.

        The slash at the end may be left out, as on the server, whose routes take both.
        """
        whole = path if path.endswith("/") else f"{path}/"
        found = _walk(self._root, canonical_path(whole).split("/"), 0)
        if found is None:
            return None
        node, values = found
        return Match(node.methods, values, path.startswith(_OLD_ROOT))


def _kind(operation: Operation) -> tuple[object, list[str]]:
    """What tells operations of one method and path apart: a fixed body, `@current`, `@me`."""
    literals = [segment for segment in operation.path.split("/") if segment.startswith("@")]
    return operation.fixed_body, literals


def _walk(node: _Node, segments: list[str], at: int) -> tuple[_Node, tuple[str, ...]] | None:
    if at == len(segments):
        return (node, ()) if node.methods else None
    segment = segments[at]
    child = node.static.get(segment)
    if child is not None:
        found = _walk(child, segments, at + 1)
        if found is not None:
            return found
    if node.parameter is not None and segment:
        found = _walk(node.parameter, segments, at + 1)
        if found is not None:
            return found[0], (segment, *found[1])
    if node.rest is not None and segment:
        for end in range(at + 1, len(segments) + 1):
            found = _walk(node.rest, segments, end)
            if found is not None:
                return found[0], ("/".join(segments[at:end]), *found[1])
    return None
