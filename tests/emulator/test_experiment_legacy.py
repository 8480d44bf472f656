"""ExperimentFunnelsQuery and ExperimentTrendsQuery, against counts by hand and scipy."""

from __future__ import annotations

import json
import random
from collections import Counter
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import pytest

from .insight_events import ZONE, Event, Project

START = datetime(2026, 3, 1, 9, tzinfo=ZONE)
VARIANTS = ["control", "blue", "red"]
RATES = {"control": 0.3, "blue": 0.5, "red": 0.35}
VISITED, PAID = ({"kind": "EventsNode", "event": name} for name in ("visited", "paid"))


@cache
def project() -> Project:
    rng, events = random.Random(11), list[Event]()
    for number in range(330):
        variant = VARIANTS[number % 3]
        at = START + timedelta(minutes=rng.randrange(9_000))
        seen = {"$feature/nav": variant}
        called = {**seen, "$feature_flag": "nav", "$feature_flag_response": variant}
        events += [Event("$feature_flag_called", f"p{number}", at, called),
                   Event("visited", f"p{number}", at + timedelta(minutes=1), seen)]  # fmt: skip
        while rng.random() < RATES[variant]:
            at += timedelta(minutes=2)
            events.append(Event("paid", f"p{number}", at, seen))
    # Variants that the flag does not have, and events without a variant.
    events += [Event("visited", "x", START, {"$feature/nav": "old"}), Event("paid", "x", START)]
    made = Project(events)
    variants = [{"key": key} for key in VARIANTS]
    flag = {"key": "nav", "filters": {"multivariate": {"variants": variants}}}
    made.session.experiments = {
        3: {"feature_flag": flag, "start_date": START.isoformat(), "end_date": None}
    }
    return made


def body(kind: str, **fields: Any) -> dict[str, Any]:
    return project().body({"kind": kind, "experiment_id": 3, **fields})


def payers() -> Counter[str]:
    """The number of persons who paid, by variant."""
    found = {(one.person, one.properties["$feature/nav"]) for one in project().events
             if one.name == "paid" and one.properties}  # fmt: skip
    return Counter(variant for _, variant in found)


def check(found: dict[str, Any], posteriors: dict[str, Any]) -> None:
    """Check intervals, and the chances to be the best by drawing from the distributions."""
    import numpy

    assert list(found["probability"]) == [one["key"] for one in found["variants"]]
    assert found["variants"][0]["key"] == "control"
    drawn = numpy.array([
        posteriors[key].rvs(100_000, random_state=number) for number, key in enumerate(VARIANTS)
    ])  # fmt: skip
    wins = Counter(drawn.argmax(axis=0).tolist())
    for number, key in enumerate(VARIANTS):
        assert found["probability"][key] == pytest.approx(wins[number] / 100_000, abs=0.01)
        interval = found["credible_intervals"][key]
        assert interval == pytest.approx(posteriors[key].interval(0.95))


def test_a_funnel() -> None:
    from scipy import stats

    series = {"kind": "FunnelsQuery", "series": [VISITED, PAID]}
    found = body("ExperimentFunnelsQuery", funnels_query=series)
    assert {one["key"]: (one["success_count"], one["failure_count"])
            for one in found["variants"]} == {
        key: (payers()[key], 110 - payers()[key]) for key in VARIANTS
    }  # fmt: skip
    check(found, {key: stats.beta(1 + payers()[key], 111 - payers()[key]) for key in VARIANTS})
    assert found["significant"] is (max(found["probability"].values()) >= 0.9)
    assert found["expected_loss"] == (0 if found["significant"] else 1)
    assert found["funnels_query"]["breakdownFilter"]["breakdown"] == "$feature/nav"


def test_a_count() -> None:
    from scipy import stats

    counts = Counter(one.properties.get("$feature/nav") for one in project().events
                     if one.name == "paid")  # fmt: skip
    found = body("ExperimentTrendsQuery", count_query={"kind": "TrendsQuery", "series": [PAID]})
    assert {one["key"]: (one["count"], one["exposure"], one["absolute_exposure"])
            for one in found["variants"]} == {
        key: (counts[key], 1, 110) for key in VARIANTS
    }  # fmt: skip
    check(found, {key: stats.gamma(1 + counts[key], scale=1 / 111) for key in VARIANTS})
    assert (found["significance_code"], found["p_value"] < 0.01) == ("significant", True)
    assert found["count_query"]["trendsFilter"]["display"] == "ActionsLineGraphCumulative"
    # Exposures may be those of another event; with few of them nothing is significant.
    series = {"kind": "TrendsQuery", "series": [{**PAID, "math": "dau"}]}
    few = body("ExperimentTrendsQuery", count_query={"kind": "TrendsQuery", "series": [PAID]},
               exposure_query=series)  # fmt: skip
    assert {one["key"]: one["absolute_exposure"] for one in few["variants"]} == dict(payers())
    assert (few["significance_code"], few["p_value"]) == ("not_enough_exposure", 1)


def test_what_is_refused() -> None:
    def refusal(event: str, **node: Any) -> str:
        count = {"kind": "TrendsQuery",
                 "series": [{"kind": "EventsNode", "event": event, **node}]}  # fmt: skip
        return project().refusal("ExperimentTrendsQuery", experiment_id=3, count_query=count)

    assert json.loads(refusal("nothing")) == {"no-control-variant": True, "no-test-variant": True}
    assert "sum" in refusal("paid", math="sum", math_property="price")
