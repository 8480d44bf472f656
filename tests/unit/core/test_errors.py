"""The exceptions themselves."""

from __future__ import annotations

import builtins
import pickle
import traceback

import httpx
import pytest

from asyncposthog import errors
from asyncposthog.errors import Attempt, PostHogError, RequestInfo, shorten
from tests.helpers.fake_transport import KEY, Server, client

CLASSES = [
    value
    for name in errors.__all__
    if isinstance(value := getattr(errors, name), type) and issubclass(value, PostHogError)
]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_can_be_pickled(kind: type[PostHogError]) -> None:
    error = kind(
        "403 permission_denied: No.",
        status=403,
        code="permission_denied",
        detail="No.",
        attr="key",
        type="authentication_error",
        request_id="r1",
        operation="things.get",
        request=RequestInfo("GET", "/api/"),
        response=httpx.Response(403, json={"detail": "No."}),
        suggestion="Ask somebody.",
        attempts=(Attempt(1, "500", 500, 0.0, 0.5), Attempt(2, "403", 403, 0.5)),
    )
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    kept, known = vars(again), vars(error)
    assert {**kept, "response": None} == {**known, "response": None}
    assert again.response is not None
    assert again.response.json() == {"detail": "No."}


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_says_what_it_is(kind: type[PostHogError]) -> None:
    assert kind.__doc__
    assert str(kind("What happened.")) == "What happened."


def test_what_is_said() -> None:
    error = PostHogError(
        "404 not_found: Not found.",
        operation="things.get",
        request=RequestInfo("GET", "/api/projects/1/things/7/"),
        request_id="r1",
        suggestion="Check the id.",
    )
    assert str(error) == (
        "404 not_found: Not found. "
        "[things.get, GET /api/projects/1/things/7/, request r1]\nCheck the id."
    )
    assert error.message == "404 not_found: Not found."
    assert PostHogError("").message == ""


def test_they_are_what_python_has_already() -> None:
    assert issubclass(errors.ConnectionError, builtins.ConnectionError)
    assert issubclass(errors.ConnectionError, OSError)
    assert issubclass(errors.TimeoutError, builtins.TimeoutError)
    assert issubclass(errors.ConfigurationError, ValueError)
    assert issubclass(errors.DecodeError, ValueError)
    assert issubclass(errors.ClosedError, RuntimeError)
    assert issubclass(errors.EventLoopError, RuntimeError)
    assert issubclass(errors.QueryTooLargeError, errors.QueryError)
    assert issubclass(errors.SchemaDrift, UserWarning)


def test_clipping() -> None:
    assert shorten("a\n  b\t c") == "a b c"
    assert shorten("x" * 501) == "x" * 499 + "…"
    assert shorten("x" * 500) == "x" * 500


@pytest.mark.anyio
async def test_an_exception_holds_no_secret() -> None:
    body = {
        "type": "invalid_request",
        "code": f"code_{KEY}",
        "detail": f"Bearer {KEY} and phs_other are no good at {KEY}.",
        "attr": KEY,
        "extra": {"echo": KEY},
    }
    headers = {
        "X-Request-Id": KEY,
        "X-Echo": f"Bearer {KEY}",
        "Set-Cookie": "session=hunter2",
        "Content-Encoding": "identity",
    }
    server = Server(httpx.Response(400, json=body, headers=headers))
    async with client(server, headers={"X-Proxy-Password": "hunter3"}) as ph:
        with pytest.raises(PostHogError) as caught:
            await ph.things.get(1, options={"query": {"token": "hunter4", "q": KEY}})
    error = caught.value
    whole = pickle.dumps(error) + repr(vars(error)).encode() + str(error).encode()
    assert error.response is not None
    whole += error.response.content + repr(error.response.request.url).encode()
    for secret in (KEY[4:], "phs_other", "hunter2", "hunter3", "hunter4"):
        assert secret.encode() not in whole
    assert error.response.json()["extra"] == {"echo": "phx_***"}


@pytest.mark.anyio
async def test_an_unprefixed_key_is_found_as_well() -> None:
    key = "0123456789abcdefghij"
    server = Server(
        httpx.Response(500, text=f"your key {key} broke us"), httpx.ConnectError(f"{key}?")
    )
    async with client(server, api_key=key, max_retries=0) as ph:
        for _ in range(2):
            with pytest.raises(PostHogError) as caught:
                await ph.things.get(1)
            assert key.encode() not in pickle.dumps(caught.value)
            assert key not in "".join(traceback.format_exception(caught.value))
            assert "***" in str(caught.value)


@pytest.mark.anyio
async def test_what_caused_an_exception_holds_no_secret() -> None:
    refused = httpx.ConnectError(f"{KEY} at the proxy")
    refused.__cause__ = ExceptionGroup("attempts", [OSError(111, f"{KEY} was refused")])
    async with client(Server(refused), max_retries=0) as ph:
        with pytest.raises(errors.ConnectionError) as caught:
            await ph.things.get(1)
    cause = caught.value.__cause__
    assert caught.value.__context__ is None
    assert isinstance(cause, httpx.ConnectError)
    assert str(cause) == "phx_*** at the proxy"
    with pytest.raises(RuntimeError):
        _ = cause.request
    # Nor do the frames of httpx, whose variables hold the headers, hang on it.
    assert cause.__traceback__ is None
    assert isinstance(cause.__cause__, ExceptionGroup)
    inner = cause.__cause__.exceptions[0]
    assert isinstance(inner, ConnectionRefusedError)
    assert inner.errno == 111
    assert inner.strerror == "phx_*** was refused"


@pytest.mark.anyio
async def test_failures_are_no_consequences_of_one_another() -> None:
    async with client(Server(httpx.Response(503), httpx.Response(404))) as ph:
        with pytest.raises(errors.NotFoundError) as caught:
            await ph.things.get(1)
    assert caught.value.__context__ is None
    assert len(caught.value.attempts) == 2
