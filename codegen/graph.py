"""Walks over a graph of names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

__all__ = ["reachable", "strongly_connected_components"]


def reachable(roots: Iterable[str], graph: Mapping[str, Collection[str]]) -> frozenset[str]:
    """Return the nodes some nodes lead to, themselves included."""
    visited: set[str] = set()
    pending = [root for root in roots if root in graph]
    while pending:
        node = pending.pop()
        if node not in visited:
            visited.add(node)
            pending.extend(other for other in graph[node] if other in graph)
    return frozenset(visited)


def strongly_connected_components(graph: Mapping[str, Collection[str]]) -> list[list[str]]:
    """Return the strongly connected components, each after those it leads to, each sorted.

    Most are of one node. Neighbours outside the graph do not count. Equal graphs, given in equal
    order, give equal answers.
    """
    return list(_Tarjan(graph).run())


class _Tarjan:
    """Tarjan's algorithm, with a stack of its own in place of recursion."""

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
