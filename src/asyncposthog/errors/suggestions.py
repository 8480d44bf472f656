"""Suggestions for error responses, in one or two sentences."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from asyncposthog.operation import Operation
from asyncposthog.redact import mask
from asyncposthog.types import KeyKind, Region

from . import RequestInfo

__all__ = ["ErrorContext", "ErrorResponse", "accepts_api_keys", "missing_scope", "suggestion_for"]

_MISSING_SCOPE: Final = re.compile(r"missing required scope '([^']{1,100})'")

_KINDS: Final[dict[KeyKind, str]] = {
    "personal": "a personal API key (phx_)",
    "project": "a project token (phc_)",
    "project_secret": "a project secret key (phs_)",
    "oauth": "an OAuth token (pha_)",
    "unprefixed": "a key without a prefix",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorContext:
    """The settings of a client that suggestions need."""

    app: str = "https://us.posthog.com"
    region: Region | None = "us"
    key_kind: KeyKind = "personal"
    redact: Callable[[str], str] = mask


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorResponse:
    """A parsed error response."""

    operation: Operation
    request: RequestInfo
    status: int
    code: str | None = None
    detail: str | None = None
    attr: str | None = None
    html: bool = False
    retry_after: float | None = None
    location: str | None = None


def missing_scope(detail: str | None) -> str | None:
    """Return the missing scope that an error message names."""
    hint = _MISSING_SCOPE.search(detail or "")
    return hint[1] if hint else None


def accepts_api_keys(response: ErrorResponse) -> bool | None:
    """Return whether the endpoint accepts API keys; None if the response does not say."""
    detail = response.detail or ""
    if "does not support personal API key access" in detail:
        return False
    if missing_scope(detail) or "project secret API key access" in detail:
        return True
    if detail.startswith(("API key", "OAuth token", "You don't have access")):
        return True
    return None if response.operation.api_key_allowed else False


def suggestion_for(response: ErrorResponse, context: ErrorContext) -> str:
    """Return a suggestion for an error response."""
    advice = _BY_STATUS.get(response.status)
    if advice is not None:
        return advice(response, context)
    if 300 <= response.status < 400:
        return _redirect(response, context)
    if response.status >= 500:
        return _server_error(response, context)
    return _DEFAULT


_DEFAULT: Final = (
    "`await ph.dry_run(method, …)` shows what the call sends, the error's .response what came back."
)


def _bad_request(response: ErrorResponse, context: ErrorContext) -> str:
    if response.attr:
        return f"Check the argument {response.attr.replace('__', '.')}."
    if "/query/" in response.operation.path:
        hint = (a for words, a in _QUERY_HINTS if words.search(response.detail or ""))
        return next(hint, "Check the query; what HogQL takes: https://posthog.com/docs/sql")
    return _DEFAULT


_QUERY_HINTS: Final = (
    (
        re.compile("OFFSET"),
        "Page by key instead of OFFSET, as ph.query.stream() does: WHERE (timestamp, uuid) > (…) "
        "ORDER BY both.",
    ),
    (
        re.compile(r"(?i)unable to resolve field|field not found|unknown (field|column)"),
        "There is no such column: an event's properties are properties.name, its person's "
        "person.properties.name.",
    ),
    (
        re.compile(r"(?i)unknown table|table not found"),
        "The tables are events, persons, sessions, groups, cohort_people and those of the data "
        "warehouse.",
    ),
    (
        re.compile(r"(?i)(unknown|unsupported|unresolved) function"),
        "HogQL has a part of ClickHouse's functions: "
        "https://posthog.com/docs/sql/clickhouse-functions",
    ),
    (
        re.compile(r"(?i)unresolved placeholder"),
        "Give the placeholder a value: ph.query(sql, values={…}).",
    ),
    (
        re.compile(r"(?i)syntax error|no viable alternative|mismatched input|unexpected token"),
        "Check the SQL near that place; HogQL is ClickHouse's SQL, with parts left out: "
        "https://posthog.com/docs/sql",
    ),
)


def _unauthorized(response: ErrorResponse, context: ErrorContext) -> str:
    kind = _KINDS[context.key_kind]
    advice = [f"The client sent {kind} to {context.app}."]
    if context.key_kind in {"project", "project_secret"}:
        advice.append("This API takes personal API keys (phx_).")
    if context.region is not None:
        other: Region = "eu" if context.region == "us" else "us"
        advice.append(
            f"A key works only in the region it was made in: if that is {other.upper()}, "
            f"use region={other!r}."
        )
    else:
        advice.append("A key works only on the instance it was made on.")
    advice.append("It may also have been deleted; `await ph.doctor()` tells these apart.")
    return " ".join(advice)


def _payment_required(response: ErrorResponse, context: ErrorContext) -> str:
    if response.code == "api_queries_quota_exceeded":
        return (
            "The month's allowance of bytes read by API queries is used up: read less, use a batch "
            f"export, or raise it at {context.app}/organization/billing."
        )
    return (
        "The plan does not cover this, or its quota is used up: "
        f"{context.app}/organization/billing."
    )


def _forbidden(response: ErrorResponse, context: ErrorContext) -> str:
    detail = response.detail or ""
    scope = missing_scope(detail)
    if scope:
        needed = [s for s in response.operation.scopes if s != scope]
        also = f" The call needs {', '.join(needed)} as well." if needed else ""
        return (
            f"The key lacks the scope {scope}: add it at {context.app}/settings/user-api-keys, or "
            f"use another key.{also}"
        )
    for wording, advice in _FORBIDDEN_HINTS:
        if wording in detail:
            return advice
    if not response.operation.api_key_allowed:
        return _BROWSER_ONLY
    if response.html or response.code is None:
        return "This is not PostHog's usual refusal: a proxy or an address rule may have made it."
    if response.operation.scopes:
        return f"The call needs the scope {', '.join(response.operation.scopes)}."
    return (
        "`await ph.doctor()` shows what the key may do; its owner's role may not allow this either."
    )


_BROWSER_ONLY = "No API key may make this call: it works in the browser only."

_FORBIDDEN_HINTS: Final = (
    ("does not support personal API key access", _BROWSER_ONLY),
    (
        "does not support project secret API key access",
        "A project secret key (phs_) may not make this call: use a personal API key (phx_).",
    ),
    (
        "does not have access to the requested project",
        "The key is limited to other projects, or its owner is no member of this one: check "
        "project_id, and the key's projects.",
    ),
    (
        "does not have access to the requested organization",
        "The key is limited to other organizations: check organization_id, and the key's "
        "organizations.",
    ),
    (
        "API keys with scoped projects are only supported",
        "The key is limited to some projects, and this call belongs to none: use a key for all "
        "projects.",
    ),
    ("OAuth token has no scopes", "The OAuth token was granted no scope: authorise it again."),
    (
        "have access to the project",
        "The key's owner is no member of the project: check project_id.",
    ),
)


def _not_found(response: ErrorResponse, context: ErrorContext) -> str:
    path = response.request.path
    if response.code is None and not path.endswith("/"):
        return f"PostHog's paths end in a slash: try {path}/."
    if "@current" in path:
        return "'@current' follows the browser of the key's owner: give the number or UUID."
    if response.detail == "Endpoint not found.":
        # What PostHog answers where no route matches, as for an object it says "Not found.".
        return (
            f"{context.app} has no such endpoint: it is of another version than this package. "
            "`await ph.doctor()` compares them."
        )
    if response.html:
        return f"This is a page, not PostHog's API: is {context.app} the right host?"
    if response.operation.owner == "project" and "/query/" in path:
        return "The status of a query is kept for 20 minutes; check its id and project_id."
    if response.operation.owner == "project":
        return "Check the id, and that the object is in this project (project_id)."
    return "Check the id, and that the key's owner may see the object."


def _not_allowed(response: ErrorResponse, context: ErrorContext) -> str:
    if response.request.method == "DELETE":
        if response.operation.name == "delete":
            # Where PATCH deletes, delete() sends it already.
            return "PostHog does not delete this object through its API."
        return (
            'Where an object has a field "deleted", PATCH {"deleted": true} deletes it: the '
            "resource's delete() method sends that."
        )
    return f"The resource does not take {response.request.method}."


def _rate_limited(response: ErrorResponse, context: ErrorContext) -> str:
    if response.retry_after is not None:
        return f"Call again in {response.retry_after:g} s, or make fewer calls at a time."
    if (response.code or "").startswith("too_many_concurrent_"):
        return "Run fewer of these side by side: wait until one that is running has ended."
    if "concurren" in f"{response.code} {response.detail}":
        return "Run fewer of these side by side: three queries a project at most."
    return "Wait before calling again, or make fewer calls at a time; the server names no time."


def _query_too_slow(response: ErrorResponse, context: ErrorContext) -> str:
    if "heavy load" in (response.detail or "") or "try again" in (response.detail or "").lower():
        return "The cluster is under load: try again later, or ask for less."
    return "Ask for less: a shorter time range, fewer columns, or a smaller LIMIT."


def _server_error(response: ErrorResponse, context: ErrorContext) -> str:
    if "Query size exceeded" in (response.detail or ""):
        return "The text of the query is too long: shorten it, its lists of values above all."
    if response.status == 504 and "/query/" in response.operation.path:
        return _query_too_slow(response, context)
    if response.html:
        return f"A proxy before {context.app} answered, not PostHog: it may be down or too slow."
    if response.retry_after is not None:
        return f"Call again in {response.retry_after:g} s."
    return "PostHog failed; if it goes on, see https://status.posthog.com."


def _redirect(response: ErrorResponse, context: ErrorContext) -> str:
    location = response.location or ""
    try:
        host = urlsplit(location).hostname or ""
    except ValueError:
        location = host = ""
    if location and (not host or location.startswith(f"{context.app}/")):
        return (
            "The server points to another address of its own, where a write might get lost, or "
            "round in a circle: give the host as the browser shows it, https:// included, and a "
            "path with its final slash."
        )
    return (
        f"The server points to {mask(host) or 'no address'}. Credentials stay with {context.app}: "
        "fetch the error's .location yourself, without them."
    )


def _too_large(response: ErrorResponse, context: ErrorContext) -> str:
    return "The body is too large: PostHog Cloud takes up to 20 MiB."


def _conflict(response: ErrorResponse, context: ErrorContext) -> str:
    return (
        "The object is not as this call needs it, or something that runs stands in the way: get it "
        "again, and repeat the call once it is."
    )


def _request_timeout(response: ErrorResponse, context: ErrorContext) -> str:
    return "The server waited too long for the request: send it again."


_BY_STATUS: Final[dict[int, Callable[[ErrorResponse, ErrorContext], str]]] = {
    400: _bad_request,
    401: _unauthorized,
    402: _payment_required,
    403: _forbidden,
    404: _not_found,
    405: _not_allowed,
    408: _request_timeout,
    409: _conflict,
    413: _too_large,
    422: _bad_request,
    429: _rate_limited,
    512: _query_too_slow,
    513: _query_too_slow,
}
