"""Where the rows of an export go."""

from __future__ import annotations

from .base import Mark, Sink
from .text import TextSink

__all__ = ["Mark", "Sink", "TextSink"]
