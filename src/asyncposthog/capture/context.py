"""Properties and identity of the events of a task, by context variables."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

__all__ = ["EventContext", "current_context", "event_context"]


@dataclass(frozen=True, slots=True)
class EventContext:
    """What events captured in a context have in addition to their own arguments."""

    distinct_id: object = None
    session_id: str | None = None
    groups: Mapping[str, object] = field(default_factory=dict[str, object])
    properties: Mapping[str, object] = field(default_factory=dict[str, object])


_context: ContextVar[EventContext | None] = ContextVar("asyncposthog_capture", default=None)


current_context: Final[Callable[[], EventContext | None]] = _context.get
"""Returns the context of the current task; None: there is none."""


@contextmanager
def event_context(
    *,
    distinct_id: object = None,
    session_id: str | None = None,
    groups: Mapping[str, object] | None = None,
    properties: Mapping[str, object] | None = None,
    fresh: bool = False,
) -> Generator[EventContext]:
    """Add to the events that are captured in the block, and in tasks that are started in it.

    Args:
        distinct_id: The default `distinct_id`.
        session_id: The session, sent as `$session_id`.
        groups: Groups, by type.
        properties: Properties. Those of an event itself take precedence.
        fresh: Whether to ignore an enclosing context instead of adding to it.
    """
    outer = None if fresh else _context.get()
    outer = outer or EventContext()
    inner = EventContext(
        distinct_id=outer.distinct_id if distinct_id is None else distinct_id,
        session_id=outer.session_id if session_id is None else session_id,
        groups={**outer.groups, **(groups or {})},
        properties={**outer.properties, **(properties or {})},
    )
    token = _context.set(inner)
    try:
        yield inner
    finally:
        _context.reset(token)
