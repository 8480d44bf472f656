"""`ph.flags`: evaluate feature flags."""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable, Collection, Coroutine, Hashable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, Final, Literal, TypeAlias

import anyio
import anyio.abc
import httpx
from anyio.lowlevel import current_token

from asyncposthog.call import Call, CallOptions, parse_options
from asyncposthog.core.executor import Executor
from asyncposthog.errors import (
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    EventLoopError,
    NotFoundError,
    PermissionDeniedError,
    PostHogError,
    ReadOnlyError,
)
from asyncposthog.hosts import Hosts
from asyncposthog.threads import run_in_thread
from asyncposthog.transport.clock import SystemClock
from asyncposthog.types import JSON, OMIT, Id, RequestOptions

from .called_events import CalledEvents, EventSink
from .definitions import DefinitionLoader, LocalDefinitions
from .matcher import MATCHER_MODULE, Definitions, load_matcher, with_identity
from .snapshot import FlagResult, FlagSnapshot, Unavailable
from .wire import (
    DEFINITIONS,
    EVALUATE,
    FlagsResponse,
    Subject,
    make_subject,
    parse_response,
    request_body,
)

__all__ = ["FlagSettings", "Flags", "OnError"]

logger = logging.getLogger("asyncposthog")

OnError: TypeAlias = Literal["raise", "unavailable"]
_RETRY_STATUSES: Final = frozenset({502, 504})
_MAX_RETRIES: Final = 1
_MAX_RETRY_AFTER: Final = 1.0
"""Seconds: a flag is needed now, so a server that asks for more is not asked again."""
_DEFINITIONS_TIMEOUT: Final = 10.0
_FATAL: Final = ConfigurationError | ReadOnlyError | ClosedError | EventLoopError
"""Errors of the program, which are raised whatever `on_error` says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagSettings:
    """How flags are evaluated."""

    version: int = 2
    """The version of the response format that is requested: 1 to 4."""
    timeout: float = 3.0
    """Seconds for one attempt."""
    send_events: bool = True
    """Whether reads of flags send `$feature_flag_called`, if the client can capture events."""
    on_error: OnError = "raise"
    """What `evaluate` does if the server cannot be asked. `raise`: raise the error.
    `unavailable`: return a snapshot in which the flags have no known value."""
    disable_geoip: bool | None = None
    """Whether the server ignores the location of the IP address; None: it does not."""


class Flags:
    """Evaluates feature flags, with the project token."""

    def __init__(
        self,
        executor: Executor,
        sink: Callable[[], EventSink | None] = lambda: None,
        local: LocalDefinitions | None = None,
    ) -> None:
        """Bind to an executor. Nothing is sent.

        Args:
            executor: The client's executor.
            sink: Returns where events about reads go; None: nowhere.
            local: The definitions that the client shares with its copies.
        """
        self._executor = executor
        self._settings = FlagSettings()
        self._called_events = CalledEvents(sink)
        self._evaluator: Executor | None = None
        self._options: CallOptions | None = None
        self._local = LocalDefinitions() if local is None else local
        self._old_definitions_path = False

    @property
    def settings(self) -> FlagSettings:
        """How flags are evaluated."""
        return self._settings

    def configure(
        self,
        *,
        version: int | None = None,
        timeout: float | None = None,
        send_events: bool | None = None,
        on_error: OnError | None = None,
        disable_geoip: bool | None = None,
    ) -> None:
        """Change how flags are evaluated from now on. What is None stays as it is.

        Args:
            version: The version of the response format that is requested: 1 to 4.
            timeout: Seconds for one attempt, more than 0.
            send_events: Whether reads of flags send `$feature_flag_called`.
            on_error: What `evaluate` does if the server cannot be asked: `raise` or `unavailable`.
            disable_geoip: Whether the server ignores the location of the IP address.

        Raises:
            ValueError: A value is out of range.
        """
        if version is not None and (isinstance(version, bool) or version not in range(1, 5)):
            raise ValueError(f"version must be 1, 2, 3 or 4, not {version!r}")
        if timeout is not None and not 0 < timeout < float("inf"):
            raise ValueError(f"timeout must be more than 0 seconds, not {timeout!r}")
        if on_error is not None:
            _check_on_error(on_error)
        options = {
            "version": version,
            "timeout": timeout,
            "send_events": send_events,
            "on_error": on_error,
            "disable_geoip": disable_geoip,
        }
        changes: dict[str, Any] = {name: v for name, v in options.items() if v is not None}
        self._settings = replace(self._settings, **changes)
        self._options = None

    async def evaluate(
        self,
        distinct_id: str,
        *,
        groups: Mapping[str, str | int] | None = None,
        person_properties: Mapping[str, Any] | None = None,
        group_properties: Mapping[str, Mapping[str, Any]] | None = None,
        keys: Collection[str] | None = None,
        device_id: str | None = None,
        disable_geoip: bool | None = None,
        strictly_local: bool | None = None,
        on_error: OnError | None = None,
        options: RequestOptions | None = None,
    ) -> FlagSnapshot:
        """Evaluate the feature flags of the project for a person.

        With local evaluation (`local`), flags are evaluated in this process, and the server is
        asked only for those that cannot be. Otherwise one request evaluates all.

        `POST /flags/` on the ingestion host, with the project token. One retry after a lost
        connection, 502 or 504.

        Args:
            distinct_id: The person.
            groups: The key of each group by group type: `{"company": "acme"}`.
            person_properties: Properties that take precedence over those that PostHog stores.
                Local evaluation knows only these.
            group_properties: The same for groups, by group type.
            keys: The flags to evaluate; None: all.
            device_id: The device, for flags that are rolled out by device.
            disable_geoip: Whether the server ignores the location of the IP address; None: as in
                `settings`.
            strictly_local: Never ask the server; flags that it would be asked for are unavailable.
                None: as in `local`.
            on_error: What to do if the server cannot be asked; None: as in `settings`.
            options: Options of the request that differ from those of the client.

        Returns:
            The values. Flags whose value is not known are distinct from flags that are off.

        Raises:
            PostHogError: The request failed, and `on_error` is `raise`.
            TypeError, ValueError: An argument is invalid. Nothing was sent.
        """
        settings = self._settings
        self._called_events.bind()
        subject = make_subject(
            distinct_id,
            groups,
            person_properties,
            group_properties,
            device_id,
            settings.disable_geoip if disable_geoip is None else disable_geoip,
        )
        requested = None if keys is None else _validate_keys(keys)
        on_error = settings.on_error if on_error is None else _check_on_error(on_error)
        if strictly_local is None:
            strictly_local = self._local.strict_users > 0
        definitions = self._local.current
        if definitions is None:
            if strictly_local:
                return self._snapshot(
                    subject, requested, {}, incomplete=Unavailable("definitions_not_loaded")
                )
            return await self._evaluate_remotely(subject, requested, None, {}, on_error, options)
        results, undecided = self._evaluate_locally(definitions, subject, requested)
        if not undecided:
            return self._snapshot(subject, requested, results, definitions=definitions)
        if strictly_local:
            reason = Unavailable("local_evaluation_inconclusive")
            return self._snapshot(
                subject,
                requested,
                results,
                unavailable=dict.fromkeys(undecided, reason),
                definitions=definitions,
            )
        return await self._evaluate_remotely(
            subject, requested, undecided, results, on_error, options
        )

    def evaluate_local(
        self,
        distinct_id: str,
        *,
        groups: Mapping[str, str | int] | None = None,
        person_properties: Mapping[str, Any] | None = None,
        group_properties: Mapping[str, Mapping[str, Any]] | None = None,
        keys: Collection[str] | None = None,
        device_id: str | None = None,
    ) -> FlagSnapshot:
        """Evaluate flags in this process, for code that cannot wait. Never sends a request.

        Flags that only the server can evaluate are unavailable, and so are all while no
        definitions are loaded. The arguments are those of `evaluate`.

        Raises:
            TypeError, ValueError: An argument is invalid.
        """
        subject = make_subject(distinct_id, groups, person_properties, group_properties, device_id)
        requested = None if keys is None else _validate_keys(keys)
        definitions = self._local.current
        if definitions is None:
            reason = Unavailable("definitions_not_loaded")
            return self._snapshot(subject, requested, {}, incomplete=reason)
        results, undecided = self._evaluate_locally(definitions, subject, requested)
        reason = Unavailable("local_evaluation_inconclusive")
        return self._snapshot(
            subject,
            requested,
            results,
            unavailable=dict.fromkeys(undecided, reason),
            definitions=definitions,
        )

    def local(
        self,
        *,
        poll_interval: float = 30.0,
        strictly_local: bool = False,
        required: bool = False,
    ) -> AbstractAsyncContextManager[None]:
        """Evaluate flags in this process within a block: `async with ph.flags.local(): …`.

        Definitions are loaded at once, and again every `poll_interval` seconds. Tasks may enter
        blocks at the same time: they share the definitions and the requests for them, also those
        of other clients in the same event loop with the same host, token and API key. The copies
        of a client (`with_options`) use the definitions as well.

        `GET /flags/definitions` on the ingestion host; scope `feature_flag:read`; a project secret
        key (`phs_`) or a personal API key. PostHog bills these requests.

        Args:
            poll_interval: Seconds between loads, at least 1.
            strictly_local: Never ask the server for flags that cannot be evaluated here.
            required: Raise the error of the first load whatever it is. By default, flags are
                evaluated by the server until a load succeeds.

        Raises:
            ImportError: The extra `asyncposthog[local-flags]` is not installed. This error and the
                following ones are raised when the block is entered.
            AuthenticationError, PermissionDeniedError: The key may not read definitions.
            ConfigurationError: The client has no project token.
            ValueError: `poll_interval` is less than 1.
        """
        if not 1 <= poll_interval < float("inf"):
            raise ValueError(f"poll_interval must be 1 second or more, not {poll_interval!r}")
        return _LocalEvaluation(
            partial(self._start_local, strictly_local, required),
            partial(self._stop_local, strictly_local),
            partial(self._poll, poll_interval),
        )

    async def _start_local(self, strictly: bool, required: bool) -> DefinitionLoader:
        executor, local = self._executor, self._local
        executor.transport.check_open()
        executor.check_allowed(DEFINITIONS)
        await self._import_matcher()
        loader = local.enter(self._definitions_key(), executor.transport.clock)
        try:
            await loader.load(self._fetch_definitions, only_missing=True)
        except BaseException as error:
            fatal = _FATAL | AuthenticationError | PermissionDeniedError
            if required or not isinstance(error, PostHogError) or isinstance(error, fatal):
                local.leave()
                raise
            logger.warning("feature flag definitions were not loaded: %s", error)
        local.strict_users += strictly
        return loader

    def _stop_local(self, strictly: bool) -> None:
        self._local.strict_users -= strictly
        self._local.leave()

    async def _poll(self, interval: float, loader: DefinitionLoader) -> None:
        await loader.poll(self._fetch_definitions, interval, self._executor.transport.check_open)

    def _definitions_key(self) -> Hashable:
        """Return what clients have in common whose definitions are the same, in one event loop.

        The API key is a part of it: one that may not read definitions has to be told so.
        """
        settings, transport = self._executor.settings, self._executor.transport
        clock = None if isinstance(transport.clock, SystemClock) else transport.clock
        return (
            current_token(),
            settings.hosts.ingest,
            self._token(),
            settings.api_key,
            _Identity(transport.network),
            _Identity(clock),
        )

    async def _import_matcher(self) -> None:
        self._called_events.bind()  # `evaluate_local` may be called in a thread
        if MATCHER_MODULE in sys.modules:
            load_matcher()
        else:
            # In a thread: the import takes half a second, and would stop the event loop.
            await run_in_thread(load_matcher)

    async def load_definitions(self) -> None:
        """Load the flag definitions now, for tests and to apply a change at once.

        Raises:
            ImportError: The extra `asyncposthog[local-flags]` is not installed.
            PostHogError: The load failed.
        """
        await self._import_matcher()
        loader = self._local.loader(self._executor.transport.clock)
        await loader.load(self._fetch_definitions)

    @property
    def definitions(self) -> Definitions | None:
        """The definitions that are in use; None: flags are evaluated by the server."""
        return self._local.current

    @property
    def definitions_error(self) -> PostHogError | None:
        """The error of the last load of definitions; None: it succeeded, or there was none."""
        return self._local.error

    async def remote_config(self, key: Id, *, options: RequestOptions | None = None) -> JSON:
        """Return the payload of a remote config flag, decrypted and parsed.

        `GET /api/projects/{project_id}/feature_flags/{key}/remote_config/`; scope
        `feature_flag:read`; limits `feature_flag_remote_config`.

        Args:
            key: The key of the flag, or its number.
            options: Options of the call that differ from those of the client.

        Raises:
            NotFoundError: There is no such flag.
            PostHogError: The call failed otherwise.
        """
        from pydantic_core import from_json

        from asyncposthog.registry.families.feature_flags import REMOTE_CONFIG

        executor = self._executor
        call_options = executor.default_options
        if options is not None:
            call_options = parse_options(options, call_options)
        payload = await executor.call(Call(REMOTE_CONFIG, (key,), None, None, OMIT, call_options))
        # The server sends JSON text within JSON.
        if isinstance(payload, str):
            try:
                return from_json(payload)
            except ValueError:
                return payload
        return payload

    def _evaluate_locally(
        self, definitions: Definitions, subject: Subject, requested: frozenset[str] | None
    ) -> tuple[dict[str, FlagResult], list[str]]:
        """Return the results by key, and the keys that only the server can evaluate."""
        matcher = load_matcher()  # imported already, before the definitions were loaded
        prepared = with_identity(subject)
        results: dict[str, FlagResult] = {}
        undecided: list[str] = []
        for key in definitions.flags if requested is None else requested:
            result = matcher.evaluate(definitions, key, prepared)
            if result is None:
                undecided.append(key)
            else:
                results[key] = result
        return results, undecided

    async def _evaluate_remotely(
        self,
        subject: Subject,
        requested: frozenset[str] | None,
        undecided: Collection[str] | None,
        local: dict[str, FlagResult],
        on_error: OnError,
        options: RequestOptions | None,
    ) -> FlagSnapshot:
        """Ask the server for the undecided flags, or for all requested ones."""
        try:
            response = await self._request(
                subject, requested if undecided is None else undecided, options
            )
        except PostHogError as error:
            if on_error == "raise" or isinstance(error, _FATAL):
                raise
            return self._snapshot(
                subject, requested, local, incomplete=Unavailable("request_failed", error)
            )
        return self._snapshot(
            subject,
            requested,
            {**local, **response.results},
            unavailable=response.unavailable,
            incomplete=response.incomplete,
            response=response,
        )

    async def _request(
        self, subject: Subject, keys: Collection[str] | None, options: RequestOptions | None
    ) -> FlagsResponse:
        executor = self._evaluator
        if executor is None:
            executor = self._evaluator = self._ingest_executor(with_key=False)
        call_options = self._options
        if call_options is None:
            call_options = self._options = self._call_options(self._settings.timeout)
        if options is not None:
            call_options = parse_options(options, call_options)
            policy = replace(
                call_options.policy,
                max_retry_after=_MAX_RETRY_AFTER,
                retry_statuses=_RETRY_STATUSES,
            )
            call_options = replace(call_options, policy=policy)
        body = request_body(self._token(), subject, keys)
        query = {"v": self._settings.version}
        try:
            response = await executor.perform(Call(EVALUATE, (), query, None, body, call_options))
        except PostHogError as error:
            self._correct_suggestion(
                error,
                "The server does not know the project token: check project_api_key, and region= "
                "or host=.",
            )
            raise
        return parse_response(response.content, executor.settings.host)

    async def _fetch_definitions(self, etag: str | None) -> httpx.Response:
        headers = None if etag is None else {"If-None-Match": etag}
        token = self._token()
        options = self._call_options(_DEFINITIONS_TIMEOUT)
        if not self._old_definitions_path:
            executor = self._ingest_executor(with_key=True)
            query = {"token": token, "send_cohorts": ""}
            try:
                return await executor.perform(Call(DEFINITIONS, (), query, headers, OMIT, options))
            except NotFoundError:
                # An older self-hosted instance. Its other path is used from now on.
                self._old_definitions_path = True
                headers = None
            except PostHogError as error:
                self._correct_suggestion(
                    error,
                    "Definitions need a project secret key (phs_) or a personal API key, and the "
                    "token of the same project: check api_key, project_api_key, and region= or "
                    "host=.",
                )
                raise
        from asyncposthog.registry.families.feature_flags import LOCAL_EVALUATION

        call = Call(LOCAL_EVALUATION, (), {"send_cohorts": True}, headers, OMIT, options)
        return await self._executor.perform(call, on_behalf_of=DEFINITIONS)

    def _correct_suggestion(self, error: PostHogError, unknown_key: str) -> None:
        """Make the suggestion of an error one for the project token and the ingestion host."""
        hosts = self._executor.settings.hosts
        if isinstance(error, AuthenticationError):
            error.suggestion = unknown_key
        elif error.suggestion is not None:
            # Keys and billing are on the pages of the app.
            error.suggestion = error.suggestion.replace(f"{hosts.ingest}/", f"{hosts.app}/")

    def _ingest_executor(self, *, with_key: bool) -> Executor:
        hosts = self._executor.settings.hosts
        return self._executor.with_hosts(
            Hosts(hosts.ingest, hosts.ingest, hosts.region), with_key=with_key, with_limits=False
        )

    def _call_options(self, timeout: float) -> CallOptions:
        options = self._executor.default_options
        policy = replace(
            options.policy,
            timeout=timeout,
            max_retries=min(_MAX_RETRIES, options.policy.max_retries),
            max_retry_after=_MAX_RETRY_AFTER,
            retry_statuses=_RETRY_STATUSES,
        )
        return replace(options, policy=policy)

    def _token(self) -> str:
        token = self._executor.settings.project_api_key
        if token is None:
            raise ConfigurationError(
                "Flags are evaluated with the project token, and the client has none.",
                suggestion=(
                    "Pass project_api_key='phc_…' or set POSTHOG_PROJECT_API_KEY; the token is in "
                    "the settings of the project."
                ),
            )
        return token.reveal()

    def _snapshot(
        self,
        subject: Subject,
        requested: frozenset[str] | None,
        results: dict[str, FlagResult],
        *,
        unavailable: dict[str, Unavailable] | None = None,
        incomplete: Unavailable | None = None,
        definitions: Definitions | None = None,
        response: FlagsResponse | None = None,
    ) -> FlagSnapshot:
        minimal = (
            definitions.minimal_events
            if definitions is not None
            else response is not None and response.minimal_events
        )
        return FlagSnapshot(
            subject.distinct_id,
            MappingProxyType(results),
            _NOTHING if not unavailable else MappingProxyType(unavailable),
            incomplete,
            requested,
            MappingProxyType(subject.groups) if subject.groups else _NO_GROUPS,
            None if response is None else response.request_id,
            None if response is None else response.evaluated_at,
            minimal,
            self._called_events if self._settings.send_events else None,
        )


class _LocalEvaluation(AbstractAsyncContextManager[None]):
    """A block in which definitions are loaded again and again."""

    def __init__(
        self,
        start: Callable[[], Awaitable[DefinitionLoader]],
        stop: Callable[[], None],
        poll: Callable[[DefinitionLoader], Coroutine[Any, Any, None]],
    ) -> None:
        self._start, self._stop, self._poll = start, stop, poll
        self._tasks: anyio.abc.TaskGroup | None = None

    async def __aenter__(self) -> None:
        if self._tasks is not None:
            raise RuntimeError("a block of ph.flags.local() can be entered once; call it again")
        loader = await self._start()
        self._tasks = anyio.create_task_group()
        try:
            await self._tasks.__aenter__()
            self._tasks.start_soon(self._poll, loader)
        except BaseException:
            self._stop()
            raise

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._tasks is not None
        self._stop()
        self._tasks.cancel_scope.cancel()
        # The group does not get the exception of the block: it would wrap it in a group.
        await self._tasks.__aexit__(None, None, None)


class _Identity:
    """Equal for the same object only, whatever its own `==` says."""

    __slots__ = ("_of",)

    def __init__(self, of: object) -> None:
        self._of = of

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other._of is self._of

    def __hash__(self) -> int:
        return id(self._of)


_NOTHING: Final[Mapping[str, Unavailable]] = MappingProxyType({})
_NO_GROUPS: Final[Mapping[str, str]] = MappingProxyType({})


def _validate_keys(keys: Collection[str]) -> frozenset[str]:
    if isinstance(keys, str):
        raise TypeError(f"keys must be a list of keys, not a str; use keys=[{keys!r}]")
    return frozenset(keys)


def _check_on_error(value: OnError) -> OnError:
    if value not in ("raise", "unavailable"):
        raise ValueError(f"on_error must be 'raise' or 'unavailable', not {value!r}")
    return value
