"""Flag endpoints of the private API beside those of any collection."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from posthog_emulator.features.hogql_rows import query_rows
from posthog_emulator.http.errors import ApiError, invalid, not_found, required
from posthog_emulator.http.messages import Response, json_response
from posthog_emulator.json_types import as_object, is_array, is_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.operation_handler import OperationHandler
from posthog_emulator.rest.activity import copy_fields
from posthog_emulator.rest.apply_filters import select_rows
from posthog_emulator.rest.handlers import DEFAULT_HANDLERS
from posthog_emulator.rest.pagination import paginate
from posthog_emulator.state import ApiCall, Change, fill_path
from posthog_emulator.timestamps import format_utc

from . import links
from .blast_radius import count_affected
from .lifecycle import LIFECYCLE
from .lookup import FLAGS
from .owned import change_flag, find_flag, flag_collection, live_flags, minimal_flag
from .responses import conditional_response, flag_definitions
from .routes import evaluate_flags
from .rules import dependents_of, rollout_summary, variants_of
from .status import flag_status

__all__ = ["OPERATION_HANDLERS"]


def _project_id(call: ApiCall) -> int:
    return int(call.path_values[0])


def _local_evaluation(call: ApiCall) -> Response:
    state = call.state
    if "feature_flags" in state.settings.exhausted_quotas:
        detail = "You have exceeded your feature flag request quota"
        raise ApiError(402, code="payment_required", detail=detail)
    cohorts = call.request.query_value("send_cohorts") is not None
    return conditional_response(
        call.request, flag_definitions(state, _project_id(call), cohorts=cohorts)
    )


def _remote_config(call: ApiCall) -> Response:
    identifier = call.path_values[1]
    collection = call.state.store.collection(fill_path(FLAGS, call.path_values[:1]))
    row = collection.find(identifier, "key") or collection.find(identifier)
    if row is None or row.deleted:
        raise not_found()
    # As on the server, the payload is stored as JSON text and returned as a JSON string of it.
    payloads = as_object(as_object(row.data.get("filters")).get("payloads"))
    return json_response(call.operation.result.status, payloads.get("true"))


def _evaluation_reasons(call: ApiCall) -> Response:
    distinct_id, groups = (
        call.request.query_value("distinct_id"),
        call.request.query_value("groups"),
    )
    if not distinct_id:
        raise required("distinct_id")
    try:
        parsed: Any = json.loads(groups or "{}")
    except ValueError:
        parsed = None
    if not is_object(parsed):
        raise invalid("Invalid groups parameter", "groups")
    request_body = {"distinct_id": distinct_id, "groups": parsed}
    reasons = {
        key: {
            "value": evaluation.value,
            "evaluation": {
                "reason": evaluation.reason,
                "condition_index": evaluation.condition_index,
                "description": evaluation.description,
            },
        }
        for key, (_, evaluation) in evaluate_flags(
            call.state, _project_id(call), request_body
        ).items()
    }
    return json_response(call.operation.result.status, reasons)


def _requested_flag(call: ApiCall) -> StoredObject:
    call.resolve_parents()
    row = find_flag(call.state, call.project, call.parents[1])
    if row is None:
        raise not_found()
    return row


def _record_calls(call: ApiCall) -> None:
    """Set `last_called_at` of all flags by the events that SDKs send when they use a flag.

    The server does so in the background.
    """
    try:
        rows = query_rows(
            call,
            "SELECT properties.$feature_flag AS key, toUnixTimestamp(max(timestamp)) AS at "
            "FROM events WHERE event = {event} GROUP BY key LIMIT 50000",
            {"event": "$feature_flag_called"},
        )
    except ApiError:
        # Flags are read in projects, too, whose events cannot be queried.
        return
    called = {str(key): int(at) for key, at in rows if key is not None}
    for row in flag_collection(call.state, call.project):
        at = called.get(str(row.data.get("key")))
        if at is not None:
            row.data["last_called_at"] = format_utc(datetime.fromtimestamp(at, UTC))


def _get(call: ApiCall) -> Response:
    _record_calls(call)
    return DEFAULT_HANDLERS["get"](call)


def _list(call: ApiCall) -> Response:
    call.resolve_parents()
    if call.request.query_value("active") == "STALE":
        _record_calls(call)
    # Flags that surveys made for themselves are not listed.
    hidden = {
        links.linked_flag_id(row.data, field)
        for row in call.state.store.collections.get(fill_path(links.SURVEYS, [call.project]), ())
        for field in ("targeting_flag", "internal_targeting_flag")
    }
    return paginate(call, [row for row in select_rows(call) if row.data.get("id") not in hidden])


def _status(call: ApiCall) -> Response:
    row = _requested_flag(call)
    _record_calls(call)
    status, reason = flag_status(row.data, call.state.settings.clock())
    rollout = rollout_summary(as_object(row.data.get("filters")))
    body = {
        "status": status,
        "reason": reason,
        "reason_states_rollout": reason.startswith("This "),
        "rollout": rollout,
    }
    return json_response(call.operation.result.status, body)


def _change_by(**fields: Any) -> Callable[[ApiCall], Response]:
    """Return a handler that sets fields of a flag."""

    def handler(call: ApiCall) -> Response:
        row = _requested_flag(call)
        LIFECYCLE.check(Change(call.state, call.project, fields, row))
        change_flag(call.state, call.project, row, fields)
        LIFECYCLE.derive(call.state, call.project, [row])
        return json_response(call.operation.result.status, row.data)

    return handler


def _dependents(call: ApiCall) -> Response:
    row = _requested_flag(call)
    flags = live_flags(call.state, call.project)
    rows = [
        StoredObject(str(flag["id"]), {name: flag.get(name) for name in ("id", "key", "name")}, 0)
        for flag in dependents_of(row.data.get("id"), flags)
    ]
    return paginate(call, [*rows, *select_rows(call)])


def _bulk_delete(call: ApiCall) -> Response:
    call.resolve_parents()
    body = as_object(call.body)
    if body.get("filters"):
        raise invalid(
            "The emulator does not implement the deletion of flags by filters; give ids.",
            "filters",
        )
    ids: Any = body.get("ids")
    if not is_array(ids) or not ids:
        raise invalid("Must provide either 'ids' or 'filters' parameter")
    deleted: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    for flag_id in ids:
        row = find_flag(call.state, call.project, flag_id)
        if row is None or row.deleted:
            errors.append({"id": flag_id, "reason": "Flag not found"})
            continue
        key = row.data.get("key")
        before = copy_fields(row.data)
        change = Change(call.state, call.project, {"deleted": True}, row, before)
        try:
            LIFECYCLE.check(change)
        except ApiError as error:
            errors.append({"id": flag_id, "key": key, "reason": error.detail})
            continue
        change_flag(call.state, call.project, row, {"deleted": True})
        LIFECYCLE.updated(change)
        deleted.append({"id": flag_id, "key": key})
    return json_response(call.operation.result.status, {"deleted": deleted, "errors": errors})


def _keys_by_id(call: ApiCall) -> Response:
    call.resolve_parents()
    ids: list[Any] = as_object(call.body).get("ids") or []
    rows = [find_flag(call.state, call.project, flag_id) for flag_id in ids]
    keys = {row.key: row.data["key"] for row in rows if row is not None and not row.deleted}
    return json_response(call.operation.result.status, {"keys": keys})


def _mine(call: ApiCall) -> Response:
    call.resolve_parents()
    body = {"distinct_id": call.state.accounts.account.user_uuid}
    rows = [
        StoredObject(
            row.key,
            {
                "feature_flag": minimal_flag(call.state, call.project, row),
                "value": evaluation.value,
            },
            row.sequence,
        )
        for flag, evaluation in evaluate_flags(call.state, _project_id(call), body).values()
        if (row := find_flag(call.state, call.project, flag.get("id"))) is not None
    ]
    return paginate(call, [*rows, *select_rows(call)])


def _values(call: ApiCall) -> Response:
    call.resolve_parents()
    flag_id = call.request.query_value("key")
    if flag_id is None:
        empty: list[Any] = []
        return json_response(call.operation.result.status, {"results": empty, "refreshing": False})
    row = find_flag(call.state, call.project, flag_id)
    if row is None or row.deleted:
        raise not_found("Feature flag not found")
    keys = [variant.get("key") for variant in variants_of(as_object(row.data.get("filters")))]
    results = [{"name": value} for value in (True, False, *keys)]
    return json_response(call.operation.result.status, {"results": results, "refreshing": False})


def _blast_radius(call: ApiCall) -> Response:
    call.resolve_parents()
    body = as_object(call.body)
    affected, total = count_affected(
        call, as_object(body.get("condition")), body.get("group_type_index")
    )
    return json_response(call.operation.result.status, {"affected": affected, "total": total})


def _update(call: ApiCall) -> Response:
    """Update a flag, unless someone else has changed the same fields since it was read."""
    stored, body = call.get_object().data, as_object(call.body)
    version, original = body.get("version", -1), as_object(body.get("original_flag"))
    if version not in (-1, stored.get("version") or 0) and any(
        name in original
        and value != original[name]
        and stored.get(name) not in (original[name], value)
        for name, value in body.items()
    ):
        # The version alone is no reason: without the original values, the last writer wins.
        detail = "Another user has changed the feature flag since it was read."
        raise ApiError(409, code="conflict", detail=detail)
    return DEFAULT_HANDLERS["update"](call)


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    "feature_flags.list": OperationHandler(_list),
    "feature_flags.get": OperationHandler(_get),
    "feature_flags.status": OperationHandler(_status),
    "feature_flags.archive": OperationHandler(_change_by(archived=True, active=False)),
    "feature_flags.unarchive": OperationHandler(_change_by(archived=False)),
    "feature_flags.disable": OperationHandler(_change_by(active=False)),
    "feature_flags.enable": OperationHandler(_change_by(active=True)),
    "feature_flags.dependents": OperationHandler(_dependents),
    "feature_flags.bulk_delete": OperationHandler(_bulk_delete),
    "feature_flags.keys_by_id": OperationHandler(_keys_by_id),
    "feature_flags.mine": OperationHandler(_mine),
    "feature_flags.values": OperationHandler(_values),
    "feature_flags.get_blast_radius": OperationHandler(_blast_radius),
    "feature_flags.local_evaluation": OperationHandler(_local_evaluation),
    "feature_flags.remote_config": OperationHandler(_remote_config),
    "feature_flags.evaluation_reasons": OperationHandler(_evaluation_reasons),
    "feature_flags.update": OperationHandler(_update),
}
