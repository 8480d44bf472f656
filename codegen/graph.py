"""Walks over a graph of names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

__all__ = ["circles", "reachable"]


def reachable(roots: Iterable[str], graph: Mapping[str, Collection[str]]) -> frozenset[str]:
    """Return the nodes some nodes lead to, themselves included."""
    found: set[str] = set()
    pending = [root for root in roots if root in graph]
    while pending:
        node = pending.pop()
        if node not in found:
            found.add(node)
            pending.extend(other for other in graph[node] if other in graph)
    return frozenset(found)


def circles(graph: Mapping[str, Collection[str]]) -> list[list[str]]:
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
        self._waiting: set[str] = set()
        self._walk: list[tuple[str, Iterator[str]]] = []

    def run(self) -> Iterator[list[str]]:
        for root in self._graph:
            if root not in self._index:
                self._enter(root)
                yield from self._finish()

    def _enter(self, node: str) -> None:
        self._index[node] = self._low[node] = len(self._index)
        self._stack.append(node)
        self._waiting.add(node)
        neighbours = sorted(other for other in self._graph[node] if other in self._graph)
        self._walk.append((node, iter(neighbours)))

    def _finish(self) -> Iterator[list[str]]:
        while self._walk:
            node, neighbours = self._walk[-1]
            following = next(neighbours, None)
            if following is None:
                self._walk.pop()
                if self._walk:
                    parent = self._walk[-1][0]
                    self._low[parent] = min(self._low[parent], self._low[node])
                if self._low[node] == self._index[node]:
                    yield self._pop(node)
            elif following not in self._index:
                self._enter(following)
            elif following in self._waiting:
                self._low[node] = min(self._low[node], self._index[following])

    def _pop(self, node: str) -> list[str]:
        found: list[str] = []
        while not found or found[-1] != node:
            found.append(self._stack.pop())
        self._waiting.difference_update(found)
        return sorted(found)
