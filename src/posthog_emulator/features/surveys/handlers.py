"""Survey endpoints: launch and stop, statistics, and responses."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from posthog_emulator.features.flags.links import SURVEYS
from posthog_emulator.features.hogql_rows import query_rows
from posthog_emulator.http.errors import invalid, not_found
from posthog_emulator.http.messages import Response, json_response
from posthog_emulator.json_types import as_object, is_array
from posthog_emulator.objects.store import ObjectCollection, StoredObject
from posthog_emulator.operation_handler import OperationHandler
from posthog_emulator.rest.activity import copy_fields, log_row_update
from posthog_emulator.state import ApiCall, fill_path
from posthog_emulator.timestamps import format_utc

from .lifecycle import LIFECYCLE, update_flags
from .statistics import EVENTS, SENT, rates, statistics

__all__ = ["OPERATION_HANDLERS"]

_ARCHIVED: Final = "/surveys/{}/archived_responses/"
"""Path of the UUIDs of archived responses, by the key of the survey, in the saved state."""
_MAX_RESPONSES: Final = 50_000
_EXTRA: Final[Mapping[str, str]] = {
    "browser": "$browser",
    "current_url": "$current_url",
    "device_type": "$device_type",
    "geoip_city_name": "$geoip_city_name",
    "geoip_country_code": "$geoip_country_code",
    "geoip_country_name": "$geoip_country_name",
    "iteration": "$survey_iteration",
    "os": "$os",
}


def _surveys(call: ApiCall) -> ObjectCollection:
    return call.state.store.collection(fill_path(SURVEYS, [call.project]))


def _survey(call: ApiCall) -> StoredObject:
    call.resolve_parents(2)
    row = _surveys(call).find(call.parents[1])
    if row is None:
        raise not_found()
    return row


def _set_dates(dates: Callable[[ApiCall], dict[str, Any]]) -> Callable[[ApiCall], Response]:
    def handler(call: ApiCall) -> Response:
        row = _survey(call)
        before = copy_fields(row.data)
        row.data.update(dates(call))
        update_flags(call.state, call.project, row)
        log_row_update(call.state, call.project, SURVEYS, before, row)
        LIFECYCLE.derive(call.state, call.project, [row])
        return json_response(call.operation.result.status, row.data)

    return handler


def _launch_dates(call: ApiCall) -> dict[str, Any]:
    start = _survey(call).data.get("start_date")
    return {"start_date": start or call.state.now(), "end_date": None}


def _stop_dates(call: ApiCall) -> dict[str, Any]:
    return {"end_date": _survey(call).data.get("end_date") or call.state.now()}


def _parse_date(call: ApiCall, name: str) -> datetime | None:
    text = call.request.query_value(name)
    if not text:
        return None
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise invalid(
            "Invalid date format. Please use ISO 8601 format with timezone info (e.g. "
            "2024-01-01T00:00:00Z or 2024-01-01T00:00:00+00:00)"
        ) from None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _stored_date(row: StoredObject, *names: str) -> datetime | None:
    text = next((row.data[name] for name in names if row.data.get(name)), None)
    if text is None:
        return None
    date = datetime.fromisoformat(str(text))
    return date if date.tzinfo else date.replace(tzinfo=UTC)


class _Conditions:
    """The conditions of a query on survey events, with the values of their placeholders."""

    def __init__(self, survey_ids: list[str]) -> None:
        self.parts = ["properties.$survey_id IN {surveys}"]
        self.values: dict[str, Any] = {"surveys": survey_ids}

    def between(self, start: datetime | None, end: datetime | None) -> None:
        """Restrict the timestamps of the events; both ends are included."""
        for name, operator, date in (("start", ">=", start), ("end", "<=", end)):
            if date is not None:
                self.parts.append(f"timestamp {operator} toDateTime64({{{name}}}, 6, 'UTC')")
                self.values[name] = format_utc(date)

    def sql(self) -> str:
        """Return the conditions as HogQL."""
        return " AND ".join(self.parts)


_COUNTED: Final = (
    "(event != 'survey dismissed' "
    "OR ifNull(toString(properties.$survey_partially_completed), '') != 'true')"
)
"""Excludes the dismissals that SDKs send for partial responses."""
_SUBMISSION: Final = "coalesce(nullIf(properties.$survey_submission_id, ''), toString(uuid))"
"""Identifies the submission that a response belongs to."""


def _latest_responses(conditions: str) -> str:
    """Return the condition, as HogQL, of being the latest event of a submission."""
    # Not `uuid IN (SELECT …)`: the parser takes `uuid` there for a type.
    return (
        "toString(uuid) IN (SELECT toString(argMax(uuid, timestamp)) FROM events "  # noqa: S608
        f"WHERE event = '{SENT}' AND {conditions} GROUP BY {_SUBMISSION})"
    )


def _compute(call: ApiCall, conditions: _Conditions) -> dict[str, Any]:
    where = f"{conditions.sql()} AND {_COUNTED}"
    rows = query_rows(
        call,
        "SELECT event, count(), uniqExact(person_id), toString(min(timestamp)), "  # noqa: S608
        "toString(max(timestamp)) FROM events WHERE event IN {events} "
        f"AND {where} AND (event != 'survey sent' OR {_latest_responses(conditions.sql())}) "
        "GROUP BY event",
        {**conditions.values, "events": list(EVENTS)},
    )
    both = query_rows(
        call,
        "SELECT count() FROM (SELECT person_id FROM events WHERE "  # noqa: S608
        f"event IN ('survey dismissed', 'survey sent') AND {where} GROUP BY person_id "
        "HAVING countIf(event = 'survey dismissed') > 0 AND countIf(event = 'survey sent') > 0)",
        conditions.values,
    )
    stats = statistics(
        [(*row[:3], _iso(row[3]), _iso(row[4])) for row in rows], both[0][0] if both else 0
    )
    return {"stats": stats, "rates": rates(stats)}


def _iso(text: str) -> str:
    return format_utc(datetime.fromisoformat(text).replace(tzinfo=UTC))


def _stats(call: ApiCall) -> Response:
    row = _survey(call)
    start, end = _date_range(call)
    created, ended = _stored_date(row, "start_date", "created_at"), _stored_date(row, "end_date")
    conditions = _Conditions([row.key])
    conditions.between(
        max((date for date in (start, created) if date is not None), default=None),
        min((date for date in (end, ended) if date is not None), default=None),
    )
    body = {
        "survey_id": row.key,
        "start_date": row.data.get("start_date"),
        "end_date": row.data.get("end_date"),
        **_compute(call, conditions),
    }
    return json_response(call.operation.result.status, body)


def _date_range(call: ApiCall) -> tuple[datetime | None, datetime | None]:
    start, end = _parse_date(call, "date_from"), _parse_date(call, "date_to")
    if start is not None and end is not None and start > end:
        raise invalid("date_from must be before date_to")
    return start, end


def _all_stats(call: ApiCall) -> Response:
    call.resolve_parents()
    ids = [row.key for row in _surveys(call) if not row.data.get("archived")]
    start, end = _date_range(call)
    conditions = _Conditions(ids)
    conditions.between(start, end)
    body = _compute(call, conditions)
    if not ids:
        body["stats"] = {}
    return json_response(call.operation.result.status, body)


def _responses_count(call: ApiCall) -> Response:
    call.resolve_parents()
    starts = [date for row in _surveys(call) if (date := _stored_date(row, "start_date"))]
    if not starts:
        return json_response(call.operation.result.status, {})
    conditions = _Conditions([row.key for row in _surveys(call)])
    conditions.between(min(starts), None)
    rows = query_rows(
        call,
        "SELECT properties.$survey_id AS survey, count() FROM events "  # noqa: S608
        f"WHERE event = 'survey sent' AND {conditions.sql()} "
        f"AND {_latest_responses(conditions.sql())} "
        "GROUP BY survey LIMIT 50000",
        conditions.values,
    )
    return json_response(call.operation.result.status, {str(name): count for name, count in rows})


def _responses(call: ApiCall) -> Response:
    row = _survey(call)
    limit, offset = _number(call, "limit", 100), _number(call, "offset", 0)
    conditions = _Conditions([row.key])
    conditions.between(_parse_date(call, "since"), _parse_date(call, "until"))
    events = query_rows(
        call,
        "SELECT toString(uuid), distinct_id, toString(timestamp), properties FROM events "  # noqa: S608
        f"WHERE event = 'survey sent' AND {conditions.sql()} "
        f"AND {_latest_responses(conditions.sql())} "
        f"ORDER BY timestamp DESC, uuid LIMIT {_MAX_RESPONSES}",
        conditions.values,
    )
    archived = set(_archived(call, row))
    excludes = (call.request.query_value("exclude_archived") or "").lower() in {"true", "1"}
    rows = [
        response
        for event in events
        if not (excludes and event[0] in archived)
        and _is_selected(call, response := _response_row(row.data, event))
    ]
    body = {
        "results": rows[offset : offset + limit],
        "has_more": len(rows) > offset + limit,
        "limit": limit,
        "offset": offset,
    }
    return json_response(call.operation.result.status, body)


def _number(call: ApiCall, name: str, default: int) -> int:
    text = call.request.query_value(name) or ""
    return int(text) if text.isascii() and text.isdigit() else default


def _response_row(survey: Mapping[str, Any], event: list[Any]) -> dict[str, Any]:
    event_uuid, distinct_id, timestamp, packed = event
    properties = as_object(json.loads(packed) if isinstance(packed, str) else packed)
    questions = survey.get("questions")
    answers: list[dict[str, Any]] = []
    for index, item in enumerate(questions if is_array(questions) else ()):
        question = as_object(item)
        # Newer SDKs name the answer by the id of the question, older ones by its position.
        older = "$survey_response" if index == 0 else f"$survey_response_{index}"
        answer = properties.get(f"$survey_response_{question.get('id')}", properties.get(older))
        if answer is None:
            continue
        answers.append(
            {
                "question_id": str(question.get("id")),
                "question_index": index,
                "question_text": str(question.get("question") or ""),
                "question_type": str(question.get("type") or ""),
                "answer": answer,
            }
        )
    extra = {name: properties.get(source) for name, source in _EXTRA.items()}
    return {
        "uuid": event_uuid,
        "distinct_id": distinct_id,
        "session_id": properties.get("$session_id"),
        "submitted_at": _iso(timestamp),
        "answers": answers,
        "extra": {name: None if value is None else str(value) for name, value in extra.items()},
    }


def _is_selected(call: ApiCall, response: Mapping[str, Any]) -> bool:
    """Return whether a response has an answer to the question, and a score in the range."""
    question = call.request.query_value("question_id")
    answers = [
        answer["answer"]
        for answer in response["answers"]
        if question is None or answer["question_id"] == question
    ]
    if question is not None and not answers:
        return False
    bounds = [call.request.query_value(name) for name in ("score_gte", "score_lte")]
    if bounds == [None, None]:
        return True
    lowest, highest = (None if text is None else float(text) for text in bounds)
    scores = [score for answer in answers if (score := _score(answer)) is not None]
    return any(
        (lowest is None or score >= lowest) and (highest is None or score <= highest)
        for score in scores
    )


def _score(answer: Any) -> float | None:
    try:
        return float(answer)
    except (TypeError, ValueError):
        return None


def _archived(call: ApiCall, row: StoredObject) -> list[str]:
    path = fill_path(_ARCHIVED, [call.project])
    archived: list[str] = call.state.store.singletons.setdefault(path, {}).setdefault(row.key, [])
    return archived


def _set_archived(*, archived: bool) -> Callable[[ApiCall], Response]:
    def handler(call: ApiCall) -> Response:
        uuids, response = _archived(call, _survey(call)), call.path_values[-1]
        if archived and response not in uuids:
            uuids.append(response)
        elif not archived and response in uuids:
            uuids.remove(response)
        return json_response(call.operation.result.status, {"success": True})

    return handler


def _archived_uuids(call: ApiCall) -> Response:
    return json_response(call.operation.result.status, list(_archived(call, _survey(call))))


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    "surveys.launch": OperationHandler(_set_dates(_launch_dates)),
    "surveys.stop": OperationHandler(_set_dates(_stop_dates)),
    "surveys.stats": OperationHandler(_stats),
    "surveys.all_stats": OperationHandler(_all_stats),
    "surveys.responses_count": OperationHandler(_responses_count),
    "surveys.responses.list": OperationHandler(_responses),
    "surveys.responses.archive": OperationHandler(_set_archived(archived=True), validates=False),
    "surveys.responses.unarchive": OperationHandler(_set_archived(archived=False), validates=False),
    "surveys.responses.list_archived_uuids": OperationHandler(_archived_uuids),
}
