"""Algorithms on directed graphs of names: reachability, owners, cycles."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

__all__ = ["invert", "propagate_users", "reachable", "strongly_connected_components"]


def reachable(roots: Iterable[str], graph: Mapping[str, Collection[str]]) -> frozenset[str]:
    """Return the nodes that can be reached from `roots`, which are included."""
    visited: set[str] = set()
    pending = [root for root in roots if root in graph]
    while pending:
        node = pending.pop()
        if node not in visited:
            visited.add(node)
            pending.extend(other for other in graph[node] if other in graph)
    return frozenset(visited)


def propagate_users(
    roots: Mapping[str, Iterable[str]], graph: Mapping[str, Collection[str]]
) -> dict[str, frozenset[str]]:
    """Return the users of every node that has any, directly or through other nodes.

    Args:
        roots: The nodes each user uses directly.
        graph: The nodes each node needs.
    """
    users: dict[str, set[str]] = {}
    for user, names in roots.items():
        for name in reachable(names, graph):
            users.setdefault(name, set()).add(user)
    return {name: frozenset(users[name]) for name in sorted(users)}


def invert(users: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """Return the nodes of each user from the users of each node."""
    names: dict[str, set[str]] = {}
    for name, own_users in users.items():
        for user in own_users:
            names.setdefault(user, set()).add(name)
    return names


def strongly_connected_components(graph: Mapping[str, Collection[str]]) -> list[list[str]]:
    """Return the groups of nodes that reach each other, dependencies before dependents.

    Most groups have one node. Each is sorted, and neighbours that are not in `graph` are ignored.
    The result depends on the order of `graph` only, not on the order of its sets.
    """
    return list(_Tarjan(graph).run())


class _Tarjan:
    """Tarjan's algorithm with an explicit stack.

    A recursive version would exceed Python's recursion limit: the longest chain of references is as
    long as a schema makes it.
    """

    def __init__(self, graph: Mapping[str, Collection[str]]) -> None:
        self._graph = graph
        self._index: dict[str, int] = {}
        self._low: dict[str, int] = {}
        self._stack: list[str] = []
        self._on_stack: set[str] = set()
        self._path: list[tuple[str, Iterator[str]]] = []

    def run(self) -> Iterator[list[str]]:
        for root in self._graph:
            if root not in self._index:
                self._enter(root)
                yield from self._finish()

    def _enter(self, node: str) -> None:
        self._index[node] = self._low[node] = len(self._index)
        self._stack.append(node)
        self._on_stack.add(node)
        # Neighbours are often sets, whose order differs between runs of Python.
        neighbours = sorted(other for other in self._graph[node] if other in self._graph)
        self._path.append((node, iter(neighbours)))

    def _finish(self) -> Iterator[list[str]]:
        while self._path:
            node, neighbours = self._path[-1]
            neighbour = next(neighbours, None)
            if neighbour is None:
                self._path.pop()
                if self._path:
                    parent = self._path[-1][0]
                    self._low[parent] = min(self._low[parent], self._low[node])
                if self._low[node] == self._index[node]:
                    yield self._pop(node)
            elif neighbour not in self._index:
                self._enter(neighbour)
            elif neighbour in self._on_stack:
                self._low[node] = min(self._low[node], self._index[neighbour])

    def _pop(self, node: str) -> list[str]:
        component: list[str] = []
        while not component or component[-1] != node:
            component.append(self._stack.pop())
        self._on_stack.difference_update(component)
        return sorted(component)
