"""ExperimentFunnelsQuery and ExperimentTrendsQuery: experiments as they were computed at first."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from posthog_emulator.http.errors import ApiError, invalid
from posthog_emulator.json_types import as_object

from .experiment_exposures import variants_of
from .experiment_statistics import (
    Posterior,
    beta_posterior,
    chances,
    expected_loss,
    gamma_posterior,
)
from .funnels import run_funnels
from .result import Result, encode_json
from .runner import QuerySession
from .trends import run_trends
from .unknown_fields import check_query

__all__ = ["run_experiment_funnels", "run_experiment_trends"]

_CONTROL: Final = "control"
_LEAST_EXPOSED: Final = 100
_LEAST_CHANCE: Final = 0.9
_MOST_LOSS: Final = 0.01
_FIELDS: Final = ("experiment_id", "fingerprint", "name", "uuid")
Variant: TypeAlias = "dict[str, Any]"


def run_experiment_funnels(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute an ExperimentFunnelsQuery: who completes a funnel, by `$feature/…` of the events.

    Raises:
        ApiError: 400, the query is invalid or uses something that the emulator does not support;
            or there are no results of `control`, or of another variant.
    """
    check_query(query, *_FIELDS, "funnels_query")
    experiment, keys = _experiment(session, query)
    funnels_query = as_object(query.get("funnels_query"))
    layout = {**as_object(funnels_query.get("funnelsFilter")), "layout": "vertical"}
    inner = {**funnels_query, **_common(experiment), "funnelsFilter": layout}
    insight = [steps for steps in _results(run_funnels, session, inner)
               if steps and steps[0]["breakdown_value"][0] in keys]  # fmt: skip
    variants: list[Variant] = []
    for steps in insight:
        done = steps[-1]["count"] if len(steps) > 1 else 0
        variants.append({"key": steps[0]["breakdown_value"][0], "success_count": done,
                         "failure_count": steps[0]["count"] - done})  # fmt: skip
    variants = _ordered(variants)
    posteriors = [
        beta_posterior(variant["success_count"], variant["failure_count"]) for variant in variants
    ]
    exposed = [variant["success_count"] + variant["failure_count"] for variant in variants]
    probabilities = chances(posteriors)
    code = _code(exposed, probabilities)
    head = {
        "kind": "ExperimentFunnelsQuery", "funnels_query": inner, "variants": variants,
        "expected_loss": 0.0 if code == "significant" else 1.0,
        **_statistics(variants, posteriors, probabilities, code),
    }  # fmt: skip
    return Result(encode_json(insight), head, len(insight), "insight")


def run_experiment_trends(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute an ExperimentTrendsQuery: how often events happen, by `$feature/…` of the events.

    Raises:
        ApiError: 400, the query is invalid or uses something that the emulator does not support;
            or there are no results of `control`, or of another variant.
    """
    check_query(query, *_FIELDS, "count_query", "exposure_query")
    experiment, keys = _experiment(session, query)
    count_query = as_object(query.get("count_query"))
    math = as_object(next(iter(count_query.get("series") or ()), None)).get("math")
    if math not in (None, "total", "dau", "unique_session", "unique_group"):
        raise invalid(f"The emulator does not compute the math {math!r} of ExperimentTrendsQuery.")
    flag = str(as_object(experiment.get("feature_flag")).get("key"))
    shown = {"trendsFilter": {"display": "ActionsLineGraphCumulative"}}
    tagged = {**_common(experiment), **shown, "properties": [_equals(f"$feature/{flag}", keys)]}
    counted = {**count_query, **tagged}
    exposed = {**as_object(query.get("exposure_query")), **tagged}
    if not query.get("exposure_query"):
        exposed = {
            **tagged, "kind": "TrendsQuery",
            "filterTestAccounts": count_query.get("filterTestAccounts"),
            "breakdownFilter": {"breakdown": "$feature_flag_response", "breakdown_type": "event"},
            "series": [{"kind": "EventsNode", "event": "$feature_flag_called", "math": "dau"}],
            "properties": [_equals("$feature_flag_response", keys),
                           _equals("$feature_flag", [flag])],
        }  # fmt: skip
    insight = _results(run_trends, session, counted)
    exposures = {item["breakdown_value"]: item["count"]
                 for item in _results(run_trends, session, exposed)}  # fmt: skip
    control = exposures.get(_CONTROL) or 0
    variants = _ordered([
        {"key": item["breakdown_value"], "count": item["count"],
         "exposure": exposures.get(item["breakdown_value"], 0) / control if control else 1,
         "absolute_exposure": exposures.get(item["breakdown_value"], 0)}
        for item in insight if item["breakdown_value"] in keys
    ])  # fmt: skip
    posteriors = [
        gamma_posterior(variant["count"], variant["absolute_exposure"]) for variant in variants
    ]
    probabilities = chances(posteriors)
    code, loss = _code([variant["absolute_exposure"] for variant in variants], probabilities), 1.0
    if code == "significant":
        rates = [variant["count"] / variant["absolute_exposure"] for variant in variants]
        best = rates.index(max(rates))
        loss = expected_loss(posteriors[best], [*posteriors[:best], *posteriors[best + 1 :]])
        code = "high_loss" if loss >= _MOST_LOSS else code
    head = {
        "kind": "ExperimentTrendsQuery", "count_query": counted, "exposure_query": exposed,
        "variants": variants, "p_value": loss,
        **_statistics(variants, posteriors, probabilities, code),
    }  # fmt: skip
    return Result(encode_json(insight), head, len(insight), "insight")


def _experiment(
    session: QuerySession, query: Mapping[str, Any]
) -> tuple[Mapping[str, Any], list[str]]:
    number = query.get("experiment_id")
    if not number:
        raise invalid("experiment_id is required")
    experiment = session.experiments.get(int(number))
    if experiment is None:
        raise invalid(f"Experiment with id {number} not found")
    return experiment, variants_of(experiment)


def _common(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an insight: the time of the experiment, and its variants apart."""
    span = {"date_from": experiment.get("start_date"), "date_to": experiment.get("end_date")}
    flag = as_object(experiment.get("feature_flag")).get("key")
    return {
        "dateRange": {**span, "explicitDate": True},
        "breakdownFilter": {"breakdown": f"$feature/{flag}", "breakdown_type": "event"},
    }


def _equals(key: str, values: Sequence[str]) -> dict[str, Any]:
    return {"key": key, "type": "event", "operator": "exact", "value": list(values)}


def _results(
    run: Callable[[QuerySession, Mapping[str, Any]], Result],
    session: QuerySession,
    query: Mapping[str, Any],
) -> list[Any]:
    results: list[Any] = json.loads(run(session, query).rows)
    return results


def _ordered(variants: list[Variant]) -> list[Variant]:
    """Return the variants with `control` first.

    Raises:
        ApiError: 400, `control` or all others are missing.
    """
    errors = {
        "no-control-variant": all(variant["key"] != _CONTROL for variant in variants),
        "no-test-variant": all(variant["key"] == _CONTROL for variant in variants),
    }
    if any(errors.values()):
        code = "invalid_input" if variants else "no-results"
        raise ApiError(400, code=code, detail=json.dumps(errors))
    return sorted(variants, key=lambda variant: variant["key"] != _CONTROL)


def _code(exposed: Sequence[float], probabilities: Sequence[float]) -> str:
    if min(exposed) < _LEAST_EXPOSED:
        return "not_enough_exposure"
    return "significant" if max(probabilities) >= _LEAST_CHANCE else "low_win_probability"


def _statistics(
    variants: Sequence[Variant],
    posteriors: Sequence[Posterior],
    probabilities: Sequence[float],
    code: str,
) -> dict[str, Any]:
    keys = [variant["key"] for variant in variants]
    intervals = [[posterior.quantile(0.025), posterior.quantile(0.975)] for posterior in posteriors]
    return {
        "probability": dict(zip(keys, probabilities, strict=True)),
        "credible_intervals": dict(zip(keys, intervals, strict=True)),
        "significant": code == "significant",
        "significance_code": code,
        "stats_version": 2,
    }
