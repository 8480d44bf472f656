"""Batch exports, which have a package of their own."""

from __future__ import annotations

from collections.abc import Mapping

from asyncposthog.emulator.exports import downloads
from asyncposthog.emulator.specials.table import Special

__all__ = ["SPECIALS"]

SPECIALS: Mapping[str, Special] = {
    name: Special(handler) for name, handler in downloads.HANDLERS.items()
}
