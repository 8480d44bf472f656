"""Divide types among modules, and order them in each module.

Types with the same users share a module. Users are resource families or, in the query package, the
query nodes that need the type. A type has at least the users of every type that needs it, so
modules never import each other in a cycle. Modules are named after a model in them; enums that
share no module with a model are together in `enums`, because the name of one enum would say nothing
about the others.
"""

from __future__ import annotations

import keyword
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import chain, count

from codegen.graph import invert, propagate_users, reachable, strongly_connected_components
from codegen.naming import words

from .types import NamedType

__all__ = ["Module", "split"]

_PACKAGES = frozenset({"query", "shared"})
_MAX_NODES = 20
"""Types needed by more query nodes than this share one module."""


@dataclass(frozen=True, slots=True)
class Module:
    """One module of the package."""

    path: str
    """Dotted path below `models`: `feature_flags`, `shared.user_basic`."""
    names: tuple[str, ...]
    """Public names, in an order in which they can be defined."""
    recursive: frozenset[str]
    """Aliases that contain themselves with no class in between."""
    users: tuple[str, ...]
    """The resource families or query nodes that use it; empty if many nodes do."""


@dataclass(frozen=True, slots=True, order=True)
class _ModuleKey:
    """What the types of one module have in common. Modules are sorted by it."""

    query: bool
    users: tuple[str, ...]
    """Families or, in the query package, nodes; empty if there are more than `_MAX_NODES`."""
    detail: int
    """1 for types that only requests use or, in the query package, that many nodes use."""
    enums: bool = False
    """Whether it is the module of the enums that share no module with a model."""


def split(
    types: Mapping[str, NamedType],
    users: Mapping[str, frozenset[str]],
    query: Mapping[str, frozenset[str]],
) -> tuple[Module, ...]:
    """Divide types among modules.

    Args:
        types: Types by public name, sorted.
        users: Users of each component.
        query: The nodes that need each component of the query package.
    """
    dependencies = {name: named_type.dependencies for name, named_type in types.items()}
    families = _users_of_types(types, dependencies, users)
    nodes = _users_of_types(types, dependencies, query)
    queries = reachable(
        (n for n, named_type in types.items() if named_type.shape.owner in query), dependencies
    )
    groups: dict[_ModuleKey, list[str]] = {}
    for name in types:
        key = _query_key(nodes[name]) if name in queries else _module_key(families[name])
        groups.setdefault(key, []).append(name)
    groups = _merge_enums(groups, types)
    usage_counts = Counter(
        dependency
        for type_dependencies in dependencies.values()
        for dependency in type_dependencies
    )
    modules: list[Module] = []
    taken = set(_PACKAGES)
    for key, names in sorted(groups.items()):
        path = _unused_path(_paths(key, names, types, usage_counts), taken)
        ordered, recursive = _definition_order(names, types)
        modules.append(Module(path, ordered, recursive, key.users))
    _check_imports(modules, dependencies)
    return tuple(modules)


def _users_of_types(
    types: Mapping[str, NamedType],
    dependencies: Mapping[str, frozenset[str]],
    users: Mapping[str, frozenset[str]],
) -> dict[str, frozenset[str]]:
    """Return the users of each type. Inline types have the users of the types that need them."""
    direct = {name: users.get(own.shape.component, ()) for name, own in types.items()}
    propagated = propagate_users(invert(direct), dependencies)
    return {name: propagated.get(name, frozenset()) for name in types}


def _module_key(users: frozenset[str]) -> _ModuleKey:
    families = {user.removesuffix("!request") for user in users}
    requests_only = all(user.endswith("!request") for user in users)
    return _ModuleKey(query=False, users=tuple(sorted(families)), detail=int(requests_only))


def _query_key(nodes: frozenset[str]) -> _ModuleKey:
    many = len(nodes) > _MAX_NODES
    return _ModuleKey(query=True, users=() if many else tuple(sorted(nodes)), detail=int(many))


def _merge_enums(
    groups: Mapping[_ModuleKey, list[str]], types: Mapping[str, NamedType]
) -> dict[_ModuleKey, list[str]]:
    """Put the groups that hold only enums into one for each package.

    Enums depend on no other type, so the module cannot be in an import cycle.
    """
    merged: dict[_ModuleKey, list[str]] = {}
    for key, names in groups.items():
        is_shared = key.query or len(key.users) > 1
        only_enums = all(
            types[name].shape.kind != "model" and not types[name].dependencies for name in names
        )
        if is_shared and only_enums:
            key = _ModuleKey(query=key.query, users=(), detail=1, enums=True)
        merged.setdefault(key, []).extend(names)
    return {key: sorted(names) for key, names in merged.items()}


def _paths(
    key: _ModuleKey,
    names: Collection[str],
    types: Mapping[str, NamedType],
    usage_counts: Mapping[str, int],
) -> list[str]:
    """Return the paths that a module can have, the best one first."""
    package = "query" if key.query else "shared"
    if key.enums:
        return [f"{package}.enums"]
    if len(key.users) == 1 and not key.query:
        family = key.users[0]
        if key.detail:
            return [f"{family}_requests"]
        return [f"{family}_models" if family in _PACKAGES else family]
    nodes = [name for name in names if types[name].shape.component in key.users]
    models = [name for name in names if types[name].shape.kind == "model"]
    components = [name for name in models if types[name].shape.component]

    def rank(name: str) -> tuple[bool, bool, bool, int, str]:
        return (
            name not in nodes,
            name not in components,
            # A name without a number needs no explanation.
            name[-1].isdigit(),
            -usage_counts[name],
            name,
        )

    paths: list[str] = []
    for leader in sorted(nodes or models or names, key=rank):
        module = "_".join(words(_without_number(leader, names, types)))
        paths.append(f"{package}.{module}_" if keyword.iskeyword(module) else f"{package}.{module}")
    return paths


def _without_number(leader: str, names: Collection[str], types: Mapping[str, NamedType]) -> str:
    """Return a class name without its number, unless the number tells modules apart.

    `Filter1` and `Filter2` in one module give `filter`; in two modules they keep their numbers.
    """
    stem = leader.rstrip("0123456789")
    siblings = {name for name in types if name.rstrip("0123456789") == stem}
    return stem if stem and siblings <= set(names) else leader


def _unused_path(paths: Sequence[str], taken: set[str]) -> str:
    """Reserve the first path that is free; if none is, the best one gets a number."""
    numbered = (f"{paths[0]}_{number}" for number in count(2))
    path = next(path for path in chain(paths, numbered) if path not in taken)
    taken.add(path)
    return path


def _definition_order(
    names: Collection[str], types: Mapping[str, NamedType]
) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return an order with dependencies first, and the recursive aliases.

    In a cycle, classes come first: their annotations are evaluated later, those of aliases are not.
    """
    dependencies = {name: types[name].dependencies for name in names}
    ordered: list[str] = []
    recursive: set[str] = set()
    for cycle in strongly_connected_components(dependencies):
        alias_names = [name for name in cycle if types[name].shape.kind != "model"]
        ordered.extend(name for name in cycle if name not in alias_names)
        alias_dependencies = {name: dependencies[name] for name in alias_names}
        for aliases in strongly_connected_components(alias_dependencies):
            if len(aliases) > 1 or aliases[0] in alias_dependencies[aliases[0]]:
                recursive.update(aliases)
            ordered.extend(aliases)
    return tuple(ordered), frozenset(recursive)


def _check_imports(modules: Iterable[Module], dependencies: Mapping[str, frozenset[str]]) -> None:
    """Raise if modules import each other, which the grouping rules out."""
    home = {name: module.path for module in modules for name in module.names}
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for module in modules:
        imported = {home[other] for name in module.names for other in dependencies[name]}
        sorter.add(module.path, *sorted(imported - {module.path}))
    sorter.prepare()
