"""Ad-hoc paths: which operation of the registry a path belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module
from typing import Final

from asyncposthog import registry
from asyncposthog.operation import Operation

from .limits import (
    UNENFORCED,
    Bucket,
    Limit,
    Plans,
    buckets_of,
    depends_on_plan,
    needs_slot,
    runs_hogql,
    slot_rule,
)

__all__ = ["Call", "Router", "match"]

_PROJECT: Final = re.compile(r"/api/(?:projects|environments)/([^/]+)/")
_ORGANIZATION: Final = re.compile(r"/api/organizations/[^/]+/")


@lru_cache(maxsize=1024)
def match(method: str, path: str) -> Operation | None:
    """Return the operation of the registry that a request stands for, or None.

    Only the family that the path names is imported.

    Args:
        method: An HTTP method, in capitals.
        path: The path, encoded, without its query: `/api/projects/1/persons/`.
    """
    method = "GET" if method == "HEAD" else method  # the same view answers both
    path = path.partition("?")[0]
    path = path if path.endswith("/") else f"{path}/"
    path = _PROJECT.sub(r"/api/projects/\1/", path, count=1)
    best: Operation | None = None
    for operation, pattern in _patterns(_family(path)):
        if operation.method != method or not pattern.fullmatch(path):
            continue
        # `/persons/bulk_delete/` rather than `/persons/{id}/`.
        if best is None or operation.path.count("{") < best.path.count("{"):
            best = operation
    return best


def _family(path: str) -> str:
    """Return the name of the family that a path belongs to, by its first own segment."""
    project = _PROJECT.match(path)
    if project is None:
        return "organizations" if _ORGANIZATION.match(path) else path[5:].partition("/")[0]
    return path[project.end() :].partition("/")[0].replace("-", "_") or "projects"


@cache
def _families() -> frozenset[str]:
    return frozenset(registry.FAMILIES)


def _patterns(family: str) -> tuple[tuple[Operation, re.Pattern[str]], ...]:
    return _compiled(family) if family in _families() else ()


@cache
def _compiled(family: str) -> tuple[tuple[Operation, re.Pattern[str]], ...]:
    module = import_module(f"{registry.__name__}.families.{family}")
    operations: tuple[Operation, ...] = module.OPERATIONS
    return tuple((operation, re.compile(_pattern(operation))) for operation in operations)


def _pattern(operation: Operation) -> str:
    long = {p.name for p in operation.path_parameters if p.multi_segment}
    parts = re.split(r"\{([^{}]*)\}", operation.path)
    return "".join(
        (".+" if part in long else "[^/]+") if index % 2 else re.escape(part)
        for index, part in enumerate(parts)
    )


_OWNER: Final = re.compile(r"/api/(projects|environments|organizations)/([^/?]+)/")
_PER_KEY: Final = frozenset({"key", "user"})


@dataclass(frozen=True, slots=True)
class Call:
    """What is about to be called."""

    operation: Operation
    target: str
    """The path that goes on the wire, with or without its query."""
    content: bytes | None = None


class Router:
    """Names the budgets of one API key on one host."""

    def __init__(
        self, host: str, digest: str, buckets: Mapping[str, Bucket], plans: Plans, slots: int
    ) -> None:
        """Keep what the names are made of."""
        self._host = host
        self._own = f"{host}/{digest}"
        self._buckets = buckets
        self._plans = plans
        self._slots = slots

    def operation(self, call: Call) -> Operation:
        """Return what is called: for an ad-hoc path, the operation of the registry, if any."""
        if call.operation.id != "request":
            return call.operation
        return match(call.operation.method, call.target) or call.operation

    def fixed(self, operation: Operation) -> bool:
        """Tell whether all calls of an operation draw on the same budgets."""
        return (
            operation.id != "request"
            and not depends_on_plan(operation)
            and all(self._buckets[name].per in _PER_KEY for name in operation.buckets)
        )

    def rules(self, call: Call) -> tuple[Limit, ...]:
        """Return the windows that a call draws on."""
        operation = self.operation(call)
        if not depends_on_plan(operation):
            return self._named(call, buckets_of(operation, buckets=self._buckets))
        plan = self._plans.of(self.project(call))
        hogql = plan != "current" and operation.method == "POST" and runs_hogql(call.content)
        rules = self._named(call, buckets_of(operation, plan, hogql=hogql, buckets=self._buckets))
        if plan == "auto" and hogql:
            rules += (
                Limit(f"{self._own}/query", "query", UNENFORCED, self._buckets["query"].seconds),
            )
        return rules

    def slot(self, call: Call) -> Limit | None:
        """Return the slots of the project, if the call runs a query."""
        if not needs_slot(self.operation(call)):
            return None
        return slot_rule(f"{self._host}/{self.project(call)}", self._slots)

    def project(self, call: Call) -> str:
        """Return what stands for the project of a call."""
        found = _OWNER.match(call.target)
        return f"project {found[2]}" if found and found[1] != "organizations" else self._own

    def label(self, key: str) -> str | None:
        """Return the name of a budget for people; None if it is not one of ours."""
        owner, _, name = key.rpartition("/")
        if owner == self._own:
            return name
        # A key's digest has no space; the owners that keys share have one.
        host, _, shared = owner.partition("/")
        return f"{name} of {shared}" if host == self._host and " " in shared else None

    def _named(self, call: Call, buckets: tuple[Bucket, ...]) -> tuple[Limit, ...]:
        return tuple(
            Limit(f"{self._owner(call, bucket)}/{bucket.name}", bucket.name,
                 bucket.requests, bucket.seconds)
            for bucket in buckets
        )  # fmt: skip

    def _owner(self, call: Call, bucket: Bucket) -> str:
        if bucket.per in _PER_KEY:
            return self._own
        if bucket.per == "team":
            return f"{self._host}/{self.project(call)}"
        found = _OWNER.match(call.target)
        if bucket.per == "organization" and found and found[1] == "organizations":
            return f"{self._host}/organization {found[2]}"
        # Several actions on one object share its budget.
        path = call.target.partition("?")[0].rstrip("/").rpartition("/")[0]
        return f"{self._host}/object {path.removeprefix('/api/').replace('/', ' ')}"
