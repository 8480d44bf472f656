"""Ready-made tools about events, persons, users, recordings and objects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from asyncposthog.catalog.arguments import ArgumentError
from asyncposthog.toolkit.operations import Refused
from asyncposthog.toolkit.tools import Tool

from .build import custom_tool, operation_tool, parsed

if TYPE_CHECKING:
    from asyncposthog.toolkit.context import Context

__all__ = ["tools"]


def tools(context: Context) -> list[Tool]:
    """Return the tools."""
    return [
        custom_tool(
            context,
            "capture_event",
            "Send one event to PostHog.",
            {
                "event": "string! The name: lesson_started.",
                "distinct_id": "string! The user.",
                "properties": "object|string Properties of the event.",
                "timestamp": "string ISO 8601; default: now.",
                "api_key": "string Not needed: the token of the client's project.",
                "ingest_host": "string Not needed: the host of the client.",
            },
            lambda given: _capture(context, given),
            "events",
            "capture",
            writes=True,
            resource="events",
            project=False,
        ),
        operation_tool(
            context,
            "get_event",
            "events.get",
            "Get a single event by its ID.",
            {"event_id": "string! The UUID of the event."},
            "events",
            prepare=lambda given: {"id": given["event_id"]},
        ),
        custom_tool(
            context,
            "search_events",
            "Search events, the newest first.",
            {
                "after": "string Only from this ISO time on.",
                "before": "string Only before this ISO time.",
                "distinct_id": "string Only of this user.",
                "event": "string Only of this name.",
                "properties": "object|string Only with these values of properties.",
                "limit": "integer Default 100.",
            },
            lambda given: _search(context, given),
            "events",
            scopes=("query:read",),
            resource="query",
            project=False,
        ),
        operation_tool(
            context,
            "get_person",
            "persons.get",
            "Get a person by numeric id or UUID.",
            {"person_id": "string! The id."},
            "persons",
            prepare=lambda given: {"id": given["person_id"]},
        ),
        operation_tool(
            context,
            "update_person",
            "persons.update",
            "Set properties of a person; others stay. Reads show it after some seconds.",
            {"person_id": "string! The id.", "properties": "object|string! The properties."},
            "persons",
            prepare=lambda given: {
                "id": given["person_id"],
                "properties": parsed(given, "properties")["properties"],
            },
        ),
        operation_tool(
            context,
            "delete_person",
            "persons.delete",
            "Delete a person.",
            {"person_id": "string! The id."},
            "persons",
            prepare=lambda given: {"id": given["person_id"]},
        ),
        operation_tool(
            context,
            "retrieve_person_details_by_id",
            "persons.get",
            "Get a person by UUID.",
            {"id": "string! The UUID.", "format": "string csv or json; default json."},
            "persons",
        ),
        operation_tool(
            context,
            "update_person_properties",
            "persons.update",
            "Set properties of a person; others stay. Reads show it after some seconds.",
            {
                "id": "string! The id or UUID.",
                "properties": "object|string! The properties.",
                "format": "string csv or json; default json.",
                "name": "string Not used: it is a property.",
                "uuid": "string Not used: see id.",
                "distinct_ids": "array Not used: they cannot be changed.",
            },
            "persons",
            prepare=lambda given: parsed(given, "properties"),
            ignored={
                "name": "name was not used: set the property `name` instead.",
                "uuid": "uuid was not used: the person is the one with `id`.",
                "distinct_ids": "distinct_ids were not used: they cannot be changed.",
            },
        ),
        operation_tool(
            context,
            "retrieve_user_profile_and_team_details",
            "users.me",
            "Get the user of the API key: name, e-mail, team and organization.",
            {"uuid": "string @me, which is the default."},
            "users",
            prepare=lambda given: _me(context, given),
            project=False,
        ),
        operation_tool(
            context,
            "create_session_recording_playlist",
            "session_recording_playlists.create",
            "Create a playlist of session recordings.",
            {
                "name": "string! Its name.",
                "type": "string! filters (recordings that match) or collection (chosen ones).",
                "description": "string",
                "pinned": "boolean",
                "deleted": "boolean",
                "filters": "object|string Which recordings, for the type filters.",
            },
            "recordings",
            prepare=lambda given: parsed(given, "filters"),
        ),
        operation_tool(
            context,
            "retrieve_session_recording_details",
            "session_recordings.get",
            "Get a session recording: duration, activity, person.",
            {"id": "string! The UUID."},
            "recordings",
        ),
        custom_tool(
            context,
            "list_objects",
            "List the names of PostHog's objects.",
            {"search": "string Only names with this text."},
            lambda given: _objects(context, given),
            "objects",
            project=False,
        ),
        custom_tool(
            context,
            "get_fields",
            "Get the fields of an object, with types; of events and persons also the properties.",
            {"object_name": "string! Such as events or feature_flags."},
            lambda given: context.driver.get_fields(given["object_name"]),
            "objects",
            project=False,
        ),
    ]


async def _capture(context: Context, given: dict[str, Any]) -> Any:
    settings = context.client.settings
    key, host = given.get("api_key"), given.get("ingest_host")
    own = settings.project_api_key
    if key and (own is None or key != own.reveal()):
        raise Refused(
            "api_key is not the token of these tools' project.", "other_project", "Leave it out."
        )
    if host and host.rstrip("/") not in {settings.hosts.ingest, settings.hosts.app}:
        raise Refused(
            f"Events go to {settings.hosts.ingest}, not to another host.",
            "other_host",
            "Leave ingest_host out.",
        )
    properties = parsed(given, "properties").get("properties")
    result = await context.driver.capture_event(
        given["event"], given["distinct_id"], properties, given.get("timestamp")
    )
    if result["status"] not in {"ok", "warning"}:
        raise Refused(
            f"The event was not accepted: {result['status']}, {result['detail']}.", "not_accepted"
        )
    return result


async def _search(context: Context, given: dict[str, Any]) -> Any:
    wanted = parsed(given, "properties").get("properties")
    conditions = ["1 = 1"]
    values: dict[str, Any] = {}
    for name, condition in (
        ("event", "event = {event}"),
        ("distinct_id", "distinct_id = {distinct_id}"),
        ("after", "timestamp >= {after}"),
        ("before", "timestamp < {before}"),
    ):
        if given.get(name) is not None:
            conditions.append(condition)
            value = given[name]
            values[name] = context.parse_time(name, value) if name in {"after", "before"} else value
    if wanted is not None and not isinstance(wanted, Mapping):
        raise ArgumentError("properties must be an object.", field="properties", expected="object")
    for number, (name, value) in enumerate(cast("Mapping[str, Any]", wanted or {}).items()):
        values[f"name{number}"] = name
        if isinstance(value, str):
            conditions.append(
                f"JSONExtractString(properties, {{name{number}}}) = {{value{number}}}"
            )
            values[f"value{number}"] = value
        else:
            conditions.append(f"JSONExtractRaw(properties, {{name{number}}}) = {{value{number}}}")
            values[f"value{number}"] = json.dumps(value)
    limit = max(1, min(given.get("limit", 100), 1000))
    rows = await context.driver.query(
        "SELECT uuid, event, timestamp, distinct_id, properties FROM events "  # noqa: S608
        f"WHERE {' AND '.join(conditions)} ORDER BY timestamp DESC, uuid LIMIT {limit}",
        values,
    )
    for row in rows:
        if isinstance(row["properties"], str):
            row["properties"] = json.loads(row["properties"])
    return {"items": rows}


async def _objects(context: Context, given: dict[str, Any]) -> Any:
    text = given.get("search", "").lower()
    return [name for name in await context.driver.list_objects() if text in name]


def _me(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    uuid = given.get("uuid", "@me")
    if uuid != "@me":
        raise Refused("Only the user of the API key can be read.", "not_allowed", "Use uuid='@me'.")
    return {}
