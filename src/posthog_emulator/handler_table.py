"""The handlers of operations that do more than the default handler of their kind.

To add one, write a handler in the module of its feature and enter it in that module's table.
"""

from __future__ import annotations

from collections.abc import Mapping

from posthog_emulator.features.batch_exports import handlers as exports
from posthog_emulator.features.cohorts import handlers as cohorts
from posthog_emulator.features.dashboards import handlers as dashboards
from posthog_emulator.features.error_tracking import handlers as error_tracking
from posthog_emulator.features.events import handlers as events
from posthog_emulator.features.experiments import handlers as experiments
from posthog_emulator.features.flags import handlers as flags
from posthog_emulator.features.persons import handlers as persons
from posthog_emulator.features.query import handlers as queries
from posthog_emulator.features.query import saved_insights as insights
from posthog_emulator.features.recordings import handlers as recordings
from posthog_emulator.features.surveys import handlers as surveys

from .features import activity_log, definitions, downloads, endpoints, groups, misc
from .operation_handler import OperationHandler

__all__ = ["METHOD_NOT_ALLOWED_DETAILS", "OPERATION_HANDLERS", "OperationHandler"]

OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    **activity_log.OPERATION_HANDLERS,
    **cohorts.OPERATION_HANDLERS,
    **definitions.OPERATION_HANDLERS,
    **events.OPERATION_HANDLERS,
    **downloads.OPERATION_HANDLERS,
    **endpoints.OPERATION_HANDLERS,
    **groups.OPERATION_HANDLERS,
    **persons.OPERATION_HANDLERS,
    **misc.OPERATION_HANDLERS,
    **exports.OPERATION_HANDLERS,
    **queries.OPERATION_HANDLERS,
    **flags.OPERATION_HANDLERS,
    **insights.OPERATION_HANDLERS,
    **dashboards.OPERATION_HANDLERS,
    **error_tracking.OPERATION_HANDLERS,
    **recordings.OPERATION_HANDLERS,
    **experiments.OPERATION_HANDLERS,
    **surveys.OPERATION_HANDLERS,
}
"""Handlers by operation id."""

METHOD_NOT_ALLOWED_DETAILS: Mapping[tuple[str, str], str] = persons.METHOD_NOT_ALLOWED_DETAILS
"""The `detail` of a 405 that suggests another operation, by method and path template."""
