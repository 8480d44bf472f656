"""Addresses of Redis servers. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from asyncposthog.config import Secret
from asyncposthog.errors import ConfigurationError

__all__ = ["Address", "read_prefix", "read_url"]

_SCHEMES: Final = ("redis", "rediss", "unix")
_SUGGESTION: Final = (
    "Write redis://host:6379/0, rediss://user:password@host:6379/0 for TLS, or "
    "unix:///path/to/socket. Characters such as @ and / in a password are written as %40 and %2F."
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Redis server is."""

    url: Secret
    """All of it, with user and password."""
    shown: str
    """What may be shown of it."""


def read_url(value: object) -> Address:
    """Check the URL of a Redis server.

    Raises:
        ConfigurationError: It is none. The message shows nothing of it but its scheme.
        TypeError: It is not even a str.
    """
    if isinstance(value, Secret):
        value = value.reveal()
    if not isinstance(value, str):
        raise TypeError(f"the URL of Redis must be a str, not {type(value).__name__}")
    problem, shown = _inspect(value)
    if problem:
        raise ConfigurationError(f"The URL of Redis {problem}.", suggestion=_SUGGESTION)
    return Address(Secret(value), shown)


def _inspect(url: str) -> tuple[str, str]:
    """Return what is wrong with a URL, or else the part of it that may be shown."""
    if not url:
        return "is empty", ""
    if not re.fullmatch(r"[!-~]+", url):
        return "has spaces, line breaks or characters outside ASCII", ""
    if "#" in url:
        return "has a part after #: a password with one in it must be encoded", ""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "has a port that is no number up to 65535, or brackets that do not match", ""
    if parts.scheme not in _SCHEMES:
        # A password may stand where a scheme would, so nothing but a plain word is shown.
        known = re.fullmatch(r"[a-z]{2,10}", parts.scheme) and "://" in url
        return f"begins with {parts.scheme}://" if known else "has no scheme", ""
    if parts.scheme == "unix":
        return ("", f"unix://{parts.path}") if len(parts.path) > 1 else ("names no socket", "")
    if not host:
        return "names no host", ""
    if port == 0:
        return "has port 0", ""
    if not re.fullmatch(r"(/[0-9]{0,6})?", parts.path):
        return "must end with the number of a database, or with nothing, after the host", ""
    shown = f"[{host}]" if ":" in host else host
    return "", f"{parts.scheme}://{shown}:{port or 6379}{parts.path}"


def read_prefix(value: object) -> str:
    """Check what names of keys begin with.

    Raises:
        ConfigurationError: It cannot be that.
        TypeError: It is not even a str.
    """
    if not isinstance(value, str):
        raise TypeError(f"prefix must be a str, not {type(value).__name__}")
    if not re.fullmatch(r"[!-z|~]{1,100}", value):
        raise ConfigurationError(
            "prefix must be 1 to 100 visible ASCII characters without braces.",
            suggestion="Clients with one prefix share their limits: 'asyncposthog' is the usual.",
        )
    return value
