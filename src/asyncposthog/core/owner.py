"""Look up the project id or organization id of an API key, once, if it was not configured.

`@current` is whatever the owner of the key last opened in a browser, so it can change at any time.
It is used in one GET only, and the id in its response is cached for all other calls.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, cast

import anyio

from asyncposthog.call import Policy
from asyncposthog.config import Secret, validate_option
from asyncposthog.errors import (
    ConfigurationError,
    ConnectionError,  # noqa: A004
    NotFoundError,
    PermissionDeniedError,
    PostHogError,
    TimeoutError,  # noqa: A004
)
from asyncposthog.operation import Operation, Result
from asyncposthog.transport.clock import Clock

__all__ = ["CURRENT_ORGANIZATION", "CURRENT_PROJECT", "ME", "OwnerResolver", "TimeLimits"]

RequestJson: TypeAlias = Callable[[Operation], Awaitable[Any]]
"""Makes a call without arguments, and returns its JSON."""
OwnerKind: TypeAlias = Literal["project", "organization"]


def _get(name: str, path: str, scope: str) -> Operation:
    return Operation(
        id=name,
        method="GET",
        path=path,
        owner=None,
        result=Result(kind="json"),
        scopes=(scope,),
        writes=False,
        idempotent=True,
    )


ME: Final = _get("users.me", "/api/users/@me/", "user:read")
CURRENT_PROJECT: Final = _get("projects.current", "/api/projects/@current/", "project:read")
CURRENT_ORGANIZATION: Final = _get(
    "organizations.current", "/api/organizations/@current/", "organization:read"
)


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """The time limits of a call that needs an id."""

    policy: Policy
    started_at: float
    """When the call started, on `clock`."""
    clock: Clock

    def remaining(self) -> float | None:
        """Return the seconds until the deadline of the call; None: it has none."""
        deadline = self.policy.deadline
        return None if deadline is None else self.started_at + deadline - self.clock.monotonic()

    def covers(self, other: TimeLimits) -> bool:
        """Return whether no time limit of this call is lower than that of another.

        Then the other call would not succeed where this one has failed.
        """
        own, its = self.policy, other.policy
        return (
            own.max_retries >= its.max_retries
            and own.max_retry_after >= its.max_retry_after
            and _at_least(own.timeout, its.timeout)
            and _at_least(own.deadline, its.deadline)
        )


def _at_least(bound: float | None, other: float | None) -> bool:
    return bound is None or (other is not None and bound >= other)


@dataclass(slots=True)
class _Lookup:
    """A running lookup that other calls may wait for, and its error."""

    kind: OwnerKind
    limits: TimeLimits
    finished: anyio.Event = field(default_factory=anyio.Event)
    error: PostHogError | None = None

    async def wait(self, limits: TimeLimits) -> bool:
        """Wait for the end within the time limits of a call; return False if there was none.

        A call without a deadline waits without a limit, unless the lookup has a longer timeout
        than the call would have for its own.
        """
        bound = limits.remaining()
        timeout = limits.policy.timeout
        if timeout is not None and not _at_least(timeout, self.limits.policy.timeout):
            bound = timeout if bound is None else min(bound, timeout)
        with anyio.move_on_after(bound):
            await self.finished.wait()
        return self.finished.is_set()

    def error_for(self, kind: OwnerKind, limits: TimeLimits) -> PostHogError | None:
        """Return the error, if a lookup by the call itself would fail in the same way."""
        error = self.error
        if error is None or kind != self.kind:
            return None
        if isinstance(error, TimeoutError) and error.deadline_exceeded:
            return None  # the deadline of another call, which started earlier
        if _depends_on_time(error) and not self.limits.covers(limits):
            return None
        # A copy, because raising an exception adds a traceback to it.
        duplicate = copy.copy(error)
        duplicate.__cause__ = error.__cause__
        return duplicate


def _depends_on_time(error: PostHogError) -> bool:
    """Return whether a call with higher time limits might succeed."""
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    status = error.status
    return status is not None and (status in {408, 429} or status >= 500)


class OwnerResolver:
    """Looks up and caches the project id and the organization id of each API key."""

    def __init__(self) -> None:
        """Create an empty cache."""
        self._project_ids: dict[Secret, int] = {}
        self._organization_ids: dict[Secret, str] = {}
        self._running: dict[Secret, _Lookup] = {}

    def for_other_event_loop(self) -> OwnerResolver:
        """Return a resolver for another event loop, with the same cache."""
        other = OwnerResolver()
        other._project_ids, other._organization_ids = self._project_ids, self._organization_ids
        return other

    def cached_project_id(self, key: Secret) -> int | None:
        """Return the cached project id, if there is one. Nothing is sent."""
        return self._project_ids.get(key)

    async def project_id(self, key: Secret, request_json: RequestJson, limits: TimeLimits) -> int:
        """Return the id of the project that the key's owner had open at the first lookup.

        Args:
            key: The API key.
            request_json: Makes a call within `limits`.
            limits: The time limits of the call that needs the id.

        Raises:
            ConfigurationError: The server does not return an id.
            TimeoutError: The deadline of the call has passed.
        """
        if key not in self._project_ids:
            await self._resolve(key, request_json, limits, "project", self._project_ids)
        return self._project_ids[key]

    async def organization_id(
        self, key: Secret, request_json: RequestJson, limits: TimeLimits
    ) -> str:
        """Return the id (UUID) of the organization, in the same way.

        Raises:
            ConfigurationError: The server does not return an id.
            TimeoutError: The deadline of the call has passed.
        """
        if key not in self._organization_ids:
            await self._resolve(key, request_json, limits, "organization", self._organization_ids)
        return self._organization_ids[key]

    async def _resolve(
        self,
        key: Secret,
        request_json: RequestJson,
        limits: TimeLimits,
        kind: OwnerKind,
        cached: Mapping[Secret, object],
    ) -> None:
        """Look up an id, or wait for a call that is already doing so.

        If that call is cancelled, or fails because of its own time limits, one of the waiting
        calls makes the lookup instead.
        """
        while key not in cached:
            running = self._running.get(key)
            if running is None:
                await self._run_lookup(key, request_json, limits, kind)
                break
            if await running.wait(limits):
                if error := running.error_for(kind, limits):
                    raise error
                continue
            _check_deadline(kind, limits)
            if self._running.get(key) is running:
                # The running lookup has a longer timeout than this call. This call makes one of its
                # own, and calls that come later wait for that.
                await self._run_lookup(key, request_json, limits, kind)
                break
        _check_deadline(kind, limits)

    async def _run_lookup(
        self, key: Secret, request_json: RequestJson, limits: TimeLimits, kind: OwnerKind
    ) -> None:
        """Look up an id, for this call and for those that wait for it."""
        lookup = self._running[key] = _Lookup(kind, limits)
        try:
            await self._fetch_ids(key, request_json, kind)
        except PostHogError as error:
            lookup.error = error
            raise
        finally:
            if self._running.get(key) is lookup:
                del self._running[key]
            lookup.finished.set()

    async def _fetch_ids(self, key: Secret, request_json: RequestJson, kind: OwnerKind) -> None:
        me = await _get_or_empty(request_json, ME)
        project_id = _parse_project_id(me.get("team"))
        organization_id = _parse_organization_id(me.get("organization"))
        if kind == "project" and project_id is None:
            project_id = _parse_project_id(await _get_or_empty(request_json, CURRENT_PROJECT))
        if kind == "organization" and organization_id is None:
            organization_id = _parse_organization_id(
                await _get_or_empty(request_json, CURRENT_ORGANIZATION)
            )
        if project_id is not None:
            self._project_ids.setdefault(key, project_id)
        if organization_id is not None:
            self._organization_ids.setdefault(key, organization_id)
        if key in (self._project_ids if kind == "project" else self._organization_ids):
            return
        scope = "project:read" if kind == "project" else "organization:read"
        raise ConfigurationError(
            f"No {kind}_id was given, and the server does not return a default {kind}.",
            suggestion=(
                f"Pass {kind}_id= or set POSTHOG_{kind.upper()}_ID; or give the key the scope "
                f"user:read or {scope}."
            ),
        )


def _check_deadline(kind: OwnerKind, limits: TimeLimits) -> None:
    """Raise a TimeoutError if the deadline of the call has passed."""
    remaining = limits.remaining()
    if remaining is None or remaining > 0:
        return
    error = TimeoutError(
        f"The {kind} id was not found before the deadline of "
        f"{limits.policy.deadline:g} s. The call itself was not sent.",
        suggestion=(f"Pass {kind}_id= or set POSTHOG_{kind.upper()}_ID: it is not looked up then."),
    )
    error.deadline_exceeded = True
    raise error


async def _get_or_empty(request_json: RequestJson, operation: Operation) -> dict[str, Any]:
    """Return the JSON of a call; empty for a 403 or 404, after which there is another endpoint."""
    try:
        body = await request_json(operation)
    except (PermissionDeniedError, NotFoundError):
        return {}
    return cast("dict[str, Any]", body) if isinstance(body, dict) else {}


def _parse_project_id(value: object) -> int | None:
    """Return a valid project id of a response, or None."""
    number = cast("dict[str, object]", value).get("id") if isinstance(value, dict) else None
    # Not isinstance: True is an instance of int.
    return number if type(number) is int and 0 < number < 10**18 else None


def _parse_organization_id(value: object) -> str | None:
    """Return a valid organization id of a response, or None."""
    organization_id = (
        cast("dict[str, object]", value).get("id") if isinstance(value, dict) else None
    )
    if not isinstance(organization_id, str):
        return None
    try:
        return validate_option("organization_id", organization_id)
    except ConfigurationError:
        return None
