"""What each operation does to which collection, read off methods and paths."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, TypeAlias

from asyncposthog.operation import Operation
from posthog_emulator.schema.catalogue import Catalogue, Schema

from .router import canonical_path

__all__ = ["ALIASES", "Collection", "Kind", "Plan", "Plans", "Step"]

Kind: TypeAlias = Literal[
    "list", "create", "get", "update", "replace", "delete", "soft_delete", "restore",
    "read_one", "write_one", "delete_one", "action",
]  # fmt: skip
"""The `…_one` kinds are about the single object that lives at a path of its own."""

ALIASES: Mapping[str, tuple[str, str | None]] = {
    "/api/organizations/{}/projects/": ("/api/projects/", None),
    "/api/projects/{}/llm_prompts/name/": ("/api/projects/{}/llm_prompts/", "name"),
    "/api/projects/{}/llm_skills/name/": ("/api/projects/{}/llm_skills/", "name"),
}
"""Paths at which a collection is reached a second time, perhaps by another key."""

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
"""Collections whose objects are deleted by setting `deleted`, whatever the registry says."""

NOT_DELETED = frozenset(
    f"/api/projects/{{}}/{name}/"
    for name in (
        "error_tracking/fingerprints",
        "error_tracking/issues",
        "error_tracking/stack_frames",
        "llm_analytics/evaluation_reports",
    )
)
"""Collections whose objects are not deleted at all."""

NO_COLLECTIONS = frozenset({"/api/projects/{}/query/"})
"""Paths that look like collections and hold nothing: queries run, they are not kept."""

_ITEM_KINDS: Mapping[str, Kind] = {
    "GET": "get",
    "PATCH": "update",
    "PUT": "replace",
    "DELETE": "delete",
}
_ONE_KINDS: Mapping[str, Kind] = {
    "GET": "read_one",
    "PATCH": "write_one",
    "PUT": "write_one",
    "POST": "write_one",
    "DELETE": "delete_one",
}


@dataclass(slots=True)
class Collection:
    """Objects of one kind, below one parent."""

    template: str
    """The path of its list, placeholders unnamed: `/api/projects/{}/cohorts/`."""
    key_field: str = "id"
    """The field that stands in the path of an item."""
    operations: list[tuple[Kind, Operation]] = field(default_factory=list[tuple[Kind, Operation]])
    soft: bool = False
    """Whether deleting sets `deleted`."""
    refuses_delete: bool = False
    """Whether the DELETE method is answered with 405 and no body."""

    def find(self, *kinds: Kind) -> Operation | None:
        """The first operation of the given kinds, in their order."""
        for kind in kinds:
            for own, operation in self.operations:
                if own == kind:
                    return operation
        return None


@dataclass(frozen=True, slots=True)
class Step:
    """One placeholder of a path, and the collection it picks an item of."""

    template: str
    """Where the collection is."""
    literal: str | None = None
    """What stands there always: `@current`, `@me`."""
    key_field: str | None = None
    """The field to look for, when it is not the collection's own."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One operation, understood."""

    operation: Operation
    kind: Kind
    template: str
    """The modern path, placeholders unnamed."""
    steps: tuple[Step, ...]
    """Every placeholder, in order."""
    collection: Collection | None = None
    """For operations on collections and their items."""


class Plans:
    """The plans of a set of operations."""

    def __init__(self, operations: Iterable[Operation], catalogue: Catalogue) -> None:
        self.collections: dict[str, Collection] = {}
        self._plans: dict[int, Plan] = {}
        self._catalogue = catalogue
        self._methods: dict[str, dict[str, Operation]] = defaultdict(dict)
        known = list(operations)
        for operation in known:
            self._methods[_template(operation.path)].setdefault(operation.method, operation)
        self._find_collections()
        for operation in known:
            plan = self._plan(operation)
            self._plans[id(operation)] = plan
            if plan.collection is not None:
                plan.collection.operations.append((plan.kind, operation))
        self._names = _names(self._plans.values())

    def of(self, operation: Operation) -> Plan:
        """The plan of one of the operations this was made from."""
        return self._plans[id(operation)]

    def named(self, name: str) -> Collection | None:
        """The collection of a resource (`cohorts`) or of a listing (`cohorts.persons`)."""
        return self._names.get(name)

    def _find_collections(self) -> None:
        for template, methods in self._methods.items():
            if template.endswith("{}/"):
                continue
            listing = any(_is_list(operation) for operation in methods.values())
            item = self._methods.get(template + "{}/", {})
            creates = "POST" in methods and "GET" not in methods and bool(item.keys() - {"POST"})
            if (listing or creates) and template not in NO_COLLECTIONS:
                home, _ = ALIASES.get(template, (template, None))
                soft = home in SOFT_DELETED
                refuses = soft or home in NOT_DELETED
                self.collections[home] = Collection(home, soft=soft, refuses_delete=refuses)
        for operation in (o for methods in self._methods.values() for o in methods.values()):
            template = _template(operation.path)
            collection = self.collections.get(template.removesuffix("{}/"))
            if collection is not None and template.endswith("{}/"):
                name = canonical_path(operation.path).split("/")[-2]
                if name.startswith("{"):
                    collection.key_field = self._key_field(name[1:-1], operation)

    def _key_field(self, name: str, operation: Operation) -> str:
        item = self._catalogue.item(operation)
        fields = self._catalogue.properties(item) if item is not None else {}
        if name in fields or "__" in name:
            return name
        return "id"

    def _plan(self, operation: Operation) -> Plan:
        template = _template(operation.path)
        steps = _steps(operation.path)
        kind, home = self._kind(operation, template)
        collection = self.collections.get(home) if home is not None else None
        if collection is not None and kind == "soft_delete":
            collection.soft = collection.refuses_delete = True
        return Plan(operation, kind, template, steps, collection)

    def _kind(self, operation: Operation, template: str) -> tuple[Kind, str | None]:
        if template.endswith("{}/"):
            parent = template.removesuffix("{}/")
            home, _ = ALIASES.get(parent, (parent, None))
            if home in self.collections:
                return _item_kind(operation), home
            if "GET" in self._methods[template] and operation.method in _ITEM_KINDS:
                return _ONE_KINDS[operation.method], None
            return "action", None
        if _is_list(operation):
            return "list", ALIASES.get(template, (template, None))[0]
        home, _ = ALIASES.get(template, (template, None))
        if operation.method == "POST" and home in self.collections and self._creates(operation):
            return "create", home
        reading = self._methods[template].get("GET")
        if reading is None or _is_list(reading) or len(self._methods[template]) == 1:
            return "action", None
        if operation.method == "POST" and operation.result.schema != reading.result.schema:
            return "action", None
        return _ONE_KINDS[operation.method], None

    def _creates(self, operation: Operation) -> bool:
        listing = self._methods[_template(operation.path)].get("GET")
        same = listing is not None and listing.result.schema == operation.result.schema
        envelope = same and listing is not None and not listing.result.array
        return not (envelope and operation.result.schema is not None)

    def item_schemas(self, collection: Collection) -> list[Schema]:
        """The schemas an item is answered with, the fullest first, each once."""
        found: list[Schema] = []
        for kind in ("get", "create", "update", "replace", "list"):
            for own, operation in collection.operations:
                schema = self._catalogue.item(operation) if own == kind else None
                if schema is not None and schema not in found:
                    found.append(schema)
        return found


def _is_list(operation: Operation) -> bool:
    return operation.pagination is not None or (
        operation.method == "GET" and operation.result.array
    )


def _item_kind(operation: Operation) -> Kind:
    fixed = operation.fixed_body
    if fixed is not None and "deleted" in fixed:
        return "soft_delete" if fixed["deleted"] else "restore"
    return _ITEM_KINDS.get(operation.method, "action")


@cache
def _template(path: str) -> str:
    return "/".join(
        "{}" if segment[:1] in ("{", "@") else segment
        for segment in canonical_path(path).split("/")
    )


@cache
def _steps(path: str) -> tuple[Step, ...]:
    steps: list[Step] = []
    prefix: list[str] = []
    for segment in canonical_path(path).split("/"):
        if segment[:1] in ("{", "@"):
            parent = "/".join([*prefix, ""])
            home, key_field = ALIASES.get(parent, (parent, None))
            literal = segment if segment.startswith("@") else None
            steps.append(Step(home, literal, key_field))
            prefix.append("{}")
        else:
            prefix.append(segment)
    return tuple(steps)


def _names(plans: Iterable[Plan]) -> dict[str, Collection]:
    names: dict[str, Collection] = {}
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
