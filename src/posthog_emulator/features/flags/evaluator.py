"""The value of a flag for somebody, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from posthog_emulator.json_types import as_object, is_array, is_object

from .conditions import EvaluationError, matches
from .hashing import in_holdout, in_rollout, variant_for

__all__ = ["Evaluation", "Evaluator", "Subject"]

_REASON_RANKS: Final = ("no_group_type", "no_condition_match", "out_of_rollout_bound")
"""Why nothing matched, the more telling the later."""

_DESCRIPTIONS: Final = {
    "no_condition_match": "No matching condition set",
    "out_of_rollout_bound": "Out of rollout bound",
    "no_group_type": "No group type",
    "super_condition_value": "Super condition value",
    "holdout_condition_value": "Holdout condition value",
    "flag_disabled": "Feature flag is disabled",
    "missing_dependency": "Flag cannot be evaluated due to missing dependency",
}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a flag came to."""

    value: bool | str
    """Whether it is on, or the variant."""
    reason: str
    condition_index: int | None = None
    """The place of the condition that decided."""
    failed: bool = False

    @property
    def enabled(self) -> bool:
        """Whether it is on."""
        return self.value is not False

    @property
    def variant(self) -> str | None:
        """The variant, if it has any."""
        return self.value if isinstance(self.value, str) else None

    @property
    def description(self) -> str | None:
        """The server's sentence for the reason."""
        if self.reason == "condition_match":
            return f"Matched condition set {(self.condition_index or 0) + 1}"
        return _DESCRIPTIONS.get(self.reason)


@dataclass(frozen=True, slots=True)
class Subject:
    """Who flags are evaluated for."""

    distinct_id: str
    properties: Mapping[str, Any]
    """The person's."""
    groups: Mapping[int, tuple[str, Mapping[str, Any]]] = field(
        default_factory=dict[int, tuple[str, Mapping[str, Any]]]
    )
    """Key and properties of each group, by the index of its type."""
    device_id: str | None = None
    hash_key_override: str | None = None
    """Who it was before, which flags with experience continuity go by."""
    persisted_overrides: Mapping[str, str] = field(default_factory=dict[str, str])
    """The same as it was at first, by the flags' keys; it wins."""
    in_cohort: Callable[[str], bool | Mapping[str, Any]] = lambda _: False
    """Whether the person is in a cohort, by its id, or the filters that decide it; raises
    `Unevaluable` where there is no such cohort."""


class Evaluator:
    """Evaluates the flags of a project for one subject, each once.

    Args:
        flags: The flags as the API has them.
        subject: Who they are evaluated for.
        now: The moment that relative dates count from.
    """

    def __init__(self, flags: Iterable[Mapping[str, Any]], subject: Subject, now: datetime) -> None:
        self._flags = {str(flag["key"]): flag for flag in flags}
        self._keys = {str(flag.get("id")): key for key, flag in self._flags.items()}
        self._subject = subject
        self._now = now
        self._results: dict[str, Evaluation] = {}
        self._evaluating: set[str] = set()

    def evaluate(self, key: str) -> Evaluation:
        """The value of one flag.

        Raises:
            KeyError: There is no such flag.
        """
        known = self._results.get(key)
        if known is None:
            self._evaluating.add(key)
            try:
                known = self._evaluate_flag(self._flags[key])
            except EvaluationError:
                known = Evaluation(False, "validation_error", failed=True)
            finally:
                self._evaluating.discard(key)
            self._results[key] = known
        return known

    def _evaluate_flag(self, flag: Mapping[str, Any]) -> Evaluation:
        if not flag.get("active", True):
            return Evaluation(False, "flag_disabled")
        key, filters = str(flag["key"]), as_object(flag.get("filters"))
        conditions = [one for one in filters.get("groups") or () if is_object(one)]
        if any(self._has_bad_dependency(key, one) for one in conditions):
            return Evaluation(False, "missing_dependency")
        index: int | None = filters.get("aggregation_group_type_index")
        if index is not None and index not in self._subject.groups:
            return Evaluation(False, "no_group_type")
        early = self._early_access(key, filters) if index is None else None
        return (
            early
            or self._in_holdout(flag, filters, index)
            or self._evaluate_conditions(flag, conditions)
        )

    def _early_access(self, key: str, filters: Mapping[str, Any]) -> Evaluation | None:
        """What opting into an early access feature makes of a flag; it overrides all else."""
        held = self._subject.properties
        if filters.get("feature_enrollment") is True:
            mark = f"$feature_enrollment/{key}"
            if mark in held:
                return Evaluation(held[mark] in (True, "true"), "super_condition_value", 0)
        for condition in filters.get("super_groups") or ():
            tests: list[Any] = as_object(condition).get("properties") or []
            if tests and as_object(tests[0]).get("key") in held:
                value = matches(tests[0], held, self._now)
                return Evaluation(value, "super_condition_value", 0)
        return None

    def _in_holdout(
        self, flag: Mapping[str, Any], filters: Mapping[str, Any], index: int | None
    ) -> Evaluation | None:
        who = self._identifier(flag, index)
        holdout = as_object(filters.get("holdout"))
        percentage, name = holdout.get("exclusion_percentage"), f"holdout-{holdout.get('id')}"
        if percentage is None:
            older = filters.get("holdout_groups")
            first = as_object(older[0]) if is_array(older) and older else {}
            percentage, name = first.get("rollout_percentage"), first.get("variant") or "holdout"
        if percentage is None or who is None or not in_holdout(who, float(percentage)):
            return None
        return Evaluation(str(name), "holdout_condition_value")

    def _evaluate_conditions(
        self, flag: Mapping[str, Any], conditions: list[dict[str, Any]]
    ) -> Evaluation:
        filters = as_object(flag.get("filters"))
        best = Evaluation(False, "no_condition_match")
        for place, condition in enumerate(conditions):
            found = self._evaluate_condition(flag, filters, condition, place)
            if found.reason == "condition_match":
                return found
            if _REASON_RANKS.index(found.reason) >= _REASON_RANKS.index(best.reason):
                best = found
            if filters.get("early_exit") is True and found.reason == "out_of_rollout_bound":
                return found
        return best

    def _evaluate_condition(
        self,
        flag: Mapping[str, Any],
        filters: Mapping[str, Any],
        condition: Mapping[str, Any],
        position: int,
    ) -> Evaluation:
        index: int | None = condition.get(
            "aggregation_group_type_index", filters.get("aggregation_group_type_index")
        )
        if index is not None and index not in self._subject.groups:
            return Evaluation(False, "no_group_type", position)
        tests = [as_object(test) for test in condition.get("properties") or ()]
        if not all(self._property_matches(test, index) for test in tests):
            return Evaluation(False, "no_condition_match", position)
        given = condition.get("rollout_percentage")
        percentage = 100.0 if given is None else float(given)
        variants = _variants(filters)
        pinned = condition.get("variant")
        if pinned not in [variant.get("key") for variant in variants]:
            pinned = None
        who = self._identifier(flag, index)
        if who is None and (percentage < 100 or (pinned is None and _has_split(variants))):
            return Evaluation(False, "out_of_rollout_bound", position)
        key = str(flag["key"])
        if who is not None and not in_rollout(key, who, percentage):
            return Evaluation(False, "out_of_rollout_bound", position)
        variant = pinned or variant_for(key, who or "", variants)
        return Evaluation(variant or True, "condition_match", position)

    def _identifier(self, flag: Mapping[str, Any], index: int | None) -> str | None:
        """Who is hashed; None: the flag goes by device, and there is none."""
        subject = self._subject
        if index is not None:
            return subject.groups[index][0]
        if flag.get("bucketing_identifier") == "device_id":
            return subject.device_id
        if flag.get("ensure_experience_continuity"):
            before = subject.persisted_overrides.get(str(flag["key"])) or subject.hash_key_override
            return before or subject.distinct_id
        return subject.distinct_id

    def _property_matches(self, test: Mapping[str, Any], index: int | None) -> bool:
        kind = test.get("type")
        if kind == "flag":
            return self._dependency_matches(test)
        if kind == "cohort":
            found = self._in_cohort(test)
        else:
            at = test.get("group_type_index", index) if kind == "group" else index
            held = self._subject.properties if at is None else self._group_properties(at)
            found = matches(test, held, self._now)
        return found != bool(test.get("negation"))

    def _group_properties(self, index: int) -> Mapping[str, Any]:
        return self._subject.groups[index][1] if index in self._subject.groups else {}

    def _in_cohort(self, test: Mapping[str, Any]) -> bool:
        operator = test.get("operator") or "in"
        if operator not in {"exact", "in", "not_in"}:
            raise EvaluationError(f"Unknown operator {operator}")
        member = self._subject.in_cohort(str(test.get("value")))
        if not isinstance(member, bool):
            member = self._matches_cohort_filters(member)
        return member != (operator == "not_in")

    def _matches_cohort_filters(self, filters: Mapping[str, Any]) -> bool:
        """Whether the person meets the filters of a cohort: groups of groups of properties."""
        parts = [as_object(part) for part in filters.get("values") or ()]
        if not parts:
            return True
        met = (
            self._matches_cohort_filters(part) != bool(part.get("negation"))
            if "values" in part
            else self._property_matches(part, None)
            for part in parts
        )
        return all(met) if filters.get("type", "AND") == "AND" else any(met)

    def _dependency_matches(self, test: Mapping[str, Any]) -> bool:
        """Whether another flag has the value a condition wants."""
        wanted = test.get("value")
        if test.get("operator") != "flag_evaluates_to" or wanted is None:
            return False
        value = self.evaluate(self._dependency_key(test)).value
        if isinstance(wanted, bool):
            return (value is not False) == wanted
        return value == wanted

    def _has_bad_dependency(self, key: str, condition: Mapping[str, Any]) -> bool:
        """Whether a condition refers to a flag that is not there, or that refers back."""
        for test in condition.get("properties") or ():
            if as_object(test).get("type") != "flag":
                continue
            other = self._dependency_key(test)
            if other not in self._flags or other in self._evaluating:
                return True
            if self.evaluate(other).reason == "missing_dependency":
                return True
        return False

    def _dependency_key(self, test: Mapping[str, Any]) -> str:
        named = str(test.get("key"))
        return named if named in self._flags else self._keys.get(named, named)


def _variants(filters: Mapping[str, Any]) -> list[dict[str, Any]]:
    listed = as_object(filters.get("multivariate")).get("variants")
    return [as_object(one) for one in listed] if is_array(listed) else []


def _has_split(variants: list[dict[str, Any]]) -> bool:
    """Whether different identifiers get different variants."""
    shares = [float(variant.get("rollout_percentage") or 0) for variant in variants]
    first = next((share for share in shares if share), None)
    return first is not None and first < 100
