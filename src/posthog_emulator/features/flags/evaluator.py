"""Evaluate feature flags for a person or group, with the reason of each result."""

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
"""Reasons why no condition matched, in ascending priority, as on the server."""

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
    """The result of evaluating a flag."""

    value: bool | str
    """False if the flag is off, True if it is on, or the variant's key."""
    reason: str
    condition_index: int | None = None
    """Index of the condition that decided."""
    failed: bool = False

    @property
    def enabled(self) -> bool:
        """Whether the flag is on."""
        return self.value is not False

    @property
    def variant(self) -> str | None:
        """The key of the variant, if there is one."""
        return self.value if isinstance(self.value, str) else None

    @property
    def description(self) -> str | None:
        """The server's description of the reason."""
        if self.reason == "condition_match":
            return f"Matched condition set {(self.condition_index or 0) + 1}"
        return _DESCRIPTIONS.get(self.reason)


@dataclass(frozen=True, slots=True)
class Subject:
    """The person and groups that flags are evaluated for."""

    distinct_id: str
    properties: Mapping[str, Any]
    """Properties of the person."""
    groups: Mapping[int, tuple[str, Mapping[str, Any]]] = field(
        default_factory=dict[int, tuple[str, Mapping[str, Any]]]
    )
    """Key and properties of each group, by group type index."""
    device_id: str | None = None
    hash_key_override: str | None = None
    """Distinct id before identification; flags with experience continuity hash it instead."""
    persisted_overrides: Mapping[str, str] = field(default_factory=dict[str, str])
    """Persisted hash key overrides by flag key; they take precedence over `hash_key_override`."""
    in_cohort: Callable[[str], bool | Mapping[str, Any]] = lambda _: False
    """Returns whether the person is in the cohort with an id, or the filters to evaluate for it.

    Raises `EvaluationError` if the cohort does not exist.
    """


class Evaluator:
    """Evaluator of a project's flags for one subject; every flag is evaluated at most once.

    Args:
        flags: The flags as objects of the API.
        subject: The person and groups to evaluate for.
        now: The time that relative dates count from.
    """

    def __init__(self, flags: Iterable[Mapping[str, Any]], subject: Subject, now: datetime) -> None:
        self._flags = {str(flag["key"]): flag for flag in flags}
        self._keys = {str(flag.get("id")): key for key, flag in self._flags.items()}
        self._subject = subject
        self._now = now
        self._results: dict[str, Evaluation] = {}
        self._evaluating: set[str] = set()

    def evaluate(self, key: str) -> Evaluation:
        """Evaluate one flag.

        Raises:
            KeyError: The flag does not exist.
        """
        evaluation = self._results.get(key)
        if evaluation is None:
            # Remembered so that `_has_bad_dependency` finds flags that depend on each other.
            self._evaluating.add(key)
            try:
                evaluation = self._evaluate_flag(self._flags[key])
            except EvaluationError:
                evaluation = Evaluation(False, "validation_error", failed=True)
            finally:
                self._evaluating.discard(key)
            self._results[key] = evaluation
        return evaluation

    def _evaluate_flag(self, flag: Mapping[str, Any]) -> Evaluation:
        # The order of these checks is the server's: it decides which reason is reported.
        if not flag.get("active", True):
            return Evaluation(False, "flag_disabled")
        key, filters = str(flag["key"]), as_object(flag.get("filters"))
        conditions = [
            condition for condition in filters.get("groups") or () if is_object(condition)
        ]
        if any(self._has_bad_dependency(key, condition) for condition in conditions):
            return Evaluation(False, "missing_dependency")
        index: int | None = filters.get("aggregation_group_type_index")
        if index is not None and index not in self._subject.groups:
            return Evaluation(False, "no_group_type")
        # Enrolment in early access is a property of persons: flags of groups have none.
        early = self._early_access(key, filters) if index is None else None
        return (
            early
            or self._in_holdout(flag, filters, index)
            or self._evaluate_conditions(flag, conditions)
        )

    def _early_access(self, key: str, filters: Mapping[str, Any]) -> Evaluation | None:
        """Return the value set by opting in to or out of an early access feature, if any.

        It takes precedence over all conditions.
        """
        properties = self._subject.properties
        if filters.get("feature_enrollment") is True:
            name = f"$feature_enrollment/{key}"
            if name in properties:
                return Evaluation(properties[name] in (True, "true"), "super_condition_value", 0)
        # The older form of early access; only the first property of a group counts.
        for condition in filters.get("super_groups") or ():
            tests: list[Any] = as_object(condition).get("properties") or []
            if tests and as_object(tests[0]).get("key") in properties:
                value = matches(tests[0], properties, self._now)
                return Evaluation(value, "super_condition_value", 0)
        return None

    def _in_holdout(
        self, flag: Mapping[str, Any], filters: Mapping[str, Any], index: int | None
    ) -> Evaluation | None:
        identifier = self._identifier(flag, index)
        holdout = as_object(filters.get("holdout"))
        percentage, name = holdout.get("exclusion_percentage"), f"holdout-{holdout.get('id')}"
        if percentage is None:
            # Older flags have `holdout_groups` instead.
            older = filters.get("holdout_groups")
            first = as_object(older[0]) if is_array(older) and older else {}
            percentage, name = first.get("rollout_percentage"), first.get("variant") or "holdout"
        if (
            percentage is None
            or identifier is None
            or not in_holdout(identifier, float(percentage))
        ):
            return None
        return Evaluation(str(name), "holdout_condition_value")

    def _evaluate_conditions(
        self, flag: Mapping[str, Any], conditions: list[dict[str, Any]]
    ) -> Evaluation:
        filters = as_object(flag.get("filters"))
        best = Evaluation(False, "no_condition_match")
        for position, condition in enumerate(conditions):
            evaluation = self._evaluate_condition(flag, filters, condition, position)
            if evaluation.reason == "condition_match":
                return evaluation
            if _REASON_RANKS.index(evaluation.reason) >= _REASON_RANKS.index(best.reason):
                best = evaluation
            if filters.get("early_exit") is True and evaluation.reason == "out_of_rollout_bound":
                return evaluation
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
        rollout = condition.get("rollout_percentage")
        percentage = 100.0 if rollout is None else float(rollout)
        variants = _variants(filters)
        # A condition may name a variant that was removed since; then it is ignored.
        pinned = condition.get("variant")
        if pinned not in [variant.get("key") for variant in variants]:
            pinned = None
        identifier = self._identifier(flag, index)
        # Without an identifier nothing can be hashed. The condition still matches if the hash
        # does not matter: everyone is included, and all get the same variant.
        if identifier is None and (percentage < 100 or (pinned is None and _has_split(variants))):
            return Evaluation(False, "out_of_rollout_bound", position)
        key = str(flag["key"])
        if identifier is not None and not in_rollout(key, identifier, percentage):
            return Evaluation(False, "out_of_rollout_bound", position)
        variant = pinned or variant_for(key, identifier or "", variants)
        return Evaluation(variant or True, "condition_match", position)

    def _identifier(self, flag: Mapping[str, Any], index: int | None) -> str | None:
        """Return the identifier to hash; None if the flag needs a device id and there is none."""
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
            matched = self._in_cohort(test)
        else:
            # A condition on persons may also test the properties of their group.
            group_type = test.get("group_type_index", index) if kind == "group" else index
            properties = (
                self._subject.properties
                if group_type is None
                else self._group_properties(group_type)
            )
            matched = matches(test, properties, self._now)
        return matched != bool(test.get("negation"))

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
        """Return whether the person matches the filters of a cohort, which may be nested."""
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
        """Return whether another flag has the value that a condition requires."""
        expected = test.get("value")
        if test.get("operator") != "flag_evaluates_to" or expected is None:
            return False
        value = self.evaluate(self._dependency_key(test)).value
        if isinstance(expected, bool):
            return (value is not False) == expected
        return value == expected

    def _has_bad_dependency(self, key: str, condition: Mapping[str, Any]) -> bool:
        """Return whether a condition depends on a missing flag or on a circle of flags."""
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
        # The API stores the id of the other flag; definitions sent to clients have its key.
        reference = str(test.get("key"))
        return reference if reference in self._flags else self._keys.get(reference, reference)


def _variants(filters: Mapping[str, Any]) -> list[dict[str, Any]]:
    variants = as_object(filters.get("multivariate")).get("variants")
    return [as_object(variant) for variant in variants] if is_array(variants) else []


def _has_split(variants: list[dict[str, Any]]) -> bool:
    """Return whether different identifiers get different variants."""
    shares = [float(variant.get("rollout_percentage") or 0) for variant in variants]
    first = next((share for share in shares if share), None)
    return first is not None and first < 100
