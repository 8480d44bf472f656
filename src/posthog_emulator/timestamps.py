"""Timestamps as integers: microseconds since 1970-01-01 UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["format_micros", "format_utc", "from_micros", "parse_micros", "to_micros"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(at: datetime) -> int:
    """Return the microseconds since 1970 of a datetime. A naive one is taken as UTC."""
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    # In integers, because the float of `at.timestamp()` has microseconds only until 2255.
    since = at - _EPOCH
    return since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds


def from_micros(value: int) -> datetime:
    """Return the UTC datetime of a number of microseconds since 1970."""
    return _EPOCH + value * _MICROSECOND


def parse_micros(text: str) -> int | None:
    """Return the microseconds since 1970 of an ISO 8601 text; None if it cannot be parsed."""
    try:
        return to_micros(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def format_micros(value: int) -> str:
    """Return ISO 8601 as the events API formats it: `2026-01-01T00:00:00.123456+00:00`."""
    return from_micros(value).isoformat()


def format_utc(at: datetime) -> str:
    """Return an aware datetime as most endpoints format it: `2026-01-01T00:00:00Z`."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
