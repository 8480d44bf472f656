"""`/i/v1/{logs,traces,metrics}`: records of OpenTelemetry, in JSON or protobuf."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from posthog_emulator.http.errors import PlainTextError
from posthog_emulator.http.messages import Headers, Request, Response, json_response
from posthog_emulator.json_types import as_object, is_array, is_object
from posthog_emulator.state import EmulatorState
from posthog_emulator.timestamps import format_micros

from .codecs import ENCODINGS, decompress
from .otlp_protobuf import decode_otlp
from .parsing import token_error

__all__ = ["ROUTES", "SIGNALS", "TelemetryRecord", "telemetry_records"]

SIGNALS: Final[Mapping[str, tuple[str, str, str]]] = {
    "logs": ("resourceLogs", "scopeLogs", "logRecords"),
    "metrics": ("resourceMetrics", "scopeMetrics", "metrics"),
    "traces": ("resourceSpans", "scopeSpans", "spans"),
}
"""The names of the three levels of a request, by signal."""

_MAX_BODY_BYTES: Final = 2 << 20
_RETRY_SECONDS: Final = "900"
_LOGS: Final = "/api/projects/{}/logs/query/"
_LEVELS: Final = ("trace", "debug", "info", "warn", "error", "fatal")


@dataclass(frozen=True, slots=True)
class TelemetryRecord:
    """One log record, span or metric."""

    signal: str
    """`logs`, `traces` or `metrics`."""
    project_id: int
    record: Mapping[str, Any]
    """The fields as in OTLP's JSON, but with `attributes` and `body` as plain values."""
    resource: Mapping[str, Any]
    """The attributes of the resource, such as `service.name`."""
    scope: str
    """The name of the instrumentation scope."""


class _TelemetryError(Exception):
    """A request is rejected, with a status and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def telemetry_records(state: EmulatorState) -> deque[TelemetryRecord]:
    """Return the latest records, the oldest first; at most the emulator's `history_size`."""
    return state.extensions.setdefault("telemetry", deque(maxlen=state.history_size))


def _capture(state: EmulatorState, request: Request, *, signal: str) -> Response:
    if request.method == "OPTIONS":
        return json_response(200, {})
    if request.method != "POST":
        return Response(405, headers=[("Allow", "POST,OPTIONS")])
    try:
        token = _token(request)
        if signal in state.settings.exhausted_quotas:
            raise _TelemetryError(429, f"Over the {signal} ingestion quota for this project.")
        body = _parse(signal, _read_body(request))
        records = list(_records(signal, body))
    except _TelemetryError as error:
        after: Headers = [("Retry-After", _RETRY_SECONDS)] if error.status == 429 else []
        return json_response(error.status, {"error": error.message}, after)
    project = state.project_id_for_token(token)
    # As in the other capture endpoints, records with a token of no project are dropped.
    if project is not None:
        _keep(state, project, signal, records)
    return json_response(200, {})


def _token(request: Request) -> str:
    header = request.headers.get("authorization")
    token = request.query_value("token") or ""
    if header is not None:
        token = header.rpartition("Bearer ")[2]
    if not token:
        raise _TelemetryError(401, "No token provided")
    reason = token_error(token)
    if reason is not None:
        raise _TelemetryError(
            401,
            f"Invalid project API key ({reason}). Use your project API key, which you can find in "
            "your PostHog project settings.",
        )
    return token


def _read_body(request: Request) -> bytes:
    content = request.content
    packing = request.headers.get("content-encoding", "").lower()
    if content.startswith(b"\x1f\x8b"):
        packing = "gzip"
    try:
        if packing in ENCODINGS:
            content = decompress(content, packing, _MAX_BODY_BYTES)
        elif packing not in {"", "identity"}:
            raise _TelemetryError(415, f"Unsupported Content-Encoding: {packing}")
    except PlainTextError as error:
        raise _TelemetryError(error.status, error.text) from None
    if len(content) > _MAX_BODY_BYTES:
        raise _TelemetryError(413, f"the body is over {_MAX_BODY_BYTES} bytes")
    return content


def _parse(signal: str, content: bytes) -> list[dict[str, Any]]:
    """Return the requests in a body: protobuf, a JSON object, or one JSON object per line.

    The format is found by trying, as on the server, not from the content type.
    """
    try:
        return [decode_otlp(signal, content)]
    except ValueError as error:
        not_protobuf = error
    try:
        try:
            values = [json.loads(content)]
        except ValueError:
            values = [json.loads(line) for line in content.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise _TelemetryError(
            400, f"Failed to decode JSON: {error} or Protobuf: {not_protobuf}"
        ) from None
    if not all(is_object(value) for value in values):
        raise _TelemetryError(400, "Failed to decode JSON: an object is expected")
    return values


def _records(
    signal: str, bodies: list[dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], dict[str, Any], str]]:
    """Yield each record with the attributes of its resource and the name of its scope.

    Raises:
        _TelemetryError: 400, a level is not a list of objects.
    """
    resources, scopes, records = SIGNALS[signal]
    for body in bodies:
        for resource in _objects(body, resources):
            attributes = _plain_attributes(as_object(resource.get("resource")).get("attributes"))
            for scope in _objects(resource, scopes):
                name = str(as_object(scope.get("scope")).get("name") or "")
                for record in _objects(scope, records):
                    yield _plain_record(record), attributes, name


def _objects(holder: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    values: Any = holder.get(name) or []
    if not is_array(values) or not all(is_object(value) for value in values):
        raise _TelemetryError(400, f"Bad input format provided: {name}")
    return values


def _plain_record(record: Mapping[str, Any]) -> dict[str, Any]:
    plain = dict(record)
    if "attributes" in plain:
        plain["attributes"] = _plain_attributes(plain["attributes"])
    if "body" in plain:
        plain["body"] = _plain_value(plain["body"])
    return plain


def _plain_attributes(pairs: Any) -> dict[str, Any]:
    return {
        str(pair.get("key")): _plain_value(pair.get("value"))
        for pair in (pairs if is_array(pairs) else [])
        if is_object(pair)
    }


def _plain_value(value: Any) -> Any:
    """Return the plain value of an OTLP value such as `{"intValue": "3"}`."""
    if not is_object(value) or not value:
        return None
    kind, inner = next(iter(value.items()))
    if kind == "arrayValue":
        return [_plain_value(item) for item in as_object(inner).get("values") or ()]
    if kind == "kvlistValue":
        return _plain_attributes(as_object(inner).get("values"))
    if kind == "intValue":
        try:
            return int(inner)
        except (TypeError, ValueError):
            raise _TelemetryError(400, "Bad input format provided: intValue") from None
    return inner


def _keep(
    state: EmulatorState,
    project: int,
    signal: str,
    records: list[tuple[dict[str, Any], dict[str, Any], str]],
) -> None:
    telemetry = telemetry_records(state)
    for record, resource, scope in records:
        telemetry.append(TelemetryRecord(signal, project, record, resource, scope))
        if signal == "logs":
            _insert_log(state, project, record, resource)


def _insert_log(
    state: EmulatorState, project: int, record: Mapping[str, Any], resource: Mapping[str, Any]
) -> None:
    """Store a log record as an object, so that `POST logs/query/` lists it."""
    collection = state.plans.collections.get(_LOGS)
    if collection is None:
        return
    path = _LOGS.replace("{}", str(project))
    number = _integer(record.get("severityNumber"))
    at = _timestamp(record.get("timeUnixNano"))
    observed = _timestamp(record.get("observedTimeUnixNano"))
    now = state.now()
    body = record.get("body")
    fields = {
        "timestamp": at or observed or now,
        "observed_timestamp": observed or now,
        "body": body if isinstance(body, str) else json.dumps(body, ensure_ascii=False),
        "severity_number": number,
        "severity_text": record.get("severityText") or _level(number),
        "level": _level(number),
        "event_name": record.get("eventName") or "",
        "trace_id": record.get("traceId") or "",
        "span_id": record.get("spanId") or "",
        "trace_flags": _integer(record.get("flags")),
        "attributes": dict(record.get("attributes") or {}),
        "resource_attributes": dict(resource),
    }
    state.insert(collection, path, fields, project)
    rows = state.store.collection(path).rows
    while len(rows) > state.history_size:
        del rows[next(iter(rows))]


def _integer(value: Any) -> int:
    try:
        return int(value or 0)
    except (TypeError, ValueError):
        return 0


def _timestamp(nanoseconds: Any) -> str | None:
    value = _integer(nanoseconds)
    try:
        return format_micros(value // 1000) if value else None
    except (ValueError, OverflowError):
        return None


def _level(number: int) -> str:
    """Return the name of a severity from 1 to 24; each name stands for four numbers."""
    return _LEVELS[(number - 1) // 4] if 1 <= number <= 24 else "info"


ROUTES: Mapping[str, Callable[[EmulatorState, Request], Response]] = {
    f"{root}/{signal}": partial(_capture, signal=signal)
    for root in ("/i/v1", "/v1")
    for signal in SIGNALS
}
"""Handlers by path, without the trailing slash."""
