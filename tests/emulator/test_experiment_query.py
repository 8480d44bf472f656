"""ExperimentQuery, against the same persons in plain Python and the statistics of scipy."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import cache
from math import sqrt
from statistics import fmean, variance
from typing import Any, NamedTuple

import httpx
import pytest

from posthog_emulator import Emulator
from posthog_emulator.features.query.experiment_statistics import student_quantile, student_tails

from .insight_events import ZONE, Event, Project

START = datetime(2026, 3, 1, 9, tzinfo=ZONE)
HOUR = timedelta(hours=1)
VARIANTS = ["control", "test", "late"]
FLAG = {
    "key": "nav", "filters": {"multivariate": {"variants": [{"key": key} for key in VARIANTS]}}
}  # fmt: skip
EXPERIMENT: dict[str, Any] = {
    "id": 3, "feature_flag": FLAG, "start_date": START.isoformat(), "end_date": None
}  # fmt: skip


class Person(NamedTuple):
    """A person of the experiment."""

    name: str
    variant: str
    seen: list[datetime]
    """The times of the exposures."""
    paid: list[tuple[datetime, float]]
    visited: list[datetime]


@cache
def people() -> list[Person]:
    rng, found = random.Random(3), list[Person]()
    for number in range(150):
        variant = VARIANTS[number % 2]
        first = START + rng.randrange(60) * HOUR
        seen = [first] if rng.random() < 0.7 else [first, first + 30 * HOUR]
        step = timedelta(minutes=1)
        paid = [
            (first + rng.randrange(-20, 120) * HOUR + step, float(rng.randrange(1, 30)))
            for _ in range(rng.randrange(4) + (variant == "test"))
        ]
        visited = [first + rng.randrange(-20, 120) * HOUR - step for _ in range(rng.randrange(5))]
        found.append(Person(f"p{number}", variant, seen, sorted(paid), sorted(visited)))
    return found


@cache
def project() -> Project:
    events: list[Event] = []
    for one in people():
        for at in one.seen:
            called = {"$feature_flag": "nav", "$feature_flag_response": one.variant}
            events.append(Event("$feature_flag_called", one.name, at, called))
        events += [Event("paid", one.name, at, {"price": price}) for at, price in one.paid]
        events += [Event("visited", one.name, at) for at in one.visited]
    # Who saw both variants does not count.
    for variant in ("control", "test"):
        called = {"$feature_flag": "nav", "$feature_flag_response": variant}
        events.append(Event("$feature_flag_called", "both", START + HOUR, called))
    events.append(Event("paid", "both", START + 2 * HOUR, {"price": 1000}))
    return Project(events)


def answer(metric: Mapping[str, Any], **stats: Any) -> dict[str, Any]:
    project().session.experiments = {3: {**EXPERIMENT, "stats_config": stats}}
    query = {"kind": "ExperimentQuery", "experiment_id": 3,
             "metric": {"kind": "ExperimentMetric", **metric}}  # fmt: skip
    return project().body(query)


def node(event: str, **more: Any) -> dict[str, Any]:
    return {"kind": "EventsNode", "event": event, **more}


def mean(**more: Any) -> dict[str, Any]:
    source = node("paid", math="sum", math_property="price")
    return {"metric_type": "mean", "source": source, **more}


def samples(value: Callable[[Person], float]) -> dict[str, list[float]]:
    """The value of each person, by variant."""
    return {
        variant: [value(one) for one in people() if one.variant == variant]
        for variant in ("control", "test")
    }


def spent(one: Person, hours: int | None = None) -> float:
    late = None if hours is None else one.seen[-1] + hours * HOUR
    return sum(price for at, price in one.paid if at >= one.seen[0] and (late is None or at < late))


def check_sums(item: Mapping[str, Any], values: list[float]) -> None:
    assert item["number_of_samples"] == len(values)
    assert item["sum"] == pytest.approx(sum(values))
    assert item["sum_squares"] == pytest.approx(sum(value**2 for value in values))


def effect(test: list[float], control: list[float]) -> tuple[float, float]:
    """The relative difference of the means, and its variance by the delta method."""
    t, c = fmean(test), fmean(control)
    spread = variance(test) / len(test) / c**2 + t**2 * variance(control) / len(control) / c**4
    return (t - c) / c, spread


def test_a_mean_with_bayesian_results() -> None:
    from scipy import stats

    found, values = answer(mean()), samples(spent)
    check_sums(found["baseline"], values["control"])
    test, late = found["variant_results"]
    check_sums(test, values["test"])
    delta, spread = effect(values["test"], values["control"])
    posterior = stats.norm(delta, sqrt(spread))
    assert test["chance_to_win"] == pytest.approx(posterior.sf(0))
    assert test["credible_interval"] == pytest.approx(posterior.interval(0.95))
    assert test["significant"] is bool(posterior.sf(0) > 0.95 or posterior.sf(0) < 0.05)
    assert (test["method"], test["validation_failures"]) == ("bayesian", [])
    # Nobody saw the third variant.
    assert (late["key"], late["number_of_samples"], late["sum"]) == ("late", 0, 0)
    assert late["validation_failures"] == ["not-enough-exposures"]
    assert late["chance_to_win"] is None


def test_a_mean_with_frequentist_results() -> None:
    from scipy import stats

    values = samples(lambda one: spent(one, 24))
    metric = mean(conversion_window=24, conversion_window_unit="hour")
    absolute = {"alpha": 0.1, "difference_type": "absolute"}
    test, _ = answer(metric, method="frequentist", frequentist=absolute)["variant_results"]
    check_sums(test, values["test"])
    welch: Any = stats.ttest_ind(values["test"], values["control"], equal_var=False)
    assert test["p_value"] == pytest.approx(welch.pvalue)
    assert test["confidence_interval"] == pytest.approx(welch.confidence_interval(0.9))
    assert test["significant"] is bool(welch.pvalue < 0.1)
    # By default the difference is relative, with the degrees of freedom of the same test.
    test, _ = answer(metric, method="frequentist")["variant_results"]
    delta, spread = effect(values["test"], values["control"])
    error = sqrt(spread)
    assert test["p_value"] == pytest.approx(2 * stats.t.sf(abs(delta) / error, welch.df))
    around = stats.t.interval(0.95, welch.df, delta, error)
    assert test["confidence_interval"] == pytest.approx(around)


def test_the_distribution_of_student() -> None:
    from scipy import stats

    for freedom in (1, 2.5, 30, 1e4):
        for value in (0, 0.3, 2, 9):
            both = 2 * stats.t.sf(value, freedom)
            assert student_tails(-value, freedom) == pytest.approx(both, rel=1e-9)
        for alpha in (0.5, 0.05, 1e-4):
            bound = stats.t.ppf(1 - alpha / 2, freedom)
            assert student_quantile(alpha, freedom) == pytest.approx(bound, rel=1e-9)


def test_the_maths_of_a_mean() -> None:
    def after(one: Person) -> list[float]:
        return [price for at, price in one.paid if at >= one.seen[0]]

    expected: list[tuple[dict[str, Any], Callable[[Person], float]]] = [
        ({}, lambda one: len(after(one))),
        ({"math": "avg", "math_property": "price"}, lambda one: fmean(after(one) or [0])),
        ({"math": "dau"}, lambda one: bool(after(one))),
        ({"math": "hogql", "math_hogql": "sum(toFloat(properties.price) + 1)"},
         lambda one: sum(price + 1 for price in after(one))),
    ]  # fmt: skip
    for math, value in expected:
        found = answer({"metric_type": "mean", "source": node("paid", **math)})
        check_sums(found["baseline"], samples(value)["control"])


def test_outliers_are_clamped() -> None:
    # The bounds are of everybody who was exposed, to whichever variant.
    everybody = sorted([*map(spent, people()), 1000.0])

    def quantile(of: list[float], level: float) -> float:
        place = level * (len(of) - 1)
        low, rest = int(place), place % 1
        return of[low] + (of[min(low + 1, len(of) - 1)] - of[low]) * rest

    bounds = {"lower_bound_percentile": 0.1, "upper_bound_percentile": 0.8}
    for ignored in (False, True):
        kept = [value for value in everybody if value or not ignored]
        low, high = quantile(everybody, 0.1), quantile(kept, 0.8)
        values = samples(lambda one, low=low, high=high: min(max(spent(one), low), high))
        found = answer(mean(**bounds, ignore_zeros=ignored))
        check_sums(found["baseline"], values["control"])
        check_sums(found["variant_results"][0], values["test"])


def test_a_funnel() -> None:
    from scipy import stats

    def done(one: Person, hours: float = float("inf")) -> list[bool]:
        """Whether a person visited after an exposure, and paid after that, in time."""
        visited = paid = False
        for first in one.seen:
            for at in one.visited:
                if first <= at and (at - first) / HOUR <= hours:
                    visited = True
                    paid |= any(at <= then and (then - first) / HOUR <= hours
                                for then, _ in one.paid)  # fmt: skip
        return [visited, paid]

    metric = {"metric_type": "funnel", "series": [node("visited"), node("paid")]}
    within: dict[str, Any] = {"conversion_window": 48, "conversion_window_unit": "hour"}
    for more, hours in (({}, float("inf")), (within, 48.0)):
        found = answer({**metric, **more})
        for item, variant in (
            (found["baseline"], "control"),
            (found["variant_results"][0], "test"),
        ):
            reached = [done(one, hours) for one in people() if one.variant == variant]
            assert item["step_counts"] == [sum(step) for step in zip(*reached, strict=True)]
            assert item["sum"] == item["sum_squares"] == item["step_counts"][-1]
    test = answer(metric)["variant_results"][0]
    shares = {
        name: (fmean(values), len(values))
        for name, values in samples(lambda one: done(one)[1]).items()
    }
    (t, m), (c, n) = shares["test"], shares["control"]
    spread = t * (1 - t) / m / c**2 + t**2 * c * (1 - c) / n / c**4
    posterior = stats.norm((t - c) / c, sqrt(spread))
    assert test["chance_to_win"] == pytest.approx(posterior.sf(0))
    unordered = answer({**metric, "funnel_order_type": "unordered"})["baseline"]
    assert unordered["step_counts"][-1] >= shares["control"][0] * n


def test_a_ratio() -> None:
    from scipy import stats

    def visits(one: Person) -> int:
        return sum(at >= one.seen[0] for at in one.visited)

    metric = {
        "metric_type": "ratio",
        "numerator": node("paid", math="sum", math_property="price"),
        "denominator": node("visited"),
    }
    found = answer(metric, method="frequentist")
    numbers: dict[str, tuple[float, float, int]] = {}
    for item, key in ((found["baseline"], "control"), (found["variant_results"][0], "test")):
        over, under = samples(spent)[key], samples(visits)[key]
        check_sums(item, over)
        assert item["denominator_sum"] == sum(under)
        assert item["denominator_sum_squares"] == sum(value**2 for value in under)
        products = sum(a * b for a, b in zip(over, under, strict=True))
        assert item["numerator_denominator_sum_product"] == pytest.approx(products)
        # The variance of the delta method is that of the residuals.
        ratio = sum(over) / sum(under)
        residuals = [a - ratio * b for a, b in zip(over, under, strict=True)]
        numbers[key] = ratio, variance(residuals) / fmean(under) ** 2, len(over)
    (t, tv, m), (c, cv, n) = numbers["test"], numbers["control"]
    error = sqrt(tv / m / c**2 + t**2 * cv / n / c**4)
    freedom = (tv / m + cv / n) ** 2 / ((tv / m) ** 2 / (m - 1) + (cv / n) ** 2 / (n - 1))
    p = 2 * stats.t.sf(abs((t - c) / c) / error, freedom)
    assert found["variant_results"][0]["p_value"] == pytest.approx(p)


def test_retention() -> None:
    def came_back(one: Person, first: bool) -> bool | None:
        starts = [at for at, _ in one.paid if at >= one.seen[0]]
        if not starts:
            return None
        start = min(starts) if first else max(starts)
        return any(at >= start and 1 <= (at.date() - start.date()).days <= 2 for at in one.visited)

    for handling in ("first_seen", "last_seen"):
        found = answer({
            "metric_type": "retention", "start_event": node("paid"),
            "completion_event": node("visited"), "start_handling": handling,
            "retention_window_start": 1, "retention_window_end": 2,
            "retention_window_unit": "day",
        })  # fmt: skip
        item, first = found["baseline"], handling == "first_seen"
        values = [came_back(one, first) for one in people() if one.variant == "control"]
        known = [value for value in values if value is not None]
        check_sums(item, [float(value) for value in known])
        assert item["denominator_sum"] == item["denominator_sum_squares"] == len(known)
        assert item["numerator_denominator_sum_product"] == sum(known)


def test_what_is_not_computed_is_named() -> None:
    def refusal(**metric: Any) -> str:
        metric = {
            "kind": "ExperimentMetric",
            "metric_type": "mean",
            "source": node("paid"),
            **metric,
        }
        return project().refusal("ExperimentQuery", experiment_id=3, metric=metric)

    answer(mean())
    assert "breakdownFilter" in refusal(breakdownFilter={"breakdown": "plan"})
    assert "threshold" in refusal(threshold=5)
    assert "DataWarehouse" in refusal(source={"kind": "ExperimentDataWarehouseNode"})
    assert "p90" in refusal(source=node("paid", math="p90"))
    # Nobody did it: there is nothing to compare with.
    baseline = answer({"metric_type": "mean", "source": node("nothing")})["baseline"]
    assert baseline["validation_failures"] == ["baseline-mean-is-zero"]


@pytest.mark.anyio
async def test_an_experiment_of_the_project_is_found(
    connect: Callable[..., httpx.AsyncClient],
) -> None:
    emulator = Emulator()
    emulator.freeze("2026-03-04T12:00:00Z")
    called = {"$feature_flag": "nav", "$feature_flag_response": "test"}
    emulator.state.events.append(1, [
        {"event": "$feature_flag_called", "distinct_id": "p1",
         "timestamp": "2026-03-02T10:00:00Z", "properties": called},
        {"event": "paid", "distinct_id": "p1", "timestamp": "2026-03-02T11:00:00Z"},
    ])  # fmt: skip
    async with connect(emulator) as http:
        made = await http.post("/api/projects/1/experiments/", json={
            "name": "Navigation", "feature_flag_key": "nav", "start_date": "2026-03-01T00:00:00Z",
        })  # fmt: skip
        query = {"kind": "ExperimentQuery", "experiment_id": made.json()["id"],
                 "metric": {"kind": "ExperimentMetric", "metric_type": "mean",
                            "source": node("paid")}}  # fmt: skip
        path = "/api/projects/1/query/"
        found = (await http.post(path, json={"query": query})).json()
        assert found["variant_results"][0]["sum"] == 1.0
        query["experiment_id"] = 404
        missing = await http.post(path, json={"query": query})
        assert (missing.status_code, missing.json()["detail"]) == (
            400, "Experiment with id 404 not found"
        )  # fmt: skip
