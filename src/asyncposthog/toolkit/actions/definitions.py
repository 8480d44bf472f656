"""Ready-made tools about flags, experiments, cohorts, surveys, dashboards and batch exports."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

from asyncposthog.catalog.arguments import ArgumentError
from asyncposthog.core.json_calls import call_json
from asyncposthog.driver.values import cohort_filters
from asyncposthog.registry import find
from asyncposthog.toolkit.operations import Refused
from asyncposthog.toolkit.tools import Tool

from .build import operation_tool, parsed

if TYPE_CHECKING:
    from asyncposthog.toolkit.context import Context

__all__ = ["tools"]


def tools(context: Context) -> list[Tool]:
    """Return the tools."""
    return [
        *_flags(context),
        *_experiments(context),
        *_cohorts(context),
        *_surveys(context),
        *_others(context),
    ]


def _flags(context: Context) -> list[Tool]:
    return [
        operation_tool(
            context,
            "create_feature_flag",
            "feature_flags.create",
            "Create a feature flag.",
            {
                "key": "string! The key that code asks for: new-checkout.",
                "name": "string Default: the key.",
                "active": "boolean Default: true.",
                "filters": "object|string Release conditions; default: everybody. "
                '{"groups": [{"properties": [], "rollout_percentage": 50}]}',
                "tags": "array",
                "ensure_experience_continuity": "boolean Keep the value after a login.",
                "is_simple_flag": "boolean Not used.",
                "deleted": "boolean Not used: a new flag is not deleted.",
            },
            "flags",
            prepare=_new_flag,
            ignored={
                "is_simple_flag": "is_simple_flag was not used: filters say what the flag does.",
                "deleted": "deleted was not used: a new flag is not deleted.",
            },
        ),
        operation_tool(
            context,
            "get_feature_flag_details",
            "feature_flags.get",
            "Get a feature flag by its numeric id.",
            {"id": "integer! The id."},
            "flags",
        ),
        operation_tool(
            context,
            "update_feature_flag",
            "feature_flags.update",
            "Change a feature flag; only the given fields change.",
            {
                "id": "integer! The id.",
                "key": "string",
                "name": "string",
                "active": "boolean",
                "tags": "array",
                "filters": "object|string Replaces all release conditions.",
                "rollout_percentage": "integer 0 to 100, of a flag with one condition.",
                "ensure_experience_continuity": "boolean",
                "deleted": "boolean",
            },
            "flags",
            prepare=lambda given: _changed_flag(context, given),
        ),
        operation_tool(
            context,
            "bulk_delete_feature_flags",
            "feature_flags.bulk_delete",
            "Delete several feature flags, by ids or by a filter.",
            {"ids": "array The ids.", "filters": "object|string As for the list: search, active."},
            "flags",
            prepare=_either,
        ),
    ]


def _new_flag(given: dict[str, Any]) -> dict[str, Any]:
    given = parsed(given, "filters")
    given.setdefault("name", given["key"])
    given.setdefault("active", True)
    given.setdefault("filters", {"groups": [{"properties": [], "rollout_percentage": 100}]})
    return given


async def _changed_flag(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    given = parsed(given, "filters")
    percentage = given.pop("rollout_percentage", None)
    if percentage is None:
        return given
    if not 0 <= percentage <= 100:
        raise ArgumentError(
            f"rollout_percentage must be 0 to 100, not {percentage}.",
            field="rollout_percentage",
            expected="0 to 100",
        )
    filters = given.get("filters")
    if filters is None:
        call = context.operations.prepare(find("feature_flags.get"), {"id": given["id"]})
        flag = await call_json(context.operations.executor, call)
        filters = copy.deepcopy(cast("dict[str, Any]", flag["filters"]))
    groups = cast("list[dict[str, Any]]", filters.get("groups") or [{"properties": []}])
    if len(groups) != 1:
        raise Refused(
            f"The flag has {len(groups)} release conditions: one percentage is ambiguous.",
            "ambiguous",
            "Give filters with a rollout_percentage in each group.",
        )
    groups[0]["rollout_percentage"] = percentage
    given["filters"] = {**filters, "groups": groups}
    return given


def _either(given: dict[str, Any]) -> dict[str, Any]:
    given = parsed(given, "filters", "ids")
    if bool(given.get("ids")) == bool(given.get("filters")):
        raise ArgumentError(
            "Give either ids or filters.", field="ids", expected="ids, or filters, and not both"
        )
    return {name: value for name, value in given.items() if value}


def _experiments(context: Context) -> list[Tool]:
    fields = {
        "description": "string",
        "start_date": "string ISO 8601; none: a draft.",
        "end_date": "string ISO 8601.",
        "parameters": "object|string Variants and sample size.",
        "secondary_metrics": "array|string",
        "archived": "boolean",
    }
    names = ("filters", "parameters", "secondary_metrics")
    return [
        operation_tool(
            context,
            "create_project_experiment",
            "experiments.create",
            "Create an experiment (A/B test).",
            {
                "name": "string! Its name.",
                "feature_flag_key": "string! The key of its flag.",
                **fields,
                "filters": "object|string",
            },
            "experiments",
            prepare=lambda given: parsed(given, *names),
        ),
        operation_tool(
            context,
            "get_experiment_details",
            "experiments.get",
            "Get an experiment by its numeric id.",
            {"id": "integer! The id."},
            "experiments",
        ),
        operation_tool(
            context,
            "update_experiment",
            "experiments.update",
            "Change an experiment; only the given fields change.",
            {
                "id": "integer! The id.",
                "feature_flag_key": "string",
                "name": "string",
                **fields,
                "exposure_cohort": "integer Not used: PostHog sets it.",
            },
            "experiments",
            prepare=lambda given: parsed(given, *names),
            ignored={"exposure_cohort": "exposure_cohort was not used: PostHog sets it."},
        ),
    ]


def _cohorts(context: Context) -> list[Tool]:
    return [
        operation_tool(
            context,
            "create_project_cohort",
            "cohorts.create",
            "Create a cohort: of persons that match filters, or a static one.",
            {
                "name": "string! Its name.",
                "description": "string",
                "filters": "object|array|string Conditions.",
                "groups": "array|string Conditions in an older form.",
                "is_static": "boolean Whether it is a fixed list of persons.",
                "query": "object|string A query for its persons.",
                "deleted": "boolean",
            },
            "cohorts",
            prepare=_new_cohort,
        ),
        operation_tool(
            context,
            "retrieve_project_cohorts_with_pagination",
            "cohorts.list",
            "List cohorts.",
            {"limit": "integer In a page.", "offset": "integer To skip."},
            "cohorts",
        ),
    ]


def _new_cohort(given: dict[str, Any]) -> dict[str, Any]:
    given = parsed(given, "filters", "groups", "query")
    filters = given.get("filters")
    if filters:
        try:
            given["filters"] = cohort_filters(
                {"properties": filters} if isinstance(filters, list) else filters
            )
        except ValueError as error:
            raise ArgumentError(f"filters: {error}.", field="filters") from None
    return given


def _surveys(context: Context) -> list[Tool]:
    return [
        operation_tool(
            context,
            "create_project_survey",
            "surveys.create",
            "Create a survey.",
            {
                "name": "string! Its name.",
                "type": "string! popover, widget or api.",
                "questions": 'array|string [{"type": "open", "question": "…"}]; types: open, link, '
                "rating, single_choice, multiple_choice.",
                "description": "string",
                "start_date": "string ISO 8601; none: a draft.",
                "end_date": "string ISO 8601.",
                "linked_flag_id": "integer",
                "targeting_flag_id": "integer",
                "responses_limit": "integer",
                "archived": "boolean",
                "appearance": "object|string",
                "conditions": "object|string",
            },
            "surveys",
            prepare=lambda given: parsed(given, "questions", "appearance", "conditions"),
        ),
        operation_tool(
            context,
            "retrieve_survey_details_with_uuid_and_project_id",
            "surveys.get",
            "Get a survey by its UUID.",
            {"id": "string! The UUID."},
            "surveys",
        ),
        operation_tool(
            context,
            "retrieve_survey_responses_count_by_project_id",
            "surveys.responses_count",
            "Count the responses of each survey.",
            {},
            "surveys",
        ),
        operation_tool(
            context,
            "summarize_survey_responses",
            "surveys.summarize_responses",
            "Summarize the answers to a question of a survey.",
            {
                "id": "string! The UUID of the survey.",
                "question_index": "integer! The question, from 0.",
            },
            "surveys",
        ),
    ]


def _others(context: Context) -> list[Tool]:
    return [
        operation_tool(
            context,
            "create_project_dashboard",
            "dashboards.create",
            "Create a dashboard.",
            {
                "name": "string! Its name.",
                "description": "string",
                "tags": "array",
                "pinned": "boolean",
                "deleted": "boolean",
                "filters": "object|string Filters of all tiles.",
                "use_template": "string A template.",
                "use_dashboard": "integer A dashboard to copy.",
                "restriction_level": "integer 21: everybody may edit; 37: only its author.",
            },
            "dashboards",
            prepare=lambda given: parsed(given, "filters"),
            ignored={"filters": "filters were not used: PostHog takes them in an update."},
        ),
        operation_tool(
            context,
            "retrieve_specific_project_dashboard_details",
            "dashboards.get",
            "Get a dashboard with its tiles.",
            {"id": "integer! The id."},
            "dashboards",
        ),
        operation_tool(
            context,
            "create_batch_export",
            "batch_exports.create",
            "Create an export that PostHog runs regularly, to S3, BigQuery, Snowflake and others.",
            {
                "name": "string! Its name.",
                "interval": "string! hour, day, week or every 5 minutes.",
                "destination": 'object|string! {"type": "AwsS3", "config": {…}}',
                "model": "string events, persons or sessions.",
                "paused": "boolean",
                "filters": "object|array|string",
                "timezone": "string",
                "hogql_query": "string",
                "start_at": "string Not used.",
                "end_at": "string Not used.",
                "schema": "object Not used.",
            },
            "batch_exports",
            prepare=lambda given: parsed(given, "destination", "filters"),
            ignored={
                "start_at": "start_at was not used: use a backfill for older data.",
                "end_at": "end_at was not used: pause the export instead.",
                "schema": "schema was not used: PostHog derives it from hogql_query.",
            },
        ),
    ]
