"""Routes: the plan of each operation, derived from its path, and the operations of a path."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, TypeAlias

from asyncposthog.operation import Operation
from posthog_emulator.schema.catalogue import Catalogue, Schema

__all__ = [
    "ALIASES",
    "CollectionSpec",
    "Kind",
    "OperationPlan",
    "OperationPlans",
    "PathPlaceholder",
    "RouteMatch",
    "Router",
    "canonical_path",
]

_DEPRECATED_ROOT = "/api/environments/"
_ROOT = "/api/projects/"


_ACCOUNT_ROOTS = frozenset(
    f"/api/{name}/" for name in ("organizations", "personal_api_keys", "projects", "users")
)
"""Paths after which `@current` or `@me` is the value of a placeholder, not a part of the path."""


def canonical_path(path: str) -> str:
    """Return the path below `/api/projects/` for one below the deprecated `/api/environments/`."""
    if path.startswith(_DEPRECATED_ROOT):
        return _ROOT + path[len(_DEPRECATED_ROOT) :]
    return path


Kind: TypeAlias = Literal[
    "list", "create", "get", "update", "replace", "delete", "soft_delete", "restore",
    "read_singleton", "write_singleton", "delete_singleton", "action",
]  # fmt: skip
"""What an operation does. The `…_singleton` kinds act on the only object at a path."""

ALIASES: Mapping[str, tuple[str, str | None]] = {
    "/api/organizations/{}/projects/": ("/api/projects/", None),
    "/api/projects/{}/llm_prompts/name/": ("/api/projects/{}/llm_prompts/", "name"),
    "/api/projects/{}/llm_skills/name/": ("/api/projects/{}/llm_skills/", "name"),
}
"""Second paths of collections: the main path, and the field that identifies an item there."""

SOFT_DELETED = frozenset(
    f"/api/projects/{{}}/{name}/"
    for name in (
        "actions",
        "annotations",
        "cohorts",
        "comments",
        "dashboard_templates",
        "dashboards",
        "dataset_items",
        "datasets",
        "evaluations",
        "experiments",
        "feature_flags",
        "hog_functions",
        "insights",
        "notebooks",
        "saved",
        "session_recording_playlists",
        "subscriptions",
    )
)
"""Collections that delete by setting `deleted`. The schema does not say so for all of them."""

DELETE_FORBIDDEN = frozenset(
    f"/api/projects/{{}}/{name}/"
    for name in (
        "error_tracking/external_references",
        "error_tracking/fingerprints",
        "error_tracking/issues",
        "error_tracking/stack_frames",
        "llm_analytics/evaluation_reports",
    )
)
"""Collections whose objects cannot be deleted by DELETE, and that do not soft-delete either."""

KEY_FIELDS: Mapping[str, str] = {
    "/api/projects/{}/mcp_analytics/sessions/": "session_id",
    "/api/projects/{}/surveys/{}/responses/": "uuid",
}
"""The fields that identify the items of collections that no operation reads one item of."""

NOT_COLLECTIONS = frozenset({"/api/projects/{}/query/"})
"""Paths with the operations of a collection that store nothing: queries are only run."""

_ITEM_KINDS: Mapping[str, Kind] = {
    "GET": "get",
    "PATCH": "update",
    "PUT": "replace",
    "DELETE": "delete",
}
_SINGLETON_KINDS: Mapping[str, Kind] = {
    "GET": "read_singleton",
    "PATCH": "write_singleton",
    "PUT": "write_singleton",
    "POST": "write_singleton",
    "DELETE": "delete_singleton",
}


@dataclass(slots=True)
class CollectionSpec:
    """The description of a collection: its path, and how its items are identified and deleted."""

    template: str
    """The path, with unnamed placeholders: `/api/projects/{}/cohorts/`."""
    key_field: str = "id"
    """The field that identifies an item in a path; `a__b` is the field `b` of the object `a`."""
    operations: list[tuple[Kind, Operation]] = field(default_factory=list[tuple[Kind, Operation]])
    soft_delete: bool = False
    """Whether items are deleted by setting `deleted`."""
    forbids_delete: bool = False
    """Whether the response to DELETE is a 405 without a body."""

    def find(self, *kinds: Kind) -> Operation | None:
        """Return the first operation of the kinds, in their order; None if there is none."""
        for kind in kinds:
            for operation_kind, operation in self.operations:
                if operation_kind == kind:
                    return operation
        return None


@dataclass(frozen=True, slots=True)
class PathPlaceholder:
    """A placeholder of a path, with the collection whose item it identifies."""

    template: str
    """The template of the collection."""
    literal: str | None = None
    """The fixed value in place of the placeholder: `@current` or `@me`."""
    key_field: str | None = None
    """The field that identifies the item; None for the `key_field` of the collection."""


@dataclass(frozen=True, slots=True)
class OperationPlan:
    """What an operation does to which objects."""

    operation: Operation
    kind: Kind
    template: str
    """The path below `/api/projects/`, with unnamed placeholders."""
    placeholders: tuple[PathPlaceholder, ...]
    """All placeholders of the path, in order."""
    collection: CollectionSpec | None = None
    """The collection of the operation; None for singletons and other paths."""


class OperationPlans:
    """The plans of a set of operations.

    Args:
        operations: The operations.
        catalogue: The schemas, to find the key field of each collection.
    """

    def __init__(self, operations: Iterable[Operation], catalogue: Catalogue) -> None:
        self.collections: dict[str, CollectionSpec] = {}
        self._plans: dict[int, OperationPlan] = {}
        self._catalogue = catalogue
        self._methods: dict[str, dict[str, Operation]] = defaultdict(dict)
        operations = list(operations)
        for operation in operations:
            self._methods[_template(operation.path)].setdefault(operation.method, operation)
        self._find_collections()
        for operation in operations:
            plan = self._plan(operation)
            self._plans[id(operation)] = plan
            if plan.collection is not None:
                plan.collection.operations.append((plan.kind, operation))
        self._names = _names(self._plans.values())

    def get(self, operation: Operation) -> OperationPlan:
        """Return the plan of one of the operations."""
        return self._plans[id(operation)]

    def __iter__(self) -> Iterator[OperationPlan]:
        """Iterate over the plans, in the order of the operations."""
        return iter(self._plans.values())

    def find_collection(self, name: str) -> CollectionSpec | None:
        """Return the collection of a resource (`cohorts`) or list operation (`cohorts.persons`)."""
        return self._names.get(name)

    def _find_collections(self) -> None:
        for template, methods in self._methods.items():
            if template.endswith("{}/"):
                continue
            has_list = any(_is_list(operation) for operation in methods.values())
            item_methods = self._methods.get(template + "{}/", {})
            # Some collections can be created in and read from, but not listed.
            creates_only = (
                "POST" in methods and "GET" not in methods and bool(item_methods.keys() - {"POST"})
            )
            if (has_list or creates_only) and template not in NOT_COLLECTIONS:
                main, _ = ALIASES.get(template, (template, None))
                soft_delete = main in SOFT_DELETED
                self.collections[main] = CollectionSpec(
                    main,
                    KEY_FIELDS.get(main, "id"),
                    soft_delete=soft_delete,
                    forbids_delete=soft_delete or main in DELETE_FORBIDDEN,
                )
        # In a second pass, because an item's path may come before the path of its list.
        for operation in (o for methods in self._methods.values() for o in methods.values()):
            template = _template(operation.path)
            collection = self.collections.get(template.removesuffix("{}/"))
            if collection is not None and template.endswith("{}/"):
                name = canonical_path(operation.path).split("/")[-2]
                if name.startswith("{"):
                    collection.key_field = self._key_field(name[1:-1], operation)

    def _key_field(self, name: str, operation: Operation) -> str:
        item = self._catalogue.item_schema(operation)
        fields = self._catalogue.properties(item) if item is not None else {}
        if name in fields or "__" in name:
            return name
        return "id"

    def _plan(self, operation: Operation) -> OperationPlan:
        template = _template(operation.path)
        placeholders = _placeholders(operation.path)
        kind, collection_template = self._kind(operation, template)
        collection = self.collections.get(collection_template or "")
        if collection is not None and kind == "soft_delete":
            collection.soft_delete = collection.forbids_delete = True
        return OperationPlan(operation, kind, template, placeholders, collection)

    def _kind(self, operation: Operation, template: str) -> tuple[Kind, str | None]:
        if template.endswith("{}/"):
            parent = template.removesuffix("{}/")
            main, _ = ALIASES.get(parent, (parent, None))
            if _is_list(operation):
                return "action", None  # a list of objects that no other operation returns
            if main in self.collections:
                return _item_kind(operation), main
            if "GET" in self._methods[template] and operation.method in _ITEM_KINDS:
                return _SINGLETON_KINDS[operation.method], None
            return "action", None
        main, _ = ALIASES.get(template, (template, None))
        if _is_list(operation):
            return "list", main
        if operation.method == "POST" and main in self.collections and self._creates(operation):
            return "create", main
        # What is left is a singleton if it can be read, written, and has one schema for both.
        read = self._methods[template].get("GET")
        if read is None or _is_list(read) or len(self._methods[template]) == 1:
            return "action", None
        if operation.method == "POST" and operation.result.schema != read.result.schema:
            return "action", None
        return _SINGLETON_KINDS[operation.method], None

    def _creates(self, operation: Operation) -> bool:
        # A POST that returns the envelope of the list is a search with a body, and creates nothing.
        listing = self._methods[_template(operation.path)].get("GET")
        schema = operation.result.schema
        return (
            schema is None
            or listing is None
            or listing.result.array
            or listing.result.schema != schema
        )

    def item_schemas(self, collection: CollectionSpec) -> list[Schema]:
        """Return the schemas of an item in responses, the most complete first, each once."""
        schemas: list[Schema] = []
        for kind in ("get", "create", "update", "replace", "list"):
            for operation_kind, operation in collection.operations:
                schema = self._catalogue.item_schema(operation) if operation_kind == kind else None
                if schema is not None and schema not in schemas:
                    schemas.append(schema)
        return schemas


def _is_list(operation: Operation) -> bool:
    return operation.pagination is not None or (
        operation.method == "GET" and operation.result.array
    )


def _item_kind(operation: Operation) -> Kind:
    # Soft deletion is a PATCH of `deleted`, which the registry has as an operation of its own.
    body = operation.fixed_body
    if body is not None and "deleted" in body:
        return "soft_delete" if body["deleted"] else "restore"
    return _ITEM_KINDS.get(operation.method, "action")


@cache
def _template(path: str) -> str:
    return "/".join(
        "{}" if is_placeholder else segment for segment, is_placeholder in _segments(path)
    )


@cache
def _placeholders(path: str) -> tuple[PathPlaceholder, ...]:
    placeholders: list[PathPlaceholder] = []
    prefix: list[str] = []
    for segment, is_placeholder in _segments(path):
        if is_placeholder:
            parent = "/".join([*prefix, ""])
            main, key_field = ALIASES.get(parent, (parent, None))
            literal = segment if segment.startswith("@") else None
            placeholders.append(PathPlaceholder(main, literal, key_field))
        prefix.append("{}" if is_placeholder else segment)
    return tuple(placeholders)


def _segments(path: str) -> Iterator[tuple[str, bool]]:
    """Yield the segments of an operation's path, and whether each is a placeholder."""
    complete = path if path.endswith("/") else f"{path}/"  # the server accepts both
    prefix = ""
    for segment in canonical_path(complete).split("/"):
        yield segment, segment[:1] == "{" or (segment[:1] == "@" and prefix in _ACCOUNT_ROOTS)
        prefix += f"{segment}/"


def _names(plans: Iterable[OperationPlan]) -> dict[str, CollectionSpec]:
    """Return the collections by resource and by id of list operation."""
    names: dict[str, CollectionSpec] = {}
    # `create` and `get` first: a resource may have lists of other objects below it.
    ordered = sorted(
        (plan for plan in plans if plan.collection is not None),
        key=lambda plan: (
            ("create", "get", "list").index(plan.kind)
            if plan.kind in {"create", "get", "list"}
            else 3
        ),
    )
    for plan in ordered:
        collection = plan.collection
        if collection is None:
            continue
        operation = plan.operation
        if plan.kind == "list":
            names.setdefault(operation.id, collection)
        if plan.kind != "list" or operation.name == "list":
            names.setdefault(operation.resource, collection)
    return names


@dataclass(slots=True)
class _Node:
    static: dict[str, _Node] = field(default_factory=dict[str, "_Node"])
    parameter: _Node | None = None
    multi_segment: _Node | None = None
    """The node after a parameter that may contain slashes."""
    methods: dict[str, list[OperationPlan]] = field(default_factory=dict[str, list[OperationPlan]])


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """The operations of a path, and the values of its placeholders."""

    methods: dict[str, list[OperationPlan]]
    """The plans of the operations, by HTTP method."""
    values: tuple[str, ...]
    """The value of each placeholder, `@current` and `@me` unresolved, in order."""
    deprecated: bool
    """Whether the path begins with `/api/environments/`."""


class Router:
    """Finds the operations of a path. Static segments win over placeholders.

    `@current` and `@me` are values of a placeholder, even if an operation's path has them
    literally.

    Args:
        plans: The plans of the operations to register.
    """

    def __init__(self, plans: Iterable[OperationPlan] = ()) -> None:
        self._root = _Node()
        for plan in plans:
            self.add(plan)

    def add(self, plan: OperationPlan) -> None:
        """Register an operation under its path."""
        operation = plan.operation
        multi_segment = {
            p.name for p in operation.parameters if p.location == "path" and p.multi_segment
        }
        node = self._root
        for segment, is_placeholder in _segments(operation.path):
            if not is_placeholder:
                node = node.static.setdefault(segment, _Node())
            elif segment[1:-1] in multi_segment:
                node.multi_segment = node.multi_segment or _Node()
                node = node.multi_segment
            else:
                node.parameter = node.parameter or _Node()
                node = node.parameter
        registered = node.methods.setdefault(operation.method, [])
        # The schema has many operations twice: below /api/projects/ and /api/environments/.
        if all(_variant(other) != _variant(plan) for other in registered):
            registered.append(plan)

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


def _variant(plan: OperationPlan) -> tuple[object, list[str | None]]:
    """Return what distinguishes operations of the same method and path."""
    return plan.operation.fixed_body, [placeholder.literal for placeholder in plan.placeholders]


def _find(node: _Node, segments: list[str], index: int) -> tuple[_Node, tuple[str, ...]] | None:
    if index == len(segments):
        return (node, ()) if node.methods else None
    segment = segments[index]
    # With backtracking: a static segment may match and still lead to no operation.
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
        # The shortest value first: it leaves the most segments for the rest of the path.
        for end in range(index + 1, len(segments) + 1):
            match = _find(node.multi_segment, segments, end)
            if match is not None:
                return match[0], ("/".join(segments[index:end]), *match[1])
    return None
