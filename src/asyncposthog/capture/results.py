"""What becomes of events: the server's answers, losses, counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

from pydantic_core import from_json

from asyncposthog.errors import PostHogError

__all__ = ["CaptureStats", "EventResult", "EventStatus", "LostEvents"]

EventStatus: TypeAlias = Literal["ok", "warning", "drop", "invalid", "failed"]


@dataclass(frozen=True, slots=True)
class EventResult:
    """What became of one event."""

    uuid: str | None
    """None for an event that was invalid before it got a UUID."""
    status: EventStatus
    """`ok` or `warning`: the server has the event. `drop`: the server, or a setting of the client,
    refused it. `invalid`: it was not sent, because the server could not accept it. `failed`: there
    was no answer for it, after all retries."""
    detail: str | None = None
    """The server's reason, such as `missing_distinct_id`, or the client's."""
    error: PostHogError | None = field(default=None, compare=False)
    """The error of the last request, if there was one."""

    @property
    def delivered(self) -> bool:
        """Whether the server has accepted the event."""
        return self.status in {"ok", "warning"}


@dataclass(frozen=True, slots=True)
class LostEvents:
    """Events that the client has given up, as `on_error` gets them."""

    reason: str
    """`server_drop`, `refused`, `too_large`, `quota`, `retries_exhausted`, `closed` or
    `internal_error`."""
    detail: str | None
    """The server's reason, if there is one."""
    error: PostHogError | None
    """The error of the last request, if there was one."""
    bodies: tuple[bytes, ...] = field(repr=False)
    """The events as JSON, as they were or would have been sent."""

    @property
    def count(self) -> int:
        """The number of events."""
        return len(self.bodies)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events, decoded at each access."""
        return [cast("dict[str, Any]", from_json(body)) for body in self.bodies]

    @property
    def uuids(self) -> list[str]:
        """The UUIDs of the events."""
        return [event["uuid"] for event in self.events]


@dataclass(frozen=True, slots=True)
class CaptureStats:
    """Counters of one process, since the first event.

    `queued + in_flight + sent + sum(lost.values())` is `accepted`, plus events that the spool had
    from an earlier process (`recovered`).
    """

    accepted: int = 0
    """Events that were queued."""
    recovered: int = 0
    """Events that the spool had from earlier processes."""
    queued: int = 0
    """Events that wait now, in memory or in the spool."""
    in_flight: int = 0
    """Events of the requests that are being made now, waits between attempts included."""
    sent: int = 0
    """Events that the server has accepted."""
    warned: int = 0
    """Events that the server has accepted with a warning; part of `sent`."""
    retried: int = 0
    """Events that were sent again, counted each time."""
    requests: int = 0
    """Requests, retries included."""
    lost: Mapping[str, int] = field(default_factory=dict[str, int])
    """Events that were given up after they were queued, by reason: see `LostEvents.reason`."""
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    """Events that were not queued: `queue_full`, `rate_limit`, `before_send`."""
    quota_limited: bool = False
    """Whether the last answer said that the billing limit of the project is reached."""
    protocol: Literal["v1", "v0"] | None = None
    """The version of the capture endpoint; None until the server has answered."""
    clock_skew: float | None = None
    """Seconds that the clock of the server is ahead of this one; None until it has answered."""
