"""Raw responses, streamed responses, and previews of requests.

A generated method is run with an executor that captures its call. The call is then made in another
way, or only encoded.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from types import MethodType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast
from urllib.parse import parse_qsl, urlsplit

import httpx
from pydantic_core import from_json

from asyncposthog.call import Call
from asyncposthog.errors import ClosedError, DecodeError, PostHogError
from asyncposthog.operation import Operation
from asyncposthog.redact import Redactor
from asyncposthog.transport.encoding.path import path_template
from asyncposthog.transport.encoding.request import PreparedRequest, prepare_request, request_info
from asyncposthog.transport.errors import from_httpx_error
from asyncposthog.transport.exchange import close, is_network_response, normalize_error
from asyncposthog.types import OMIT

from .executor import Executor
from .resource import Resource, get_executor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["RawResponse", "RequestPreview", "StreamedResponse", "dry_run", "raw", "stream"]

T = TypeVar("T")

_REQUEST_IDS = ("x-request-id", "request-id", "x-correlation-id", "cf-ray")


@dataclass(frozen=True, slots=True)
class _CapturedCall:
    """The call that a generated method makes."""

    executor: Executor
    call: Call
    concurrency: int | None
    """None for a method that makes one call; a number for one that returns a cursor."""
    parser: Callable[[Operation, httpx.Response, object], Any] | None = None
    """Parses the responses that the resource treats specially; returns OMIT for others."""


class _CallCaptured(BaseException):
    """Ends a method that would use the response of its call.

    Not an `Exception`: the method may handle those.
    """


class _CapturingExecutor:
    """Takes the place of an executor, and keeps the call instead of making it."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.default_options = executor.default_options
        self.settings = executor.settings
        self.transport = executor.transport
        self.captured: _CapturedCall | None = None

    async def perform(self, call: Call, **_: object) -> NoReturn:
        self.captured = _CapturedCall(self._executor, call, None)
        raise _CallCaptured

    async def call(self, call: Call) -> None:
        self.captured = _CapturedCall(self._executor, call, None)

    def cursor(self, call: Call, concurrency: int = 1) -> None:
        self.captured = _CapturedCall(self._executor, call, concurrency)


async def _capture(
    name: str, method: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> _CapturedCall:
    """Return the call that a generated method makes. Nothing is sent."""
    if isinstance(method, Resource):  # a resource that is callable, such as `ph.query`
        method = cast("object", getattr(method, "__call__", method))  # noqa: B004
    if not isinstance(method, MethodType) or not isinstance(method.__self__, Resource):
        _reject_method(name, method)
    resource = method.__self__
    capturing = _CapturingExecutor(get_executor(resource))
    twin = type(resource)(cast("Executor", capturing))
    try:
        result: object = method.__func__(twin, *args, **kwargs)
        if inspect.isawaitable(result):
            await result
    except _CallCaptured:
        pass
    if capturing.captured is None:
        raise TypeError(f"{name}(): {method.__qualname__} makes no call of its own")
    return replace(capturing.captured, parser=getattr(resource, "_parse_response", None))


def _reject_method(name: str, method: object) -> NoReturn:
    usage = f"ph.{name}(ph.feature_flags.get, 7)"
    if inspect.iscoroutine(method):
        method.close()  # or it would warn that it was never awaited
        raise TypeError(f"{name}() takes the method itself, without calling it: {usage}")
    if inspect.isawaitable(method):
        raise TypeError(f"{name}() takes the method itself, without calling it: {usage}")
    raise TypeError(f"{name}() takes a generated method, not {method!r}: {usage}")


class RawResponse(Generic[T]):
    """A successful response. `parse()` returns what the method would have returned."""

    def __init__(self, operation: Operation, response: httpx.Response, result: T | PostHogError):
        """Keep a response and its decoded result."""
        self.operation = operation
        self.http = response
        self._result = result

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.http.status_code

    @property
    def headers(self) -> httpx.Headers:
        """The headers of the response."""
        return self.http.headers

    @property
    def request_id(self) -> str | None:
        """The id of the request, if the server sent one."""
        return _request_id(self.http)

    @property
    def content(self) -> bytes:
        """The body, decompressed."""
        return self.http.content

    def text(self) -> str:
        """Return the body as text."""
        return response_text(self.http)

    def json(self) -> Any:
        """Return the body as JSON data.

        Raises:
            DecodeError: The body is not JSON.
        """
        return response_json(self.operation, self.http)

    def parse(self) -> T:
        """Return what the method would have returned.

        Raises:
            DecodeError: The body does not match the schema.
        """
        if isinstance(self._result, PostHogError):
            raise self._result
        return self._result

    def __repr__(self) -> str:
        """Return the id of the operation and the status."""
        return f"<RawResponse {self.operation.id} {self.status}>"


async def raw(method: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> RawResponse[Any]:
    """Make the call of a generated method and return its response with status and headers."""
    captured = await _capture("raw", method, args, kwargs)
    response = await captured.executor.perform(captured.call)
    try:
        result = await _decode(captured, response)
    except PostHogError as error:
        result = error
    return RawResponse(captured.call.operation, response, result)


async def _decode(captured: _CapturedCall, response: httpx.Response) -> Any:
    from asyncposthog.decoding import decode  # as in the executor: not before it is needed

    executor, call = captured.executor, captured.call
    if captured.parser is not None:
        result = captured.parser(call.operation, response, call.body)
        if result is not OMIT:
            return result
    if captured.concurrency is None:
        return decode(
            call.operation.result,
            response.content,
            strict=call.options.strict,
            operation=call.operation,
            media=response.headers.get("Content-Type", ""),
        )
    return await executor.page(call, response.content)


class StreamedResponse:
    """A successful response whose body is read in chunks."""

    def __init__(self, operation: Operation, response: httpx.Response, executor: Executor) -> None:
        """Keep an open response."""
        self.operation = operation
        self._response = response
        self._executor = executor

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status_code

    @property
    def headers(self) -> httpx.Headers:
        """The headers of the response."""
        return self._response.headers

    @property
    def request_id(self) -> str | None:
        """The id of the request, if the server sent one."""
        return _request_id(self._response)

    async def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        """Yield the decompressed body in chunks of `chunk_size` bytes; None: of any size."""
        async for chunk in self._map_httpx_errors(self._response.aiter_bytes(chunk_size)):
            yield chunk

    async def aiter_lines(self) -> AsyncIterator[str]:
        """Yield the lines of the body without line endings."""
        async for line in self._map_httpx_errors(self._response.aiter_lines()):
            yield line

    async def _map_httpx_errors(self, chunks: AsyncIterator[T]) -> AsyncIterator[T]:
        while True:
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except Exception as error:
                error_to_raise = self._translate_error(error)
                if error_to_raise is None:
                    raise
            else:
                yield chunk
                continue
            try:
                raise error_to_raise
            finally:
                del error_to_raise

    def _translate_error(self, error: Exception) -> PostHogError | None:
        """Return the error to raise for one of httpx; None: the error is another one."""
        if isinstance(error, httpx.StreamError):
            return ClosedError(
                "The response was already read or closed.", operation=self.operation.id
            )
        if isinstance(error, LookupError | AssertionError | TypeError | ValueError):
            return DecodeError(
                "The response is not text in its declared encoding.",
                operation=self.operation.id,
                status=self.status,
                suggestion="Read its bytes with aiter_bytes().",
            )
        broken = normalize_error(error, of_httpx=is_network_response(self._response))
        if not isinstance(broken, httpx.HTTPError):
            return None
        if self._executor.transport.is_closed:
            return ClosedError(
                "The client was closed while the response was read.", operation=self.operation.id
            )
        settings = self._executor.settings
        request = self._response.request
        return from_httpx_error(
            broken,
            settings.host,
            Redactor([settings.api_key.reveal()]),
            self.operation.id,
            request_info(PreparedRequest(request.method, request.url.raw_path.decode())),
        )


@asynccontextmanager
async def stream(
    method: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> AsyncGenerator[StreamedResponse]:
    """Make the call of a generated method and return its response with an unread body."""
    captured = await _capture("stream", method, args, kwargs)
    response = await captured.executor.perform(captured.call, stream=True)
    try:
        yield StreamedResponse(captured.call.operation, response, captured.executor)
    finally:
        try:
            await close(response)
        finally:
            captured.executor.transport.release_stream()


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPreview:
    """The request of a call that was not sent."""

    operation: Operation
    method: str
    url: str
    """Without the query. An id that is not looked up yet is shown as `{project_id}`."""
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]
    """The headers of this call, without those of the client and without credentials."""
    body: Any
    """The JSON body as data, or the fields of a form; None without a body."""
    files: tuple[str, ...] = ()
    """File names of a form."""
    allowed: bool = True
    """Whether `read_only` and `allow` permit the call."""


async def dry_run(
    method: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> RequestPreview:
    """Return the request of a generated method without sending it."""
    captured = await _capture("dry_run", method, args, kwargs)
    call, executor = captured.call, captured.executor
    request = prepare_request(call, _display_owner(captured))
    parts = urlsplit(executor.settings.host + request.target)
    body = json.loads(request.content) if request.content else None
    form = request.multipart
    return RequestPreview(
        operation=call.operation,
        method=request.method,
        url=f"{parts.scheme}://{parts.netloc}{parts.path}",
        query=tuple(parse_qsl(parts.query, keep_blank_values=True)),
        headers=request.headers,
        body=body if form is None else dict(form.fields),
        files=() if form is None else tuple(part.filename for part in form.files),
        allowed=executor.is_allowed(call.operation),
    )


def _display_owner(captured: _CapturedCall) -> str | None:
    executor, operation = captured.executor, captured.call.operation
    options = captured.call.options
    if not path_template(operation).has_owner:
        return None
    if operation.owner == "project":
        project_id = options.project_id or executor.owners.cached_project_id(
            executor.settings.api_key
        )
        return str(project_id) if project_id is not None else "{project_id}"
    return options.organization_id or "{organization_id}"


def response_json(operation: Operation, response: httpx.Response) -> Any:
    """Return a JSON body as data.

    Raises:
        DecodeError: The body is not JSON.
    """
    try:
        return from_json(response.content)
    except ValueError as error:
        raise DecodeError(
            f"The response is not JSON: {error}",
            operation=operation.id,
            status=response.status_code,
        ) from None


def response_text(response: httpx.Response) -> str:
    """Return a body as text; as UTF-8 if it is not in its declared encoding."""
    try:
        return response.text
    except (LookupError, AssertionError, TypeError, ValueError):  # codecs raise all of them
        return response.content.decode("utf-8", "replace")


def _request_id(response: httpx.Response) -> str | None:
    return next((response.headers[n] for n in _REQUEST_IDS if n in response.headers), None)
