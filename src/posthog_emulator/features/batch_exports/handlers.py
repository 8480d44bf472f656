"""Handlers of all batch export operations, by operation id."""

from __future__ import annotations

from collections.abc import Mapping

from posthog_emulator.operation_handler import OperationHandler

from . import downloads, scheduled

__all__ = ["OPERATION_HANDLERS"]

OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    **{name: OperationHandler(handler) for name, handler in downloads.HANDLERS.items()},
    **{
        name: OperationHandler(handler, checked)
        for name, (handler, checked) in scheduled.HANDLERS.items()
    },
}
