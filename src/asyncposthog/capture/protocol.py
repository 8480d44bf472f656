"""The two capture protocols: the requests, and what their answers mean. No I/O, no clock."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal, TypeAlias, cast

from pydantic_core import from_json, to_json

from asyncposthog._version import __version__
from asyncposthog.operation import Operation

from .plan import Record

__all__ = [
    "SDK_INFO",
    "Accepted",
    "Answer",
    "Lane",
    "Refused",
    "Retry",
    "Split",
    "Unsupported",
    "Verdict",
    "Version",
    "answer_code",
    "capture_operation",
    "clock_skew",
    "encode_v0",
    "encode_v1",
    "judge_v0",
    "judge_v1",
    "v1_headers",
]

Version: TypeAlias = Literal["v1", "v0"]
Lane: TypeAlias = Literal["events", "ai"]

SDK_NAME: Final = "asyncposthog"
SDK_INFO: Final = f"{SDK_NAME}/{__version__}"

_PATHS: Final[dict[tuple[Version, Lane], str]] = {
    ("v1", "events"): "/i/v1/analytics/events",
    ("v1", "ai"): "/i/v1/ai/events",
    ("v0", "events"): "/batch/",
    ("v0", "ai"): "/i/v0/ai/batch/",
}
_RETRIED: Final = frozenset({404, 408, 429, 500, 502, 503, 504})
_RESULT: Final = b'"result":'
_OK: Final = b'"result":"ok"'
_RESULTS: Final = re.compile(rb'\s*\{"results":\{')
_QUOTA_CODE: Final = "billing_limit_exceeded"
_OPTION_PROPERTIES: Final = {
    "cookieless_mode": "$cookieless_mode",
    "disable_skew_correction": "$ignore_sent_at",
    "process_person_profile": "$process_person_profile",
    "product_tour_id": "$product_tour_id",
}


def capture_operation(version: Version, lane: Lane) -> Operation:
    """Return the operation of a capture endpoint. Its id, for `allow`, is `capture`."""
    return Operation(id="capture", method="POST", path=_PATHS[version, lane])


@dataclass(frozen=True, slots=True)
class Answer:
    """A response of a capture endpoint."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    code: str | None = None
    """The code of an error, such as `billing_limit_exceeded`."""
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server has answered for the events."""

    results: Mapping[str, tuple[str, str | None]]
    """The result and the details of each event, by UUID; v0 names none."""
    retry_after: float | None = None
    quota_limited: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """The same request may succeed later."""

    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """The request was refused for one of its events, or for its size."""

    reason: Literal["refused", "too_large"]


@dataclass(frozen=True, slots=True)
class Refused:
    """The request was refused whatever its events are."""

    reason: Literal["refused", "quota"]


@dataclass(frozen=True, slots=True)
class Unsupported:
    """The instance does not have the endpoint, as far as one can tell."""


Verdict: TypeAlias = Accepted | Retry | Split | Refused | Unsupported


def v1_headers(attempt: int, request_id: str, now: str) -> tuple[tuple[str, str], ...]:
    """Return the headers that v1 requires.

    Args:
        attempt: The number of the attempt, from 1.
        request_id: The same for all attempts.
        now: The time of the attempt, as RFC 3339 text.
    """
    return (
        ("PostHog-Sdk-Info", SDK_INFO),
        ("PostHog-Attempt", str(attempt)),
        ("PostHog-Request-Id", request_id),
        ("PostHog-Request-Timestamp", now),
    )


def encode_v1(records: Sequence[Record], created_at: str, *, historical: bool) -> bytes:
    """Return the body of a request to v1."""
    tail = b'],"historical_migration":true}' if historical else b"]}"
    return b"".join(
        (
            b'{"created_at":"',
            created_at.encode(),
            b'","batch":[',
            b",".join([record.body for record in records]),
            tail,
        )
    )


def encode_v0(records: Sequence[Record], token: str, sent_at: str, *, historical: bool) -> bytes:
    """Return the body of a request to v0, whose events have another form.

    Args:
        records: The events.
        token: The project token, which v0 has in the body.
        sent_at: The time of the attempt, by which the server corrects the clock of the client.
        historical: Whether the events are old ones that are migrated.
    """
    body: dict[str, Any] = {
        "api_key": token,
        "batch": [_to_v0(record.body) for record in records],
        "sent_at": sent_at,
    }
    if historical:
        body["historical_migration"] = True
    return to_json(body)


def _to_v0(body: bytes) -> dict[str, Any]:
    event: dict[str, Any] = from_json(body)
    properties: dict[str, Any] = event["properties"]
    for option, value in event.pop("options", {}).items():
        properties[_OPTION_PROPERTIES[option]] = value
    for field in ("session_id", "window_id"):
        if field in event:
            properties[f"${field}"] = event.pop(field)
    properties["$lib"], properties["$lib_version"] = SDK_NAME, __version__
    return event


def judge_v1(answer: Answer, count: int, *, proven: bool) -> Verdict:
    """Return what an answer of v1 means.

    Args:
        answer: The response.
        count: The number of events that were sent.
        proven: Whether the instance is known to have v1.
    """
    status = answer.status
    if 200 <= status < 300:
        # Nearly all answers have nothing but `ok`, and need not be parsed. A quotation mark inside
        # of a text is escaped, so the pattern is no part of one.
        content = answer.content
        if content.count(_RESULT) == content.count(_OK) == count and _RESULTS.match(content):
            return Accepted({})
        results = _results(content)
        if results is not None:
            limited = any(detail == _QUOTA_CODE for _, detail in results.values())
            return Accepted(results, answer.retry_after, limited)
        # A web page, as an instance without v1 may show for any path. On one that has v1, the
        # request is not repeated: it was accepted, in words that this client does not know.
        return Accepted({}) if proven else Unsupported()
    if not proven and _lacks_endpoint(answer):
        return Unsupported()
    return _judge_error(answer)


def judge_v0(answer: Answer, *, proven: bool) -> Verdict:
    """Return what an answer of v0 means; see `judge_v1`."""
    if 200 <= answer.status < 300:
        body = _object(answer.content)
        return Accepted({}, None, bool(body.get("quota_limited")))
    if not proven and _lacks_endpoint(answer):
        return Unsupported()
    return _judge_error(answer)


def _judge_error(answer: Answer) -> Verdict:
    status = answer.status
    if status == 402 or (status == 429 and answer.code == _QUOTA_CODE):
        return Refused("quota")
    if status in _RETRIED or status >= 500:
        return Retry(answer.retry_after)
    if status == 413:
        return Split("too_large")
    return Split("refused") if status in {400, 422} else Refused("refused")


def _lacks_endpoint(answer: Answer) -> bool:
    """Return whether an error looks like that of a path that the instance does not have."""
    if answer.status in {404, 405} or 300 <= answer.status < 400:
        return True
    # Django rejects a POST to an unknown path as a forged one, with a web page.
    return answer.status == 403 and "html" in answer.headers.get("content-type", "")


def answer_code(content: bytes) -> str | None:
    """Return the code of an error of v1, such as `payload_too_large`; None: there is none."""
    code: object = _object(content).get("error")
    return code if isinstance(code, str) and len(code) < 100 else None


def _object(content: bytes) -> dict[str, Any]:
    try:
        value: object = from_json(content)
    except ValueError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _results(content: bytes) -> dict[str, tuple[str, str | None]] | None:
    results: object = _object(content).get("results")
    if not isinstance(results, dict):
        return None
    parsed: dict[str, tuple[str, str | None]] = {}
    for uuid, item in cast("dict[str, object]", results).items():
        fields = cast("dict[str, object]", item) if isinstance(item, dict) else {}
        result, details = fields.get("result"), fields.get("details")
        parsed[uuid.lower()] = (
            result if isinstance(result, str) else "ok",
            details if isinstance(details, str) else None,
        )
    return parsed


def clock_skew(date: str | None, now: float) -> float | None:
    """Return by how many seconds the clock of the server is ahead; None if it is not known.

    Args:
        date: The header `Date` of a response.
        now: The time of this machine, in seconds since 1970.
    """
    if not date:
        return None
    try:
        return parsedate_to_datetime(date).timestamp() - now
    except (TypeError, ValueError, OverflowError):
        return None
