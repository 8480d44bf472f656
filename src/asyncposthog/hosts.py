"""Hosts: the regions of PostHog Cloud, and the URLs of self-hosted instances."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from .errors import ConfigurationError
from .redact import mask
from .types import Region

__all__ = ["CLOUD", "Hosts", "region_hosts", "resolve_host"]


@dataclass(frozen=True, slots=True)
class Hosts:
    """The base URLs of an instance: scheme, host, port and path prefix, without a final slash."""

    app: str
    """The host of the REST API."""
    ingest: str
    """The host for capture and flag evaluation."""
    region: Region | None
    """None for a self-hosted instance."""


CLOUD: Final[dict[Region, Hosts]] = {
    "us": Hosts("https://us.posthog.com", "https://us.i.posthog.com", "us"),
    "eu": Hosts("https://eu.posthog.com", "https://eu.i.posthog.com", "eu"),
}

_CLOUD_NAMES: Final[dict[str, Region]] = {
    "us.posthog.com": "us",
    "us.i.posthog.com": "us",
    "app.posthog.com": "us",
    "app.i.posthog.com": "us",
    "eu.posthog.com": "eu",
    "eu.i.posthog.com": "eu",
}


def region_hosts(region: object) -> Hosts:
    """Return the hosts of a PostHog Cloud region."""
    if not isinstance(region, str):
        raise TypeError(f"region must be 'us' or 'eu', not {type(region).__name__}")
    if region not in CLOUD:
        raise ConfigurationError(
            f"There is no region {region!r}.",
            suggestion="Use region='us' or region='eu', or host= for a self-hosted PostHog.",
        )
    return CLOUD[region]


def resolve_host(host: object, *, allow_http: bool = False) -> Hosts:
    """Return the hosts for a URL.

    The app host or the ingest host of a region returns both. Any other URL is a self-hosted
    instance with one host. A final `/api` is removed, and a path before it is kept.

    Raises:
        ConfigurationError: The URL is invalid, or uses `http://` for a public host.
        TypeError: The URL is not a str.
    """
    if not isinstance(host, str):
        raise TypeError(f"host must be a URL as a str, not {type(host).__name__}")
    parts = _split_url(host)
    name = parts.hostname or ""
    prefix = parts.path.rstrip("/").removesuffix("/api")
    if any(segment in {"", ".", ".."} for segment in prefix.split("/")[1:]):
        raise _invalid_host(host, "its path has an empty or a dot segment")
    if name in {"posthog.com", "www.posthog.com"}:
        raise ConfigurationError(
            f"{_displayable(host)!r} is PostHog's home page, not its API.",
            suggestion="Use region='us' or region='eu'.",
        )
    _check_scheme(parts, host, allow_http)
    if name in _CLOUD_NAMES:
        region = _CLOUD_NAMES[name]
        if prefix or parts.port not in {None, 443}:
            raise ConfigurationError(
                f"{_displayable(host)!r} is a page of PostHog Cloud, not its host.",
                suggestion=f"Use region={region!r}, or host={CLOUD[region].app!r}.",
            )
        return CLOUD[region]
    base = f"{parts.scheme}://{parts.netloc.lower()}{prefix}"
    return Hosts(base, base, None)


def _split_url(host: str) -> SplitResult:
    if "@" in host:
        # The message does not show the URL: the part before the @ is a credential.
        raise ConfigurationError(
            "The host URL contains a user name or password.",
            suggestion="Remove them; pass the key as api_key.",
        )
    if host != host.strip() or not host.isascii() or not host.isprintable() or " " in host:
        raise _invalid_host(host, "it has spaces, or characters that no URL has")
    if any(character in host for character in "\\%<>\"'{}|^`"):
        raise _invalid_host(host, "it has characters that no host has")
    try:
        parts = urlsplit(host)
        parts.port  # noqa: B018 - reading it checks it
    except ValueError as error:
        raise _invalid_host(host, str(error)) from None
    if parts.scheme not in {"http", "https"}:
        raise _invalid_host(host, "it does not begin with https://")
    if not parts.hostname or parts.netloc.endswith(":"):
        raise _invalid_host(host, "it names no host")
    if "?" in host or "#" in host:
        raise _invalid_host(host, "it has a query or a fragment")
    if len(host) > 1000:
        raise _invalid_host(host, "it is longer than 1,000 characters")
    _check_host_name(host, parts.hostname)
    return parts


def _check_host_name(host: str, name: str) -> None:
    """Raise an error for a host name that DNS cannot look up or httpx does not accept."""
    import httpx  # not for a limiter that is used without a client

    if ":" not in name:  # an IPv6 address is checked by the parser
        labels = name.removesuffix(".").split(".")
        if len(name) > 253 or not all(0 < len(label) < 64 for label in labels):
            raise _invalid_host(host, "a part of its name is empty or longer than 63 characters")
    try:
        httpx.URL(host).host  # noqa: B018 - reading it checks it
    except (httpx.InvalidURL, UnicodeError) as error:
        raise _invalid_host(host, str(error)) from None


def _check_scheme(parts: SplitResult, host: str, allow_http: bool) -> None:
    if parts.scheme == "https" or allow_http or _is_loopback(parts.hostname or ""):
        return
    raise ConfigurationError(
        f"{_displayable(host)!r} would send the key unencrypted.",
        suggestion="Use https://, or allow_http=True for a network you trust.",
    )


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _displayable(host: str) -> str:
    """Show a URL without its query, and without anything like a key."""
    return mask(host.partition("?")[0].partition("#")[0][:200])


def _invalid_host(host: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{_displayable(host)!r} is not a host URL: {why}.",
        suggestion="Write it like 'https://eu.posthog.com' or 'https://posthog.example.org'.",
    )
