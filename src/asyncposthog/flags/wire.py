"""Requests to `/flags` and their responses, in all versions of the format. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeGuard

from pydantic_core import from_json, to_json

from asyncposthog.errors import DecodeError
from asyncposthog.operation import Body, Operation, Parameter, Result

from .snapshot import FlagReason, FlagResult, FlagValue, Unavailable

__all__ = [
    "DEFINITIONS",
    "EVALUATE",
    "FlagsResponse",
    "Subject",
    "make_subject",
    "parse_response",
    "request_body",
]

EVALUATE: Final = Operation(
    id="flags.evaluate",
    method="POST",
    path="/flags/",
    owner=None,
    parameters=(Parameter(name="v", python_name="v", location="query", type="integer"),),
    body=Body(),
    result=Result(kind="json"),
    buckets=(),
    writes=False,
    idempotent=True,
)
DEFINITIONS: Final = Operation(
    id="flags.definitions",
    method="GET",
    path="/flags/definitions",
    owner=None,
    parameters=(
        Parameter(name="token", python_name="token", location="query"),
        Parameter(name="send_cohorts", python_name="send_cohorts", location="query"),
    ),
    result=Result(kind="json"),
    scopes=("feature_flag:read",),
    buckets=(),
    writes=False,
    idempotent=True,
)

_QUOTA: Final = "feature_flags"


class Subject(NamedTuple):
    """The person and groups to evaluate flags for."""

    distinct_id: str
    groups: Mapping[str, str]
    """The key of each group by group type."""
    person_properties: Mapping[str, Any]
    group_properties: Mapping[str, Mapping[str, Any]]
    device_id: str | None = None
    disable_geoip: bool | None = None


def make_subject(
    distinct_id: object,
    groups: Mapping[str, object] | None = None,
    person_properties: Mapping[str, Any] | None = None,
    group_properties: Mapping[str, Mapping[str, Any]] | None = None,
    device_id: str | None = None,
    disable_geoip: bool | None = None,
) -> Subject:
    """Validate the arguments of an evaluation.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The distinct id or the key of a group is empty, or properties belong to a group
            type that `groups` does not have.
    """
    if not isinstance(distinct_id, str):
        if isinstance(distinct_id, bool) or not isinstance(distinct_id, int):
            raise TypeError(f"distinct_id must be a str, not {type(distinct_id).__name__}")
        distinct_id = str(distinct_id)
    if not distinct_id:
        raise ValueError("distinct_id is empty: flags are evaluated for a person")
    if not groups and not group_properties:
        return Subject(
            distinct_id, {}, person_properties or {}, {}, device_id or None, disable_geoip
        )
    keys: dict[str, str] = {}
    for name, value in (groups or {}).items():
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise ValueError(f"groups[{name!r}] must be the key of a group, not {value!r}")
        keys[name] = str(value)
    unknown = sorted(set(group_properties or {}) - set(keys))
    if unknown:
        raise ValueError(
            f"group_properties has {', '.join(unknown)}, and groups has no such group; add its key "
            "to groups"
        )
    return Subject(
        distinct_id,
        keys,
        person_properties or {},
        group_properties or {},
        device_id or None,
        disable_geoip,
    )


def request_body(token: str, subject: Subject, keys: Iterable[str] | None) -> dict[str, Any]:
    """Return the body of a request to `/flags`."""
    body: dict[str, Any] = {
        "token": token,
        "distinct_id": subject.distinct_id,
        "groups": subject.groups,
        "person_properties": subject.person_properties,
        "group_properties": subject.group_properties,
        "geoip_disable": bool(subject.disable_geoip),
    }
    if subject.device_id is not None:
        body["device_id"] = subject.device_id
    if keys is not None:
        body["flag_keys_to_evaluate"] = sorted(keys)
    return body


@dataclass(frozen=True, slots=True)
class FlagsResponse:
    """The parsed response of `/flags`."""

    results: dict[str, FlagResult]
    unavailable: dict[str, Unavailable]
    incomplete: Unavailable | None
    request_id: str | None
    evaluated_at: datetime | None
    minimal_events: bool


def parse_response(content: bytes, host: str = "") -> FlagsResponse:
    """Parse a response of `/flags`, whatever version of the format the server chose.

    Raises:
        DecodeError: It is not JSON, or has no flags.
    """
    try:
        body: Any = from_json(content)
    except ValueError:
        raise _not_flags("it is not JSON", host) from None
    if not _is_object(body):
        raise _not_flags("it is not an object", host)
    results: dict[str, FlagResult] = {}
    unavailable: dict[str, Unavailable] = {}
    incomplete: Unavailable | None = None
    if _is_quota_limited(body.get("quotaLimited")):
        incomplete = Unavailable("quota_limited")
    elif body.get("errorsWhileComputingFlags") is True:
        incomplete = Unavailable("errors_while_computing_flags")
    records, legacy = body.get("flags"), body.get("featureFlags")
    if _is_object(records):
        for key, record in records.items():
            result = _parse_record(key, record)
            if result is None:
                unavailable[key] = Unavailable("evaluation_failed")
            else:
                results[key] = result
    elif _is_object(legacy):
        payloads = body.get("featureFlagPayloads")
        for key, value in legacy.items():
            if isinstance(value, bool | str):
                text = _payload_json(payloads.get(key)) if _is_object(payloads) else None
                results[key] = FlagResult(key, value, payload_json=text)
            else:
                unavailable[key] = Unavailable("evaluation_failed")
    elif incomplete is None:
        raise _not_flags("it has no flags", host)
    if incomplete is not None and incomplete.code == "quota_limited":
        # Whatever is in it was not evaluated for this request.
        results, unavailable = {}, {}
    return FlagsResponse(
        results,
        unavailable,
        incomplete,
        _text(body.get("requestId")),
        _timestamp(body.get("evaluatedAt")),
        body.get("minimalFlagCalledEvents") is True,
    )


def _parse_record(key: str, record: object) -> FlagResult | None:
    """Return the result of a record, or None if the server could not evaluate the flag."""
    if not _is_object(record) or record.get("failed") is True:
        return None
    metadata = record.get("metadata")
    about: Mapping[str, Any] = metadata if _is_object(metadata) else {}
    payload = about.get("payload")
    if "value" in record:
        # From version 3 on; a number or an object is a value that is its own payload.
        typed = record["value"]
        if typed is None:
            return None
        value: FlagValue = typed if isinstance(typed, bool | str) else True
        if not isinstance(typed, bool | str):
            payload = to_json(typed).decode()
    else:
        enabled, variant = record.get("enabled"), record.get("variant")
        if not isinstance(enabled, bool):
            return None
        value = variant if enabled and isinstance(variant, str) else enabled
    return FlagResult(
        key,
        value,
        _parse_reason(record.get("reason")),
        _payload_json(payload),
        _integer(about.get("id")),
        _integer(about.get("version")),
        about["has_experiment"] if isinstance(about.get("has_experiment"), bool) else None,
        False,
        _integer(about.get("config_version")),
        _text(about.get("rule_type")),
        _text(about.get("rule_id")),
        _text(about.get("variant_key")),
    )


def _parse_reason(reason: object) -> FlagReason | None:
    if not _is_object(reason) or not isinstance(reason.get("code"), str):
        return None
    return FlagReason(
        reason["code"], _text(reason.get("description")), _integer(reason.get("condition_index"))
    )


def _payload_json(payload: object) -> str | None:
    """Return a payload as JSON text. The server sends JSON text; anything else is its value."""
    if payload is None or isinstance(payload, str):
        return payload
    return to_json(payload).decode()


def _is_quota_limited(value: object) -> bool:
    return isinstance(value, Collection) and not isinstance(value, str) and _QUOTA in value


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _timestamp(value: object) -> datetime | None:
    """Return the datetime of milliseconds since 1970."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _not_flags(why: str, host: str) -> DecodeError:
    return DecodeError(
        f"The response of {host or 'the server'} to /flags/ cannot be used: {why}.",
        operation=EVALUATE.id,
        suggestion="Check that host is a PostHog instance, without a login page in front.",
    )
