"""Store captured events, after the products that need them have seen them."""

from __future__ import annotations

from collections.abc import Sequence

from posthog_emulator.event_store.ingest import Event
from posthog_emulator.features.error_tracking.issues import assign_issues
from posthog_emulator.state import EmulatorState

__all__ = ["store_events"]


def store_events(state: EmulatorState, project_id: int, events: Sequence[Event]) -> None:
    """Store captured events in a project.

    Exceptions get their issue first, because the stored event names it.

    Args:
        state: The emulator's state.
        project_id: The project.
        events: The events.
    """
    events_to_store = assign_issues(state, str(project_id), events)
    state.events.ingest(project_id, events_to_store, captured=True)
