"""String formats: what the server refuses, in its own sentences."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time
from urllib.parse import urlsplit
from uuid import UUID

__all__ = ["FORMATS", "fits", "sentence"]

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


def _uuid(text: str) -> bool:
    UUID(text)
    return True


def _datetime(text: str) -> bool:
    datetime.fromisoformat(text)
    return len(text) > len("2026-01-01")


def _date(text: str) -> bool:
    date.fromisoformat(text)
    return True


def _time(text: str) -> bool:
    time.fromisoformat(text)
    return True


def _uri(text: str) -> bool:
    parts = urlsplit(text)
    return bool(parts.scheme and (parts.netloc or parts.path)) and " " not in text


def _email(text: str) -> bool:
    return _EMAIL.fullmatch(text) is not None


FORMATS: dict[str, tuple[Callable[[str], bool], str]] = {
    "uuid": (_uuid, "Must be a valid UUID."),
    "date-time": (
        _datetime,
        "Datetime has wrong format. Use one of these formats instead: "
        "YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z].",
    ),
    "date": (
        _date,
        "Date has wrong format. Use one of these formats instead: YYYY-MM-DD.",
    ),
    "time": (
        _time,
        "Time has wrong format. Use one of these formats instead: hh:mm[:ss[.uuuuuu]].",
    ),
    "uri": (_uri, "Enter a valid URL."),
    "email": (_email, "Enter a valid email address."),
}
"""By format: whether a text has it, and what is said when it has not."""


def fits(format: str | None, text: str) -> bool:
    """Whether a text has a format; True for formats nobody checks."""
    known = FORMATS.get(format or "")
    if known is None:
        return True
    try:
        return known[0](text)
    except ValueError:
        return False


def sentence(format: str | None) -> str:
    """What the server says of a text that lacks a format."""
    known = FORMATS.get(format or "")
    return "Not a valid value." if known is None else known[1]
