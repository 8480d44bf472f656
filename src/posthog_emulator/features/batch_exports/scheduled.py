"""Endpoints of scheduled exports, their runs and their backfills."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from posthog_emulator.http.errors import ApiError, invalid, not_found
from posthog_emulator.http.messages import Response, json_response
from posthog_emulator.json_types import as_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.rest.handlers import object_response
from posthog_emulator.rest.pagination import paginate
from posthog_emulator.state import ApiCall, Handler
from posthog_emulator.timestamps import format_utc

from . import schedule, validation
from .schedule import ExportInterval

__all__ = ["HANDLERS"]

_WEEK: Final = timedelta(days=7)
_RELATIVE: Final = re.compile(r"-([0-9]+)([dhwm])")
_UNITS: Final = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "w": timedelta(weeks=1),
    "m": timedelta(days=30),
}
_HIDDEN_TYPE: Final = "Workflows"
_START_REQUIRED: Final = "Backfilling from the beginning of time is not enabled for this team."
_EDITABLE_FIELDS: Final = ("name", "model", "interval", "filters", "start_at", "end_at", "timezone",
                     "offset_day", "offset_hour", "paused")  # fmt: skip


def _requested_export(call: ApiCall) -> StoredObject:
    """Return the export of the path, with its runs up to date."""
    project = call.path_values[0]
    row = call.state.store.collection(schedule.EXPORTS.format(project)).find(call.path_values[1])
    if row is None:
        raise not_found()
    schedule.run_due(call.state, project, row)
    return row


def _export_response(call: ApiCall, row: StoredObject) -> Response:
    """Respond with an export, without its secret fields."""
    return object_response(call, _without_secrets(row))


def _without_secrets(row: StoredObject) -> StoredObject:
    # A copy: the stored export keeps its secrets.
    public = StoredObject(row.key, copy.deepcopy(row.data), row.sequence)
    config = as_object(as_object(public.data.get("destination")).get("config"))
    for name in validation.SECRET_FIELDS & config.keys():
        del config[name]
    return public


def _list(call: ApiCall) -> Response:
    call.resolve_parents()
    public: list[StoredObject] = []
    for row in sorted(call.objects, key=lambda row: row.sequence, reverse=True):
        if as_object(row.data.get("destination")).get("type") == _HIDDEN_TYPE:
            continue
        schedule.run_due(call.state, call.path_values[0], row)
        public.append(_without_secrets(row))
    return paginate(call, public)


def _create(call: ApiCall) -> Response:
    call.resolve_parents()
    body = as_object(call.body)
    validation.validate_new(body)
    sent = {name: body[name] for name in _EDITABLE_FIELDS if name in body}
    fields: dict[str, Any] = {
        "model": "events",
        "filters": None,
        "paused": False,
        "timezone": "UTC",
        "offset_day": 0 if body["interval"] == "week" else None,
        "offset_hour": 0 if body["interval"] in {"day", "week"} else None,
        "start_at": None,
        "end_at": None,
        "last_paused_at": None,
        "schema": None,
        "latest_runs": [],
        # A null means the default, as if the field were missing.
        **{name: value for name, value in sent.items() if value is not None},
        "destination": _destination({}, as_object(body["destination"])),
    }
    state = call.state
    row = state.insert(call.collection, call.collection_path, fields, call.project_id)
    schedule.start_schedule(state, row)
    return _export_response(call, row)


def _destination(current: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    # Clients read exports without secrets: a change must not delete the fields they cannot see.
    config = validation.deep_merge(current.get("config") or {}, changes.get("config") or {})
    integration = changes.get(
        "integration_id", changes.get("integration", current.get("integration"))
    )
    kind = changes.get("type", current.get("type"))
    return {"type": kind, "config": config, "integration": integration}


def _get(call: ApiCall) -> Response:
    return _export_response(call, _requested_export(call))


def _update(call: ApiCall) -> Response:
    row, body = _requested_export(call), as_object(call.body)
    validation.validate_update(row.data, body)
    # `paused` is set separately, because it starts and stops the schedule.
    changes = {name: body[name] for name in _EDITABLE_FIELDS if name in body and name != "paused"}
    if "destination" in body:
        current = as_object(row.data.get("destination"))
        changes["destination"] = _destination(current, as_object(body["destination"]))
    row.data |= changes
    if isinstance(body.get("paused"), bool):
        _set_paused(call, row, paused=body["paused"])
    row.data["last_updated_at"] = call.state.now()
    return _export_response(call, row)


def _delete(call: ApiCall) -> Response:
    row = _requested_export(call)
    store, address = call.state.store, schedule.EXPORTS.format(call.path_values[0])
    del store.collection(address).rows[row.key]
    # Runs and backfills are collections of their own, below the path of the export.
    for nested in [path for path in store.collections if path.startswith(f"{address}{row.key}/")]:
        del store.collections[nested]
    return Response(call.operation.result.status)


def _set_paused(call: ApiCall, row: StoredObject, *, paused: bool) -> None:
    if bool(row.data.get("paused")) == paused:
        return
    row.data["paused"] = paused
    if paused:
        row.data["last_paused_at"] = call.state.now()
    else:
        # Periods that ended during the pause are not exported, unless a backfill is requested.
        schedule.start_schedule(call.state, row)


def _pause(call: ApiCall) -> Response:
    row = _requested_export(call)
    _set_paused(call, row, paused=True)
    return json_response(call.operation.result.status, {"paused": True})


def _unpause(call: ApiCall) -> Response:
    row = _requested_export(call)
    # Read before `_set_paused`, which changes the state of the export.
    paused_at = (
        schedule.parse_timestamp(row.data.get("last_paused_at")) if row.data.get("paused") else None
    )
    _set_paused(call, row, paused=False)
    if as_object(call.body).get("backfill") is True and paused_at is not None:
        interval, now = ExportInterval.from_export(row.data), call.state.settings.clock()
        _start_backfill(call, row, interval.boundary_at_or_before(paused_at), now)
    return json_response(call.operation.result.status, {"paused": False})


def _collection_path(call: ApiCall, name: str) -> str:
    return f"{schedule.EXPORTS.format(call.path_values[0])}{_requested_export(call).key}/{name}/"


def _runs_list(call: ApiCall) -> Response:
    address = _collection_path(call, "runs")
    call.resolve_parents()
    ordering = call.request.query_value("ordering") or ""
    # The filters go with the ordering: `start` and `end` for the exported interval, `after` and
    # `before` for the creation of the run. Without them the server lists the last seven days.
    by_interval = ordering.lstrip("-") == "data_interval_start"
    names = ("start", "end") if by_interval else ("after", "before")
    now = call.state.settings.clock()
    since = _parse_bound(call, names[0], now) or now - _WEEK
    until = _parse_bound(call, names[1], now) or now
    statuses = set(call.query("status"))
    first, last = (
        ("data_interval_start", "data_interval_end") if by_interval else ("created_at",) * 2
    )
    rows = [
        row
        for row in call.state.store.collection(address)
        if _in_range(row, first, last, since, until)
        and (not statuses or row.data.get("status") in statuses)
    ]
    return paginate(call, rows)


def _in_range(
    row: StoredObject, start_field: str, end_field: str, since: datetime, until: datetime
) -> bool:
    start, end = (
        schedule.parse_timestamp(row.data.get(start_field)),
        schedule.parse_timestamp(row.data.get(end_field)),
    )
    return start is not None and end is not None and since <= start and end <= until


def _parse_bound(call: ApiCall, name: str, now: datetime) -> datetime | None:
    text = call.request.query_value(name)
    if not text:
        return None
    relative = _RELATIVE.fullmatch(text)
    if relative is not None:
        return now - int(relative[1]) * _UNITS[relative[2]]
    try:
        return schedule.parse_timestamp(text)
    except ValueError:
        raise invalid("Enter a valid date or a relative one like -7d.", name) from None


def _nested_row(call: ApiCall, name: str) -> StoredObject:
    row = call.state.store.collection(_collection_path(call, name)).find(call.path_values[2])
    if row is None:
        raise not_found()
    return row


def _run_get(call: ApiCall) -> Response:
    return object_response(call, _nested_row(call, "runs"))


def _run_cancel(call: ApiCall) -> Response:
    row = _nested_row(call, "runs")
    status = row.data.get("status")
    if status not in schedule.ACTIVE_STATUSES:
        raise invalid(f"Cannot cancel a run that is in '{status}' status")
    return schedule.cancel(call.state, row)


def _run_retry(call: ApiCall) -> Response:
    run, row = _nested_row(call, "runs"), _requested_export(call)
    end = schedule.parse_timestamp(run.data.get("data_interval_end")) or call.state.settings.clock()
    start = schedule.parse_timestamp(run.data.get("data_interval_start")) or end
    # A retry is a backfill of exactly the interval of the run.
    key = _start_backfill(call, row, start, end, [(start, end)])
    return json_response(call.operation.result.status, {"backfill_id": key})


def _backfill_create(call: ApiCall) -> Response:
    row, body = _requested_export(call), as_object(call.body)
    interval, now = ExportInterval.from_export(row.data), call.state.settings.clock()
    if body.get("start_at") is None:
        raise invalid(_START_REQUIRED)
    _check_backfill_limit(call)
    start = validation.parse_boundary(body["start_at"], interval)
    end = now
    if body.get("end_at") is not None:
        end = validation.parse_boundary(body["end_at"], interval)
        if start >= end:
            raise invalid("The initial backfill datetime 'start_at' must be before 'end_at'")
        if end > now:
            raise invalid(f"The provided 'end_at' ({end.isoformat()}) is in the future")
    key = _start_backfill(call, row, start, end)
    return json_response(call.operation.result.status, {"backfill_id": key})


def _check_backfill_limit(call: ApiCall) -> None:
    state, project = call.state, call.path_values[0]
    slots, active = state.settings.export_slots, 0
    # The limit applies to the project: backfills of all its exports are brought up to date.
    for export in state.store.collection(schedule.EXPORTS.format(project)):
        schedule.run_due(state, project, export)
        address = f"{schedule.EXPORTS.format(project)}{export.key}/backfills/"
        for backfill in state.store.collection(address):
            active += backfill.data.get("status") in schedule.ACTIVE_STATUSES
    if active >= slots:
        raise ApiError(
            429,
            type="server_error",
            code="too_many_concurrent_backfills",
            detail=f"This team already has {slots} batch export backfills running. "
            "Wait for some to finish or cancel them before creating more.",
        )


def _start_backfill(
    call: ApiCall,
    row: StoredObject,
    start: datetime,
    end: datetime,
    periods: list[tuple[datetime, datetime]] | None = None,
) -> str:
    state = call.state
    if periods is None:
        periods = list(ExportInterval.from_export(row.data).periods(start, end))
    key, now = state.uuid(), state.now()
    data: dict[str, Any] = {
        "id": key,
        "batch_export": row.key,
        "team": int(call.path_values[0]),
        "status": "Starting",
        "start_at": format_utc(start),
        "end_at": format_utc(end),
        "adjusted_start_at": None,
        "created_at": now,
        "last_updated_at": now,
        "finished_at": None,
        "total_records_count": None,
        "progress": None,
    }
    address = f"{schedule.EXPORTS.format(call.path_values[0])}{row.key}/backfills/"
    state.store.put(address, key, data)
    schedule.start_backfill(state, key, periods)
    return key


def _backfills_list(call: ApiCall) -> Response:
    address = _collection_path(call, "backfills")
    call.resolve_parents()
    return paginate(call, list(call.state.store.collection(address)))


def _backfill_get(call: ApiCall) -> Response:
    return object_response(call, _nested_row(call, "backfills"))


def _backfill_cancel(call: ApiCall) -> Response:
    row = _nested_row(call, "backfills")
    status = row.data.get("status")
    if status not in schedule.ACTIVE_STATUSES:
        raise invalid(f"Cannot cancel a backfill that is in '{status}' status")
    return schedule.cancel(
        call.state, row, call.state.store.collection(_collection_path(call, "runs"))
    )


HANDLERS: Mapping[str, tuple[Handler, bool]] = {
    "batch_exports.list": (_list, True),
    "batch_exports.create": (_create, False),
    "batch_exports.get": (_get, True),
    "batch_exports.update": (_update, False),
    "batch_exports.replace": (_update, False),
    "batch_exports.delete": (_delete, True),
    "batch_exports.pause": (_pause, True),
    "batch_exports.unpause": (_unpause, True),
    "batch_exports.runs.list": (_runs_list, True),
    "batch_exports.runs.get": (_run_get, True),
    "batch_exports.runs.cancel": (_run_cancel, True),
    "batch_exports.runs.retry": (_run_retry, True),
    "batch_exports.backfills.list": (_backfills_list, True),
    "batch_exports.backfills.create": (_backfill_create, True),
    "batch_exports.backfills.get": (_backfill_get, True),
    "batch_exports.backfills.cancel": (_backfill_cancel, True),
}
"""Handlers by operation id, with whether the body is validated against the schema first.

The schema lacks the newer destinations and models, so `validation` checks those bodies.
"""
