"""The filters of lists, by operation and query parameter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from posthog_emulator.json_types import as_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.state import ApiCall

from .row_tests import (
    RowFilter,
    RowTest,
    all_of,
    any_of,
    at_least,
    at_most,
    at_or_after,
    at_or_before,
    by_value,
    compare_date,
    contains_text,
    created_by_me,
    if_false,
    if_true,
    is_set,
    no_filter,
    none_of,
    parse_timestamp,
)

__all__ = ["FILTERS"]

_QUERY_KINDS: Final[Mapping[str, str]] = {
    "FUNNELS": "FunnelsQuery",
    "LIFECYCLE": "LifecycleQuery",
    "PATHS": "PathsQuery",
    "RETENTION": "RetentionQuery",
    "SQL": "HogQLQuery",
    "STICKINESS": "StickinessQuery",
    "TRENDS": "TrendsQuery",
}
"""The query kind of each value of the parameter `insight`."""


def _flag_active(call: ApiCall, name: str) -> RowTest:
    value = call.request.query_value(name) or ""
    if value == "STALE":
        return lambda row: row.data.get("status") == "STALE"
    return lambda row: str(row.data.get("active")).lower() == value


def _flag_type(row: StoredObject, flag_type: str) -> bool:
    variants = as_object(as_object(row.data.get("filters")).get("multivariate")).get("variants")
    if flag_type == "experiment":
        return bool(row.data.get("experiment_set"))
    if flag_type == "remote_config":
        return bool(row.data.get("is_remote_configuration"))
    return bool(variants) is (flag_type == "multivariant")


def _insight_type(row: StoredObject, insight_type: str) -> bool:
    query = as_object(row.data.get("query"))
    # Saved insights wrap their query in a node that says how to draw it.
    kind = as_object(query.get("source")).get("kind") or query.get("kind")
    if insight_type == "JSON":
        return bool(query) and kind not in _QUERY_KINDS.values()
    return kind == _QUERY_KINDS[insight_type]


def _in_folder(row: StoredObject, folder: str) -> bool:
    return str(row.data.get("path") or "").startswith(f"{folder}/")


def _insight_saved(row: StoredObject, value: str) -> bool:
    # The schema has no such field: what the API creates is saved.
    return bool(row.data.get("saved", True)) is (value.lower() in {"true", "1"})


def _seen_lately(call: ApiCall, name: str) -> RowTest:
    """Return the test for event definitions that were seen in the last 30 days."""
    enabled = (call.request.query_value(name) or "").lower() in {"true", "1"}
    oldest = call.state.settings.clock() - timedelta(days=30)
    return lambda row: (
        not enabled
        or row.data.get("last_seen_at") is None
        or parse_timestamp(str(row.data["last_seen_at"])) >= oldest
    )


def _viewed_lately(call: ApiCall, name: str) -> RowTest:
    text = call.request.query_value(name) or ""
    days = int(text) if text.isascii() and text.isdigit() else 0
    oldest = call.state.settings.clock() - timedelta(days=days)
    return lambda row: (
        row.data.get("last_viewed_at") is not None
        and parse_timestamp(str(row.data["last_viewed_at"])) >= oldest
    )


def _snoozed(call: ApiCall, name: str) -> RowTest:
    is_wanted = (call.request.query_value(name) or "").lower() in {"true", "1"}
    now = call.state.settings.clock()

    def test(row: StoredObject) -> bool:
        until = row.data.get("snoozed_until")
        return (until is not None and parse_timestamp(str(until)) > now) is is_wanted

    return test


def _survey_status(row: StoredObject, status: str) -> bool:
    start, end = row.data.get("start_date"), row.data.get("end_date")
    return status == ("draft" if not start else "complete" if end else "running")


def _comment_kind(row: StoredObject, kind: str) -> bool:
    return kind == "any" or bool(row.data.get("is_task")) is (kind == "task")


def _comment_completed(row: StoredObject, value: str) -> bool:
    return value == "any" or bool(row.data.get("completed_at")) is (value == "completed")


def _symbol_set_status(row: StoredObject, status: str) -> bool:
    return status == "all" or (row.data.get("failure_reason") is None) is (status == "valid")


def _archive_state(row: StoredObject, state: str) -> bool:
    return state == "all" or bool(row.data.get("is_archived")) is (state == "archived")


def _json_contains(*names: str) -> RowFilter:
    """Return a filter for rows that have the requested text as a value anywhere in some fields."""

    def row_filter(call: ApiCall, name: str) -> RowTest:
        text = json.dumps(call.request.query_value(name) or "")
        return lambda row: any(text in json.dumps(row.data.get(field)) for field in names)

    return row_filter


def _notebook_contains(call: ApiCall, name: str) -> RowTest:
    """Return the test for notebooks by the nodes in them: `recording:true,query:false`."""
    tests: list[RowTest] = []
    for part in (call.request.query_value(name) or "").split(","):
        kind, _, value = part.strip().partition(":")
        if not kind:
            continue
        node = json.dumps(f"ph-{kind}")
        if value in {"", "true", "false"}:
            tests.append(_has_node(node, None, value != "false"))
        else:
            tests.append(_has_node(node, json.dumps(value), True))
    return lambda row: all(test(row) for test in tests)


def _has_node(node: str, value: str | None, is_wanted: bool) -> RowTest:
    def test(row: StoredObject) -> bool:
        content = json.dumps(row.data.get("content"))
        return (node in content and (value is None or value in content)) is is_wanted

    return test


def _behavioral(row: StoredObject) -> bool:
    return '"behavioral"' in json.dumps(row.data.get("filters"))


def _for_parameters(row_filter: RowFilter, *names: str) -> dict[tuple[str, str], RowFilter]:
    """Return one filter for several parameters, each given as `operation.id:parameter`."""
    pairs = (name.partition(":") for name in names)
    return {(operation, parameter): row_filter for operation, _, parameter in pairs}


_LOGS = (
    "batch_exports.logs",
    "hog_flows.logs",
    "hog_functions.logs",
    "organizations.batch_exports.logs",
)

_ACTIVITY_LOGS = ("advanced_activity_logs.list", "organizations.advanced_activity_logs.list")
_SCIM_LOGS = (
    "organizations.domains.scim.logs",
    "organizations.identity_provider_configs.scim.logs",
)
_MESSAGES = ("hog_flows.assets.list", "persons.emails", "persons.push_notifications")
_CREATED = (
    "conversations.tickets.list",
    "signals.scout.notes.list",
    "signals.scout.runs.list",
    "signals.scout.scratchpad.list",
    "vision.scanners.observations.list",
)
"""Lists with `date_from` and `date_to` for the time of creation."""

_CAMPAIGN_PROPERTIES: Final = frozenset(
    {
        "utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term", "gclid",
        "gad_source", "gclsrc", "dclid", "gbraid", "wbraid", "fbclid", "msclkid", "twclid",
        "li_fat_id", "mc_cid", "igshid", "ttclid", "rdt_cid", "irclid", "_kx", "epik", "qclid",
        "sccid",
    }
)  # fmt: skip
"""Properties that the browser SDK takes from the address of a page."""


def _is_core_property(name: str) -> bool:
    return name.startswith("$") or name in _CAMPAIGN_PROPERTIES


FILTERS: Final[Mapping[tuple[str, str], RowFilter]] = {
    **_for_parameters(
        no_filter,
        "advanced_activity_logs.list:follow",
        "batch_exports.runs.list:after",
        "batch_exports.runs.list:before",
        "batch_exports.runs.list:end",
        "batch_exports.runs.list:start",
        "cohorts.list:basic",
        "error_tracking.issues.values:key",
        "events.list:include_person",
        "events.list:select",
        "events.list:where",
        "file_system.list:search_name_only",
        "groups.activity:group_type_index",
        "insights.list:basic",
        "insights.list:include_dashboards",
        "insights.list:refresh",
        "insights.trending:include_dashboards",
        "llm_analytics.me.spend:refresh",
        "llm_prompts.list:content",
        "organizations.advanced_activity_logs.list:follow",
        "persons.list:client_query_id",
        "persons.list:distinct_id",
        "persons.list:email",
        "property_definitions.list:event_names",
        "property_definitions.list:filter_by_event_names",
        "property_definitions.list:group_type_index",
        "property_definitions.list:properties",
        "property_definitions.list:type",
        "session_recordings.list:order_direction",
    ),
    **_for_parameters(at_or_after("timestamp"), *(f"{name}:after" for name in _LOGS)),
    **_for_parameters(at_or_before("timestamp"), *(f"{name}:before" for name in _LOGS)),
    **_for_parameters(any_of("activity"), *(f"{name}:activities" for name in _ACTIVITY_LOGS)),
    **_for_parameters(any_of("client"), *(f"{name}:clients" for name in _ACTIVITY_LOGS)),
    **_for_parameters(any_of("ip_address"), *(f"{name}:ip_addresses" for name in _ACTIVITY_LOGS)),
    **_for_parameters(any_of("item_id"), *(f"{name}:item_ids" for name in _ACTIVITY_LOGS)),
    **_for_parameters(any_of("scope"), *(f"{name}:scopes" for name in _ACTIVITY_LOGS)),
    **_for_parameters(any_of("team_id"), *(f"{name}:team_ids" for name in _ACTIVITY_LOGS)),
    **_for_parameters(
        any_of("user.id", "user.uuid"), *(f"{name}:users" for name in _ACTIVITY_LOGS)
    ),
    **_for_parameters(
        at_or_after("created_at"),
        *(f"{name}:start_date" for name in _ACTIVITY_LOGS),
        *(f"{name}:after" for name in _SCIM_LOGS),
        *(f"{name}:date_from" for name in _CREATED),
        "task_mentions.list:since",
    ),
    **_for_parameters(
        at_or_before("created_at"),
        *(f"{name}:end_date" for name in _ACTIVITY_LOGS),
        *(f"{name}:before" for name in _SCIM_LOGS),
        *(f"{name}:date_to" for name in _CREATED),
    ),
    **_for_parameters(at_or_after("sent_at"), *(f"{name}:after" for name in _MESSAGES)),
    **_for_parameters(at_or_before("sent_at"), *(f"{name}:before" for name in _MESSAGES)),
    **_for_parameters(at_least("response_status"), *(f"{name}:status_min" for name in _SCIM_LOGS)),
    **_for_parameters(at_most("response_status"), *(f"{name}:status_max" for name in _SCIM_LOGS)),
    **_for_parameters(
        if_false(lambda row: row.data.get("expires_at") is None),
        "signals.scout.notes.list:include_expired",
        "signals.scout.scratchpad.list:include_expired",
    ),
    ("accounts.list", "include_churned"): if_false(lambda row: row.data.get("churned_at") is None),
    ("accounts.list", "include_ignored"): if_false(lambda row: row.data.get("ignored_at") is None),
    ("accounts.relationships.list", "include_history"): if_false(
        lambda row: row.data.get("ended_at") is None
    ),
    ("activity_log.list", "scopes"): any_of("scope"),
    ("alerts.list", "has_detector"): by_value(
        lambda row, value: bool(row.data.get("detector_config")) is (value.lower() == "true")
    ),
    ("change_requests.list", "requester"): any_of("created_by.id"),
    ("cohorts.list", "hide_behavioral_cohorts"): if_true(lambda row: not _behavioral(row)),
    ("comments.list", "completed"): by_value(_comment_completed),
    ("comments.list", "kind"): by_value(_comment_kind),
    ("conversations.tickets.list", "channel_source"): any_of("channel_source"),
    ("conversations.tickets.list", "distinct_ids"): any_of("distinct_id"),
    ("conversations.tickets.list", "emails"): any_of("email_from"),
    ("conversations.tickets.list", "priority"): any_of("priority"),
    ("conversations.tickets.list", "snoozed"): _snoozed,
    ("conversations.tickets.list", "status"): any_of("status"),
    ("conversations.tickets.list", "tags"): any_of("tags"),
    ("conversations.tickets.list", "tags_all"): all_of("tags"),
    ("conversations.tickets.list", "tags_exclude"): none_of("tags"),
    ("error_tracking.issues.values", "value"): contains_text("name"),
    ("error_tracking.symbol_sets.list", "status"): by_value(_symbol_set_status),
    ("evaluations.list", "directory_id__isnull"): by_value(
        lambda row, value: (row.data.get("directory_id") is None) is (value.lower() == "true")
    ),
    ("event_definitions.list", "exclude_hidden"): if_true(lambda row: not row.data.get("hidden")),
    ("event_definitions.list", "exclude_stale"): _seen_lately,
    ("event_definitions.list", "names"): any_of("name"),
    ("experiment_saved_metrics.list", "event"): _json_contains("query"),
    ("experiments.list", "event"): _json_contains("metrics", "metrics_secondary", "saved_metrics"),
    ("feature_flags.list", "active"): _flag_active,
    ("feature_flags.list", "excluded_tags"): none_of("tags"),
    ("feature_flags.list", "has_evaluation_contexts"): is_set("evaluation_contexts"),
    ("feature_flags.mine", "flag_keys"): any_of("feature_flag.key"),
    ("feature_request_product_areas.list", "include_inactive"): if_false(
        lambda row: bool(row.data.get("is_active"))
    ),
    ("feature_requests.list", "account_ids"): any_of("account.id", "account_links.account.id"),
    ("feature_requests.list", "archive_state"): by_value(_archive_state),
    ("feature_requests.list", "created_by_ids"): any_of("created_by.id"),
    ("feature_requests.list", "priorities"): any_of("request_priority"),
    ("feature_requests.list", "product_area_ids"): any_of("product_areas.id"),
    ("feature_requests.list", "statuses"): any_of("request_status"),
    ("feature_flags.list", "excluded_properties"): none_of("key"),
    ("feature_flags.list", "type"): by_value(_flag_type),
    ("file_system.list", "created_at__gt"): compare_date(
        "created_at", lambda value, bound: value > bound
    ),
    ("file_system.list", "created_at__lt"): compare_date(
        "created_at", lambda value, bound: value < bound
    ),
    ("file_system.list", "not_type"): by_value(lambda row, value: row.data.get("type") != value),
    ("file_system.list", "parent"): by_value(_in_folder),
    ("file_system.list", "type__startswith"): by_value(
        lambda row, value: str(row.data.get("type") or "").startswith(value)
    ),
    ("hog_flows.invocation_results.list", "after"): at_or_after("started_at"),
    ("hog_flows.invocation_results.list", "before"): at_or_before("started_at"),
    ("hog_flows.invocation_results.list", "error_message_contains"): contains_text("error_message"),
    ("hog_function_templates.list", "template_id"): any_of("id"),
    ("hog_function_templates.list", "types"): any_of("type"),
    ("ingestion_warnings.list", "q"): contains_text("type", "category"),
    ("ingestion_warnings.list", "since"): at_or_after("last_seen"),
    ("ingestion_warnings.list", "until"): at_or_before("last_seen"),
    ("insights.list", "created_date_from"): at_or_after("created_at"),
    ("insights.list", "created_date_to"): at_or_before("created_at"),
    ("insights.list", "date_from"): at_or_after("last_modified_at"),
    ("insights.list", "date_to"): at_or_before("last_modified_at"),
    ("insights.list", "insight"): by_value(_insight_type),
    ("insights.list", "last_viewed_date_from"): at_or_after("last_viewed_at"),
    ("insights.list", "last_viewed_date_to"): at_or_before("last_viewed_at"),
    ("insights.list", "saved"): by_value(_insight_saved),
    ("insights.list", "user"): created_by_me,
    ("insights.trending", "days"): _viewed_lately,
    ("llm_analytics.trace_reviews.list", "definition_id"): any_of("scores.definition_id"),
    ("llm_analytics.trace_reviews.list", "definition_id__in"): any_of("scores.definition_id"),
    ("llm_skills.list", "owner_id"): any_of("owners.id"),
    ("notebooks.list", "contains"): _notebook_contains,
    ("notebooks.list", "date_from"): at_or_after("last_modified_at"),
    ("notebooks.list", "date_to"): at_or_before("last_modified_at"),
    ("notebooks.list", "user"): created_by_me,
    ("organizations.members.list", "email_domain"): by_value(
        lambda row, value: str(as_object(row.data.get("user")).get("email")).endswith(
            f"@{value.lstrip('@')}"
        )
    ),
    ("organizations.members.list", "levels"): any_of("level"),
    ("persons.deletion_status", "status"): by_value(
        lambda row, value: value in {"all", row.data.get("status")}
    ),
    ("property_definitions.list", "exclude_core_properties"): if_true(
        lambda row: not _is_core_property(str(row.data.get("name")))
    ),
    ("property_definitions.list", "exclude_hidden"): if_true(
        lambda row: not row.data.get("hidden")
    ),
    ("property_definitions.list", "excluded_properties"): none_of("name"),
    ("property_definitions.list", "is_feature_flag"): by_value(
        lambda row, value: (
            str(row.data.get("name")).startswith("$feature/") is (value.lower() in {"true", "1"})
        )
    ),
    ("public_hog_function_templates.list", "template_id"): any_of("id"),
    ("public_hog_function_templates.list", "types"): any_of("type"),
    ("session_recordings.list", "date_from"): at_or_after("start_time"),
    ("session_recordings.list", "date_to"): at_or_before("start_time"),
    ("session_recordings.list", "distinct_ids"): any_of("distinct_id"),
    ("session_recordings.list", "person_uuid"): any_of("person.uuid"),
    ("session_recordings.list", "session_ids"): any_of("id"),
    ("signals.reports.list", "has_implementation_pr"): is_set("implementation_pr_url"),
    ("signals.reports.list", "scout"): any_of("scout_name"),
    ("signals.reports.list", "scout_prefix"): by_value(
        lambda row, value: str(row.data.get("scout_name") or "").startswith(value)
    ),
    ("signals.reports.list", "source_product"): any_of("source_products"),
    ("signals.scout.runs.emissions.recent", "date_from"): at_or_after("emitted_at"),
    ("signals.scout.runs.emissions.recent", "date_to"): at_or_before("emitted_at"),
    ("signals.scout.runs.list", "emitted"): by_value(
        lambda row, value: bool(row.data.get("emitted_count")) is (value.lower() == "true")
    ),
    ("signals.scout.runs.list", "text"): contains_text("summary"),
    ("signals.scout.scratchpad.list", "text"): contains_text("key", "content"),
    ("subscriptions.list", "resource_type"): by_value(
        lambda row, value: row.data.get(value) is not None
    ),
    ("heatmaps.events", "date_from"): at_or_after("timestamp"),
    ("heatmaps.events", "date_to"): at_or_before("timestamp"),
    ("heatmaps.events", "url_exact"): any_of("current_url"),
    ("integrations.github.branches", "repo"): no_filter,
    ("integrations.users", "force_refresh"): no_filter,
    ("integrations.users", "user_id"): any_of("id"),
    ("live_debugger_breakpoints.hits", "breakpoint_ids"): any_of("breakpoint_id"),
    ("mcp_analytics.sessions.list", "date_from"): at_or_after("session_start"),
    ("mcp_analytics.sessions.list", "date_to"): at_or_before("session_start"),
    ("mcp_analytics.sessions.tool_calls", "date_from"): at_or_after("timestamp"),
    ("surveys.responses.list", "since"): at_or_after("submitted_at"),
    ("surveys.responses.list", "until"): at_or_before("submitted_at"),
    ("users.integrations.github.branches", "repo"): no_filter,
    ("surveys.list", "ids"): any_of("id"),
    ("surveys.list", "status"): by_value(_survey_status),
    ("tasks.list", "exclude_origin_product"): none_of("origin_product"),
    ("tasks.list", "stage"): any_of("latest_run.stage"),
    ("tasks.list", "status"): any_of("latest_run.status"),
    ("vision.scanners.observations.list", "labeled"): by_value(
        lambda row, value: (row.data.get("label") is not None) is (value.lower() == "true")
    ),
    ("vision.scanners.observations.list", "max_score"): at_most("scanner_result.score"),
    ("vision.scanners.observations.list", "min_score"): at_least("scanner_result.score"),
    ("vision.scanners.observations.list", "recording_subject"): any_of("recording_subject_email"),
    ("vision.scanners.observations.list", "tags"): any_of("scanner_result.tags"),
    ("vision.scanners.observations.list", "verdict"): any_of("scanner_result.verdict"),
    ("visual_review.runs.snapshots.list", "include_quarantined"): if_false(
        lambda row: not row.data.get("is_quarantined")
    ),
}
