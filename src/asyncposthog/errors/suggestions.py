"""What to do about an error answer, in one or two sentences. Pure."""

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

__all__ = ["Answer", "Facts", "missing_scope", "suggestion_for", "usable"]

_MISSING_SCOPE: Final = re.compile(r"missing required scope '([^']{1,100})'")

_KINDS: Final[dict[KeyKind, str]] = {
    "personal": "a personal API key (phx_)",
    "project": "a project token (phc_)",
    "project_secret": "a project secret key (phs_)",
    "oauth": "an OAuth token (pha_)",
    "unprefixed": "a key without a prefix",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a client knows of itself when it explains an error."""

    app: str = "https://us.posthog.com"
    region: Region | None = "us"
    key_kind: KeyKind = "personal"
    redact: Callable[[str], str] = mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An error answer, read."""

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
    """Return the scope that a refusal names."""
    found = _MISSING_SCOPE.search(detail or "")
    return found[1] if found else None


def usable(answer: Answer) -> bool | None:
    """Tell whether some API key could make the call: None when the answer does not say."""
    detail = answer.detail or ""
    if "does not support personal API key access" in detail:
        return False
    if missing_scope(detail) or "project secret API key access" in detail:
        return True
    if detail.startswith(("API key", "OAuth token", "You don't have access")):
        return True
    return None if answer.operation.api_key_allowed else False


def suggestion_for(answer: Answer, facts: Facts) -> str:
    """Return what to do."""
    advice = _BY_STATUS.get(answer.status)
    if advice is not None:
        return advice(answer, facts)
    if 300 <= answer.status < 400:
        return _redirect(answer, facts)
    if answer.status >= 500:
        return _server(answer, facts)
    return _DEFAULT


_DEFAULT: Final = (
    "`await ph.dry_run(method, …)` shows what the call sends, the error's .response what came back."
)


def _bad_request(answer: Answer, facts: Facts) -> str:
    if answer.attr:
        return f"Check the argument {answer.attr.replace('__', '.')}."
    if "/query/" in answer.operation.path:
        found = (a for words, a in _QUERY_HINTS if words.search(answer.detail or ""))
        return next(found, "Check the query; what HogQL takes: https://posthog.com/docs/sql")
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


def _unauthorised(answer: Answer, facts: Facts) -> str:
    kind = _KINDS[facts.key_kind]
    advice = [f"The client sent {kind} to {facts.app}."]
    if facts.key_kind in {"project", "project_secret"}:
        advice.append("This API takes personal API keys (phx_).")
    if facts.region is not None:
        other: Region = "eu" if facts.region == "us" else "us"
        advice.append(
            f"A key works only in the region it was made in: if that is {other.upper()}, "
            f"use region={other!r}."
        )
    else:
        advice.append("A key works only on the instance it was made on.")
    advice.append("It may also have been deleted; `await ph.doctor()` tells these apart.")
    return " ".join(advice)


def _payment_required(answer: Answer, facts: Facts) -> str:
    if answer.code == "api_queries_quota_exceeded":
        return (
            "The month's allowance of bytes read by API queries is used up: read less, use a batch "
            f"export, or raise it at {facts.app}/organization/billing."
        )
    return (
        f"The plan does not cover this, or its quota is used up: {facts.app}/organization/billing."
    )


def _forbidden(answer: Answer, facts: Facts) -> str:
    detail = answer.detail or ""
    scope = missing_scope(detail)
    if scope:
        needed = [s for s in answer.operation.scopes if s != scope]
        also = f" The call needs {', '.join(needed)} as well." if needed else ""
        return (
            f"The key lacks the scope {scope}: add it at {facts.app}/settings/user-api-keys, or "
            f"use another key.{also}"
        )
    for wording, advice in _FORBIDDEN_HINTS:
        if wording in detail:
            return advice
    if not answer.operation.api_key_allowed:
        return _NO_KEY
    if answer.html or answer.code is None:
        return "This is not PostHog's usual refusal: a proxy or an address rule may have made it."
    if answer.operation.scopes:
        return f"The call needs the scope {', '.join(answer.operation.scopes)}."
    return (
        "`await ph.doctor()` shows what the key may do; its owner's role may not allow this either."
    )


_NO_KEY = "No API key may make this call: it works in the browser only."

_FORBIDDEN_HINTS: Final = (
    ("does not support personal API key access", _NO_KEY),
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


def _not_found(answer: Answer, facts: Facts) -> str:
    path = answer.request.path
    if answer.code is None and not path.endswith("/"):
        return f"PostHog's paths end in a slash: try {path}/."
    if "@current" in path:
        return "'@current' follows the browser of the key's owner: give the number or UUID."
    if answer.html:
        return f"This is a page, not PostHog's API: is {facts.app} the right host?"
    if answer.operation.root == "project" and "/query/" in path:
        return "The status of a query is kept for 20 minutes; check its id and project_id."
    if answer.operation.root == "project":
        return "Check the id, and that the object is in this project (project_id)."
    return "Check the id, and that the key's owner may see the object."


def _not_allowed(answer: Answer, facts: Facts) -> str:
    if answer.request.method == "DELETE":
        if answer.operation.name == "delete":
            # Where PATCH deletes, delete() sends it already.
            return "PostHog does not delete this object through its API."
        return (
            'Where an object has a field "deleted", PATCH {"deleted": true} deletes it: the '
            "resource's delete() method sends that."
        )
    return f"The resource does not take {answer.request.method}."


def _rate_limited(answer: Answer, facts: Facts) -> str:
    if answer.retry_after is not None:
        return f"Call again in {answer.retry_after:g} s, or make fewer calls at a time."
    if (answer.code or "").startswith("too_many_concurrent_"):
        return "Run fewer of these side by side: wait until one that is running has ended."
    if "concurren" in f"{answer.code} {answer.detail}":
        return "Run fewer of these side by side: three queries a project at most."
    return "Wait before calling again, or make fewer calls at a time; the server names no time."


def _too_slow(answer: Answer, facts: Facts) -> str:
    if "heavy load" in (answer.detail or "") or "try again" in (answer.detail or "").lower():
        return "The cluster is under load: try again later, or ask for less."
    return "Ask for less: a shorter time range, fewer columns, or a smaller LIMIT."


def _server(answer: Answer, facts: Facts) -> str:
    if "Query size exceeded" in (answer.detail or ""):
        return "The text of the query is too long: shorten it, its lists of values above all."
    if answer.status == 504 and "/query/" in answer.operation.path:
        return _too_slow(answer, facts)
    if answer.html:
        return f"A proxy before {facts.app} answered, not PostHog: it may be down or too slow."
    if answer.retry_after is not None:
        return f"Call again in {answer.retry_after:g} s."
    return "PostHog failed; if it goes on, see https://status.posthog.com."


def _redirect(answer: Answer, facts: Facts) -> str:
    location = answer.location or ""
    try:
        host = urlsplit(location).hostname or ""
    except ValueError:
        location = host = ""
    if location and (not host or location.startswith(f"{facts.app}/")):
        return (
            "The server points to another address of its own, where a write might get lost, or "
            "round in a circle: give the host as the browser shows it, https:// included, and a "
            "path with its final slash."
        )
    return (
        f"The server points to {mask(host) or 'no address'}. Credentials stay with {facts.app}: "
        "fetch the error's .location yourself, without them."
    )


def _too_large(answer: Answer, facts: Facts) -> str:
    return "The body is too large: PostHog Cloud takes up to 20 MiB."


def _conflict(answer: Answer, facts: Facts) -> str:
    return (
        "The object is not as this call needs it, or something that runs stands in the way: get it "
        "again, and repeat the call once it is."
    )


def _request_timeout(answer: Answer, facts: Facts) -> str:
    return "The server waited too long for the request: send it again."


_BY_STATUS: Final[dict[int, Callable[[Answer, Facts], str]]] = {
    400: _bad_request,
    401: _unauthorised,
    402: _payment_required,
    403: _forbidden,
    404: _not_found,
    405: _not_allowed,
    408: _request_timeout,
    409: _conflict,
    413: _too_large,
    422: _bad_request,
    429: _rate_limited,
    512: _too_slow,
    513: _too_slow,
}
