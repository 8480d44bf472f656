"""Error answers of every shape become the right exception, with the right words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncposthog import (
    AuthenticationError,
    ConflictError,
    MethodNotAllowedError,
    NotFoundError,
    PermissionDeniedError,
    QueryError,
    QueryTooLargeError,
    QuotaError,
    RateLimitError,
    RedirectError,
    ServerError,
    StatusError,
    ValidationError,
)
from asyncposthog.errors import RequestInfo
from asyncposthog.errors.from_response import error_from_response, is_query, parse_error_body
from asyncposthog.errors.suggestions import ErrorContext
from asyncposthog.operation import Operation
from tests.helpers.fake_transport import CREATE, GET, QUERY

PAGE = b"""<!DOCTYPE html><html><head><title>502 Bad &amp; Gateway</title><style>x{}</style></head>
<body><h1>Oops</h1></body></html>"""


def fail(
    status: int,
    body: Any = b"",
    operation: Operation = GET,
    headers: dict[str, str] | None = None,
    facts: ErrorContext | None = None,
    path: str = "/api/projects/1/things/7/",
) -> StatusError:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    info = RequestInfo(operation.method, path)
    return error_from_response(
        operation, info, status, headers or {}, content, facts or ErrorContext(), now=1000.0
    )


def envelope(code: str, detail: str, type: str = "invalid_request", attr: Any = None) -> Any:
    return {"type": type, "code": code, "detail": detail, "attr": attr}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, RedirectError),
        (400, ValidationError),
        (401, AuthenticationError),
        (402, QuotaError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (405, MethodNotAllowedError),
        (406, StatusError),
        (408, StatusError),
        (409, ConflictError),
        (410, NotFoundError),
        (413, StatusError),
        (415, StatusError),
        (422, ValidationError),
        (429, RateLimitError),
        (500, ServerError),
        (502, ServerError),
        (503, ServerError),
        (504, ServerError),
        (512, QueryTooLargeError),
        (513, QueryTooLargeError),
        (599, ServerError),
    ],
)
def test_the_class_follows_from_the_status(status: int, kind: type[StatusError]) -> None:
    # The type says something else, and is not believed.
    error = fail(status, envelope("error", "A.", type="authentication_error"))
    assert type(error) is kind
    assert (error.status, error.code, error.detail) == (status, "error", "A.")
    assert fail(status).message.startswith(str(status))


@pytest.mark.parametrize(
    ("body", "detail", "code", "attr"),
    [
        (
            envelope("required", "This field is required.", attr="key"),
            "This field is required.",
            "required",
            "key",
        ),
        (envelope("invalid_input", "Bad.", attr="a__b"), "Bad.", "invalid_input", "a__b"),
        (
            {"detail": "No such event.", "code": "invalid", "type": "x"},
            "No such event.",
            "invalid",
            None,
        ),
        ({"error": "No query provided"}, "No query provided", None, None),
        ({"error": {"message": "Deep.", "code": "deep"}}, "Deep.", "deep", None),
        ({"success": False, "detail": "Nothing to unset."}, "Nothing to unset.", None, None),
        ({"detail": "Failed to start."}, "Failed to start.", None, None),
        ({"detail": {"key": ["Bad."]}}, '{"key":["Bad."]}', None, None),
        ({"detail": None, "error": "Second."}, "Second.", None, None),
        ({"message": "Third."}, "Third.", None, None),
        ({"error": "bad_token", "error_description": "Unknown."}, "Unknown.", "bad_token", None),
        (
            {"attr": "value", "code": "This field is required.", "detail": "required", "type": "t"},
            "This field is required.",
            "required",
            "value",
        ),
        (
            {
                "type": "multiple",
                "code": "multiple",
                "list": [envelope("unique", "Taken.", attr="key")],
            },
            "Taken.",
            "unique",
            "key",
        ),
        (
            {
                **envelope("multiple", "Multiple exceptions occurred."),
                "list": [envelope("unique", "Taken.", attr="key"), envelope("required", "Two.")],
            },
            "Taken.",
            "unique",
            "key",
        ),
        ({"key": ["Already there."]}, "Already there.", None, "key"),
        ({"non_field_errors": ["Both."]}, "Both.", None, None),
        ({"a": {"b": 1}}, '{"a":{"b":1}}', None, None),
        (["First.", "Second."], "First.", None, None),
        ([envelope("c", "D.")], "D.", "c", None),
        ([], None, None, None),
        ({}, None, None, None),
        ("Just text.", "Just text.", None, None),
        (12, "12", None, None),
        (b"null", None, None, None),
        (b"Plain\n text.", "Plain text.", None, None),
        (b"", None, None, None),
        (b"  \n", None, None, None),
        (b'{"detail": "cut of', '{"detail": "cut of', None, None),
        (b"[not json", "[not json", None, None),
        (b"\xff\xfe", "\ufffd\ufffd", None, None),
        (PAGE, "502 Bad & Gateway", None, None),
        (b"<html><body><h1>Just a <b>moment</b></h1></body></html>", "Just a moment", None, None),
        (b"<html><script>x()</script><p>Hello</p></html>", "Hello", None, None),
        (b"<html></html>", "an HTML page without text", None, None),
        ({"code": 7, "detail": "Number."}, "Number.", "7", None),
        ({"code": ["x"], "detail": "List.", "attr": {"a": 1}}, "List.", None, None),
    ],
)
def test_bodies(body: Any, detail: str | None, code: str | None, attr: str | None) -> None:
    error = fail(500, body)
    assert (error.detail, error.code, error.attr) == (detail, code, attr)
    assert len(str(error).splitlines()) <= 2


def test_a_json_content_type_is_a_hint() -> None:
    assert fail(500, b"12", headers={"Content-Type": "application/json"}).detail == "12"
    assert fail(500, b"oops", headers={"Content-Type": "application/json"}).detail == "oops"
    assert fail(500, b"oops", headers={"content-type": "text/html"}).detail == "oops"


def test_long_bodies_are_clipped() -> None:
    error = fail(500, {"detail": "x" * 100_000, "code": "y" * 1000})
    assert len(error.detail or "") == 500
    assert len(error.code or "") == 100
    assert len(fail(500, b"z" * 5_000_000).detail or "") == 500
    assert len(fail(500, b"<html><title>" + b"t" * 2_000_000).detail or "") <= 500


def test_messages() -> None:
    error = fail(400, envelope("unique", "Already taken.", attr="key"), CREATE)
    assert error.message == "400 unique: key: Already taken."
    assert fail(405).message == "405 Method Not Allowed"
    assert fail(512).message == "512"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-Request-Id": "a", "cf-ray": "b"}, "a"),
        ({"x-request-ID": "a"}, "a"),
        ({"CF-Ray": "b"}, "b"),
        ({"X-Request-Id": ""}, None),
        ({}, None),
    ],
)
def test_request_ids(headers: dict[str, str], expected: str | None) -> None:
    assert fail(500, headers=headers).request_id == expected


def test_retry_after() -> None:
    assert fail(429, headers={"Retry-After": "37"}).retry_after == 37
    assert fail(429, headers={"Retry-After": "soon"}).retry_after is None
    assert fail(503, headers={"retry-after": "Thu, 01 Jan 1970 00:17:10 GMT"}).retry_after == 30


def test_queries() -> None:
    assert is_query(QUERY)
    assert not is_query(GET)
    assert type(fail(400, envelope("unknown_function", "No f."), QUERY)) is QueryError
    assert type(fail(400, envelope("required", "Missing.", attr="query"), QUERY)) is ValidationError
    assert type(fail(504, b"", QUERY)) is QueryTooLargeError
    assert type(fail(504, b"", GET)) is ServerError
    assert type(fail(503, envelope("error", "At capacity."), QUERY)) is ServerError
    assert type(fail(500, envelope("error", "Query size exceeded."), QUERY)) is QueryTooLargeError
    assert type(fail(429, b"", QUERY)) is RateLimitError


@pytest.mark.parametrize("status", [400, 500])
def test_queries_that_failed_in_the_background(status: int) -> None:
    body: Any = {
        "query_status": {"id": "q", "complete": True, "error": True, "error_message": "No f."}
    }
    error = fail(status, body)
    assert type(error) is QueryError
    assert error.detail == "No f."
    body["query_status"]["error_message"] = None
    assert fail(status, body).detail == "The query failed."


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["detail", "code", "error", "attr", "list", "query_status", "x"])
            | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(_JSON, st.integers(300, 600))
def test_no_json_surprises_us(body: Any, status: int) -> None:
    error = fail(status, body)
    assert error.status == status
    assert len(str(error)) < 2000
    assert len(str(error).splitlines()) <= 2


@given(st.binary(max_size=300), st.sampled_from(["", "text/html", "application/json"]))
def test_no_bytes_surprise_us(content: bytes, media: str) -> None:
    words = parse_error_body(content, media)
    assert words.detail is None or words.detail
    assert str(fail(500, content, headers={"Content-Type": media}))
