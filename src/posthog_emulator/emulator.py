"""The emulator as users create it, and the path of a request through it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

from posthog_emulator.clickhouse.errors import EngineMissingError, EngineUnavailableError
from posthog_emulator.faults.faults import apply_fault, html_page
from posthog_emulator.http.asgi import App
from posthog_emulator.http.cors import cors_headers, preflight_response
from posthog_emulator.http.errors import ApiError, GeneratedResponseError
from posthog_emulator.http.messages import Request, Response
from posthog_emulator.rate_limits.query_slots import QUERY_OPERATIONS, occupies_slot
from posthog_emulator.recorder import RecordedRequest, record_public_request, record_request
from posthog_emulator.schema.request_body import RequestBody

from . import admin, extra_routes
from .core import EmulatorCore
from .dispatch import Dispatcher
from .features import query
from .json_types import as_object
from .state import ApiCall

if TYPE_CHECKING:
    import httpx

__all__ = ["Emulator"]


class Emulator(EmulatorCore):
    """An emulator of PostHog: an ASGI application that keeps its state in this process.

    It responds to every operation of the registry. It has one account: a user with the API key
    `phx_emulator`, which has all scopes, a project and an organization.

    Args:
        operations: The operations to respond to; those of the generated registry by default,
            which is loaded with the first request.
        schemas: Component schemas by name; those of the registry by default.
        strict: Reject (400) requests that the real server would accept, but that no correct
            client sends: unknown query parameters, values of another type than declared, another
            media type, filters that the emulator does not implement. If false, such requests are
            only noted in `warnings`. By default, requests in process are checked this way, and
            those through a socket, which may come from any client, are not.
        next_host: Scheme and host of `next` and `previous` links, such as `http://internal:8000`,
            to imitate a server behind a misconfigured proxy. Those of the request by default.
        html_errors: Return errors as a proxy's HTML page in place of the JSON envelope.
        stale_person_reads: The number of reads of persons after a change that still return the
            old state.
        seed: The seed of generated ids: the same seed gives the same ids.
        project_id: The id of the account's project.
        history_size: The number of requests, and of warnings, to remember; fewer requests if
            their bodies are large.
        rate_limits: Apply the server's rate limits, and its limit of concurrent queries.
        strict_fidelity: Return a 501 in place of a response whose values would be generated from
            the schema, so that a test does not rely on them.
        clock: Returns the current time, as an aware datetime; the system's by default.
        sleep: Waits for some seconds; `anyio.sleep` by default.
        path: A directory to save the state to, and to restore it from; by default it is kept in
            memory only. It is saved about a second after a change, and by `close`.

    Raises:
        ImportError: `jsonschema` is missing; install `asyncposthog[emulator]`.
        OSError: The directory cannot be used, or another emulator is using it.
        ValueError: `history_size` is less than 1, or the directory contains something else.
    """

    _app: App | None = None

    @property
    def app(self) -> App:
        """The ASGI application."""
        if self._app is None:
            self._app = App(self._handle_request, self._stall)
        return self._app

    def transport(self) -> httpx.AsyncBaseTransport:
        """Return a transport for `httpx.AsyncClient` that calls the application in process."""
        from posthog_emulator.http.server import in_process

        return in_process(self.app)

    async def _handle_request(self, request: Request) -> Response:
        handler = None
        path = request.path
        if not path.startswith("/api/") or path.rstrip("/") in extra_routes.PUBLIC_API_PATHS:
            page = admin.find_page(path)
            if page is not None:
                # Neither logged nor subject to faults: looking at the log must not change it, and
                # faults must not prevent a test from clearing them.
                with self._lock:
                    response = page(self, request)
                if path != admin.QUERY_PATH or response.status != 200:
                    return response
                return await self._run_own_query(admin.query_request(self, request))
            handler = extra_routes.find_handler(path)
        if "origin" not in request.headers:
            return await self._respond(request, handler)
        public = handler is not None
        # Not logged: browsers send it on their own, and servers answer it in front of the app.
        preflight = preflight_response(request, public=public)
        if preflight is not None:
            return preflight
        response = await self._respond(request, handler)
        response.headers += cors_headers(request.headers["origin"], public=public)
        return response

    async def _respond(
        self, request: Request, handler: extra_routes.ExtraRouteHandler | None
    ) -> Response:
        """Return the response of a path's handler, or, without one, that of the private API."""
        started = perf_counter()
        with self._lock:
            if handler is None:
                record, body = record_request(request)
            else:
                record, body = record_public_request(request), RequestBody()
            record.at = self.settings.clock()
            self.requests.add(record, self._history_size)
            del self.warnings[: -self._history_size]
            try:
                faults = self.faults.registry.faults_for(request)
            except ApiError as error:
                record.status = error.status
                return error.to_response().set_fidelity("error")
        if faults.shuffle is not None:
            request = replace(request, shuffle=faults.shuffle)

        async def respond() -> Response:
            if handler is None:
                response = await self._call_api(request, body, record)
            else:
                with self._lock:
                    try:
                        response = handler(self.state, request)
                    except (EngineMissingError, EngineUnavailableError) as error:
                        response = _without_engine(error).to_response().set_fidelity("error")
            if faults.mutations:
                faults.apply_to_response(response, request, self.state.catalogue)
            return response

        if faults.delay:
            await self._sleep(faults.delay)
        try:
            if faults.fault is None:
                response = await respond()
            else:
                response = await apply_fault(faults.fault, respond, self._stall)
            record.status = response.status
            return response
        finally:
            record.seconds = perf_counter() - started
            # Events may be captured by GET as well.
            if request.method != "GET" or handler is not None:
                self._changed()

    async def _run_own_query(self, request: Request) -> Response:
        """Return the response to a query of the status page."""
        with self._lock:
            record, body = record_request(request)
        return await self._call_api(request, body, record)

    async def _call_api(
        self, request: Request, body: RequestBody | ApiError, record: RecordedRequest
    ) -> Response:
        """Return the response of the private API, with its fidelity header."""
        try:
            try:
                response = await self._dispatch(request, body, record)
            except (EngineMissingError, EngineUnavailableError) as error:
                raise _without_engine(error) from None
        except ApiError as error:
            record.refused_generated = isinstance(error, GeneratedResponseError)
            html = self.settings.html_errors
            response = html_page(error.status) if html else error.to_response()
        return response.set_fidelity("error") if response.status >= 400 else response

    async def _dispatch(
        self, request: Request, body: RequestBody | ApiError, record: RecordedRequest
    ) -> Response:
        """Dispatch a request, under the lock unless it has to wait for a query.

        Raises:
            ApiError: The request is rejected.
        """
        with self._lock:
            dispatcher = Dispatcher(self.state, self.warnings, self.rate_limits)
            call = dispatcher.prepare(request, body, record)
            runs_query = (
                call.operation.id in QUERY_OPERATIONS
                and occupies_slot(call.operation, call.body)
                and not query.is_cached(call)
            )
            response = None if runs_query else dispatcher.handle(call)
        if response is None:
            return await self._run_query(dispatcher, call)
        return response if response.deferred is None else await query.complete(response)

    async def _run_query(self, dispatcher: Dispatcher, call: ApiCall) -> Response:
        """Run a query in a query slot; it can be cancelled by its id meanwhile.

        Raises:
            ApiError: 429, no slot became free in time; 500, the query was cancelled.
        """
        settings = self.settings
        with self._lock:
            query_id = str(as_object(call.body).get("client_query_id") or self.state.uuid())
        async with AsyncExitStack() as stack:
            if settings.rate_limits and settings.query_plan == "current":
                slot = self.query_slots.acquire(call.path_values[0], query_id)
                await stack.enter_async_context(slot)
            with query.cancellable(call, query_id) as run:
                # Without the lock, so that other requests are served while the query "runs".
                if settings.query_seconds:
                    await settings.sleep(settings.query_seconds)
                with self._lock:
                    response = dispatcher.handle(call)
                return await query.complete(response, run)
            # A cancelled `cancellable` block ends here without an exception.
            raise query.cancelled_error()


def _without_engine(error: Exception) -> ApiError:
    """Return the response of an endpoint that needs events, in a process that has none."""
    return ApiError(501, detail=str(error))
