"""Batch exports, which have a package of their own."""

from __future__ import annotations

from collections.abc import Mapping

from asyncposthog.emulator.exports import downloads, schedules
from asyncposthog.emulator.specials.table import Special

__all__ = ["SPECIALS"]

SPECIALS: Mapping[str, Special] = {
    **{name: Special(handler) for name, handler in downloads.HANDLERS.items()},
    **{name: Special(handler, checked) for name, (handler, checked) in schedules.HANDLERS.items()},
}
