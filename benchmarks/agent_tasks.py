"""25 tasks that a user would give an agent, with scripts that solve them and checks of the result.

A script stands for a model: it sees only what the tools return. `find` searches in the words of the
task and fails unless the operation meant is among the first five.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from asyncposthog import AsyncPostHog
from asyncposthog.toolkit import Toolkit, ToolResult
from asyncposthog.toolkit.results import CHARS_PER_TOKEN, dumps
from posthog_emulator import Emulator

__all__ = ["TASKS", "Agent", "Task", "make_world"]

Script = Callable[["Agent"], Awaitable[Any]]
Check = Callable[[AsyncPostHog, Any], Awaitable[bool]]


class TaskFailed(Exception):
    """A tool did not return what the script needs."""


@dataclass(slots=True)
class Agent:
    """Calls tools as a model would, and counts."""

    kit: Toolkit
    calls: int = 0
    result_tokens: int = 0
    argument_tokens: int = 0
    operations: list[str] = field(default_factory=list[str])

    async def use(self, tool: str, **arguments: Any) -> Any:
        """Call a tool and return its data."""
        result: ToolResult = await self.kit.call(tool, arguments)
        self.calls += 1
        self.result_tokens += len(result.text) // CHARS_PER_TOKEN
        self.argument_tokens += len(dumps(arguments)) // CHARS_PER_TOKEN
        if result.error is not None:
            raise TaskFailed(f"{tool}: {result.error.message}")
        return result.data

    async def find(self, text: str, operation: str) -> str:
        """Search for an operation in the words of the task."""
        operations = [
            entry["operation"] for entry in await self.use("search_operations", query=text)
        ]
        if operation not in operations:
            raise TaskFailed(f"{operation} is not among {operations} for {text!r}")
        return operation

    async def read(self, operation: str, fields: str = "", **arguments: Any) -> Any:
        """Run an operation that reads; `fields` are names with spaces between."""
        self.operations.append(operation)
        selected = {"fields": fields.split()} if fields else {}
        return await self.use(
            "read_operation", operation=operation, arguments=arguments, **selected
        )

    async def write(self, operation: str, **arguments: Any) -> Any:
        """Plan a write and carry it out."""
        self.operations.append(operation)
        plan = await self.use("write_operation", operation=operation, arguments=arguments)
        return await self.use("write_operation", plan_id=plan["plan_id"])

    async def ask(self, sql: str) -> list[list[Any]]:
        """Run HogQL and return its rows."""
        self.operations.append("query.create")
        return (await self.use("query_posthog", query=sql))["rows"]


@dataclass(frozen=True, slots=True)
class Task:
    """What a user asks for, how a model does it, and whether it was done."""

    request: str
    script: Script
    check: Check


async def make_world(emulator: Emulator, ph: AsyncPostHog) -> None:
    """Fill an emulator with what the tasks are about."""
    emulator.settings.stale_person_reads = 0
    emulator.add_demo_events(events=2000, seed=1)
    for key in ("new-checkout", "old-banner", "beta-search"):
        await ph.feature_flags.create(key=key, name=key, active=True)
    deleted = await ph.feature_flags.create(key="removed-flag", name="", active=True)
    await ph.feature_flags.delete(deleted.id)
    for name in ("Internal users", "Trial accounts"):
        await ph.cohorts.create(name=name, is_static=True)
    await ph.dashboards.create(name="Marketing")
    for name in ("Exit survey", "Churn survey"):
        question: Any = {"type": "open", "question": "Why?"}
        await ph.surveys.create(name=name, type="popover", questions=[question])


async def _switch_off(agent: Agent) -> Any:
    await agent.find("find a flag by name", "feature_flags.list")
    page = await agent.read("feature_flags.list", "id key", search="new-checkout")
    await agent.find("switch a flag off", "feature_flags.disable")
    return await agent.write("feature_flags.update", id=page["items"][0]["id"], active=False)


async def _is_off(ph: AsyncPostHog, _: Any) -> bool:
    flags = [flag async for flag in ph.feature_flags.list(search="new-checkout")]
    return flags[0].active is False


async def _top_events(agent: Agent) -> Any:
    return await agent.ask(
        "SELECT event, count() AS n FROM events WHERE timestamp >= now() - INTERVAL 7 DAY "
        "GROUP BY event ORDER BY n DESC LIMIT 5"
    )


async def _top_events_right(ph: AsyncPostHog, answer: Any) -> bool:
    counts = [row[1] for row in answer]
    result = await ph.query(
        "SELECT max(n) FROM (SELECT count() AS n FROM events "
        "WHERE timestamp >= now() - INTERVAL 7 DAY GROUP BY event)"
    )
    return len(counts) == 5 and counts == sorted(counts, reverse=True) and counts[0] == result[0][0]


async def _new_survey(agent: Agent) -> Any:
    await agent.find("create a survey with two questions", "surveys.create")
    await agent.use("describe_operation", operation="surveys.create", field="questions")
    return await agent.write(
        "surveys.create",
        name="Onboarding",
        type="popover",
        questions=[
            {"type": "open", "question": "What did you expect?"},
            {"type": "single_choice", "question": "Would you recommend us?",
             "choices": ["yes", "no"]},
        ],
    )  # fmt: skip


async def _has_survey(ph: AsyncPostHog, _: Any) -> bool:
    surveys = [survey async for survey in ph.surveys.list() if survey.name == "Onboarding"]
    return len(surveys) == 1 and len(surveys[0].questions or ()) == 2


async def _dropped_out(agent: Agent) -> Any:
    return await agent.ask(
        "SELECT DISTINCT person_id FROM events WHERE event = '$pageview' AND person_id NOT IN "
        "(SELECT person_id FROM events WHERE event = '$autocapture' LIMIT 50000) LIMIT 1000"
    )


async def _dropped_out_right(ph: AsyncPostHog, answer: Any) -> bool:
    result = await ph.query(
        "SELECT uniq(person_id) FROM events WHERE event IN ('$pageview', '$autocapture')"
    )
    both = await ph.query("SELECT uniq(person_id) FROM events WHERE event = '$autocapture'")
    return 0 < len(answer) <= result.scalar() and len(answer) >= result.scalar() - both.scalar()


async def _count_signups(agent: Agent) -> Any:
    return await agent.ask("SELECT count() FROM events WHERE event = 'signed_up'")


async def _count_right(ph: AsyncPostHog, answer: Any) -> bool:
    result = await ph.query("SELECT countIf(event = 'signed_up') FROM events")
    return answer == [[result.scalar()]]


async def _half_rollout(agent: Agent) -> Any:
    await agent.find("create a feature flag", "feature_flags.create")
    await agent.use("describe_operation", operation="feature_flags.create", field="filters.groups")
    return await agent.write(
        "feature_flags.create",
        key="half",
        name="Half of the users",
        active=True,
        filters={"groups": [{"properties": [], "rollout_percentage": 50}]},
    )


async def _has_half(ph: AsyncPostHog, answer: Any) -> bool:
    flag = await ph.feature_flags.get(answer["id"])
    return flag.raw()["filters"]["groups"][0]["rollout_percentage"] == 50


async def _delete_cohort(agent: Agent) -> Any:
    await agent.find("delete a cohort", "cohorts.delete")
    page = await agent.read("cohorts.list", "id name", search="Trial")
    return await agent.write("cohorts.delete", id=page["items"][0]["id"])


async def _cohort_gone(ph: AsyncPostHog, _: Any) -> bool:
    return "Trial accounts" not in {cohort.name async for cohort in ph.cohorts.list()}


async def _annotate(agent: Agent) -> Any:
    await agent.find("note in the charts that we deployed version 2", "annotations.create")
    return await agent.write(
        "annotations.create",
        content="Deployed version 2",
        date_marker="2026-11-20T12:00:00Z",
        scope="project",
    )


async def _annotated(ph: AsyncPostHog, _: Any) -> bool:
    return "Deployed version 2" in {note.content async for note in ph.annotations.list()}


async def _dashboard_with_text(agent: Agent) -> Any:
    await agent.find("create a dashboard", "dashboards.create")
    dashboard = await agent.write("dashboards.create", name="Launch")
    await agent.find("add a text card to a dashboard", "dashboards.tiles.create_text")
    return dashboard


async def _has_dashboard(ph: AsyncPostHog, answer: Any) -> bool:
    return (await ph.dashboards.get(answer["id"])).name == "Launch"


async def _rename_dashboard(agent: Agent) -> Any:
    await agent.find("rename a dashboard", "dashboards.update")
    page = await agent.read("dashboards.list", "id name", search="Marketing")
    match = next(item for item in page["items"] if item["name"] == "Marketing")
    return await agent.write("dashboards.update", id=match["id"], name="Marketing 2026")


async def _renamed(ph: AsyncPostHog, _: Any) -> bool:
    return "Marketing 2026" in {dashboard.name async for dashboard in ph.dashboards.list()}


async def _launch_survey(agent: Agent) -> Any:
    await agent.find("change the start date of a survey", "surveys.update")
    page = await agent.read("surveys.list", "id name start_date", search="Exit")
    survey_id = page["items"][0]["id"]
    return await agent.write("surveys.update", id=survey_id, start_date="2026-12-01T00:00:00Z")


async def _launched(ph: AsyncPostHog, _: Any) -> bool:
    surveys = [survey async for survey in ph.surveys.list() if survey.name == "Exit survey"]
    return surveys[0].start_date is not None


async def _stop_survey(agent: Agent) -> Any:
    await agent.find("set the end date of a survey", "surveys.update")
    page = await agent.read("surveys.list", "id name", search="Churn")
    survey_id = page["items"][0]["id"]
    return await agent.write("surveys.update", id=survey_id, end_date="2026-12-01T00:00:00Z")


async def _stopped(ph: AsyncPostHog, _: Any) -> bool:
    surveys = [survey async for survey in ph.surveys.list() if survey.name == "Churn survey"]
    return surveys[0].end_date is not None


async def _new_experiment(agent: Agent) -> Any:
    await agent.find("set up an A/B test", "experiments.create")
    return await agent.write(
        "experiments.create", name="Checkout button", feature_flag_key="checkout-button"
    )


async def _has_experiment(ph: AsyncPostHog, answer: Any) -> bool:
    return (await ph.experiments.get(answer["id"])).name == "Checkout button"


async def _pro_cohort(agent: Agent) -> Any:
    await agent.find("create a cohort of users on the pro plan", "cohorts.create")
    condition = {"key": "plan", "type": "person", "value": ["pro"], "operator": "exact"}
    groups = {"type": "OR", "values": [{"type": "AND", "values": [condition]}]}
    return await agent.write("cohorts.create", name="Pro plan", filters={"properties": groups})


async def _has_pro_cohort(ph: AsyncPostHog, answer: Any) -> bool:
    persons = await ph.cohorts.persons(answer["id"]).collect(5)
    return {person.raw()["properties"]["plan"] for person in persons} <= {"pro"}


async def _persons_by_plan(agent: Agent) -> Any:
    return await agent.ask("SELECT properties.plan AS plan, count() FROM persons GROUP BY plan")


async def _plans_right(ph: AsyncPostHog, answer: Any) -> bool:
    total = await ph.query("SELECT count() FROM persons")
    return sum(row[1] for row in answer) == total.scalar()


async def _export_month(agent: Agent) -> Any:
    agent.operations.append("query.create")
    return await agent.use("export_data", source="events", start="2026-01-01", end="2027-01-01")


async def _exported(ph: AsyncPostHog, answer: Any) -> bool:
    total = await ph.query("SELECT count() FROM events WHERE timestamp >= '2026-01-01'")
    return answer["rows"] == total.scalar()


async def _set_property(agent: Agent) -> Any:
    await agent.find("set a property of a person", "persons.update_property")
    page = await agent.read("persons.list", "id uuid distinct_ids", limit=1)
    person = page["items"][0]
    await agent.write("persons.update_property", id=person["uuid"], key="vip", value=True)
    return person["uuid"]


async def _property_set(ph: AsyncPostHog, answer: Any) -> bool:
    return (await ph.persons.get(answer)).raw()["properties"].get("vip") is True


async def _delete_person(agent: Agent) -> Any:
    await agent.find("delete a person and their data", "persons.delete")
    page = await agent.read("persons.list", "uuid distinct_ids", limit=2)
    uuid = page["items"][1]["uuid"]
    await agent.write("persons.delete", id=uuid)
    return uuid


async def _person_gone(ph: AsyncPostHog, answer: Any) -> bool:
    return answer not in {str(person.uuid) async for person in ph.persons.list()}


async def _restore_flag(agent: Agent) -> Any:
    await agent.find("undo the deletion of a flag", "feature_flags.restore")
    return await agent.write("feature_flags.restore", id=4)


async def _restored(ph: AsyncPostHog, _: Any) -> bool:
    return "removed-flag" in {flag.key async for flag in ph.feature_flags.list()}


async def _save_insight(agent: Agent) -> Any:
    await agent.find("save a trend of page views as an insight", "insights.create")
    series = [{"kind": "EventsNode", "event": "$pageview", "math": "total"}]
    source = {"kind": "TrendsQuery", "series": series}
    return await agent.write(
        "insights.create", name="Views", query={"kind": "InsightVizNode", "source": source}
    )


async def _insight_saved(ph: AsyncPostHog, answer: Any) -> bool:
    return (await ph.insights.get(answer["id"])).name == "Views"


async def _daily_users(agent: Agent) -> Any:
    return await agent.ask(
        "SELECT toDate(timestamp) AS day, uniq(person_id) FROM events "
        "WHERE timestamp >= now() - INTERVAL 14 DAY GROUP BY day ORDER BY day LIMIT 20"
    )


async def _daily_right(_: AsyncPostHog, answer: Any) -> bool:
    days = [row[0] for row in answer]
    return 5 < len(days) <= 15 and days == sorted(days)


async def _browsers(agent: Agent) -> Any:
    return await agent.ask(
        "SELECT properties.$browser AS browser, count() AS n FROM events GROUP BY browser "
        "ORDER BY n DESC LIMIT 3"
    )


async def _browsers_right(ph: AsyncPostHog, answer: Any) -> bool:
    total = await ph.query("SELECT count() FROM events")
    return len(answer) == 3 and 0 < answer[0][1] < total.scalar()


async def _cohort_members(agent: Agent) -> Any:
    await agent.find("who is in a cohort", "cohorts.persons")
    page = await agent.read("cohorts.list", "id name", search="Internal")
    return await agent.read("cohorts.persons", "uuid", id=page["items"][0]["id"])


async def _members_right(_: AsyncPostHog, answer: Any) -> bool:
    return answer["items"] == []


async def _new_action(agent: Agent) -> Any:
    await agent.find("define an action for visits of the pricing page", "actions.create")
    step = {"event": "$pageview", "url": "/pricing", "url_matching": "contains"}
    return await agent.write("actions.create", name="Saw pricing", steps=[step])


async def _has_action(ph: AsyncPostHog, _: Any) -> bool:
    return "Saw pricing" in {action.name async for action in ph.actions.list()}


async def _bulk_delete(agent: Agent) -> Any:
    await agent.find("delete a feature flag", "feature_flags.delete")
    page = await agent.read("feature_flags.list", "id key", search="old-banner")
    return await agent.write("feature_flags.delete", id=page["items"][0]["id"])


async def _flag_gone(ph: AsyncPostHog, _: Any) -> bool:
    return "old-banner" not in {flag.key async for flag in ph.feature_flags.list()}


TASKS = (
    Task("Find the flag new-checkout and switch it off.", _switch_off, _is_off),
    Task("What are the top 5 events of last week?", _top_events, _top_events_right),
    Task("Create an onboarding survey with two questions.", _new_survey, _has_survey),
    Task("Who dropped out at step 2, the first click?", _dropped_out, _dropped_out_right),
    Task("How many signups were there?", _count_signups, _count_right),
    Task("Create a flag that half of the users get.", _half_rollout, _has_half),
    Task("Delete the cohort of trial accounts.", _delete_cohort, _cohort_gone),
    Task("Note in the charts that version 2 was deployed.", _annotate, _annotated),
    Task("Make a dashboard for the launch.", _dashboard_with_text, _has_dashboard),
    Task("Rename the marketing dashboard.", _rename_dashboard, _renamed),
    Task("Let the exit survey start on 1 December.", _launch_survey, _launched),
    Task("Let the churn survey end on 1 December.", _stop_survey, _stopped),
    Task("Set up an A/B test of the checkout button.", _new_experiment, _has_experiment),
    Task("Make a cohort of the users on the pro plan.", _pro_cohort, _has_pro_cohort),
    Task("How many persons are on each plan?", _persons_by_plan, _plans_right),
    Task("Export this year's events to a file.", _export_month, _exported),
    Task("Mark the newest person as a VIP.", _set_property, _property_set),
    Task("Delete a person and their data.", _delete_person, _person_gone),
    Task("Bring back the flag that was deleted.", _restore_flag, _restored),
    Task("Save a trend of page views.", _save_insight, _insight_saved),
    Task("Daily active users of two weeks?", _daily_users, _daily_right),
    Task("Which browsers are used most?", _browsers, _browsers_right),
    Task("Who is in the cohort of internal users?", _cohort_members, _members_right),
    Task("Define an action for the pricing page.", _new_action, _has_action),
    Task("Delete the flag old-banner.", _bulk_delete, _flag_gone),
)
