"""Public names, derived from paths, parameters and components.

Names of methods are derived from paths, not from operation ids: operation ids change between
releases of PostHog, and paths do not.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import Any

from asyncposthog.operation import Owner

__all__ = [
    "CLIENT_NAMES",
    "Route",
    "class_name",
    "class_names",
    "fixed_names",
    "method_names",
    "new_component_name",
    "operation_shape",
    "parse_route",
    "pascal_case",
    "path_error",
    "python_name",
    "resource_class",
    "resource_path",
    "valid_component_names",
    "words",
]

_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z0-9]+")
_BRANDS = re.compile("HogQL|PostHog|GitHub|GitLab|LinkedIn|ClickUp|ClickHouse|OAuth|OpenAPI")
"""Names that are one word although they have capitals inside."""
_PARAMETER = re.compile(r"^\{(.+)\}$")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_ITEM_VERBS = {"get": "get", "patch": "update", "put": "replace", "delete": "delete"}
_TAIL_VERBS = {
    "get": "get",
    "post": "create",
    "patch": "update",
    "put": "replace",
    "delete": "delete",
}
# Arguments that generated methods have in addition to those of the operation.
_SIGNATURE_NAMES = frozenset({"self", "options", "concurrency"})
_CLASS_NAMES = frozenset(
    {"bool", "bytes", "cached_property", "dict", "float", "int", "m", "object", "str"}
)
"""Names used inside the class of a resource, which a method or nested resource would hide."""
CLIENT_NAMES = frozenset(
    {
        "aclose",
        "capture",
        "doctor",
        "dry_run",
        "emulated",
        "export",
        "flags",
        "import_events",
        "rate_limits",
        "raw",
        "request",
        "settings",
        "stream",
        "with_options",
    }
)
"""Attributes of the client, which a resource of the same name would hide."""
_COMPONENT_NAME = re.compile(r"[A-Za-z0-9._-]+")
"""The component names that OpenAPI allows."""
_URL_PATH = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")


def words(name: str) -> list[str]:
    """Split a name in any casing into lower-case words: `dateRange2` → `date`, `range2`."""
    plain = _BRANDS.sub(lambda match: match.group().capitalize(), name)
    return [word.lower() for word in _WORDS.findall(plain)]


def python_name(wire: str) -> str:
    """Return a snake_case identifier for a wire name.

    Keywords and names used by every signature get a trailing underscore; leading `_` and `$` are
    dropped; a leading digit gets an `n` in front.
    """
    name = "_".join(words(wire)) or "value"
    if name[0].isdigit():
        name = f"n{name}"
    if keyword.iskeyword(name) or name in _SIGNATURE_NAMES:
        name = f"{name}_"
    return name


def pascal_case(text: Any) -> str:
    """Return a name in Pascal case: `target_config` → `TargetConfig`. Other capitals are kept."""
    words = re.findall(r"[A-Za-z0-9]+", str(text))
    return "".join(word[0].upper() + word[1:] for word in words)


def new_component_name(parts: Iterable[Any], taken: Container[str]) -> str:
    """Return the parts as one name in Pascal case, with a number from 2 if it is taken."""
    name = "".join(pascal_case(part) for part in parts) or "Schema"
    number = 1
    candidate = name
    while candidate in taken:
        number += 1
        candidate = f"{name}{number}"
    return candidate


def valid_component_names(names: Iterable[str]) -> dict[str, str]:
    """Return an allowed name for each component; allowed names are unchanged."""
    listed = list(names)
    result = {name: name for name in listed if _COMPONENT_NAME.fullmatch(name)}
    for name in sorted(set(listed) - result.keys()):
        result[name] = new_component_name([name], set(result.values()))
    return result


def class_name(component: str) -> str:
    """Return a class name for a component, with the capitals the component has."""
    name = pascal_case(component) or "Model"
    if name[0].isdigit():
        name = f"N{name}"
    # A class called `Exception` would hide the builtin from the rest of its module.
    if keyword.iskeyword(name) or hasattr(builtins, name):
        name = f"{name}Model"
    return name


def class_names(
    components: Iterable[str], released: Mapping[str, str], reserved: Iterable[str] = ()
) -> dict[str, str]:
    """Return a unique class name for every component; released names do not change.

    No component gets a reserved name that was not released for it. If several components would get
    the same name, the one that is spelled exactly so gets it, and
    the others get the suffix `Schema`, then a number.
    """
    result: dict[str, str] = {}
    ordered = sorted(components)
    taken: set[str] = set()
    # Released names first, so that no new component can take one.
    for component in ordered:
        if component in released and released[component] not in taken:
            result[component] = released[component]
            taken.add(released[component])
    taken.update(reserved)
    for exact in (True, False):
        for component in ordered:
            name = class_name(component)
            if component in result or exact != (name == component):
                continue
            candidate, number = name, 2
            while candidate in taken:
                candidate = f"{name}Schema" if f"{name}Schema" not in taken else f"{name}{number}"
                number += 1
            result[component] = candidate
            taken.add(candidate)
    return result


def resource_class(resource: Sequence[str]) -> str:
    """Return a resource's class name: `("error_tracking", "issues")` → `ErrorTrackingIssues`."""
    return "".join(map(pascal_case, resource))


@dataclass(frozen=True, slots=True)
class Route:
    """A path without its owner: static segments and placeholders."""

    path: str
    owner: Owner | None
    """The owner in the path (project or organization), or None."""
    owner_parameter: str | None
    segments: tuple[str, ...]
    """Static segments as Python names, placeholders as `{name}`."""

    @property
    def static(self) -> tuple[str, ...]:
        """The static segments alone."""
        return tuple(s for s in self.segments if not _PARAMETER.match(s))

    @property
    def parameters(self) -> tuple[str, ...]:
        """The wire names of the placeholders, in order, without the owner's."""
        return tuple(m.group(1) for s in self.segments if (m := _PARAMETER.match(s)))

    @property
    def ends_in_parameter(self) -> bool:
        """Whether the path addresses one item."""
        return bool(self.segments) and self.segments[-1].startswith("{")


def path_error(path: str) -> str | None:
    """Return why no method can be generated for a path, or None if one can."""
    if not path.startswith("/api/"):
        return "its path is not below /api/"
    segments = path.strip("/").split("/")
    placeholders = [part for part in segments if re.fullmatch(r"\{[^{}]+\}", part)]
    literals = [part for part in segments if part not in placeholders]
    if any("{" in part or "}" in part for part in literals):
        return "a placeholder of its path is not a whole segment, or its braces do not match"
    if not all(map(_URL_PATH.fullmatch, literals)):
        return "its path has characters that are not allowed in a URL"
    # HTTP clients normalise dot segments, so the request would go to another path.
    if any(part in {"", ".", ".."} for part in segments):
        return "its path has a segment that is empty or only dots"
    if len(set(placeholders)) < len(placeholders):
        return "its path has two placeholders of the same name"
    if len(segments) < 2 or not parse_route(path).static:
        return "its path names no resource"
    return None


def parse_route(path: str) -> Route:
    """Split a path template into its owner and segments.

    Raises:
        ValueError: The path is not below `/api/`.
    """
    raw = [part for part in path.split("/") if part]
    if not raw or raw[0] != "api" or len(raw) < 2:
        raise ValueError(f"{path!r} is not below /api/")
    raw = raw[1:]
    segments = tuple(part if _PARAMETER.match(part) else _attribute_name(part) for part in raw)
    # `/api/projects/{id}/` is the project itself; below it there are the project's resources.
    nested = len(raw) > 2 and bool(_PARAMETER.match(raw[1]))
    if nested and raw[0] in {"projects", "environments"} and raw[1] != "{id}":
        return Route(path, "project", raw[1][1:-1], _avoid_client_attributes(segments[2:]))
    if nested and raw[0] == "organizations" and raw[1].endswith("organization_id}"):
        return Route(path, "organization", raw[1][1:-1], (segments[0], *segments[2:]))
    return Route(path, None, None, _avoid_client_attributes(segments))


def resource_path(path: str) -> str:
    """Return the part of a path that all paths of its top-level resource start with."""
    route = parse_route(path)
    length = 2 if route.owner is None else 4
    return "/".join([*path.split("/")[: length + 1], ""])


def _attribute_name(segment: str) -> str:
    """Return the name of a method or a resource for a segment of a path."""
    name = python_name(segment)
    return f"{name}_" if name in _CLASS_NAMES else name


def _avoid_client_attributes(segments: tuple[str, ...]) -> tuple[str, ...]:
    """Add an underscore to a top-level resource that would hide an attribute of the client."""
    if segments and segments[0] in CLIENT_NAMES:
        return (f"{segments[0]}_", *segments[1:])
    return segments


@dataclass(frozen=True, slots=True)
class _NameCandidate:
    """The name of an operation before clashes are resolved."""

    resource: tuple[str, ...]
    name: str
    kind: str  # collection, item, collection_action, item_action
    method: str
    is_list: bool


def fixed_names(
    keys: Iterable[tuple[str, str]],
    layers: Iterable[Mapping[str, str]],
    report: Callable[[str, str, str], None] = lambda method, path, reason: None,
) -> dict[str, str]:
    """Return the names of operations that are given, not derived, by `"GET /api/…/"`.

    Args:
        keys: `(method, path)` of the operations of the document.
        layers: Given names by operation. Those of an earlier layer win. The names of placeholders
            may differ from those in `keys`.
        report: Called for each name that is not used because another operation has it.
    """
    ordered = sorted(keys)
    result: dict[str, str] = {}
    used: dict[str, str] = {}
    for layer in layers:
        by_shape = {
            operation_shape(operation): name
            for operation, name in sorted(layer.items(), reverse=True)
        }
        for method, path in ordered:
            key = f"{method.upper()} {path}"
            name = layer.get(key) or by_shape.get(operation_shape(key))
            if name is None or key in result:
                continue
            if name in used:
                report(method, path, f"the name {name!r} is given to {used[name]} too")
                continue
            result[key] = name
            used[name] = key
    return result


def operation_shape(operation: str) -> str:
    """Return an operation without the names of placeholders, which differ between releases."""
    return _PLACEHOLDER.sub("{}", operation)


def method_names(
    operations: Iterable[tuple[str, str, bool]],
    fixed: Mapping[str, str],
    report: Callable[[str, str, str], None] = lambda method, path, reason: None,
    reserved: Iterable[str] = (),
) -> dict[tuple[str, str], str]:
    """Return the public name of every operation.

    The result depends on the operations and on the given names, not on any order. A given name
    stays as it is, so adding an operation renames none that has one.

    Args:
        operations: `(method, path, is_list)` for each operation of the document.
        fixed: Names that are given, by `"GET /api/…/"`.
        report: Called with the method, the path and a description of each resolved clash.
        reserved: Names that no other operation may get, such as those of operations that an
            earlier document had.

    Returns:
        The dotted public name (`error_tracking.issues.get`) by `(method, path)`. If two operations
        have the same name after all rules, the later path gets its verb in front, its parameters
        behind, or a number. If a method and a nested resource have the same name, the method gets
        its verb; if the name of the method is given, the resource gets an underscore instead.
    """
    listed = sorted(operations)
    routes = {path: parse_route(path) for _, path, _ in listed}
    parents = _parents(routes.values())
    lists = {(method, path) for method, path, is_list in listed if is_list}
    verbs_of: dict[str, set[str]] = {}
    for method, path, _ in listed:
        verbs_of.setdefault(path, set()).add(method)
    items = {
        routes[path].static
        for method, path, _ in listed
        if method == "get" and routes[path].ends_in_parameter
    }
    fixed_by_route = {
        (method, path): fixed[key]
        for method, path, _ in listed
        if (key := f"{method.upper()} {path}") in fixed
    }
    unavailable = {*fixed_by_route.values(), *reserved}
    candidates: dict[tuple[str, str], _NameCandidate] = {}
    for method, path, _ in listed:
        candidate = _candidate(
            method,
            routes[path],
            parents,
            is_list=(method, path) in lists or routes[path].static in items,
            shared=len(verbs_of[path]) > 1,
        )
        resource = _resource_beside(candidate.resource, unavailable)
        if resource != candidate.resource and (method, path) not in fixed_by_route:
            was, now = ".".join(candidate.resource), ".".join(resource)
            report(method, path, f"{was!r} is a method already; the nested resource is {now!r}")
        candidates[method, path] = replace(candidate, resource=resource)
    names = _resolve_clashes(candidates, fixed_by_route, unavailable, report)
    return _rename_resource_clashes(names, candidates, fixed_by_route, unavailable, report)


def _resource_beside(resource: tuple[str, ...], methods: Container[str]) -> tuple[str, ...]:
    """Return the resource with an underscore behind each part that is the name of a method."""
    parts: list[str] = []
    for part in resource:
        name = part
        while ".".join((*parts, name)) in methods:
            name = f"{name}_"
        parts.append(name)
    return tuple(parts)


def _parents(routes: Iterable[Route]) -> set[tuple[str, ...]]:
    """Return every sequence of static segments that is the start of a longer path."""
    parents: set[tuple[str, ...]] = set()
    for route in routes:
        chain: list[str] = []
        for index, segment in enumerate(route.segments):
            if segment.startswith("{"):
                continue
            chain.append(segment)
            if index + 1 < len(route.segments) or len(chain) == 1:
                parents.add(tuple(chain))
    return parents


def _candidate(
    method: str, route: Route, parents: set[tuple[str, ...]], *, is_list: bool, shared: bool
) -> _NameCandidate:
    static = route.static
    if route.ends_in_parameter:
        name = _ITEM_VERBS.get(method, "create")
        return _NameCandidate(static, name, "item", method, is_list=False)
    if static in parents:
        if method == "get":
            name = "list" if is_list else "get"
            return _NameCandidate(static, name, "collection", method, is_list=is_list)
        return _NameCandidate(static, _TAIL_VERBS[method], "collection", method, is_list=False)
    tail, parent = static[-1], static[:-1]
    name = tail
    if shared:
        verb = "list" if method == "get" and is_list else _TAIL_VERBS[method]
        name = f"{verb}_{tail.rstrip('_')}"
    on_item = len(route.segments) > 1 and route.segments[-2].startswith("{")
    kind = "item_action" if on_item else "collection_action"
    return _NameCandidate(parent, name, kind, method, is_list=is_list)


def _resolve_clashes(
    candidates: Mapping[tuple[str, str], _NameCandidate],
    fixed_by_route: Mapping[tuple[str, str], str],
    unavailable: Iterable[str],
    report: Callable[[str, str, str], None],
) -> dict[tuple[str, str], str]:
    result = dict(fixed_by_route)
    by_name: dict[str, list[tuple[str, str]]] = {}
    for key, candidate in candidates.items():
        if key not in fixed_by_route:
            by_name.setdefault(".".join((*candidate.resource, candidate.name)), []).append(key)
    taken = set(unavailable)
    for name, keys in sorted(by_name.items()):
        for key in sorted(keys, key=lambda key: (_KIND_RANK[candidates[key].kind], key[1], key[0])):
            full_name = name
            candidate = candidates[key]
            if full_name in taken and candidate.kind == "collection_action":
                full_name = ".".join((*candidate.resource, f"all_{candidate.name}"))
            elif full_name in taken and candidate.kind == "item":
                by = python_name(parse_route(key[1]).parameters[-1]).rstrip("_")
                full_name = ".".join((*candidate.resource, f"{candidate.name}_by_{by}"))
            result[key] = _unused_name(full_name, key, candidate.is_list, taken)
            taken.add(result[key])
            if full_name != result[key]:
                report(*key, f"another method is called {full_name!r}; it is {result[key]!r}")
    return result


def _rename_resource_clashes(
    names: Mapping[tuple[str, str], str],
    candidates: Mapping[tuple[str, str], _NameCandidate],
    fixed_by_route: Mapping[tuple[str, str], str],
    unavailable: Iterable[str],
    report: Callable[[str, str, str], None],
) -> dict[tuple[str, str], str]:
    """Rename the methods that have the same name as a nested resource.

    A given name is that of a nested resource only if another given name says so. Then the method
    is renamed all the same, because a class cannot have both.
    """
    resources: set[str] = set()
    for name in (*names.values(), *unavailable):
        parts = name.split(".")
        resources.update(".".join(parts[:length]) for length in range(1, len(parts)))
    taken = {*names.values(), *unavailable, *resources}
    result = dict(names)
    for key, name in sorted(names.items(), key=lambda item: (item[0] not in fixed_by_route, item)):
        if name in resources:
            result[key] = _unused_name(name, key, candidates[key].is_list, taken)
            taken.add(result[key])
            report(*key, f"{name!r} is a nested resource too; the method is {result[key]!r}")
    return result


def _unused_name(name: str, key: tuple[str, str], is_list: bool, taken: Container[str]) -> str:
    """Return the first of these names that is not taken.

    The name itself, with its verb in front, with the parameters of the path behind, or with a
    number.
    """
    method, path = key
    parent, _, last = name.rpartition(".")
    verb = "list" if is_list and method == "get" else _TAIL_VERBS[method]
    stem = name if last == verb else f"{parent}.{verb}_{last.rstrip('_')}"
    parameters = [python_name(parameter).rstrip("_") for parameter in parse_route(path).parameters]
    suffixes = ("_and_".join(parameters[first:]) for first in reversed(range(len(parameters))))
    preferred = [name, stem, *(f"{stem}_by_{suffix}" for suffix in suffixes)]
    numbered = (f"{stem.rstrip('_')}_{number}" for number in count(2))
    return next(option for option in chain(preferred, numbered) if option not in taken)


# Which of several operations with one name keeps it: the one of the lowest rank. An action on an
# item keeps its name, and the same action on the collection becomes `all_…`.
_KIND_RANK = {"collection": 0, "item_action": 1, "item": 2, "collection_action": 3}
