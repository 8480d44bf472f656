"""The rules of experiments, as pure functions on their fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object, is_array

__all__ = [
    "DEFAULT_VARIANTS",
    "check_dates",
    "check_variants",
    "experiment_status",
    "requested_filters",
    "shipped_filters",
]

Fields = Mapping[str, Any]

_MAX_VARIANTS: Final = 20
DEFAULT_VARIANTS: Final[Sequence[Fields]] = (
    {"key": "control", "name": "Control Group", "rollout_percentage": 50},
    {"key": "test", "name": "Test Variant", "rollout_percentage": 50},
)
"""The variants of an experiment that names none."""


def experiment_status(experiment: Fields, *, flag_active: bool) -> str:
    """Return `draft`, `running`, `paused` or `stopped`.

    Args:
        experiment: The experiment.
        flag_active: Whether its feature flag is enabled.
    """
    if not experiment.get("start_date"):
        return "draft"
    if experiment.get("end_date"):
        return "stopped"
    return "running" if flag_active else "paused"


def check_dates(experiment: Fields) -> None:
    """Raise `ApiError` (400) if an experiment ends before it starts."""
    dates = [experiment.get(name) for name in ("start_date", "end_date")]
    if all(isinstance(date, str) for date in dates):
        start, end = (datetime.fromisoformat(str(date)) for date in dates)
        # A date without a time zone cannot be compared with one that has it.
        if (start.tzinfo is None) == (end.tzinfo is None) and start >= end:
            raise invalid("End date must be after start date")


def check_variants(variants: Sequence[Fields]) -> None:
    """Raise `ApiError` (400) if variants are too few or too many, or if `control` is missing."""
    if len(variants) > _MAX_VARIANTS:
        raise invalid("Feature flag variants must be less than 21")
    if len(variants) < 2:
        raise invalid(
            "Feature flag must have at least 2 variants (control and at least one test variant)"
        )
    keys = [variant.get("key") for variant in variants]
    if "control" not in keys:
        raise invalid(
            "Feature flag variants must contain a variant with key 'control' (lowercase, "
            f"exactly). Got keys: {keys}. Rename the baseline variant's 'key' to 'control'."
        )


def requested_filters(sent: Fields) -> dict[str, Any] | None:
    """Return the filters of the flag that a request describes; None if it describes none.

    Args:
        sent: The body of the request: `feature_flag.filters`, or the older `parameters` with
            `feature_flag_variants`, `rollout_percentage` and `aggregation_group_type_index`.
    """
    filters = as_object(as_object(sent.get("feature_flag")).get("filters"))
    parameters = as_object(sent.get("parameters"))
    if not filters and not parameters.keys() & {"feature_flag_variants", "rollout_percentage"}:
        return None
    described: Any = as_object(filters.get("multivariate")).get("variants")
    described = described or parameters.get("feature_flag_variants") or DEFAULT_VARIANTS
    if not is_array(described):
        described = DEFAULT_VARIANTS
    rollout = parameters.get("rollout_percentage", 100)
    groups: list[Any] = filters.get("groups") or [{"properties": [], "rollout_percentage": rollout}]
    group_type = parameters.get("aggregation_group_type_index")
    return {
        "groups": groups,
        "multivariate": {"variants": [_variant(as_object(item)) for item in described]},
        "aggregation_group_type_index": filters.get("aggregation_group_type_index", group_type),
        "payloads": as_object(filters.get("payloads")),
    }


def _variant(described: Fields) -> dict[str, Any]:
    fields = {name: value for name, value in described.items() if name != "split_percent"}
    if "split_percent" in described:
        fields["rollout_percentage"] = described["split_percent"]
    return fields


def shipped_filters(filters: Fields, variant_key: str, *, to_everyone: bool) -> dict[str, Any]:
    """Return the filters of a flag that gives one variant to all who get a variant.

    Args:
        filters: The present filters.
        variant_key: The variant.
        to_everyone: Whether a first condition set for everyone is added.

    Raises:
        ApiError: 400, there is no such variant.
    """
    variants: list[Any] = as_object(filters.get("multivariate")).get("variants") or []
    if variant_key not in [as_object(item).get("key") for item in variants]:
        raise invalid(f"Variant '{variant_key}' not found on feature flag.")
    groups: list[Any] = list(filters.get("groups") or ())
    everyone: dict[str, Any] = {
        "properties": [],
        "rollout_percentage": 100,
        "description": "Added automatically when the experiment was ended to keep only one "
        "variant.",
    }
    shares = [
        {**as_object(item), "rollout_percentage": 100 * (as_object(item)["key"] == variant_key)}
        for item in variants
    ]
    return {
        **filters,
        "multivariate": {"variants": shares},
        "groups": [everyone, *groups] if to_everyone else groups,
    }
