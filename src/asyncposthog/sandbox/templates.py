"""Ready-made scripts with typed variables.

The script of every template is the same constant text. Its name and its variables are JSON in a
file beside it, so that no value can become code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic_core import from_json, to_json

from asyncposthog.errors import ConfigurationError

if TYPE_CHECKING:
    from asyncposthog.driver import Driver

__all__ = ["SCRIPT", "TEMPLATES", "Template", "get_template", "main"]

SCRIPT: Final = "from asyncposthog.sandbox.templates import main\n\nmain()\n"
"""The script of every template."""

Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=400)]
Days: TypeAlias = Annotated[int, Field(ge=1, le=3650)]
Rows: TypeAlias = Annotated[int, Field(ge=1, le=50_000)]
Properties: TypeAlias = dict[str, JsonValue]


class _Variables(BaseModel):
    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Template:
    """A ready-made script."""

    name: str
    description: str
    variables: type[BaseModel]
    """A pydantic model of its variables."""
    run: Callable[[Driver, Any], Awaitable[object]]
    """Runs it, in the sandbox. What it returns becomes the output, as JSON."""
    needs_token: bool = False
    """Whether it needs the project token."""
    writes: bool = False
    """Whether it changes something in PostHog."""

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of its variables."""
        return self.variables.model_json_schema()

    def prepare(self, variables: Mapping[str, object]) -> bytes:
        """Return the name and valid variables as JSON.

        Raises:
            ConfigurationError: A variable is missing, unknown or of the wrong type.
        """
        message = None
        try:
            valid = self.variables.model_validate(dict(variables))
        except ValidationError as error:
            message = _explain(self, error)
        else:
            return to_json({"template": self.name, "variables": valid.model_dump(mode="json")})
        raise ConfigurationError(message, suggestion=_usage(self))


def _explain(template: Template, error: ValidationError) -> str:
    problems: list[str] = []
    for problem in error.errors(include_url=False, include_input=False, include_context=False)[:5]:
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "missing":
            problems.append(f"{name} is missing")
        elif problem["type"] == "extra_forbidden":
            problems.append(f"there is no variable {name[:60]!r}")
        else:
            problems.append(f"{name}: {problem['msg']}")
    return f"Template {template.name!r} was not started: {'; '.join(problems)}."


def _usage(template: Template) -> str:
    fields = template.variables.model_fields
    parts = [
        f"{name}{'' if field.is_required() else ' (optional)'}" for name, field in fields.items()
    ]
    return f"Its variables: {', '.join(parts) or 'none'}."


def get_template(name: str) -> Template:
    """Return a template.

    Raises:
        ConfigurationError: There is none of this name.
    """
    template = TEMPLATES.get(name)
    if template is None:
        raise ConfigurationError(
            f"There is no template {name[:60]!r}.",
            suggestion=f"There are: {', '.join(TEMPLATES)}.",
        )
    return template


def main() -> None:
    """Run the template that the parameters name, and print its result as JSON. For the sandbox."""
    import anyio

    from asyncposthog.driver import Driver
    from asyncposthog.errors import PostHogError

    text = Path(os.environ["ASYNCPOSTHOG_PARAMETERS"]).read_bytes()
    given = cast("dict[str, Any]", from_json(text))
    template = get_template(given["template"])
    variables = template.variables.model_validate(given["variables"])

    async def run() -> object:
        async with Driver.from_env() as driver:
            return await template.run(driver, variables)

    try:
        result = anyio.run(run)
    except PostHogError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    sys.stdout.buffer.write(to_json(result, fallback=str) + b"\n")


# The variables and the code of each.


class CaptureEvent(_Variables):
    """Variables of `capture_event`."""

    event: Name
    distinct_id: Name
    properties: Properties = {}
    timestamp: datetime | None = None


async def _capture_event(driver: Driver, v: CaptureEvent) -> object:
    return await driver.capture_event(v.event, v.distinct_id, v.properties, v.timestamp)


class CaptureBatch(_Variables):
    """Variables of `capture_batch`."""

    events: Annotated[list[CaptureEvent], Field(min_length=1, max_length=1000)]


async def _capture_batch(driver: Driver, v: CaptureBatch) -> object:
    return await driver.capture_batch([event.model_dump(exclude_none=True) for event in v.events])


class GetRecentEvents(_Variables):
    """Variables of `get_recent_events`."""

    event_name: Name | None = None
    hours: Annotated[int, Field(ge=1, le=24 * 3650)] = 24
    limit: Rows = 100


async def _get_recent_events(driver: Driver, v: GetRecentEvents) -> object:
    only = "" if v.event_name is None else "AND event = {event_name}"
    return await driver.query(
        "SELECT uuid, event, timestamp, distinct_id, properties FROM events "  # noqa: S608
        f"WHERE timestamp >= now() - toIntervalHour({{hours}}) {only} "
        f"ORDER BY timestamp DESC LIMIT {v.limit}",
        {"hours": v.hours, **({} if v.event_name is None else {"event_name": v.event_name})},
    )


class HogqlQuery(_Variables):
    """Variables of `hogql_query`."""

    query: Annotated[str, Field(min_length=1)]
    values: Properties = {}


async def _hogql_query(driver: Driver, v: HogqlQuery) -> object:
    return await driver.query(v.query, v.values)


class GetInsights(_Variables):
    """Variables of `get_insights`."""

    insight_type: Literal[
        "TRENDS", "FUNNELS", "RETENTION", "PATHS", "STICKINESS", "LIFECYCLE", "SQL"
    ] | None = None  # fmt: skip
    limit: Annotated[int, Field(ge=1, le=10_000)] = 100


async def _get_insights(driver: Driver, v: GetInsights) -> object:
    return await driver.get_insights(v.insight_type, v.limit)


class ExportEvents(_Variables):
    """Variables of `export_events`."""

    start_date: datetime
    end_date: datetime
    event_names: list[Name] | None = None


async def _export_events(driver: Driver, v: ExportEvents) -> object:
    return await driver.export_events(_utc(v.start_date), _utc(v.end_date), v.event_names)


def _utc(time: datetime) -> datetime:
    from datetime import UTC

    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


class ExportCohort(_Variables):
    """Variables of `export_cohort`."""

    cohort_id: Annotated[int, Field(ge=1)]
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000


async def _export_cohort(driver: Driver, v: ExportCohort) -> object:
    return await driver.get_persons(cohort_id=v.cohort_id, limit=v.limit)


class IdentifyPowerUsers(_Variables):
    """Variables of `identify_power_users`."""

    key_event: Name | None = None
    min_occurrences: Annotated[int, Field(ge=1)] = 100
    days: Days = 30
    limit: Rows = 50


async def _identify_power_users(driver: Driver, v: IdentifyPowerUsers) -> object:
    only = "" if v.key_event is None else "AND event = {event}"
    return await driver.query(
        "SELECT distinct_id, any(person.properties.email) AS email, "  # noqa: S608
        "count() AS event_count, max(timestamp) AS last_seen FROM events "
        f"WHERE timestamp >= now() - toIntervalDay({{days}}) {only} GROUP BY distinct_id "
        "HAVING event_count >= {min_occurrences} "
        f"ORDER BY event_count DESC, distinct_id LIMIT {v.limit}",
        {
            "days": v.days,
            "min_occurrences": v.min_occurrences,
            **({} if v.key_event is None else {"event": v.key_event}),
        },
    )


class IdentifyChurnRisk(_Variables):
    """Variables of `identify_churn_risk`."""

    inactive_days: Days = 14
    active_days: Days = 30
    min_events: Annotated[int, Field(ge=1)] = 10
    limit: Rows = 50


async def _identify_churn_risk(driver: Driver, v: IdentifyChurnRisk) -> object:
    return await driver.query(
        "SELECT distinct_id, any(person.properties.email) AS email, count() AS event_count, "  # noqa: S608
        "max(timestamp) AS last_seen FROM events "
        "WHERE timestamp >= now() - toIntervalDay({period}) GROUP BY distinct_id "
        "HAVING event_count >= {min_events} AND last_seen < now() - toIntervalDay({inactive_days}) "
        f"ORDER BY event_count DESC, distinct_id LIMIT {v.limit}",
        {
            "period": v.inactive_days + v.active_days,
            "inactive_days": v.inactive_days,
            "min_events": v.min_events,
        },
    )


class AnalyzeFunnel(_Variables):
    """Variables of `analyze_funnel`."""

    steps: Annotated[list[Name], Field(min_length=2, max_length=20)]
    days: Days = 30
    window_days: Days = 14


async def _analyze_funnel(driver: Driver, v: AnalyzeFunnel) -> object:
    names = [f"step{number}" for number in range(len(v.steps))]
    conditions = ", ".join(f"event = {{{name}}}" for name in names)
    rows = await driver.query(
        "SELECT level, count() AS persons FROM (SELECT person_id, "  # noqa: S608
        f"windowFunnel({v.window_days * 86400})(toDateTime(timestamp), {conditions}) AS level "
        "FROM events WHERE timestamp >= now() - toIntervalDay({days}) AND event IN {names} "
        "GROUP BY person_id) WHERE level > 0 GROUP BY level",
        {"days": v.days, "names": v.steps, **dict(zip(names, v.steps, strict=True))},
    )
    reached = {int(row["level"]): int(row["persons"]) for row in rows}
    result: list[dict[str, Any]] = []
    for number, step in enumerate(v.steps, 1):
        persons = sum(count for level, count in reached.items() if level >= number)
        before = result[-1]["persons"] if result else persons
        rate = round(persons / before, 4) if before else None
        result.append({"step": number, "event": step, "persons": persons, "conversion": rate})
    return result


class GetExperiments(_Variables):
    """`get_experiments` has no variables."""


async def _get_experiments(driver: Driver, v: GetExperiments) -> object:
    return await driver.get_experiments()


class EvaluateFlags(_Variables):
    """Variables of `evaluate_flags`."""

    distinct_id: Name
    keys: list[Name] | None = None
    person_properties: Properties = {}


async def _evaluate_flags(driver: Driver, v: EvaluateFlags) -> object:
    snapshot = await driver.client.flags.evaluate(
        v.distinct_id, person_properties=v.person_properties, keys=v.keys
    )
    return {key: snapshot.value(key) for key in snapshot if v.keys is None or key in v.keys}


class TrackErrors(_Variables):
    """Variables of `track_errors`."""

    days: Days = 7
    limit: Rows = 20


async def _track_errors(driver: Driver, v: TrackErrors) -> object:
    return await driver.query(
        "SELECT toString(properties.$exception_types) AS types, "  # noqa: S608
        "toString(properties.$exception_values) AS messages, count() AS occurrences, "
        "count(DISTINCT person_id) AS persons, max(timestamp) AS last_seen FROM events "
        "WHERE event = '$exception' AND timestamp >= now() - toIntervalDay({days}) "
        f"GROUP BY types, messages ORDER BY occurrences DESC, types LIMIT {v.limit}",
        {"days": v.days},
    )


TEMPLATES: Final[Mapping[str, Template]] = {
    template.name: template
    for template in (
        Template(
            "capture_event", "Send an event.", CaptureEvent, _capture_event,
            needs_token=True, writes=True,
        ),
        Template(
            "capture_batch", "Send several events.", CaptureBatch, _capture_batch,
            needs_token=True, writes=True,
        ),
        Template(
            "get_recent_events", "The events of the last hours, the newest first.",
            GetRecentEvents, _get_recent_events,
        ),
        Template("hogql_query", "Run a HogQL query.", HogqlQuery, _hogql_query),
        Template("get_insights", "List saved insights.", GetInsights, _get_insights),
        Template(
            "export_events", "All events of a period, in the order of time.",
            ExportEvents, _export_events,
        ),
        Template("export_cohort", "The persons of a cohort.", ExportCohort, _export_cohort),
        Template(
            "identify_power_users", "Users with many events.",
            IdentifyPowerUsers, _identify_power_users,
        ),
        Template(
            "identify_churn_risk", "Users who were active and no longer are.",
            IdentifyChurnRisk, _identify_churn_risk,
        ),
        Template(
            "analyze_funnel", "How many persons reach each step of a funnel.",
            AnalyzeFunnel, _analyze_funnel,
        ),
        Template("get_experiments", "List experiments.", GetExperiments, _get_experiments),
        Template(
            "evaluate_flags", "The values of feature flags for a person.",
            EvaluateFlags, _evaluate_flags, needs_token=True,
        ),
        Template(
            "track_errors", "The most frequent exceptions, and how many persons they reach.",
            TrackErrors, _track_errors,
        ),
    )
}  # fmt: skip
"""The templates, by name."""
