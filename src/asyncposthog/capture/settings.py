"""Settings of capture, and their validation."""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from asyncposthog.errors import ConfigurationError

from .plan import BATCH_BYTES
from .results import LostEvents

__all__ = ["BeforeSend", "CaptureSettings", "Compression", "OnError", "Protocol"]

BeforeSend: TypeAlias = Callable[[dict[str, Any]], Mapping[str, Any] | None]
OnError: TypeAlias = Callable[[LostEvents], Awaitable[object] | object]
Protocol: TypeAlias = Literal["auto", "v1", "v0"]
Compression: TypeAlias = Literal["auto", "gzip", "zstd", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureSettings:
    """Settings of `ph.capture`: `AsyncPostHog(capture=CaptureSettings(spool="events.db"))`.

    Raises:
        ConfigurationError: A setting is out of range.
        TypeError: A setting is of the wrong type.
    """

    flush_at: int = 500
    """Queued events that start a request."""
    flush_interval: float = 1.0
    """Seconds after which a request is made with fewer events."""
    max_batch_events: int = 1000
    """The maximum number of events of a request."""
    max_batch_bytes: int = BATCH_BYTES
    """The maximum size of the events of a request, uncompressed. A larger event is sent alone."""
    max_queue_events: int = 10_000
    """Events in memory beyond which `capture()` waits. With a spool: events that are not yet
    written."""
    max_queue_bytes: int = 64 * 1024 * 1024
    """Their maximum size."""
    when_full: Literal["drop_newest", "drop_oldest"] = "drop_newest"
    """What `nowait` drops when the queue is full. With a spool it is always the newest event."""
    concurrency: int = 2
    """Requests at the same time."""
    max_retries: int | None = None
    """Repeats of a request in the background. None: as long as the client is open."""
    request_timeout: float = 15.0
    """Seconds for one attempt."""
    close_timeout: float = 10.0
    """Seconds that closing the client waits for queued events to be sent."""
    compression: Compression = "auto"
    """`auto`: zstd if a module for it is installed and the server takes it, else gzip."""
    protocol: Protocol = "auto"
    """`auto`: v1, or v0 on an instance that lacks v1."""
    historical: bool = False
    """Whether the events are old ones, which PostHog stores without watching for sudden growth."""
    spool: str | os.PathLike[str] | None = None
    """The path of a file that holds events until they are sent, across crashes and restarts."""
    spool_synchronous: Literal["normal", "full"] = "normal"
    """`normal`: events survive a crash of the process. `full`: also of the machine; slower."""
    max_events_per_minute: int | None = None
    """Events beyond this rate are dropped and counted. None: no limit."""
    on_error: OnError | None = None
    """A function or async function that is called with the events that were given up."""
    before_send: BeforeSend | None = None
    """A function that gets each event as a dict, and returns it, another one, or None to drop it.
    It runs during the call, before the event is queued."""
    super_properties: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """Properties of every event. They take precedence over those of the event."""
    disable_geoip: bool = True
    """Whether the server must not derive a location from the IP address of the request."""
    privacy_mode: bool = False
    """Whether the inputs and outputs of AI events are removed."""
    system_properties: bool = True
    """Whether events have the versions of Python and the operating system."""
    in_app_include: tuple[str, ...] = ()
    """Modules, with those below them, whose stack frames are marked as the application's own."""
    project_root: str | os.PathLike[str] | None = None
    """The folder of the application, for the same purpose. None: the current one."""

    def __post_init__(self) -> None:
        """Validate the settings."""
        for name in ("flush_at", "max_batch_events", "max_batch_bytes", "concurrency"):
            _check_number(name, getattr(self, name), int, minimum=1)
        for name in ("max_queue_events", "max_queue_bytes"):
            _check_number(name, getattr(self, name), int, minimum=1)
        for name in ("flush_interval", "request_timeout", "close_timeout"):
            _check_number(name, getattr(self, name), float, minimum=0)
        for name, minimum in (("max_retries", 0), ("max_events_per_minute", 1)):
            if getattr(self, name) is not None:
                _check_number(name, getattr(self, name), int, minimum=minimum)
        _check_choice("when_full", self.when_full, {"drop_newest", "drop_oldest"})
        _check_choice("compression", self.compression, {"auto", "gzip", "zstd", "none"})
        _check_choice("protocol", self.protocol, {"auto", "v1", "v0"})
        _check_choice("spool_synchronous", self.spool_synchronous, {"normal", "full"})
        for name in ("disable_geoip", "historical", "privacy_mode", "system_properties"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False")
        for name in ("on_error", "before_send"):
            hook = getattr(self, name)
            if hook is not None and not callable(hook):
                raise TypeError(f"{name} must be a function, not {type(hook).__name__}")
        if not isinstance(cast("object", self.super_properties), Mapping):
            raise TypeError("super_properties must be a mapping")
        if self.spool is not None and not str(Path(self.spool).name):
            raise ConfigurationError(f"spool must be the path of a file, not {self.spool!r}.")


def _check_number(name: str, value: object, kind: type, *, minimum: float) -> None:
    allowed = int if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, allowed):
        expected = "an int" if kind is int else "a number"
        raise TypeError(f"{name} must be {expected}, not {type(value).__name__}")
    if not math.isfinite(value) or value < minimum:
        raise ConfigurationError(f"{name} must be {minimum:g} or more, and finite, not {value}.")


def _check_choice(name: str, value: object, choices: set[str]) -> None:
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in sorted(choices))
        raise ConfigurationError(f"{name} must be one of {listed}, not {value!r}.")
