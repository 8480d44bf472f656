"""Which limits hold for `/query/` in a project: told, or learned from the server's answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pydantic_core import from_json

from .buckets import Bucket, QueryPlan
from .rules import WATCHED, Rule, Usage

__all__ = ["Plans", "runs_hogql", "suspects"]

_SURE: Final = 0.9
"""The part of the legacy limit that has to be used before a 429 is taken for it."""


class Plans:
    """What is known of each project."""

    def __init__(self, plan: QueryPlan) -> None:
        """Begin with what the user says."""
        self._plan: QueryPlan = plan
        self._learned: dict[str, QueryPlan] = {}

    def of(self, project: str) -> QueryPlan:
        """Return the plan of a project; `auto` as long as it is not known."""
        return self._learned.get(project, self._plan)

    def learn(self, project: str, plan: QueryPlan) -> None:
        """Note what the server's answers say."""
        self._learned[project] = plan


def runs_hogql(content: bytes | None) -> bool:
    """Tell whether a body is a `HogQLQuery`, which the legacy plan counts apart."""
    if not content:
        return False
    try:
        kind = from_json(content)["query"]["kind"]
    except (ValueError, TypeError, KeyError):
        return False
    return bool(kind == "HogQLQuery")


def suspects(
    rules: Sequence[Rule], usages: Sequence[Usage], legacy: Bucket
) -> tuple[list[Rule], list[Usage]]:
    """Return the windows that may have refused a query, the legacy one among them.

    While the plan is not known, the legacy window is counted without being kept to. It is
    suspected only when it is about as full as the legacy plan lets it be.
    """
    checked, full = list(rules), list(usages)
    for index, rule in enumerate(rules):
        if rule.name == legacy.name and rule.limit == WATCHED:
            used = usages[index].used
            limit = legacy.requests if used >= _SURE * legacy.requests else WATCHED
            checked[index] = replace(rule, limit=limit)
            full[index] = replace(usages[index], limit=limit, share=limit)
    return checked, full
