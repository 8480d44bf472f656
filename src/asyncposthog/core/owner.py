"""Which project, and which organization: looked up once where the user left them out.

`@current` follows whatever the key's owner last opened in a browser. It is asked once, by a GET,
and the number that comes back is kept: no other call ever carries it.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, cast

import anyio

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
from asyncposthog.transport.retry import Policy

__all__ = ["CURRENT_ORGANIZATION", "CURRENT_PROJECT", "ME", "CallTime", "OwnerResolver"]

Ask: TypeAlias = Callable[[Operation], Awaitable[Any]]
"""Makes a call that takes no arguments, and returns its JSON."""
Wanted: TypeAlias = Literal["project", "organization"]


def _get(name: str, path: str, scope: str) -> Operation:
    return Operation(
        id=name,
        method="GET",
        path=path,
        root="instance",
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
class CallTime:
    """The time limits of the call that needs an id."""

    policy: Policy
    began: float
    """When the call began, by `clock`."""
    clock: Clock

    def left(self) -> float | None:
        """Return the seconds that are left until the call's deadline; None: it has none."""
        deadline = self.policy.deadline
        return None if deadline is None else self.began + deadline - self.clock.monotonic()

    def covers(self, other: CallTime) -> bool:
        """Return whether this call is at least as patient as another.

        A failure that it met is then also one of the other call.
        """
        mine, theirs = self.policy, other.policy
        return (
            mine.max_retries >= theirs.max_retries
            and mine.max_retry_after >= theirs.max_retry_after
            and _at_least(mine.timeout, theirs.timeout)
            and _at_least(mine.deadline, theirs.deadline)
        )


def _at_least(bound: float | None, other: float | None) -> bool:
    return bound is None or (other is not None and bound >= other)


@dataclass(slots=True)
class _LookUp:
    """A look-up that is running, and how it failed."""

    wanted: Wanted
    time: CallTime
    ended: anyio.Event = field(default_factory=anyio.Event)
    failure: PostHogError | None = None

    async def wait(self, time: CallTime) -> bool:
        """Wait for the end, as long as a call may; return False if it did not come in time.

        Without a deadline there is no bound, unless the look-up is given more time than the call
        would give to one of its own.
        """
        bound = time.left()
        timeout = time.policy.timeout
        if timeout is not None and not _at_least(timeout, self.time.policy.timeout):
            bound = timeout if bound is None else min(bound, timeout)
        with anyio.move_on_after(bound):
            await self.ended.wait()
        return self.ended.is_set()

    def failure_for(self, wanted: Wanted, time: CallTime) -> PostHogError | None:
        """Return the failure, where a look-up of the call's own would fail in the same way."""
        failure = self.failure
        if failure is None or wanted != self.wanted:
            return None
        if isinstance(failure, TimeoutError) and failure.overall:
            return None  # the deadline of a call that began earlier
        if _depends_on_time(failure) and not self.time.covers(time):
            return None
        # A copy: each caller adds its own traceback.
        again = copy.copy(failure)
        again.__cause__ = failure.__cause__
        return again


def _depends_on_time(failure: PostHogError) -> bool:
    """Return whether a more patient call might have succeeded."""
    if isinstance(failure, TimeoutError | ConnectionError):
        return True
    status = failure.status
    return status is not None and (status in {408, 429} or status >= 500)


class OwnerResolver:
    """What was looked up, by key: one project and one organization for each."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._projects: dict[Secret, int] = {}
        self._organizations: dict[Secret, str] = {}
        self._running: dict[Secret, _LookUp] = {}

    def cached_project_id(self, key: Secret) -> int | None:
        """Return the number that was looked up before, without asking."""
        return self._projects.get(key)

    async def project(self, key: Secret, ask: Ask, time: CallTime) -> int:
        """Return the number of the project the key's owner had open when first asked.

        Args:
            key: Whose project.
            ask: Makes a call, within the limits of `time`.
            time: The limits of the call that needs the number.

        Raises:
            ConfigurationError: The server does not tell.
            TimeoutError: The call's deadline is over.
        """
        if key not in self._projects:
            await self._share(key, ask, time, "project", self._projects)
        return self._projects[key]

    async def organization(self, key: Secret, ask: Ask, time: CallTime) -> str:
        """Return the UUID of the organization, in the same way.

        Raises:
            ConfigurationError: The server does not tell.
            TimeoutError: The call's deadline is over.
        """
        if key not in self._organizations:
            await self._share(key, ask, time, "organization", self._organizations)
        return self._organizations[key]

    async def _share(
        self, key: Secret, ask: Ask, time: CallTime, wanted: Wanted, known: Mapping[Secret, object]
    ) -> None:
        """Look an id up, or wait for the call that is looking it up already.

        If that call is cancelled, or fails because of its own time limits, one of those that wait
        goes on in its place.
        """
        while key not in known:
            running = self._running.get(key)
            if running is None:
                await self._lead(key, ask, time, wanted)
                break
            if await running.wait(time):
                if failure := running.failure_for(wanted, time):
                    raise failure
                continue
            _check_time(wanted, time)
            if self._running.get(key) is running:
                # It has more time than this call gives to an attempt: this call asks by itself,
                # and calls that come later wait for it instead.
                await self._lead(key, ask, time, wanted)
                break
        _check_time(wanted, time)

    async def _lead(self, key: Secret, ask: Ask, time: CallTime, wanted: Wanted) -> None:
        """Look an id up, for this call and for those that wait for it meanwhile."""
        mine = self._running[key] = _LookUp(wanted, time)
        try:
            await self._look_up(key, ask, wanted)
        except PostHogError as error:
            mine.failure = error
            raise
        finally:
            if self._running.get(key) is mine:
                del self._running[key]
            mine.ended.set()

    async def _look_up(self, key: Secret, ask: Ask, wanted: Wanted) -> None:
        me = await _get_or_empty(ask, ME)
        project, organization = _project(me.get("team")), _organization(me.get("organization"))
        if wanted == "project" and project is None:
            project = _project(await _get_or_empty(ask, CURRENT_PROJECT))
        if wanted == "organization" and organization is None:
            organization = _organization(await _get_or_empty(ask, CURRENT_ORGANIZATION))
        if project is not None:
            self._projects.setdefault(key, project)
        if organization is not None:
            self._organizations.setdefault(key, organization)
        if key in (self._projects if wanted == "project" else self._organizations):
            return
        scope = "project:read" if wanted == "project" else "organization:read"
        raise ConfigurationError(
            f"No {wanted}_id was given, and the server does not tell which {wanted} is meant.",
            suggestion=(
                f"Pass {wanted}_id= or set POSTHOG_{wanted.upper()}_ID; or give the key the scope "
                f"user:read or {scope}."
            ),
        )


def _check_time(wanted: Wanted, time: CallTime) -> None:
    """Raise a TimeoutError if the deadline of the call is over."""
    left = time.left()
    if left is None or left > 0:
        return
    error = TimeoutError(
        f"The {wanted}'s id was not known before the deadline of "
        f"{time.policy.deadline:g} s was over. The call itself was not sent.",
        suggestion=(
            f"Pass {wanted}_id= or set POSTHOG_{wanted.upper()}_ID: it is not looked up then."
        ),
    )
    error.overall = True
    raise error


async def _get_or_empty(ask: Ask, operation: Operation) -> dict[str, Any]:
    """Ask, taking a refusal for an empty answer: there is another way, or a better message."""
    try:
        answer = await ask(operation)
    except (PermissionDeniedError, NotFoundError):
        return {}
    return cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}


def _project(value: object) -> int | None:
    """Return the number of a project; None where the answer holds none that a path can take."""
    number = cast("dict[str, object]", value).get("id") if isinstance(value, dict) else None
    # Not isinstance: True is an int as well.
    return number if type(number) is int and 0 < number < 10**18 else None


def _organization(value: object) -> str | None:
    """Return the UUID of an organization; None where the answer holds no UUID."""
    found = cast("dict[str, object]", value).get("id") if isinstance(value, dict) else None
    if not isinstance(found, str):
        return None
    try:
        return validate_option("organization_id", found)
    except ConfigurationError:
        return None
