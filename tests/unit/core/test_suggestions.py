"""What an error tells its reader to do."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from asyncposthog import PermissionDeniedError, registry
from asyncposthog.errors.suggestions import ErrorContext
from asyncposthog.operation import Operation
from tests.helpers.fake_transport import GET, QUERY

from .test_errors_shapes import envelope, fail

SELF_HOSTED = ErrorContext(app="https://ph.example.org", region=None)


def denied(detail: str, operation: Operation = GET, body: Any = None) -> PermissionDeniedError:
    error = fail(403, body or envelope("permission_denied", detail), operation)
    assert isinstance(error, PermissionDeniedError)
    return error


def test_a_missing_scope() -> None:
    operation = replace(GET, scopes=("feature_flag:read", "cohort:read"))
    error = denied("API key missing required scope 'feature_flag:read'", operation)
    assert error.missing_scope == "feature_flag:read"
    assert error.required_scopes == ("feature_flag:read", "cohort:read")
    assert error.accepts_api_keys is True
    assert "The key lacks the scope feature_flag:read" in str(error)
    assert "cohort:read as well" in str(error)
    assert "https://us.posthog.com/settings/user-api-keys" in str(error)


def test_a_call_no_key_may_make() -> None:
    error = denied("This action does not support personal API key access")
    assert error.accepts_api_keys is False
    assert error.missing_scope is None
    assert "No API key may make this call" in str(error)


def test_what_the_registry_knows_of_keys() -> None:
    error = denied("You shall not pass.", replace(GET, api_key_allowed=False))
    assert error.accepts_api_keys is False
    assert "No API key may make this call" in str(error)
    assert denied("You shall not pass.").accepts_api_keys is None


@pytest.mark.parametrize(
    ("detail", "says", "accepts_api_keys"),
    [
        (
            "This action does not support project secret API key access",
            "use a personal API key (phx_)",
            True,
        ),
        (
            "API key does not have access to the requested project: ID 123.",
            "check project_id",
            True,
        ),
        (
            "API key does not have access to the requested organization: ID x.",
            "check organization_id",
            True,
        ),
        (
            "API keys with scoped projects are only supported on project-based endpoints.",
            "use a key for all projects",
            True,
        ),
        (
            "OAuth token has no scopes and cannot access this resource",
            "authorise it again",
            True,
        ),
        ("You don't have access to the project.", "no member of the project", True),
        ("Something new.", "needs the scope thing:read", None),
    ],
)
def test_other_refusals(detail: str, says: str, accepts_api_keys: bool | None) -> None:
    error = denied(detail)
    assert says in str(error)
    assert error.accepts_api_keys is accepts_api_keys
    assert error.required_scopes == ("thing:read",)


def test_a_refusal_that_is_not_posthogs() -> None:
    error = denied("", body=b"Access from your country is not allowed.")
    assert "a proxy or an address rule" in str(error)
    assert error.accepts_api_keys is None


def test_an_unknown_key() -> None:
    wrong = envelope("authentication_failed", "Personal API key is invalid.")
    us = str(fail(401, wrong))
    assert "a personal API key (phx_) to https://us.posthog.com" in us
    assert "if that is EU, use region='eu'" in us
    eu = ErrorContext(app="https://eu.posthog.com", region="eu", key_kind="project_secret")
    assert "if that is US, use region='us'" in str(fail(401, wrong, facts=eu))
    assert "takes personal API keys (phx_)" in str(fail(401, wrong, facts=eu))
    own = str(fail(401, wrong, facts=SELF_HOSTED))
    assert "region" not in own
    assert "on the instance it was made on" in own


@pytest.mark.parametrize(
    ("status", "body", "options", "says"),
    [
        (400, envelope("required", "Missing.", attr="a__b"), {}, "Check the argument a.b."),
        (
            400,
            envelope("invalid_input", "OFFSET is not supported"),
            {"operation": QUERY},
            "Page by key instead of OFFSET",
        ),
        (402, envelope("payment_required", "Upgrade."), {}, "https://us.posthog.com/organization"),
        (402, envelope("api_queries_quota_exceeded", "No."), {}, "bytes read by API queries"),
        (404, envelope("not_found", "Not found."), {}, "in this project (project_id)"),
        (404, envelope("not_found", "Endpoint not found."), {}, "of another version"),
        (
            404,
            envelope("not_found", "Not found."),
            {"operation": replace(GET, owner=None)},
            "may see the object",
        ),
        (404, b"", {"path": "/api/projects/1/things/7"}, "try /api/projects/1/things/7/."),
        (404, b"", {"path": "/api/projects/@current/x/"}, "'@current' follows the browser"),
        (404, b"<html><title>404</title>", {}, "is https://us.posthog.com the right host?"),
        (404, b"", {"path": "/api/projects/1/query/q/"}, "kept for 20 minutes"),
        (405, b"", {"operation": replace(GET, method="DELETE")}, "delete() method sends that"),
        (405, b"", {"operation": replace(GET, method="PUT")}, "does not take PUT"),
        (413, b"", {}, "20 MiB"),
        (429, b"", {"headers": {"Retry-After": "37"}}, "Call again in 37 s"),
        (429, envelope("throttled", "Slow down."), {}, "the server names no time"),
        (
            429,
            envelope("throttled", "Exceeded maximum concurrency limit: 3"),
            {},
            "three queries a project at most",
        ),
        (429, envelope("too_many_concurrent_backfills", "No."), {}, "wait until one that is runn"),
        (408, b"", {}, "send it again"),
        (409, envelope("conflict", "Already running."), {}, "get it again"),
        (400, envelope("invalid_input", "Odd."), {}, "ph.dry_run(method, …)"),
        (400, envelope("invalid_input", "Odd."), {"operation": QUERY}, "Check the query"),
        (418, b"", {}, "ph.dry_run(method, …)"),
        (
            403,
            envelope("permission_denied", "No."),
            {"operation": replace(GET, scopes=())},
            "ph.doctor()",
        ),
        (
            500,
            envelope("error", "Query size exceeded."),
            {"operation": QUERY},
            "The text of the query is too long",
        ),
        (500, envelope("error", "A server error occurred."), {}, "status.posthog.com"),
        (502, b"<html><title>Bad Gateway</title>", {}, "A proxy before https://us.posthog.com"),
        (503, b"", {"headers": {"Retry-After": "1"}}, "Call again in 1 s"),
        (504, b"", {"operation": QUERY}, "Ask for less"),
        (512, b"", {"operation": QUERY}, "Ask for less"),
        (513, b"", {"operation": QUERY}, "Ask for less"),
        (
            513,
            envelope("clickhouse_memory_limit_exceeded", "Under heavy load, try again later."),
            {"operation": QUERY},
            "The cluster is under load",
        ),
        (302, b"", {"headers": {"Location": "https://s3.example.org/x?sig=1"}}, "s3.example.org"),
        (302, b"", {"headers": {"Location": "https://["}}, "no address"),
        (302, b"", {}, "no address"),
        (307, b"", {"headers": {"Location": "/api/"}}, "of its own"),
        (301, b"", {"headers": {"Location": "https://us.posthog.com/x/"}}, "of its own"),
        (301, b"", {"headers": {"Location": "http://us.posthog.com/x/"}}, "Credentials stay with"),
    ],
)
def test_suggestions(status: int, body: Any, options: dict[str, Any], says: str) -> None:
    error = fail(status, body, **options)
    assert says in (error.suggestion or "")
    assert "sig=1" not in str(error)


def test_the_servers_own_advice_wins() -> None:
    body = {**envelope("bad", "No."), "fix": "Verify the domain first.", "why": "x"}
    assert fail(400, body).suggestion == "Verify the domain first."


@pytest.mark.parametrize("status", [*range(300, 309), *range(400, 452), *range(500, 514)])
def test_every_answer_comes_with_advice(status: int) -> None:
    for body in (b"", b"Plain.", b"<html>", envelope("error", "Odd.")):
        for operation in (GET, QUERY, replace(GET, scopes=())):
            assert fail(status, body, operation).suggestion


def test_backfills_are_no_queries() -> None:
    error = fail(429, envelope("too_many_concurrent_backfills", "No."))
    assert "queries" not in str(error)


_ODD = envelope("odd", "Odd.")
_BODIES: dict[int, list[Any]] = {
    302: [b""],
    400: [
        _ODD,
        envelope("invalid_input", "OFFSET is not supported"),
        envelope("invalid_input", "Odd.", attr="name"),
    ],
    401: [_ODD],
    402: [_ODD],
    403: [b"", _ODD, envelope("permission_denied", "API key missing required scope 'x:read'")],
    404: [b"", b"<html><title>No</title>", _ODD],
    405: [b"", envelope("method_not_allowed", "Not allowed.")],
    409: [_ODD],
    413: [_ODD],
    429: [_ODD, envelope("throttled", "Exceeded maximum concurrency limit: 3")],
    500: [_ODD, b"<html><title>No</title>"],
    504: [_ODD],
    512: [_ODD],
}


@pytest.mark.parametrize("status", _BODIES)
def test_no_suggestion_names_the_operation_that_was_called(status: int) -> None:
    for operation in registry.operations():
        called = re.compile(rf"\b{operation.name}\(|\b{re.escape(operation.id)}\b")
        for body in _BODIES[status]:
            error = fail(status, body, operation)
            assert error.suggestion
            assert not called.search(error.suggestion), operation.id


def test_a_delete_that_posthog_refuses_says_so() -> None:
    operation = registry.find("error_tracking.issues.delete")
    assert "does not delete this object" in str(fail(405, b"", operation))
