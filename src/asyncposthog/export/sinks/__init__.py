"""Sinks: what an export writes its rows to."""

from __future__ import annotations

from .base import SafePoint, Sink
from .text import TextSink

__all__ = ["SafePoint", "Sink", "TextSink"]
