"""The handlers of operations that do more than the default handler of their kind.

To add one, write a handler in the module of its feature and enter it in that module's table.
"""

from __future__ import annotations

from collections.abc import Mapping

from posthog_emulator.features.batch_exports import handlers as exports
from posthog_emulator.features.cohorts import handlers as cohorts
from posthog_emulator.features.events import handlers as events
from posthog_emulator.features.flags import handlers as flags
from posthog_emulator.features.persons import handlers as persons
from posthog_emulator.features.query import handlers as queries
from posthog_emulator.features.query import saved_insights as insights

from .features import definitions, groups, misc
from .operation_handler import OperationHandler

__all__ = ["REFUSALS", "SPECIALS", "OperationHandler"]

SPECIALS: Mapping[str, OperationHandler] = {
    **cohorts.SPECIALS,
    **definitions.SPECIALS,
    **events.SPECIALS,
    **groups.SPECIALS,
    **persons.SPECIALS,
    **misc.SPECIALS,
    **exports.SPECIALS,
    **queries.SPECIALS,
    **flags.SPECIALS,
    **insights.SPECIALS,
}
"""Handlers by operation id."""

REFUSALS: Mapping[tuple[str, str], str] = persons.REFUSALS
"""The `detail` of a 405 that suggests another operation, by method and path template."""
