"""Capture: send events to PostHog."""

from .context import EventContext
from .results import CaptureStats, EventResult, LostEvents
from .service import Capture
from .settings import CaptureSettings

__all__ = [
    "Capture",
    "CaptureSettings",
    "CaptureStats",
    "EventContext",
    "EventResult",
    "LostEvents",
]
