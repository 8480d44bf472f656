"""The documented PostHog tools of SquadOS (Composio): all 26, by their names and parameters."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asyncposthog import AsyncPostHog
from asyncposthog.toolkit import Toolkit
from posthog_emulator import Emulator

PARAMETERS = {
    "capture_event": "event api_key timestamp properties distinct_id ingest_host",
    "create_feature_flag": "key name tags active deleted filters project_id is_simple_flag "
    "ensure_experience_continuity",
    "get_feature_flag_details": "id project_id",
    "update_feature_flag": "id key name tags active deleted filters project_id rollout_percentage "
    "ensure_experience_continuity",
    "bulk_delete_feature_flags": "ids filters project_id",
    "create_custom_project_insights": "name tags query saved format deleted timezone favorited "
    "project_id description",
    "retrieve_project_trend_insights": "limit format offset short_id project_id",
    "get_funnel_insights_in_project": "events format actions date_to date_from project_id "
    "filter_test_accounts funnel_window_interval funnel_window_interval_type",
    "create_project_experiment": "name feature_flag_key project_id description start_date end_date "
    "filters parameters secondary_metrics archived",
    "get_experiment_details": "id project_id",
    "update_experiment": "id feature_flag_key project_id name description start_date end_date "
    "parameters secondary_metrics archived exposure_cohort",
    "create_project_cohort": "name project_id groups filters is_static description deleted query",
    "retrieve_project_cohorts_with_pagination": "limit offset project_id",
    "retrieve_person_details_by_id": "id format project_id",
    "update_person_properties": "id project_id properties name uuid format distinct_ids",
    "create_project_survey": "name type project_id questions description start_date end_date "
    "linked_flag_id targeting_flag_id responses_limit archived appearance conditions",
    "retrieve_survey_details_with_uuid_and_project_id": "id project_id",
    "retrieve_survey_responses_count_by_project_id": "project_id",
    "summarize_survey_responses": "id project_id question_index",
    "create_project_dashboard": "name project_id tags description pinned deleted filters "
    "use_template use_dashboard restriction_level",
    "retrieve_specific_project_dashboard_details": "id project_id",
    "create_session_recording_playlist": "name type project_id pinned deleted filters description",
    "retrieve_session_recording_details": "id project_id",
    "create_batch_export": "name interval destination project_id model end_at paused schema "
    "filters start_at timezone hogql_query",
    "retrieve_user_profile_and_team_details": "uuid",
}
"""The parameters in the documentation of each tool. Its list has 25 sections."""

pytestmark = pytest.mark.anyio


@pytest.fixture
def kit(client: AsyncPostHog) -> Toolkit:
    return Toolkit(client, core=False).use(*PARAMETERS)


async def done(kit: Toolkit, name: str, /, **arguments: Any) -> Any:
    """Call a tool under its documented name; return its data."""
    result = await kit.call(f"POSTHOG_{name.upper()}", arguments)
    assert result.successful, result.error
    assert set(result.to_dict()) <= {"successful", "source", "data", "notes"}
    return result.data


async def refused(kit: Toolkit, name: str, /, **arguments: Any) -> str:
    result = await kit.call(name, arguments)
    assert not result.successful
    assert result.error is not None
    return result.error.message


@pytest.mark.parametrize("name", PARAMETERS)
async def test_a_tool_takes_the_documented_parameters(kit: Toolkit, name: str) -> None:
    tool = next(t for t in kit if t.name == name)
    documented = set(PARAMETERS[name].split())
    assert documented <= set(tool.input_schema["properties"])


async def test_an_event_is_captured(kit: Toolkit, demo: Emulator) -> None:
    event = {
        "event": "quiz_completed",
        "api_key": demo.project_token,
        "distinct_id": "018daf23-89b3-7cf8-a4f1-94064c96df90",
        "properties": {"lesson_id": "42", "score": 95},
        "timestamp": "2026-11-22T17:09:29.220Z",
    }
    assert (await done(kit, "capture_event", **event))["status"] == "ok"
    message = await refused(kit, "capture_event", **{**event, "api_key": "phc_of_another_project"})
    assert "api_key" in message
    message = await refused(
        kit, "capture_event", **{**event, "ingest_host": "https://eu.i.posthog.com"}
    )
    assert "not to another host" in message


async def test_flags(kit: Toolkit, demo: Emulator) -> None:
    project = str(demo.project_id)
    flag = await done(
        kit, "create_feature_flag", key="dark-mode", project_id=project, is_simple_flag=True,
        filters=json.dumps({"groups": [{"properties": [], "rollout_percentage": 50}]}),
    )  # fmt: skip
    assert flag["name"] == "dark-mode"
    open_to_all = await done(kit, "create_feature_flag", key="new-checkout", project_id="@current")
    assert open_to_all["filters"]["groups"][0]["rollout_percentage"] == 100
    details = await done(kit, "get_feature_flag_details", id=flag["id"], project_id=project)
    assert details["filters"]["groups"][0]["rollout_percentage"] == 50
    updated = await done(
        kit, "update_feature_flag", id=flag["id"], key="dark-mode", project_id=project,
        rollout_percentage=80, active=False,
    )  # fmt: skip
    assert updated["filters"]["groups"][0]["rollout_percentage"] == 80
    assert updated["active"] is False
    ids = [flag["id"], open_to_all["id"]]
    await done(kit, "bulk_delete_feature_flags", ids=ids, project_id="@current")
    sent = demo.requests[-1]
    assert sent.operation == "feature_flags.bulk_delete"
    assert sent.body == {"ids": ids}
    assert "either" in await refused(kit, "bulk_delete_feature_flags", project_id=project)
    assert "project" in await refused(
        kit, "get_feature_flag_details", id=flag["id"], project_id="404"
    )


async def test_insights(kit: Toolkit, demo: Emulator) -> None:
    query = {
        "kind": "InsightVizNode",
        "source": {
            "kind": "TrendsQuery",
            "series": [{"kind": "EventsNode", "event": "$pageview"}],
        },
    }
    insight = await done(
        kit, "create_custom_project_insights", name="Views", query=json.dumps(query),
        tags=["signup"], saved=True, project_id=str(demo.project_id),
    )  # fmt: skip
    found = await done(kit, "retrieve_project_trend_insights", limit=100)
    assert insight["id"] in {item["id"] for item in found["items"]}
    one = await done(kit, "retrieve_project_trend_insights", short_id=insight["short_id"])
    assert [item["id"] for item in one["items"]] == [insight["id"]]
    steps = [
        {"id": "$pageview", "type": "events", "order": 0},
        {"id": "$autocapture", "type": "events", "order": 1},
    ]
    funnel = await done(
        kit, "get_funnel_insights_in_project", events=steps, date_from="-90d",
        funnel_window_interval=7, funnel_window_interval_type="day",
        project_id=str(demo.project_id),
    )  # fmt: skip
    counts = [step["count"] for step in funnel]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 0
    assert "at least 2" in await refused(
        kit, "get_funnel_insights_in_project", events=steps[:1], project_id=str(demo.project_id)
    )


async def test_experiments(kit: Toolkit) -> None:
    experiment = await done(
        kit, "create_project_experiment", name="Checkout", feature_flag_key="checkout-test",
        description="Two variants", parameters=json.dumps({"minimum_detectable_effect": 10}),
    )  # fmt: skip
    details = await done(kit, "get_experiment_details", id=experiment["id"])
    assert details["name"] == "Checkout"
    updated = await done(
        kit, "update_experiment", id=experiment["id"], feature_flag_key="checkout-test",
        description="Changed",
    )  # fmt: skip
    assert updated["description"] == "Changed"


async def test_cohorts(kit: Toolkit) -> None:
    condition = {"key": "plan", "type": "person", "value": ["pro"], "operator": "exact"}
    cohort = await done(
        kit, "create_project_cohort", name="Pro users", filters=json.dumps(condition)
    )
    assert cohort["name"] == "Pro users"
    page = await done(kit, "retrieve_project_cohorts_with_pagination", limit=1, offset=0)
    assert len(page["items"]) == 1


async def test_persons(kit: Toolkit) -> None:
    person = (await kit.client.persons.list(limit=1)).items[0]
    details = await done(kit, "retrieve_person_details_by_id", id=str(person.uuid))
    assert details["uuid"] == str(person.uuid)
    await done(
        kit, "update_person_properties", id=str(person.uuid),
        properties=json.dumps({"plan": "scale"}),
    )  # fmt: skip
    details = await done(kit, "retrieve_person_details_by_id", id=str(person.uuid))
    assert details["properties"]["plan"] == "scale"


async def test_surveys(kit: Toolkit) -> None:
    survey = await done(
        kit, "create_project_survey", name="NPS", type="popover",
        questions=json.dumps([
            {"type": "rating", "question": "How likely?", "display": "number", "scale": 10,
             "lowerBoundLabel": "no", "upperBoundLabel": "yes"},
            {"type": "open", "question": "Why?"},
        ]),
    )  # fmt: skip
    details = await done(kit, "retrieve_survey_details_with_uuid_and_project_id", id=survey["id"])
    assert [question["type"] for question in details["questions"]] == ["rating", "open"]
    await done(kit, "retrieve_survey_responses_count_by_project_id")
    await done(kit, "summarize_survey_responses", id=survey["id"], question_index=1)


async def test_dashboards_and_recordings(kit: Toolkit) -> None:
    dashboard = await done(
        kit, "create_project_dashboard", name="Revenue", tags=["weekly"], pinned=True,
        restriction_level=21,
    )  # fmt: skip
    details = await done(kit, "retrieve_specific_project_dashboard_details", id=dashboard["id"])
    assert details["name"] == "Revenue"
    playlist = await done(kit, "create_session_recording_playlist", name="Bugs", type="collection")
    assert playlist["name"] == "Bugs"
    result = await kit.call(
        "retrieve_session_recording_details", {"id": "018f0000-0000-7000-8000-0000000000ff"}
    )
    assert result.successful or result.error is not None


async def test_batch_exports(kit: Toolkit) -> None:
    destination = {
        "type": "AwsS3",
        "integration_id": 3,
        "config": {
            "bucket_name": "b",
            "region": "us-east-1",
            "prefix": "events/",
            "aws_secret_access_key": "not-for-logs",
        },
    }
    result = await kit.call(
        "create_batch_export",
        {
            "name": "To S3", "interval": "hour", "model": "events", "paused": True,
            "destination": destination, "end_at": "2026-12-31T23:59:59Z",
        },
    )  # fmt: skip
    assert result.successful, result.error
    assert result.data["name"] == "To S3"
    assert "end_at was not used" in result.notes[0]
    recorded = kit.audit[-1].arguments["destination"]["config"]
    assert recorded["aws_secret_access_key"] == "***"


async def test_the_own_profile(kit: Toolkit) -> None:
    profile = await done(kit, "retrieve_user_profile_and_team_details", uuid="@me")
    assert profile["email"]
    assert "Only the user" in await refused(
        kit, "retrieve_user_profile_and_team_details", uuid="018f0000-0000-7000-8000-0000000000ff"
    )
