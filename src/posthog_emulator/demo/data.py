"""The values that demo data is composed of: channels, devices, places, names, event names.

The texts are fragments of JSON objects, which SQL concatenates: it generates events many times
faster than Python could. A value that is twice in a list is twice as likely.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["LISTS", "PLACES"]


def _json_fragment(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"))[1:-1]


def _channel(
    referrer: str, source: str = "", medium: str = "", campaign: str = ""
) -> dict[str, Any]:
    # PostHog's library sends `$direct` as referrer and as domain if the browser sends no referrer.
    domain = referrer.split("/")[2] if "//" in referrer else "$direct"
    fields = {"$referrer": referrer, "$referring_domain": domain}
    if source:
        fields |= {"utm_source": source, "utm_medium": medium, "utm_campaign": campaign}
    return fields


_SOURCES: Sequence[tuple[int, dict[str, Any]]] = (
    (8, _channel("$direct")),
    (7, _channel("https://www.google.com/")),
    (4, _channel("https://www.google.com/", "google", "cpc", "brand")),
    (2, _channel("https://www.google.com/", "google", "cpc", "documents")),
    (2, _channel("https://www.bing.com/")),
    (2, _channel("https://news.ycombinator.com/", "hackernews", "social", "launch")),
    (2, _channel("https://www.linkedin.com/", "linkedin", "paid-social", "teams")),
    (1, _channel("https://t.co/", "twitter", "social", "launch")),
    (2, _channel("$direct", "newsletter", "email", "weekly")),
    (1, _channel("https://github.com/", "github", "referral", "readme")),
    (1, _channel("https://chatgpt.com/", "chatgpt.com", "referral", "answers")),
)
_CHANNELS = [_json_fragment(fields) for weight, fields in _SOURCES for _ in range(weight)]
_INITIAL = [
    _json_fragment({f"$initial_{name.removeprefix('$')}": value for name, value in fields.items()})
    for weight, fields in _SOURCES
    for _ in range(weight)
]
"""The initial properties of persons, for the channel at the same index of `_CHANNELS`."""


def _device(
    browser: str, version: int, system: str, kind: str, width: int, height: int
) -> dict[str, Any]:
    return {
        "$browser": browser,
        "$browser_version": version,
        "$os": system,
        "$device_type": kind,
        "$screen_width": width,
        "$screen_height": height,
    }


_DEVICES = [
    _json_fragment(fields)
    for weight, fields in (
        (8, _device("Chrome", 138, "Windows", "Desktop", 1920, 1080)),
        (6, _device("Chrome", 138, "Mac OS X", "Desktop", 1728, 1117)),
        (4, _device("Safari", 18, "Mac OS X", "Desktop", 1512, 982)),
        (2, _device("Firefox", 140, "Linux", "Desktop", 1920, 1080)),
        (2, _device("Microsoft Edge", 138, "Windows", "Desktop", 1536, 864)),
        (5, _device("Mobile Safari", 18, "iOS", "Mobile", 393, 852)),
        (4, _device("Chrome", 137, "Android", "Mobile", 412, 915)),
        (1, _device("Mobile Safari", 18, "iOS", "Tablet", 820, 1180)),
    )
    for _ in range(weight)
]


def _place(code: str, country: str, city: str, zone: str) -> str:
    return _json_fragment(
        {
            "$geoip_country_code": code,
            "$geoip_country_name": country,
            "$geoip_city_name": city,
            "$geoip_time_zone": zone,
        }
    )


PLACES: list[tuple[int, str]] = [
    (offset, _place(code, country, city, zone))
    for weight, offset, code, country, city, zone in (
        (5, -5, "US", "United States", "New York", "America/New_York"),
        (3, -6, "US", "United States", "Austin", "America/Chicago"),
        (4, -8, "US", "United States", "San Francisco", "America/Los_Angeles"),
        (4, 0, "GB", "United Kingdom", "London", "Europe/London"),
        (4, 1, "DE", "Germany", "Berlin", "Europe/Berlin"),
        (2, 1, "FR", "France", "Lyon", "Europe/Paris"),
        (2, 1, "NL", "Netherlands", "Utrecht", "Europe/Amsterdam"),
        (1, 1, "PL", "Poland", "Kraków", "Europe/Warsaw"),
        (3, 5, "IN", "India", "Bengaluru", "Asia/Kolkata"),
        (1, 8, "SG", "Singapore", "Singapore", "Asia/Singapore"),
        (1, 9, "JP", "Japan", "Osaka", "Asia/Tokyo"),
        (2, -3, "BR", "Brazil", "São Paulo", "America/Sao_Paulo"),
        (1, 10, "AU", "Australia", "Melbourne", "Australia/Melbourne"),
    )
    for _ in range(weight)
]
"""The offset from UTC in hours, and the place."""

_FIRST_NAMES = (
    "Ada", "Bela", "Chidi", "Dora", "Emil", "Farah", "Goran", "Hana", "Ivo", "June", "Kofi", "Lena",
    "Mira", "Nils", "Olga", "Paulo", "Quinn", "Rosa", "Sami", "Tove", "Uma", "Vera", "Wen", "Yara",
)  # fmt: skip

_COMPANIES = (
    "Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Ginkgo", "Hazel", "Ivy", "Juniper",
    "Katsura", "Larch", "Maple", "Nutmeg", "Oak", "Pine",
)  # fmt: skip


def _error(kind: str, text: str, function: str, file: str, line: int) -> str:
    frame = {"function": function, "filename": file, "lineno": line, "in_app": True}
    stack = {"type": "resolved", "frames": [frame]}
    return _json_fragment(
        {
            "$exception_types": [kind],
            "$exception_values": [text],
            "$exception_fingerprint": f"{kind}:{file}:{line}",
            "$exception_level": "error",
            "$exception_list": [{"type": kind, "value": text, "stacktrace": stack}],
        }
    )


_UNDEFINED = "Cannot read properties of undefined (reading 'id')"
_ERRORS = [
    _error("TypeError", _UNDEFINED, "openDocument", "app.js", 412),
    _error("TypeError", _UNDEFINED, "openDocument", "app.js", 412),
    _error("ChunkLoadError", "Loading chunk 17 failed", "requireEnsure", "runtime.js", 88),
    _error("NetworkError", "Failed to fetch", "saveDraft", "sync.js", 129),
    _error("RangeError", "Maximum call stack size exceeded", "renderTree", "tree.js", 57),
]
"""The first one twice: an error of a bad release that many users have."""

_SIGNUP = (
    "$pageview", "$pageview", "$pageview", "signup started", "$feature_flag_called", "signed up",
    "$identify", "onboarding step completed", "$pageview",
)  # fmt: skip
_ACTIVATION = ("$pageview", "onboarding step completed", "project created", "document created")
_PURCHASE = ("$pageview", "pricing viewed", "checkout started", "purchase completed")
_WORK = (
    "$pageview", "$pageview", "$pageview", "$pageview", "$autocapture", "$autocapture",
    "document created", "document edited", "document edited", "document shared",
    "search performed", "file uploaded", "teammate invited", "$feature_flag_called",
)  # fmt: skip

LISTS: Mapping[str, Sequence[str]] = {
    "channels": _CHANNELS,
    "initial_channels": _INITIAL,
    "devices": _DEVICES,
    "places": [place for _, place in PLACES],
    "first_names": _FIRST_NAMES,
    "company_names": _COMPANIES,
    "errors": _ERRORS,
    "signup": _SIGNUP,
    "activation": _ACTIVATION,
    "purchase": _PURCHASE,
    "work": _WORK,
    "looks": ("$pageview", "$pageview", "$pageview", "$autocapture"),
    "public": ("/", "/", "/pricing", "/features", "/blog/launch", "/docs", "/templates"),
    "private": (
        "/home", "/home", "/documents", "/documents/recent", "/search", "/settings", "/billing",
    ),
}  # fmt: skip
"""The lists that SQL picks from, by their name in the templates.

`signup`, `activation` and `purchase` are the events of a session in order. Those of the other
sessions are picked at random from `work` and `looks`."""
