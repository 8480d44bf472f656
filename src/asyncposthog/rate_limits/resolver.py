"""Resolve which rate limits a call counts against, and find the operation of an untyped call."""

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
    LimitRules,
    PlanTracker,
    buckets_for,
    depends_on_plan,
    is_hogql_query,
    needs_query_slot,
    query_slot_limit,
)

__all__ = ["LimitResolver", "LimitedCall", "registered_operation"]

_PROJECT: Final = re.compile(r"/api/(?:projects|environments)/([^/]+)/")


@lru_cache(maxsize=1024)
def registered_operation(method: str, path: str) -> Operation | None:
    """Return the operation of the registry that a request calls, or None.

    Args:
        method: An HTTP method in capitals.
        path: The encoded path, such as `/api/projects/1/persons/`. A query string is ignored.
    """
    method = "GET" if method == "HEAD" else method  # Django answers both with the same view.
    path = path.partition("?")[0]
    path = path if path.endswith("/") else f"{path}/"
    path = _PROJECT.sub(r"/api/projects/\1/", path, count=1)
    best: Operation | None = None
    # Importing only the family that the path names keeps the first call cheap: the whole
    # registry has more than a thousand operations.
    for operation, pattern in _patterns(_family(path)):
        if operation.method != method or not pattern.fullmatch(path):
            continue
        # The most literal path wins: `/persons/bulk_delete/` over `/persons/{id}/`.
        if best is None or operation.path.count("{") < best.path.count("{"):
            best = operation
    return best


def _family(path: str) -> str:
    """Return the first segment of a path after the project: the family of most operations."""
    project = _PROJECT.match(path)
    rest = path[5:] if project is None else path[project.end() :]
    return rest.partition("/")[0].replace("-", "_") or "projects"


@cache
def _families() -> frozenset[str]:
    return frozenset(registry.FAMILIES)


def _patterns(family: str) -> tuple[tuple[Operation, re.Pattern[str]], ...]:
    # The name comes from a path that a user typed, so it must not reach import_module unchecked.
    names = (family, *registry.OTHER_FAMILIES.get(family, ()))
    return tuple(found for name in names if name in _families() for found in _compiled(name))


@cache
def _compiled(family: str) -> tuple[tuple[Operation, re.Pattern[str]], ...]:
    module = import_module(f"{registry.__name__}.families.{family}")
    operations: tuple[Operation, ...] = module.OPERATIONS
    return tuple((operation, re.compile(_path_regex(operation))) for operation in operations)


def _path_regex(operation: Operation) -> str:
    multi_segment = {p.name for p in operation.path_parameters if p.multi_segment}
    parts = re.split(r"\{([^{}]*)\}", f"{operation.path.rstrip('/')}/")
    return "".join(
        (".+" if part in multi_segment else "[^/]+") if index % 2 else re.escape(part)
        for index, part in enumerate(parts)
    )


_OWNER: Final = re.compile(r"/api/(projects|environments|organizations)/([^/?]+)/")
_KEY_SCOPES: Final = frozenset({"key", "user"})


@dataclass(frozen=True, slots=True)
class LimitedCall:
    """The parts of a call that decide which limits it counts against."""

    operation: Operation
    target: str
    """The request target: the path, with or without its query string."""
    content: bytes | None = None
    """The encoded body."""


class LimitResolver:
    """Resolves the limits of calls made with one API key on one host."""

    def __init__(
        self,
        host: str,
        digest: str,
        buckets: Mapping[str, Bucket],
        plans: PlanTracker,
        slots: int,
        rules: LimitRules | None = None,
    ) -> None:
        """Store what limit keys are made of.

        Args:
            host: The host, without scheme.
            digest: A digest of the API key.
            buckets: The rate limits of the server by name.
            plans: The query plan of each project.
            slots: Queries of one project that may run at a time.
            rules: Which limits a call counts against; None: those of PostHog.
        """
        self._rules = rules
        self._host = host
        self._key_prefix = f"{host}/{digest}"
        self._buckets = buckets
        self._plans = plans
        self._slots = slots

    def operation(self, call: LimitedCall) -> Operation:
        """Return the operation of a call; for an untyped call, that of the registry if any."""
        if call.operation.id != "request":
            return call.operation
        return registered_operation(call.operation.method, call.target) or call.operation

    def is_static(self, operation: Operation) -> bool:
        """Return whether all calls of an operation count against the same limits."""
        return (
            operation.id != "request"
            and not depends_on_plan(operation)
            and (self._rules is not None or self._counts_by_key(operation))
        )

    def _counts_by_key(self, operation: Operation) -> bool:
        return all(self._buckets[name].per in _KEY_SCOPES for name in operation.buckets)

    def limits_for(self, call: LimitedCall) -> tuple[Limit, ...]:
        """Return the limits that a call counts against."""
        operation = self.operation(call)
        rules = self._rules
        if rules is not None:
            hogql = depends_on_plan(operation) and is_hogql_query(call.content)
            names = rules.assign(operation, hogql)
            return self._limits(call, tuple(self._buckets[name] for name in names))
        if not depends_on_plan(operation):
            return self._limits(call, buckets_for(operation, buckets=self._buckets))
        plan = self._plans.get(self.project(call))
        hogql = plan != "current" and operation.method == "POST" and is_hogql_query(call.content)
        buckets = buckets_for(operation, plan, hogql=hogql, buckets=self._buckets)
        limits = self._limits(call, buckets)
        if plan == "auto" and hogql:
            # Count the legacy limit without enforcing it: if a 429 later shows that the project
            # is on the legacy plan, the requests of the past hour are already in its window.
            limits += (
                Limit(
                    f"{self._key_prefix}/query", "query", UNENFORCED, self._buckets["query"].seconds
                ),
            )
        return limits

    def slot_limit(self, call: LimitedCall) -> Limit | None:
        """Return the query slots of the project, or None if the call runs no query."""
        if not needs_query_slot(self.operation(call)):
            return None
        return query_slot_limit(f"{self._host}/{self.project(call)}", self._slots)

    def project(self, call: LimitedCall) -> str:
        """Return `project ID`, or the prefix of the API key if the path names no project."""
        owner = _OWNER.match(call.target)
        return f"project {owner[2]}" if owner and owner[1] != "organizations" else self._key_prefix

    def display_name(self, key: str) -> str | None:
        """Return the name of a limit for display, or None if the limit is of another API key."""
        owner, _, name = key.rpartition("/")
        if owner == self._key_prefix:
            return name
        # A key's digest has no space; the owners that several keys share (`project 1`) have one.
        host, _, shared = owner.partition("/")
        return f"{name} of {shared}" if host == self._host and " " in shared else None

    def _limits(self, call: LimitedCall, buckets: tuple[Bucket, ...]) -> tuple[Limit, ...]:
        return tuple(
            Limit(f"{self._limit_owner(call, bucket)}/{bucket.name}", bucket.name,
                  bucket.requests, bucket.seconds)
            for bucket in buckets
        )  # fmt: skip

    def _limit_owner(self, call: LimitedCall, bucket: Bucket) -> str:
        if bucket.per in _KEY_SCOPES:
            return self._key_prefix
        if bucket.per == "team":
            return f"{self._host}/{self.project(call)}"
        owner = _OWNER.match(call.target)
        if bucket.per == "organization" and owner and owner[1] == "organizations":
            return f"{self._host}/organization {owner[2]}"
        # Drop the last segment: the server counts all actions on one object together
        # (`/9/materialize/` and `/9/revert_materialization/`).
        path = call.target.partition("?")[0].rstrip("/").rpartition("/")[0]
        return f"{self._host}/object {path.removeprefix('/api/').replace('/', ' ')}"
