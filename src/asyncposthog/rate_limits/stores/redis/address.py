"""Parse and validate the address of a Redis server. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from asyncposthog.config import Secret
from asyncposthog.errors import ConfigurationError

__all__ = ["Address", "parse_url", "validate_prefix"]

_SCHEMES: Final = ("redis", "rediss", "unix")
_SUGGESTION: Final = (
    "Write redis://host:6379/0, rediss://user:password@host:6379/0 for TLS, or "
    "unix:///path/to/socket. Characters such as @ and / in a password are written as %40 and %2F."
)


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a Redis server."""

    url: Secret
    """The whole URL, with user and password."""
    display: str
    """The URL without user, password and options, for logs and errors."""


def parse_url(value: object) -> Address:
    """Return the address that a URL stands for.

    Raises:
        ConfigurationError: The URL is invalid. The message shows no part of it but its scheme.
        TypeError: It is not a str.
    """
    if isinstance(value, Secret):
        value = value.reveal()
    if not isinstance(value, str):
        raise TypeError(f"the URL of Redis must be a str, not {type(value).__name__}")
    error, display = _inspect(value)
    if error:
        raise ConfigurationError(f"The URL of Redis {error}.", suggestion=_SUGGESTION)
    return Address(Secret(value), display)


def _inspect(url: str) -> tuple[str, str]:
    """Return what is wrong with a URL, or an empty string and the part that may be displayed."""
    if not url:
        return "is empty", ""
    if not re.fullmatch(r"[!-~]+", url):
        return "has spaces, line breaks or characters outside ASCII", ""
    if "#" in url:
        # urlsplit would cut the password there, and redis-py would connect with the rest.
        return "has a part after #: a # in a password must be written as %23", ""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "has a port that is not a number up to 65535, or unbalanced brackets", ""
    if parts.scheme not in _SCHEMES:
        # A password may stand where a scheme belongs, so only a plain word is displayed.
        is_word = re.fullmatch(r"[a-z]{2,10}", parts.scheme) and "://" in url
        return f"begins with {parts.scheme}://" if is_word else "has no scheme", ""
    if parts.scheme == "unix":
        return ("", f"unix://{parts.path}") if len(parts.path) > 1 else ("names no socket", "")
    if not host:
        return "names no host", ""
    if port == 0:
        return "has port 0", ""
    if not re.fullmatch(r"(/[0-9]{0,6})?", parts.path):
        return "must have nothing but the number of a database after the host", ""
    display_host = f"[{host}]" if ":" in host else host
    return "", f"{parts.scheme}://{display_host}:{port or 6379}{parts.path}"


def validate_prefix(value: object) -> str:
    """Return a valid prefix of Redis keys.

    Raises:
        ConfigurationError: It is empty, too long, or has spaces, braces or non-ASCII characters.
        TypeError: It is not a str.
    """
    if not isinstance(value, str):
        raise TypeError(f"prefix must be a str, not {type(value).__name__}")
    # Braces would change the hash tag that puts all keys into one slot of a Redis Cluster.
    if not re.fullmatch(r"[!-z|~]{1,100}", value):
        raise ConfigurationError(
            "prefix must be 1 to 100 visible ASCII characters without braces.",
            suggestion="Clients with the same prefix share their limits; the default is "
            "'asyncposthog'.",
        )
    return value
