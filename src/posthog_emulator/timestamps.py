"""Moments as whole microseconds since 1970, and the texts they come from and go to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["format_utc", "iso", "micros", "moment", "parsed"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(at: datetime) -> int:
    """Microseconds since 1970; a moment without a zone is taken as UTC."""
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    since = at - _EPOCH
    return since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds


def moment(value: int) -> datetime:
    """The moment so many microseconds after 1970, in UTC."""
    return _EPOCH + value * _MICROSECOND


def parsed(text: str) -> int | None:
    """Microseconds of an ISO 8601 text; None when it is none."""
    try:
        return micros(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def iso(value: int) -> str:
    """ISO 8601 as the events API writes it: `2026-01-01T00:00:00.123456+00:00`."""
    return moment(value).isoformat()


def format_utc(at: datetime) -> str:
    """Return an aware timestamp as most endpoints write it: `2026-01-01T00:00:00Z`."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
