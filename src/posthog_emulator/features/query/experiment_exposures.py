"""ExperimentExposureQuery: how many persons or groups saw each variant of an experiment, by day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any, Final

from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object, is_array

from .dates import bound, local_now
from .entities import read_entity
from .properties import Values, property_tests
from .result import Result, encode_json
from .runner import QuerySession, run_rows
from .unknown_fields import check_query, reject_unknown_fields

__all__ = ["MULTIPLE", "Exposures", "run_experiment_exposures", "variants_of"]

_FIELDS: Final = ("experiment_id", "experiment_name", "exposure_criteria", "feature_flag",
                  "start_date", "end_date", "holdout")  # fmt: skip
_CRITERIA: Final = frozenset({"exposure_config", "filterTestAccounts", "multiple_variant_handling"})
_FLAG_CALLED: Final = "$feature_flag_called"
MULTIPLE: Final = "$multiple"
"""The variant of those who saw several, unless the first one counts."""
_DAYS: Final = timedelta(days=14)
"""How far back an experiment without a start date is looked at."""


def run_experiment_exposures(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute an ExperimentExposureQuery.

    Raises:
        ApiError: 400, the query is invalid or uses something that the emulator does not support.
    """
    check_query(query, *_FIELDS)
    now = local_now(session)
    start = bound(query["start_date"], now) if query.get("start_date") else now - _DAYS
    end = min(bound(query["end_date"], now) if query.get("end_date") else now, now)
    variants = variants_of(query)
    values = Values(session)
    exposures = Exposures(query, variants, start, end, values)
    rows = run_rows(
        session,
        f"SELECT toString(toDate(first)), variant, count() FROM ({exposures.sql}) "  # noqa: S608
        "GROUP BY toDate(first), variant",
        values.by_name,
    )
    counts = {(day, variant): count for day, variant, count in rows}
    days = _days(start, end)
    seen = [*variants, *([MULTIPLE] if any(v == MULTIPLE for _, v in counts) else [])]
    running: dict[str, list[int]] = {
        variant: list(accumulate(int(counts.get((day, variant), 0)) for day in days))
        for variant in seen
        if any(name == variant for _, name in counts)
    }
    series = [
        {"variant": variant, "days": days, "exposure_counts": numbers}
        for variant, numbers in running.items()
    ]
    totals = {variant: numbers[-1] for variant, numbers in running.items()}
    everyone = sum(totals.values())
    risk = totals.get(MULTIPLE, 0)
    head: dict[str, Any] = {
        "kind": "ExperimentExposureQuery",
        "total_exposures": totals,
        "date_range": {"date_from": start.isoformat(), "date_to": end.isoformat()},
        "sample_ratio_mismatch": None,
        "bias_risk": {"multiple_variant_percentage": 100 * risk / everyone} if risk else None,
    }
    return Result(encode_json(series), head, len(series), "timeseries")


def variants_of(query: Mapping[str, Any]) -> list[str]:
    """Return the keys of the variants of the flag, and of the holdout.

    Args:
        query: An ExperimentExposureQuery; or an experiment, with its `feature_flag` and `holdout`.

    Raises:
        ApiError: 400, the flag has no variants.
    """
    filters = as_object(as_object(query.get("feature_flag")).get("filters"))
    definitions: Any = as_object(filters.get("multivariate")).get("variants")
    variants = (
        [str(as_object(definition).get("key")) for definition in definitions]
        if is_array(definitions)
        else []
    )
    if not variants:
        raise invalid("An ExperimentExposureQuery needs a feature_flag with variants.")
    holdout = as_object(query.get("holdout")).get("id")
    return variants if holdout is None else [*variants, f"holdout-{holdout}"]


class Exposures:
    """Who was exposed to which variant of an experiment.

    Args:
        query: An ExperimentExposureQuery; or an experiment, with its `feature_flag`.
        variants: The keys of the variants.
        start: The time of the first exposure.
        end: The time of the last exposure.
        values: The values of the query; those of the exposures are added.

    Raises:
        ApiError: 400, the criteria are invalid or not supported.
    """

    def __init__(
        self,
        query: Mapping[str, Any],
        variants: list[str],
        start: datetime,
        end: datetime,
        values: Values,
    ) -> None:
        flag = as_object(query.get("feature_flag"))
        key = str(flag.get("key"))
        criteria = as_object(query.get("exposure_criteria"))
        reject_unknown_fields(criteria, _CRITERIA, "ExperimentExposureQuery.exposure_criteria")
        tests = [f"timestamp >= {values.add(start)}", f"timestamp <= {values.add(end)}"]
        config = as_object(criteria.get("exposure_config"))
        if not config or config.get("event") == _FLAG_CALLED:
            variant = "properties.$feature_flag_response"
            tests += [
                f"event = {values.add(_FLAG_CALLED)}",
                f"properties.$feature_flag = {values.add(key)}",
                *property_tests(config.get("properties"), values),
            ]
        else:
            variant = f"properties[{values.add(f'$feature/{key}')}]"
            tests += _config_tests(config, values)
        tests.append(f"toString({variant}) IN {values.add(tuple(variants))}")
        if criteria.get("filterTestAccounts", True) is not False:
            tests += property_tests(values.session.test_account_filters, values)
        index = as_object(flag.get("filters")).get("aggregation_group_type_index")
        self.entity = "person_id" if index is None else f"$group_{int(index)}"
        """The column of the persons or groups that are exposed."""
        if index is not None:
            tests.append(f"{self.entity} != ''")
        self.condition = " AND ".join(tests)
        """HogQL: whether an event is an exposure."""
        chosen = (
            f"argMin(toString({variant}), timestamp)"
            if criteria.get("multiple_variant_handling") == "first_seen"
            else f"if(uniqExact(toString({variant})) > 1, '{MULTIPLE}', any(toString({variant})))"
        )
        self.sql = (
            f"SELECT {self.entity} AS entity, {chosen} AS variant, min(timestamp) AS first, "  # noqa: S608
            f"max(timestamp) AS last FROM events WHERE {self.condition} GROUP BY entity"
        )
        """HogQL: `entity` and `variant`, and the times of the `first` and `last` exposure."""


def _config_tests(config: Mapping[str, Any], values: Values) -> list[str]:
    """Return the conditions on the events that are exposures by a configuration."""
    if config.get("kind") == "ActionsNode":
        entity = read_entity(values.session, config)
        if entity.is_deleted:
            raise invalid(f"Action ID {config.get('id')} does not exist!")
        return [values.add_node(entity.condition)]
    event = config.get("event")
    if not event:
        raise invalid("exposure_config needs an event.")
    return [f"event = {values.add(str(event))}", *property_tests(config.get("properties"), values)]


def _days(start: datetime, end: datetime) -> list[str]:
    count = (end.date() - start.date()).days
    return [str(start.date() + timedelta(days=number)) for number in range(count + 1)]
