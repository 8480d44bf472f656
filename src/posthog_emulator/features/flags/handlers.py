"""Flag endpoints of the private API: local evaluation, remote config, evaluation reasons."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from posthog_emulator.http.errors import ApiError, invalid, not_found, required
from posthog_emulator.http.messages import Response, json_response
from posthog_emulator.json_types import as_object, is_object
from posthog_emulator.operation_handler import OperationHandler
from posthog_emulator.rest.handlers import DEFAULT_HANDLERS
from posthog_emulator.state import ApiCall, fill_path

from .lookup import FLAGS
from .responses import conditional_response, flag_definitions
from .routes import evaluate_flags

__all__ = ["OPERATION_HANDLERS"]


def _project_id(call: ApiCall) -> int:
    return int(call.path_values[0])


def _local_evaluation(call: ApiCall) -> Response:
    state = call.state
    if "feature_flags" in state.settings.exhausted_quotas:
        detail = "You have exceeded your feature flag request quota"
        raise ApiError(402, code="payment_required", detail=detail)
    cohorts = call.request.query_value("send_cohorts") is not None
    return conditional_response(
        call.request, flag_definitions(state, _project_id(call), cohorts=cohorts)
    )


def _remote_config(call: ApiCall) -> Response:
    identifier = call.path_values[1]
    collection = call.state.store.collection(fill_path(FLAGS, call.path_values[:1]))
    row = collection.find(identifier, "key") or collection.find(identifier)
    if row is None or row.deleted:
        raise not_found()
    # As on the server, the payload is stored as JSON text and returned as a JSON string of it.
    payloads = as_object(as_object(row.data.get("filters")).get("payloads"))
    return json_response(call.operation.result.status, payloads.get("true"))


def _evaluation_reasons(call: ApiCall) -> Response:
    distinct_id, groups = (
        call.request.query_value("distinct_id"),
        call.request.query_value("groups"),
    )
    if not distinct_id:
        raise required("distinct_id")
    try:
        parsed: Any = json.loads(groups or "{}")
    except ValueError:
        parsed = None
    if not is_object(parsed):
        raise invalid("Invalid groups parameter", "groups")
    request_body = {"distinct_id": distinct_id, "groups": parsed}
    reasons = {
        key: {
            "value": evaluation.value,
            "evaluation": {
                "reason": evaluation.reason,
                "condition_index": evaluation.condition_index,
                "description": evaluation.description,
            },
        }
        for key, (_, evaluation) in evaluate_flags(
            call.state, _project_id(call), request_body
        ).items()
    }
    return json_response(call.operation.result.status, reasons)


def _update(call: ApiCall) -> Response:
    """Update a flag, unless someone else has changed the same fields since it was read."""
    stored, body = call.get_object().data, as_object(call.body)
    version, original = body.get("version", -1), as_object(body.get("original_flag"))
    if version not in (-1, stored.get("version") or 0) and any(
        name in original
        and value != original[name]
        and stored.get(name) not in (original[name], value)
        for name, value in body.items()
    ):
        # The version alone is no reason: without the original values, the last writer wins.
        detail = "Another user has changed the feature flag since it was read."
        raise ApiError(409, code="conflict", detail=detail)
    return DEFAULT_HANDLERS["update"](call)


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    "feature_flags.local_evaluation": OperationHandler(_local_evaluation),
    "feature_flags.remote_config": OperationHandler(_remote_config),
    "feature_flags.evaluation_reasons": OperationHandler(_evaluation_reasons),
    "feature_flags.update": OperationHandler(_update),
}
