"""Batch exports, which have a package of their own."""

from __future__ import annotations

from collections.abc import Mapping

from posthog_emulator.operation_handler import Special

from . import downloads, scheduled

__all__ = ["SPECIALS"]

SPECIALS: Mapping[str, Special] = {
    **{name: Special(handler) for name, handler in downloads.HANDLERS.items()},
    **{name: Special(handler, checked) for name, (handler, checked) in scheduled.HANDLERS.items()},
}
