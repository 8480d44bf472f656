"""The rules that PostHog has for feature flags beyond the schema, as pure functions."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object, is_array

__all__ = [
    "check_enabled_dependencies",
    "check_filters",
    "check_key",
    "check_no_dependents",
    "check_states",
    "conditions",
    "dependents_of",
    "flag_properties",
    "full_rollout_reason",
    "rollout_summary",
    "variants_of",
]

_KEY: Final = re.compile(r"[a-zA-Z0-9_-]+")
_MAX_NAMED_FLAGS: Final = 5

Flag = Mapping[str, Any]


def check_key(key: Any) -> None:
    """Raise `ApiError` (400, `invalid_key`) if a key has other characters than allowed."""
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        text = "Only letters, numbers, hyphens (-) & underscores (_) are allowed."
        raise invalid(text, "key", "invalid_key")


def check_states(sent: Mapping[str, Any], stored: Flag | None) -> None:
    """Raise `ApiError` (400) for combinations of fields that exclude each other.

    Args:
        sent: The fields of the request.
        stored: The flag before the change; None if it is created.
    """
    current: Flag = {} if stored is None else stored

    def value(name: str, default: Any) -> Any:
        return sent.get(name, current.get(name, default))

    if value("archived", False) and value("active", True):
        raise invalid(
            "Cannot archive an enabled feature flag. Disable it first, or send active: false in "
            "the same request."
            if sent.get("archived")
            else "Cannot enable an archived feature flag. Unarchive it first."
        )
    if value("has_encrypted_payloads", False) and not value("is_remote_configuration", False):
        raise invalid("Encrypted payloads require the flag to be a remote configuration.")
    if (
        value("bucketing_identifier", None) == "device_id"
        and value("ensure_experience_continuity", None) is True
        and {"bucketing_identifier", "ensure_experience_continuity"} & sent.keys()
        and not (
            current.get("bucketing_identifier") == "device_id"
            and current.get("ensure_experience_continuity")
        )
    ):
        raise invalid(
            "Cannot enable 'persist across authentication steps' when using device ID bucketing. "
            "These features are incompatible."
        )


def conditions(filters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the condition sets of a flag's filters."""
    groups = filters.get("groups")
    return [as_object(group) for group in groups] if is_array(groups) else []


def flag_properties(
    filters: Mapping[str, Any], kind: str | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the property filters of all condition sets, or those of one type."""
    for condition in conditions(filters):
        for item in condition.get("properties") or ():
            test = as_object(item)
            if kind is None or test.get("type") == kind:
                yield test


def variants_of(filters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the variants of a flag's filters."""
    variants = as_object(filters.get("multivariate")).get("variants")
    return [as_object(variant) for variant in variants] if is_array(variants) else []


def check_filters(
    filters: Mapping[str, Any],
    *,
    key: str,
    is_new: bool,
    has_new_variants: bool = True,
    flags: Sequence[Flag],
    cohort_problem: Callable[[str], tuple[str, str] | None],
    is_linked: bool = False,
) -> None:
    """Raise `ApiError` (400) if the filters of a flag are invalid.

    Args:
        filters: The filters.
        key: The key of the flag.
        is_new: Whether the flag is created.
        has_new_variants: Whether the variants differ from those before. Stored ones are valid,
            also if a test set them so that only conditions return them.
        flags: The other flags of the project that are not deleted.
        cohort_problem: Returns why a cohort cannot be used, as a message and a code; None if it
            can.
        is_linked: Whether the flag belongs to an early access feature.
    """
    groups = conditions(filters)
    if is_new and not groups:
        raise _invalid("Feature flags must have at least one condition set (group).")
    for index, condition in enumerate(groups):
        _check_percentage(
            condition.get("rollout_percentage"), f"groups[{index}].rollout_percentage", null=True
        )
    variants = variants_of(filters)
    for index, variant in enumerate(variants):
        path = f"multivariate.variants[{index}].rollout_percentage"
        _check_percentage(variant.get("rollout_percentage"), path, null=False)
    general_index = filters.get("aggregation_group_type_index")
    for condition in groups:
        group_index = condition.get("aggregation_group_type_index", general_index)
        if is_linked and group_index is not None:
            raise _invalid(
                "Cannot use group aggregation in any condition set when the flag is linked to an "
                "Early Access Feature."
            )
        _check_property_types(condition, group_index)
    _check_dependencies(filters, key, flags)
    if (
        has_new_variants
        and variants
        and sum(variant.get("rollout_percentage") or 0 for variant in variants) != 100
    ):
        raise _invalid("Invalid variant definitions: Variant rollout percentages must sum to 100.")
    variant_keys = [variant.get("key") for variant in variants]
    for condition in groups:
        if condition.get("variant") and condition["variant"] not in variant_keys:
            raise _invalid("Filters are not valid (variant override does not exist)")
    for test in flag_properties(filters, "cohort"):
        problem = cohort_problem(str(test.get("value")))
        if problem is not None:
            raise invalid(problem[0], "filters", problem[1])
    _check_payloads(as_object(filters.get("payloads")), variant_keys)


def _invalid(detail: str) -> Exception:
    return invalid(detail, "filters")


def _check_percentage(value: Any, path: str, *, null: bool) -> None:
    if value is None and null:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        expected = "a number or null" if null else "a number"
        kind = "null" if value is None else type(value).__name__
        raise _invalid(f"{path} must be {expected}, got {kind}")
    if not math.isfinite(value):
        raise _invalid(f"{path} must be finite, got {value}")
    if not 0 <= value <= 100:
        raise _invalid(f"{path} must be between 0 and 100, got {value}")


def _check_property_types(condition: Mapping[str, Any], group_index: Any) -> None:
    for item in condition.get("properties") or ():
        test = as_object(item)
        kind = test.get("type") or "person"
        if group_index is None:
            if kind not in {"person", "cohort", "flag"}:
                raise _invalid(
                    "Filters are not valid (person-aggregated conditions can only use person, "
                    "cohort, and flag properties)"
                )
            if kind == "flag" and test.get("operator") != "flag_evaluates_to":
                raise _invalid("Flag properties must use the 'flag_evaluates_to' operator")
        elif kind != "group":
            raise _invalid(
                "Filters are not valid (group-aggregated conditions can only use group properties)"
            )
        elif test.get("group_type_index") != group_index:
            raise _invalid(
                "Filters are not valid (group properties must match the condition set's group type)"
            )


def _check_dependencies(filters: Mapping[str, Any], key: str, flags: Sequence[Flag]) -> None:
    by_id = {str(flag.get("id")): flag for flag in flags}
    by_key = {str(flag.get("key")): flag for flag in flags}

    def dependencies(item: Mapping[str, Any]) -> list[str]:
        keys: list[str] = []
        for test in flag_properties(item, "flag"):
            reference = str(test.get("key"))
            if not reference.isdigit():
                raise _invalid(
                    "Flag dependencies must reference flag IDs (integers), not flag keys. Invalid "
                    f"reference: '{reference}'"
                )
            flag = by_id.get(reference)
            if flag is None:
                raise _invalid(f"Flag dependency references non-existent flag with ID {reference}")
            if not flag.get("active"):
                raise _invalid(
                    f"Cannot create dependency on disabled flag '{flag.get('key')}' (ID: "
                    f"{reference}). Flag dependencies must reference active flags only."
                )
            keys.append(str(flag.get("key")))
        return keys

    def visit(current: str, path: list[str]) -> None:
        if current in path:
            cycle = " → ".join([*path[path.index(current) :], current])
            raise _invalid(f"Circular dependency detected: {cycle}")
        for other in dependencies(as_object(by_key.get(current, {}).get("filters"))):
            visit(other, [*path, current])

    direct = dependencies(filters)
    if key in direct:
        raise _invalid(f"Feature flag '{key}' cannot depend on itself")
    for other in direct:
        visit(other, [key])


def _check_payloads(payloads: Mapping[str, Any], variant_keys: Sequence[Any]) -> None:
    for value in payloads.values():
        if isinstance(value, str):
            try:
                json.loads(value)
            except ValueError:
                raise _invalid("Payload value is not valid JSON") from None
    if variant_keys:
        if not payloads.keys() <= set(variant_keys):
            raise _invalid("Payload keys must match a variant key for multivariate flags")
    elif payloads.keys() - {"true"}:
        raise _invalid("Payload keys must be 'true' for boolean flags")


def dependents_of(flag_id: Any, flags: Iterable[Flag]) -> list[Flag]:
    """Return the active flags that depend on a flag, by key."""
    dependents = [
        flag
        for flag in flags
        if flag.get("active")
        and any(
            str(test.get("key")) == str(flag_id)
            for test in flag_properties(as_object(flag.get("filters")), "flag")
        )
    ]
    return sorted(dependents, key=lambda flag: str(flag.get("key")))


def check_no_dependents(flag_id: Any, flags: Iterable[Flag], action: str) -> None:
    """Raise `ApiError` (400) if active flags depend on a flag.

    Args:
        flag_id: The id of the flag.
        flags: The flags of the project that are not deleted.
        action: What is to be done with the flag: `disable` or `delete`.
    """
    names = _named(dependents_of(flag_id, flags))
    if names:
        raise invalid(
            f"Cannot {action} this feature flag because other flags depend on it: {names}. "
            "Please update or disable the dependent flags first."
        )


def check_enabled_dependencies(filters: Mapping[str, Any], flags: Iterable[Flag]) -> None:
    """Raise `ApiError` (400) if a flag that is enabled depends on disabled flags."""
    needed = {str(test.get("key")) for test in flag_properties(filters, "flag")}
    disabled = [flag for flag in flags if str(flag.get("id")) in needed and not flag.get("active")]
    names = _named(sorted(disabled, key=lambda flag: str(flag.get("key"))))
    if names:
        raise invalid(
            f"Cannot enable this feature flag because it depends on disabled flags: {names}. "
            "Please enable the dependency flags first."
        )


def _named(flags: Sequence[Flag]) -> str:
    names = [f"{flag.get('key')} (ID: {flag.get('id')})" for flag in flags[:_MAX_NAMED_FLAGS]]
    if len(flags) > _MAX_NAMED_FLAGS:
        names.append(f"and {len(flags) - _MAX_NAMED_FLAGS} more")
    return ", ".join(names)


def rollout_summary(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `rollout` of a flag's status."""
    percentages = [condition.get("rollout_percentage") for condition in conditions(filters)]
    return {
        "effectively_full_rollout": full_rollout_reason(filters) is not None,
        "has_targeting_conditions": any(True for _ in flag_properties(filters)),
        # An absent percentage means everyone.
        "max_rollout_percentage": max(
            (100 if value is None else value for value in percentages), default=None
        ),
        "is_multivariate": bool(variants_of(filters)),
    }


def full_rollout_reason(filters: Mapping[str, Any]) -> str | None:
    """Return why a flag has the same value for everyone; None if it may vary."""
    groups, variants = conditions(filters), variants_of(filters)
    full = [
        condition
        for condition in groups
        if condition.get("rollout_percentage") == 100 and not condition.get("properties")
    ]
    if not variants:
        if groups and not full:
            return None
        return 'This boolean flag will always evaluate to "true"'
    overrides = [condition["variant"] for condition in full if condition.get("variant")]
    shipped = [item.get("key") for item in variants if item.get("rollout_percentage") == 100]
    if not full or not (overrides or shipped):
        return None
    return f'This flag will always use the variant "{(overrides or shipped)[0]}"'
