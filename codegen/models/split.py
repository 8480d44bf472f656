"""Which module a model lives in, and in which order.

A type lives with those that have the same users: resource families or, for the query package, the
query nodes that lead to it. Whoever needs a type has no user that the type lacks, so modules made
by any key that grows with the set of users cannot import in a circle.
"""

from __future__ import annotations

import keyword
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter

from codegen.graph import circles, reachable
from codegen.naming import words

from .types import Typed

__all__ = ["Module", "split"]

_PACKAGES = frozenset({"query", "shared"})
_MANY_NODES = 20
"""What more query nodes than this lead to goes into one module."""


@dataclass(frozen=True, slots=True)
class Module:
    """One module of the package."""

    path: str
    """Dotted, below `models`: `feature_flags`, `shared.user_basic`."""
    names: tuple[str, ...]
    """Public names, in an order in which they can be defined."""
    recursive: frozenset[str]
    """Aliases that mention themselves with no class in between."""
    users: tuple[str, ...]
    """The resource families, or the query nodes, that use it; empty if many nodes do."""


@dataclass(frozen=True, slots=True, order=True)
class _Key:
    """What the types of one module have in common."""

    query: bool
    users: tuple[str, ...]
    """Families; in the query package, nodes, or nothing where there are too many to tell apart."""
    detail: int
    """1 for what only requests use; in the query package, for what many nodes use."""


def split(
    types: Mapping[str, Typed],
    users: Mapping[str, frozenset[str]],
    query: Mapping[str, frozenset[str]],
) -> tuple[Module, ...]:
    """Divide types among modules.

    Args:
        types: Types by public name, sorted.
        users: Users of each component.
        query: For each component of the query package, the nodes that lead to it.
    """
    needs = {name: typed.needs for name, typed in types.items()}
    families = _propagate_users(types, needs, users)
    nodes = _propagate_users(types, needs, query)
    queries = reachable((n for n, typed in types.items() if typed.shape.owner in query), needs)
    groups: dict[_Key, list[str]] = {}
    for name in types:
        key = _query_key(nodes[name]) if name in queries else _key(families[name])
        groups.setdefault(key, []).append(name)
    wanted = Counter(needed for own in needs.values() for needed in own)
    modules: list[Module] = []
    taken = set(_PACKAGES)
    for key, names in sorted(groups.items()):
        path = _unique(_path(key, names, types, wanted), taken)
        ordered, recursive = _ordered(names, types)
        modules.append(Module(path, ordered, recursive, key.users))
    _check_imports(modules, needs)
    return tuple(modules)


def _propagate_users(
    types: Mapping[str, Typed],
    needs: Mapping[str, frozenset[str]],
    users: Mapping[str, frozenset[str]],
) -> dict[str, frozenset[str]]:
    """Hand users down from each type to those it needs: inline ones have none of their own."""
    everyone = {
        name: users.get(typed.shape.component, frozenset()) for name, typed in types.items()
    }
    for circle in reversed(circles(needs)):
        together = frozenset[str]().union(*(everyone[name] for name in circle))
        for name in circle:
            everyone[name] = together
            for needed in needs[name]:
                everyone[needed] |= together
    return everyone


def _key(users: frozenset[str]) -> _Key:
    families = {user.removesuffix("!request") for user in users}
    requests_only = all(user.endswith("!request") for user in users)
    return _Key(query=False, users=tuple(sorted(families)), detail=int(requests_only))


def _query_key(nodes: frozenset[str]) -> _Key:
    many = len(nodes) > _MANY_NODES
    return _Key(query=True, users=() if many else tuple(sorted(nodes)), detail=int(many))


def _path(
    key: _Key, names: Collection[str], types: Mapping[str, Typed], wanted: Mapping[str, int]
) -> str:
    if len(key.users) == 1 and not key.query:
        family = key.users[0]
        if key.detail:
            return f"{family}_requests"
        return f"{family}_models" if family in _PACKAGES else family
    nodes = [name for name in names if types[name].shape.component in key.users]
    components = [name for name in names if types[name].shape.component]
    leader = min(nodes or components or names, key=lambda name: (-wanted[name], name))
    package = "query" if key.query else "shared"
    module = "_".join(words(leader))
    return f"{package}.{module}_" if keyword.iskeyword(module) else f"{package}.{module}"


def _unique(path: str, taken: set[str]) -> str:
    candidate, number = path, 2
    while candidate in taken:
        candidate, number = f"{path}_{number}", number + 1
    taken.add(candidate)
    return candidate


def _ordered(
    names: Collection[str], types: Mapping[str, Typed]
) -> tuple[tuple[str, ...], frozenset[str]]:
    """Put dependencies first. Within a circle, classes first: only they can wait for a name."""
    inside = {name: types[name].needs for name in names}
    ordered: list[str] = []
    recursive: set[str] = set()
    for circle in circles(inside):
        rest = [name for name in circle if types[name].shape.kind != "model"]
        ordered.extend(name for name in circle if name not in rest)
        among = {name: inside[name] for name in rest}
        for aliases in circles(among):
            if len(aliases) > 1 or aliases[0] in among[aliases[0]]:
                recursive.update(aliases)
            ordered.extend(aliases)
    return tuple(ordered), frozenset(recursive)


def _check_imports(modules: Iterable[Module], needs: Mapping[str, frozenset[str]]) -> None:
    """Make sure that no two modules import each other: the rule above does not allow it."""
    home = {name: module.path for module in modules for name in module.names}
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for module in modules:
        needed = {home[other] for name in module.names for other in needs[name]}
        sorter.add(module.path, *sorted(needed - {module.path}))
    sorter.prepare()
