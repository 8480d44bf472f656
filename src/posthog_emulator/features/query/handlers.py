"""Handlers of query operations; the query engine is imported with the first request."""

from __future__ import annotations

from collections.abc import Mapping

from posthog_emulator.http.messages import Response
from posthog_emulator.operation_handler import OperationHandler
from posthog_emulator.state import ApiCall

__all__ = ["OPERATION_HANDLERS"]


def _create(call: ApiCall) -> Response:
    from . import endpoint

    return endpoint.create(call)


def _status(call: ApiCall) -> Response:
    from . import endpoint

    return endpoint.status(call)


def _cancel(call: ApiCall) -> Response:
    from . import endpoint

    return endpoint.cancel(call)


def _log(call: ApiCall) -> Response:
    from . import endpoint

    return endpoint.log(call)


def _get_insight(call: ApiCall) -> Response:
    from . import saved_insights as insights

    return insights.get_insight(call)


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    "query.create": OperationHandler(_create, validates=False),
    "query.run_kind": OperationHandler(_create, validates=False),
    "query.get": OperationHandler(_status),
    "query.cancel": OperationHandler(_cancel),
    "query.get_log": OperationHandler(_log),
    "insights.get": OperationHandler(_get_insight),
}
