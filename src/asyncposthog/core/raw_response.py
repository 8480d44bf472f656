"""One call, looked at from outside: its raw answer, its stream, or what it would send.

A generated method is run once with a recorder in place of the executor. What it would have asked
for is then performed in another way.
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

from asyncposthog.errors import ClosedError, DecodeError, PostHogError
from asyncposthog.operation import Operation
from asyncposthog.options import CallOptions, parse_options
from asyncposthog.redact import Redactor
from asyncposthog.transport.encoding.path import needs_owner
from asyncposthog.transport.encoding.request import PreparedRequest, request_info
from asyncposthog.transport.errors import from_httpx_error
from asyncposthog.transport.exchange import close, is_network_response, normalize_error
from asyncposthog.types import OMIT, Id, RequestOptions

from .executor import Executor, build_request
from .resource import Resource, get_executor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["RawResponse", "RequestPreview", "StreamedResponse", "dry_run", "raw", "stream"]

T = TypeVar("T")

_REQUEST_IDS = ("x-request-id", "request-id", "x-correlation-id", "cf-ray")


@dataclass(frozen=True, slots=True)
class _CapturedCall:
    """What a generated method asked its executor for."""

    executor: Executor
    operation: Operation
    path: tuple[Id, ...]
    query: Mapping[str, object] | None
    headers: Mapping[str, object] | None
    body: object
    options: CallOptions
    concurrency: int | None
    """None where the method makes one call; a number where it returns a cursor."""
    parser: Callable[[Operation, httpx.Response, object], Any] | None = None
    """What reads the answer to operations it knows, and gives OMIT for others."""

    def prepared(self, owner_id: str | None) -> PreparedRequest:
        """Encode it."""
        return build_request(
            self.operation, owner_id, self.path, self.query, self.headers, self.body, self.options
        )

    async def perform(self, *, stream: bool = False) -> httpx.Response:
        """Send it."""
        return await self.executor.perform(
            self.operation,
            self.path,
            self.query,
            self.headers,
            self.body,
            self.options,
            stream=stream,
        )


class _CallCaptured(BaseException):
    """Ends a method that would go on with the answer."""


class _CapturingExecutor:
    """Stands in for an executor, and performs nothing."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.default_options = executor.default_options
        self.settings = executor.settings
        self.transport = executor.transport
        self.captured: _CapturedCall | None = None

    async def perform(
        self,
        operation: Operation,
        path: tuple[Id, ...],
        query: Mapping[str, object] | None,
        headers: Mapping[str, object] | None,
        body: object,
        options: CallOptions,
        **_: object,
    ) -> NoReturn:
        self.captured = _CapturedCall(
            self._executor, operation, path, query, headers, body, options, None
        )
        raise _CallCaptured

    async def call(self, operation: Operation, path: tuple[Id, ...] = (), **rest: Any) -> None:
        self._capture(operation, path, None, **rest)

    def cursor(
        self, operation: Operation, path: tuple[Id, ...] = (), *, concurrency: int = 1, **rest: Any
    ) -> None:
        self._capture(operation, path, concurrency, **rest)

    def _capture(
        self,
        operation: Operation,
        path: tuple[Id, ...],
        concurrency: int | None,
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, object] | None = None,
        body: object = OMIT,
        options: RequestOptions | None = None,
    ) -> None:
        base = self._executor.default_options
        chosen = base if options is None else parse_options(options, base)
        self.captured = _CapturedCall(
            self._executor, operation, path, query, headers, body, chosen, concurrency
        )


async def _capture(
    name: str, method: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> _CapturedCall:
    """Run a generated method for what it would ask."""
    if isinstance(method, Resource):  # one that can be called itself
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
    """A successful answer as it came. `parse()` gives what the method would have returned."""

    def __init__(self, operation: Operation, response: httpx.Response, result: T | PostHogError):
        """Keep the answer, and what it decodes to."""
        self.operation = operation
        self.http = response
        self._result = result

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.http.status_code

    @property
    def headers(self) -> httpx.Headers:
        """The answer's headers."""
        return self.http.headers

    @property
    def request_id(self) -> str | None:
        """The server's id of the call, if it gave one."""
        return _request_id(self.http)

    @property
    def content(self) -> bytes:
        """The body, decompressed."""
        return self.http.content

    def text(self) -> str:
        """Return the body as text."""
        return response_text(self.http)

    def json(self) -> Any:
        """Return the body as plain data.

        Raises:
            DecodeError: It is not JSON.
        """
        return response_json(self.operation, self.http)

    def parse(self) -> T:
        """Return what the method would have returned.

        Raises:
            DecodeError: The body is not what the schema promises.
        """
        if isinstance(self._result, PostHogError):
            raise self._result
        return self._result

    def __repr__(self) -> str:
        """Show the operation and the status."""
        return f"<RawResponse {self.operation.id} {self.status}>"


async def raw(method: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> RawResponse[Any]:
    """Perform the call of a generated method and return its answer as it came."""
    captured = await _capture("raw", method, args, kwargs)
    response = await captured.perform()
    try:
        result = await _decode(captured, response)
    except PostHogError as error:
        result = error
    return RawResponse(captured.operation, response, result)


async def _decode(captured: _CapturedCall, response: httpx.Response) -> Any:
    executor, options = captured.executor, captured.options
    if captured.parser is not None:
        read = captured.parser(captured.operation, response, captured.body)
        if read is not OMIT:
            return read
    if captured.concurrency is None:
        return executor.decode(captured.operation, response, strict=options.strict)
    return await executor.page(
        captured.operation,
        captured.path,
        captured.query,
        captured.headers,
        captured.body,
        options,
        content=response.content,
    )


class StreamedResponse:
    """A successful answer whose body is read piece by piece."""

    def __init__(self, operation: Operation, response: httpx.Response, executor: Executor) -> None:
        """Keep the open answer."""
        self.operation = operation
        self._response = response
        self._executor = executor

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status_code

    @property
    def headers(self) -> httpx.Headers:
        """The answer's headers."""
        return self._response.headers

    @property
    def request_id(self) -> str | None:
        """The server's id of the call, if it gave one."""
        return _request_id(self._response)

    async def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        """Yield the body, decompressed, in pieces of `chunk_size` bytes or as they come."""
        async for chunk in self._map_httpx_errors(self._response.aiter_bytes(chunk_size)):
            yield chunk

    async def aiter_lines(self) -> AsyncIterator[str]:
        """Yield the body line by line, without line ends."""
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
        """Return what to raise for an error of httpx; None: it is none of its."""
        if isinstance(error, httpx.StreamError):
            return ClosedError(
                "The answer was read already, or closed.", operation=self.operation.id
            )
        if isinstance(error, LookupError | AssertionError | TypeError | ValueError):
            return DecodeError(
                "The answer is not text in the encoding that it claims.",
                operation=self.operation.id,
                status=self.status,
                suggestion="Read its bytes: aiter_bytes().",
            )
        broken = normalize_error(error, of_httpx=is_network_response(self._response))
        if not isinstance(broken, httpx.HTTPError):
            return None
        if self._executor.transport.is_closed:
            return ClosedError(
                "The client was closed while its answer was read.", operation=self.operation.id
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
    """Perform the call of a generated method and hand its body over as it arrives."""
    captured = await _capture("stream", method, args, kwargs)
    response = await captured.perform(stream=True)
    try:
        yield StreamedResponse(captured.operation, response, captured.executor)
    finally:
        try:
            await close(response)
        finally:
            captured.executor.transport.release_stream()


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPreview:
    """What a call would send."""

    operation: Operation
    method: str
    url: str
    """Without the query. A project not known yet stands as `{project_id}`."""
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]
    """Those of this call alone; never credentials."""
    body: Any
    """The JSON body as plain data; the fields of a form; None without a body."""
    files: tuple[str, ...] = ()
    """Names of the files of a form."""
    allowed: bool = True
    """False where `read_only` or `allow` would refuse the call."""


async def dry_run(
    method: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> RequestPreview:
    """Return what a generated method would send. Nothing is sent."""
    captured = await _capture("dry_run", method, args, kwargs)
    operation, executor = captured.operation, captured.executor
    request = captured.prepared(_display_owner(captured))
    parts = urlsplit(executor.settings.host + request.target)
    body = json.loads(request.content) if request.content else None
    form = request.multipart
    return RequestPreview(
        operation=operation,
        method=request.method,
        url=f"{parts.scheme}://{parts.netloc}{parts.path}",
        query=tuple(parse_qsl(parts.query, keep_blank_values=True)),
        headers=request.headers,
        body=body if form is None else dict(form.fields),
        files=() if form is None else tuple(part.filename for part in form.files),
        allowed=executor.is_allowed(operation),
    )


def _display_owner(captured: _CapturedCall) -> str | None:
    operation, executor, options = captured.operation, captured.executor, captured.options
    if not needs_owner(operation):
        return None
    if operation.owner == "project":
        project_id = options.project_id or executor.owners.cached_project_id(
            executor.settings.api_key
        )
        return str(project_id) if project_id is not None else "{project_id}"
    return options.organization_id or "{organization_id}"


def response_json(operation: Operation, response: httpx.Response) -> Any:
    """Return a JSON body as plain data."""
    try:
        return from_json(response.content)
    except ValueError as error:
        raise DecodeError(
            f"The answer is not JSON: {error}", operation=operation.id, status=response.status_code
        ) from None


def response_text(response: httpx.Response) -> str:
    """Return a body as text, in UTF-8 where the server names an encoding that does not fit."""
    try:
        return response.text
    except (LookupError, AssertionError, TypeError, ValueError):  # codecs raise all of them
        return response.content.decode("utf-8", "replace")


def _request_id(response: httpx.Response) -> str | None:
    return next((response.headers[n] for n in _REQUEST_IDS if n in response.headers), None)
