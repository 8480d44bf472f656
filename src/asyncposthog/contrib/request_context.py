"""The person, session and feature flags of one web request, whatever the framework."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar, Token
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, Final, Literal, Protocol, TypeAlias, cast
from urllib.parse import unquote

import anyio
from pydantic_core import from_json

from asyncposthog.client import AsyncPostHog
from asyncposthog.flags.snapshot import FlagSnapshot, FlagValue, Unavailable
from asyncposthog.types import OMIT, Omit

__all__ = [
    "ExceptionSink",
    "Identity",
    "RequestContext",
    "UserId",
    "cookie_name",
    "current_request",
    "identity",
]

logger = logging.getLogger("asyncposthog")

UserId: TypeAlias = str | int | None
"""The id of the logged-in user; None if the request has no user."""

_MAX_ID_CHARS: Final = 400
_MAX_COOKIE_CHARS: Final = 16_384
_CAPTURE_TIMEOUT: Final = 2.0
"""Seconds that a failed request waits until its exception is queued."""

_current: ContextVar[RequestContext | None] = ContextVar("asyncposthog_request", default=None)


class ExceptionSink(Protocol):
    """Where exceptions go."""

    def exception(
        self,
        error: BaseException,
        distinct_id: str | None = None,
        *,
        properties: Mapping[str, Any] | None = None,
        handled: bool = True,
    ) -> Awaitable[str | None]:
        """Queue an event about an exception, once; return its UUID, or None if it was not."""
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sends a request, as far as it says itself."""

    distinct_id: str | None = None
    session_id: str | None = None
    source: Literal["header", "cookie"] | None = None
    """Where the distinct id is from. A client can put any id into either."""


def cookie_name(token: str) -> str:
    """Return the name of the cookie that PostHog's JavaScript sets for a project token."""
    safe = token.replace("+", "PL").replace("/", "SL").replace("=", "EQ")
    return f"ph_{safe}_posthog"


def identity(header: Callable[[str], str | None], cookie: Callable[[], str | None]) -> Identity:
    """Return who sends a request, from its headers or else its cookie.

    Args:
        header: Returns the value of a header, by its lower-case name.
        cookie: Returns the value of PostHog's cookie. Called if the headers lack something.
    """
    distinct_id = _clean(header("x-posthog-distinct-id"))
    session_id = _clean(header("x-posthog-session-id"))
    if distinct_id is not None and session_id is not None:
        return Identity(distinct_id, session_id, "header")
    source: Literal["header", "cookie"] | None = None if distinct_id is None else "header"
    stored = _parse_cookie(cookie())
    if distinct_id is None:
        distinct_id = _clean(stored.get("distinct_id"))
        source = None if distinct_id is None else "cookie"
    if session_id is None:
        # [time of the last activity, id, time of the start]
        session: Any = stored.get("$sesid")
        if isinstance(session, list) and len(cast("list[object]", session)) > 1:
            session_id = _clean(cast("list[object]", session)[1])
    return Identity(distinct_id, session_id, source)


def _parse_cookie(value: str | None) -> dict[str, Any]:
    if not value or len(value) > _MAX_COOKIE_CHARS:
        return {}
    try:
        parsed: object = from_json(unquote(value).encode("utf-8", "replace"))
    except ValueError:
        return {}
    return cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else {}


def _clean(value: object) -> str | None:
    """Return an id that a client has sent, or None if it cannot be one."""
    if not isinstance(value, str):
        return None
    text = value.strip()
    if not text or len(text) > _MAX_ID_CHARS or not text.isprintable():
        return None
    return text


class RequestContext:
    """The person, session and feature flags of one request.

    The distinct id is that of the user who is logged in, or else the one that the request claims.
    """

    def __init__(
        self,
        client: AsyncPostHog,
        claimed: Identity,
        *,
        user: Callable[[], UserId | Awaitable[UserId]] | None = None,
        flag_options: Callable[[], Mapping[str, Any]] | None = None,
        properties: Mapping[str, Any] | None = None,
    ) -> None:
        """Start from what the request claims.

        Args:
            client: The client.
            claimed: Who the request says it is from.
            user: Returns the id of the user who is logged in.
            flag_options: Returns arguments of `ph.flags.evaluate`: `groups`, `person_properties`.
            properties: Properties of events about the request.
        """
        self.client = client
        """The client of the service."""
        self.claimed = claimed
        """Who the request says it is from. A client can forge it."""
        self.user_id: str | None = None
        """The id of the user who is logged in; None: unknown or nobody."""
        self.properties = dict(properties or {})
        """Properties of events about the request."""
        self._user = user
        self._flag_options = flag_options
        self._lock = anyio.Lock()
        self._flags: tuple[str | None, FlagSnapshot] | None = None

    @property
    def distinct_id(self) -> str | None:
        """The distinct id as far as it is known; `resolve` asks for the user as well."""
        return self.user_id or self.claimed.distinct_id

    @property
    def session_id(self) -> str | None:
        """The session that the request claims."""
        return self.claimed.session_id

    def identify(self, user_id: str | int) -> None:
        """Say who is logged in, for frameworks that find out after the middleware has run.

        Use an id that never changes, not an email address.

        Raises:
            ValueError: The id is empty.
        """
        text = str(user_id)
        if not text:
            raise ValueError("user_id is empty")
        self.user_id = text

    async def resolve(self) -> str | None:
        """Return the distinct id, after asking `user` who is logged in."""
        if self.user_id is None and self._user is not None:
            user = self._user()
            user_id = await user if isawaitable(user) else user
            # Not `if user_id`: 0 is an id.
            if user_id is not None and user_id != "":
                self.user_id = str(user_id)
        return self.distinct_id

    async def flags(self) -> FlagSnapshot:
        """Return the feature flags of the person, evaluated when they are first needed.

        If they cannot be evaluated, their values are not known, and reading one raises
        `FlagUnavailableError` unless a default is given: `flags.is_enabled("beta", False)`.
        """
        async with self._lock:
            distinct_id = await self.resolve()
            if self._flags is None or self._flags[0] != distinct_id:
                self._flags = (distinct_id, await self._evaluate(distinct_id))
            return self._flags[1]

    async def _evaluate(self, distinct_id: str | None) -> FlagSnapshot:
        if distinct_id is None:
            return FlagSnapshot("", {}, incomplete=Unavailable("no_distinct_id"))
        options: dict[str, Any] = {"on_error": "unavailable"}
        if self._flag_options is not None:
            options |= self._flag_options()
        snapshot = await self.client.flags.evaluate(distinct_id, **options)
        if snapshot.error is not None:
            logger.warning("feature flags were not evaluated: %s", snapshot.error)
        return snapshot

    async def is_enabled(self, key: str, default: bool | Omit = OMIT) -> bool:
        """Return whether a flag is on for the person; see `FlagSnapshot.is_enabled`.

        Raises:
            FlagUnavailableError: The value is not known, and there is no default.
        """
        return (await self.flags()).is_enabled(key, default)

    async def flag(self, key: str, default: FlagValue | Omit = OMIT) -> FlagValue:
        """Return False, True, or the key of the variant; see `FlagSnapshot.value`.

        Raises:
            FlagUnavailableError: The value is not known, and there is no default.
        """
        return (await self.flags()).value(key, default)

    async def capture_exception(
        self, error: BaseException, properties: Mapping[str, Any] | None = None
    ) -> bool:
        """Capture an exception as an event, once; return whether it was.

        An exception that was captured before, by `ph.capture.exception` or another middleware, is
        not captured again. Never raises: the exception itself matters more.
        """
        if self.client.settings.project_api_key is None:
            return False  # without the token of a project, there is nowhere to capture it
        about = {**self.properties, **(properties or {})}
        if self.session_id is not None:
            about["$session_id"] = self.session_id
        try:
            sink: ExceptionSink = self.client.capture
            # Shielded: what failed may be in a task that is being cancelled.
            with anyio.move_on_after(_CAPTURE_TIMEOUT, shield=True):
                uuid = await sink.exception(
                    error, self.distinct_id, properties=about, handled=False
                )
                return uuid is not None
            return False
        except Exception:
            logger.exception("an exception of a request was not captured")
            return False

    def enter(self) -> tuple[Token[RequestContext | None], AbstractContextManager[object]]:
        """Make this the current request; return what `leave` needs."""
        token = _current.set(self)
        return token, self._capture_context()

    def leave(self, token: Token[RequestContext | None]) -> None:
        """Make the request before this one the current one."""
        _current.reset(token)

    def _capture_context(self) -> AbstractContextManager[object]:
        """Return a block in which captured events belong to the person and the session."""
        if self.client.settings.project_api_key is None:
            return nullcontext()
        return self.client.capture.context(distinct_id=self.distinct_id, session_id=self.session_id)

    def __repr__(self) -> str:
        """Return where the distinct id is from, and not the id: it may be personal data."""
        source = "user" if self.user_id is not None else self.claimed.source
        return f"<RequestContext of {source or 'an unknown person'}>"


def current_request() -> RequestContext | None:
    """Return the context of the request that is being handled; None outside of requests."""
    return _current.get()
