"""ExperimentQuery: a metric of an experiment, with how each variant compares with the baseline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from posthog_emulator.hogql.calls import aggregate_name
from posthog_emulator.hogql.parse import Node, constant, field
from posthog_emulator.http.errors import invalid
from posthog_emulator.json_types import as_object
from posthog_emulator.state import EmulatorState, fill_path

from .dates import add_units, bound, local_now, start_of
from .entities import event_tests, hogql_node, read_entity
from .experiment_exposures import MULTIPLE, Exposures, variants_of
from .experiment_statistics import (
    Sample,
    bayesian_test,
    mean_sample,
    proportion_sample,
    ratio_sample,
    t_test,
)
from .funnel_steps import FunnelEvent, FunnelSteps
from .funnels import EPOCH
from .insight_results import all_rows
from .properties import Values
from .result import Result, encode_json
from .runner import QuerySession
from .unknown_fields import check_query, reject_unknown_fields

__all__ = ["project_experiments", "run_experiment"]

_METRIC: Final = ("kind", "metric_type", "name", "uuid", "fingerprint", "goal", "isSharedMetric",
                  "sharedMetricId", "version", "response", "conversion_window",
                  "conversion_window_unit")  # fmt: skip
_OUTLIERS: Final = ("lower_bound_percentile", "upper_bound_percentile", "ignore_zeros")
_OWN: Final[Mapping[str, Sequence[str]]] = {
    "mean": ("source", *_OUTLIERS),
    "funnel": ("series", "funnel_order_type"),
    "ratio": ("numerator", "denominator", "numerator_outlier_handling",
              "denominator_outlier_handling"),
    "retention": ("start_event", "completion_event", "start_handling", "retention_window_start",
                  "retention_window_end", "retention_window_unit"),
}  # fmt: skip
"""Fields of a metric that are applied, by its type."""
_SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800,
                   "month": 2_592_000}  # fmt: skip
_FUNNEL_SECONDS: Final = 3 * 365 * 86_400
"""The window of a funnel that has none."""
_DISTINCT: Final = {"dau": "person_id", "unique_session": "$session_id"}
_CONTROL: Final = "control"
_LEAST_EXPOSED: Final = 50
_LEAST_SUCCESSES: Final = 5


class _Sums(NamedTuple):
    """Sums over the persons or groups of a variant."""

    exposed: int = 0
    total: float = 0
    squares: float = 0
    under: float = 0
    under_squares: float = 0
    products: float = 0


def project_experiments(state: EmulatorState, team: str) -> dict[int, Mapping[str, Any]]:
    """Return the experiments of a project, with their flags, by id."""

    def rows(name: str) -> list[dict[str, Any]]:
        path = fill_path(f"/api/projects/{{}}/{name}/", [team])
        return [row.data for row in state.store.collection(path) if not row.deleted]

    flags = {flag.get("key"): dict(flag) for flag in rows("feature_flags")}
    return {
        int(experiment["id"]): {
            **experiment,
            "feature_flag": flags.get(experiment.get("feature_flag_key")),
        }
        for experiment in rows("experiments")
        if str(experiment.get("id")).isdigit()
    }


def run_experiment(session: QuerySession, query: Mapping[str, Any]) -> Result:
    """Compute an ExperimentQuery.

    Raises:
        ApiError: 400, the query is invalid or uses something that the emulator does not support;
            or a statistical test cannot be computed.
    """
    return _Experiment(session, query).result()


class _Experiment:
    def __init__(self, session: QuerySession, query: Mapping[str, Any]) -> None:
        check_query(query, "experiment_id", "metric", "name", "precomputation_mode")
        number = query.get("experiment_id")
        if not number:
            raise invalid("experiment_id is required")
        experiment = session.experiments.get(int(number))
        if experiment is None:
            raise invalid(f"Experiment with id {number} not found")
        self.metric = as_object(query.get("metric"))
        self.type = str(self.metric.get("metric_type"))
        reject_unknown_fields(self.metric, (*_METRIC, *_OWN[self.type]), f"a {self.type} metric")
        self.stats = as_object(experiment.get("stats_config"))
        if as_object(self.stats.get("cuped")).get("enabled"):
            raise invalid("The emulator does not compute `cuped` of an experiment.")
        self.session = session
        self.values = Values(session)
        self.variants = variants_of(experiment)
        now = local_now(session)
        first, last = experiment.get("start_date"), experiment.get("end_date")
        self.start = bound(first, now) if first else add_units(start_of(now, "day"), "day", -7)
        self.end = bound(last, now) if last else now
        self.exposures = Exposures(experiment, self.variants, self.start, self.end, self.values)
        self.window = self._seconds("conversion_window")

    def result(self) -> Result:
        """Return the response."""
        sums, steps = (
            self._funnel() if self.type == "funnel" else (self._sums(), dict[str, list[int]]())
        )
        items = {
            key: self._item(key, sums.get(key, _Sums()), steps.get(key)) for key in self.variants
        }
        baseline = items.pop(_CONTROL, None)
        if baseline is None:
            raise invalid("No control variant found")
        # Variants that nobody saw come last.
        rest = sorted(items.values(), key=lambda item: not item["number_of_samples"])
        if not sums.get(_CONTROL, _Sums()).total:
            baseline["validation_failures"].append("baseline-mean-is-zero")
        frequentist = self.stats.get("method") == "frequentist"
        for item in rest:
            tested = None
            if not baseline["validation_failures"] and not item["validation_failures"]:
                samples = self._sample(sums[item["key"]]), self._sample(sums[_CONTROL])
                tested = self._test(*samples, frequentist)
            names = ("p_value", "confidence_interval") if frequentist else (
                "chance_to_win", "credible_interval")  # fmt: skip
            item["method"] = "frequentist" if frequentist else "bayesian"
            item |= dict(zip((*names, "significant"), tested or (None, None, None), strict=True))
        head = {"kind": "ExperimentQuery", "baseline": baseline, "metric": self.metric}
        return Result(encode_json(rest), head, len(rest), "variant_results")

    def _seconds(self, name: str, unit: str = "conversion_window_unit") -> int:
        length, unit = self.metric.get(name), str(self.metric.get(unit))
        return int(length) * _SECONDS[unit] if length and unit in _SECONDS else 0

    def _item(self, key: str, sums: _Sums, steps: list[int] | None) -> dict[str, Any]:
        failures: list[str] = []
        if sums.exposed < _LEAST_EXPOSED:
            failures.append("not-enough-exposures")
        if self.type in ("funnel", "retention") and sums.total < _LEAST_SUCCESSES:
            failures.append("not-enough-metric-data")
        item: dict[str, Any] = {
            "key": key, "number_of_samples": sums.exposed, "sum": sums.total,
            "sum_squares": sums.squares, "validation_failures": failures,
        }  # fmt: skip
        if self.type in ("ratio", "retention"):
            item |= {
                "denominator_sum": sums.under, "denominator_sum_squares": sums.under_squares,
                "numerator_denominator_sum_product": sums.products,
            }  # fmt: skip
        if self.type == "funnel":
            item["step_counts"] = steps or [0] * len(self.metric["series"])
        return item

    def _sample(self, sums: _Sums) -> Sample:
        if self.type == "mean":
            return mean_sample(*sums[:3])
        if self.type == "funnel":
            return proportion_sample(*sums[:2])
        return ratio_sample(sums.exposed, sums[1:3], sums[3:5], sums.products)

    def _test(
        self, test: Sample, control: Sample, frequentist: bool
    ) -> tuple[float, tuple[float, float], bool]:
        method = "frequentist" if frequentist else "bayesian"
        config = as_object(self.stats.get(method))
        relative = str(config.get("difference_type") or "relative").lower() != "absolute"
        name, default, compute = (
            ("alpha", 0.05, t_test) if frequentist else ("ci_level", 0.95, bayesian_test)
        )
        value = config.get(name)
        level = float(value) if isinstance(value, int | float) and 0 < value < 1 else default
        if self.type == "funnel" and not frequentist:
            for sample in (test, control):
                if round(sample.count * (1 - sample.mean)) < _LEAST_SUCCESSES:
                    raise invalid("The statistical test cannot be computed. A variant has less "
                                  f"than {_LEAST_SUCCESSES} failures.")  # fmt: skip
        return compute(test, control, level, relative=relative)

    # Queries

    def _sums(self) -> dict[str, _Sums]:
        """Return the sums of a metric that is not a funnel, by variant."""
        if self.type == "mean":
            source, under = f"SELECT variant, value FROM ({self._clamped('source', '')})", ""  # noqa: S608
        elif self.type == "retention":
            source, under = self._retention(), "1"
        else:
            over = self._clamped("numerator", "numerator_outlier_handling")
            below = self._clamped("denominator", "denominator_outlier_handling")
            source = (
                "SELECT a.variant AS variant, a.value AS value, b.value AS under "  # noqa: S608
                f"FROM ({over}) AS a JOIN ({below}) AS b ON a.entity = b.entity"
            )
            under = "under"
        columns = ["count()", "toFloat(sum(value))", "toFloat(sum(value * value))"]
        if under:
            products = (under, f"{under} * {under}", f"value * {under}")
            columns += [f"toFloat(sum({product}))" for product in products]
        sql = f"SELECT variant, {', '.join(columns)} FROM ({source}) GROUP BY variant"  # noqa: S608
        return {variant: _Sums(*sums) for variant, *sums in self._rows(sql)}

    def _rows(self, sql: str) -> list[list[Any]]:
        sql = f"WITH exposed AS ({self.exposures.sql}) {sql}"
        return [row for row in all_rows(self.session, sql, self.values) if row[0] != MULTIPLE]

    def _events(self, name: str, value: str, more: int = 0) -> tuple[str, str]:
        """Return the query of the events of a source, and when they count: once exposed."""
        entity = read_entity(self.session, as_object(self.metric.get(name)))
        tests = event_tests(self.values, entity.condition)
        end = f"{self.values.add(self.end)} + toIntervalSecond({self.window + more})"
        sql = (
            f"SELECT {self.exposures.entity} AS entity, timestamp AS at, {value} AS value "  # noqa: S608
            f"FROM events WHERE timestamp >= {self.values.add(self.start)} AND timestamp < {end} "
            f"AND {tests}"
        )
        when = "m.at >= e.first"
        if self.window:
            when += f" AND m.at < e.last + toIntervalSecond({self.window})"
        return sql, when

    def _clamped(self, name: str, outliers: str) -> str:
        """Return the query of `entity`, `variant` and `value`, with its outliers clamped."""
        value, total = _aggregation(as_object(self.metric.get(name)), self.values)
        events, when = self._events(name, value)
        sql = (
            "SELECT e.entity AS entity, e.variant AS variant, "  # noqa: S608
            f"{total.format(f'if({when}, m.value, NULL)')} AS value "
            f"FROM exposed AS e LEFT JOIN ({events}) AS m ON e.entity = m.entity "
            "GROUP BY entity, variant"
        )
        settings = as_object(self.metric.get(outliers)) if outliers else self.metric
        low, high = settings.get("lower_bound_percentile"), settings.get("upper_bound_percentile")
        if low is None and high is None:
            return sql
        upper = "if(value != 0, value, NULL)" if settings.get("ignore_zeros") else "value"
        bounds = ", ".join([
            "min(value) AS low" if low is None else f"quantile({float(low)})(value) AS low",
            "max(value) AS high" if high is None else f"quantile({float(high)})({upper}) AS high",
        ])  # fmt: skip
        return (
            f"WITH entities AS ({sql}) "  # noqa: S608
            "SELECT entity, variant, least(greatest(low, value), high) AS value "
            f"FROM entities CROSS JOIN (SELECT {bounds} FROM entities) AS b"
        )

    def _retention(self) -> str:
        """Return the query of `variant` and `value`: 1 if a person came back, 0 if not."""
        unit = str(self.metric.get("retention_window_unit"))
        near, far = (int(self.metric[f"retention_window_{edge}"]) for edge in ("start", "end"))
        starts, _ = self._events("start_event", "1")
        ends, _ = self._events("completion_event", "1", far * _SECONDS[unit])
        when = "m.at >= e.first"
        if self.window:
            when += f" AND m.at <= e.first + toIntervalSecond({self.window})"
        pick = "min" if self.metric.get("start_handling") == "first_seen" else "max"
        started = (
            "SELECT e.entity AS entity, any(e.variant) AS variant, "  # noqa: S608
            f"{pick}(m.at) AS began FROM exposed AS e JOIN ({starts}) AS m "
            f"ON e.entity = m.entity WHERE {when} GROUP BY entity"
        )
        # A day or an hour counts as a whole.
        cut = f"toStartOf{unit.capitalize()}({{}})" if unit in ("day", "hour") else "{}"
        name = f"toInterval{unit.capitalize()}"
        came, began = cut.format("m.at"), cut.format("e.began")
        return (
            "SELECT e.entity AS entity, any(e.variant) AS variant, "  # noqa: S608
            f"max(if(m.at >= e.began AND {came} >= {began} + {name}({near}) AND "
            f"{came} <= {began} + {name}({far}), 1, 0)) AS value "
            f"FROM ({started}) AS e LEFT JOIN ({ends}) AS m ON e.entity = m.entity GROUP BY entity"
        )

    def _funnel(self) -> tuple[dict[str, _Sums], dict[str, list[int]]]:
        """Return the sums by variant, and how many did each step. Exposure is the first step."""
        entities = [read_entity(self.session, as_object(node)) for node in self.metric["series"]]
        tests = [event_tests(self.values, entity.condition) for entity in entities]
        end = f"{self.values.add(self.end)} + toIntervalSecond({self.window})"
        within = f"timestamp >= {self.values.add(self.start)} AND timestamp <= {end}"
        matches = [self.exposures.condition, *(f"({within} AND {test})" for test in tests)]
        mask = " + ".join(f"if({match}, {1 << n}, 0)" for n, match in enumerate(matches))
        order = str(self.metric.get("funnel_order_type") or "ordered")
        events = (
            f"SELECT {self.exposures.entity} AS entity, timestamp AS at, "  # noqa: S608
            f"dateDiff('microsecond', {EPOCH}, timestamp) AS moment, {mask} AS steps "
            f"FROM events WHERE {' OR '.join(f'({match})' for match in matches)}"
        )
        sql = (
            "SELECT e.variant AS variant, e.entity AS entity, "  # noqa: S608
            "arraySort(groupArray(tuple(m.moment, m.steps))) "
            f"FROM exposed AS e JOIN ({events}) AS m ON e.entity = m.entity "
            f"{'WHERE m.at >= e.first ' if order == 'unordered' else ''}GROUP BY variant, entity"
        )
        window = (self.window or _FUNNEL_SECONDS) * 1_000_000
        funnel = FunnelSteps(len(matches), window, order)
        reached: dict[str, list[int]] = defaultdict(list)
        for variant, _, tuples in self._rows(sql):
            attempt = funnel.attempt([FunnelEvent(*event) for event in tuples])
            reached[variant].append(0 if attempt is None else attempt.reached)
        counts = {
            variant: [sum(last > step for last in all_of) for step in range(1, len(matches))]
            for variant, all_of in reached.items()
        }
        done = {variant: float(numbers[-1]) for variant, numbers in counts.items()}
        return {
            variant: _Sums(len(reached[variant]), done[variant], done[variant]) for variant in done
        }, counts


def _aggregation(node: Mapping[str, Any], values: Values) -> tuple[str, str]:
    """Return the HogQL of the value of an event, and of their aggregate with `{}` for the value.

    Raises:
        ApiError: 400, the math of the node is not supported.
    """
    math = str(node.get("math") or "total")
    name = node.get("math_property")
    if math in ("sum", "avg", "min", "max") and name:
        if node.get("math_property_type") not in (None, "event_properties"):
            raise invalid("The emulator computes metrics of properties of events only.")
        value = values.add_node(field("properties", str(name)))
        return f"coalesce(toFloat({value}), 0)", f"coalesce({math}({{}}), 0)"
    if math in (*_DISTINCT, "unique_group"):
        value = _DISTINCT.get(math) or f"$group_{int(node.get('math_group_type_index') or 0)}"
        return f"nullIf(toString({value}), '')", "toFloat(count(DISTINCT {}))"
    if math == "hogql":
        tree: Node = hogql_node(node.get("math_hogql"))
        called, arguments = str(tree.get("name")), list[Node](tree.get("args") or ())
        if aggregate_name(called) is None or len(arguments) > 1 or tree.get("params"):
            raise invalid("The emulator computes metrics of an aggregate of one expression only.")
        value = values.add_node(arguments[0] if arguments else constant(1))
        distinct = "DISTINCT " if tree.get("distinct") else ""
        return value, f"coalesce({called}({distinct}{{}}), 0)"
    if math in ("total", "sum", "avg", "min", "max"):
        return "toFloat(1)", "coalesce(sum({}), 0)"
    raise invalid(f"The emulator does not compute the math {math!r} of a metric.")
