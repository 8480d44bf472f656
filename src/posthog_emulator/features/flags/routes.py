"""Flag endpoints outside the private API: evaluation with a project token, and definitions."""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs

from posthog_emulator.accounts import Key, extract_key
from posthog_emulator.features.browser import remote_config
from posthog_emulator.http.errors import ApiError, PlainTextError, not_found, permission_denied
from posthog_emulator.http.messages import Request, Response, json_response, text_response
from posthog_emulator.json_types import is_array, is_object
from posthog_emulator.state import EmulatorState

from .lookup import (
    create_evaluator,
    create_subject,
    persist_hash_key_overrides,
    project_flags,
)
from .responses import EvaluatedFlags, conditional_response, flag_definitions, flags_body

__all__ = ["ROUTES", "evaluate_flags"]

_NO_KEY = "No API token provided. Please include a valid API token in your request."
_BAD_KEY = (
    "The provided API key is invalid or has expired. Please check your API key and try again."
)
_NO_DISTINCT_ID = (
    "The distinct_id field is missing from the request. Please include a valid identifier."
)
_EMPTY_DISTINCT_ID = "The distinct_id field cannot be empty. Please provide a valid identifier."
_SCOPE = "feature_flag:read"
_QUOTA = ["feature_flags"]


def evaluate_flags(
    state: EmulatorState,
    project_id: int,
    request_body: Mapping[str, Any],
    keys: Iterable[str] | None = None,
) -> EvaluatedFlags:
    """Evaluate the flags of a project for the subject of a request.

    Args:
        state: The emulator's state.
        project_id: The project.
        request_body: As for `create_subject`.
        keys: The keys of the flags to evaluate; all by default.
    """
    flags = {str(flag["key"]): flag for flag in project_flags(state, project_id)}
    judge = create_evaluator(state, create_subject(state, project_id, request_body), flags.values())
    selected = flags if keys is None else {key: flags[key] for key in keys if key in flags}
    return {key: (flag, judge.evaluate(key)) for key, flag in selected.items()}


def _flags(state: EmulatorState, request: Request) -> Response:
    if request.method == "OPTIONS":
        return Response(204, headers=[("Allow", "GET, POST, OPTIONS")])
    if request.method != "POST":
        return text_response(405, "Method not allowed")
    try:
        return _evaluate(state, request)
    except PlainTextError as error:
        return error.to_response()


def _evaluate(state: EmulatorState, request: Request) -> Response:
    request_body = _parse_body(request)
    token = request_body.get("token") or request_body.get("api_key") or request.query_value("token")
    if not isinstance(token, str) or not token:
        raise PlainTextError(401, _NO_KEY)
    project_id = state.project_id_for_token(token)
    if project_id is None:
        raise PlainTextError(401, _BAD_KEY)
    if request_body.get("distinct_id") is None:
        raise PlainTextError(400, _NO_DISTINCT_ID)
    if request_body["distinct_id"] == "":
        raise PlainTextError(400, _EMPTY_DISTINCT_ID)
    decide = request.path.startswith("/decide")
    quota_exhausted = "feature_flags" in state.settings.exhausted_quotas
    flags: EvaluatedFlags = {}
    # With an exhausted quota the server still responds with 200, but without flags.
    if not quota_exhausted:
        # Persisted first, so that the overrides apply to this very request.
        persist_hash_key_overrides(state, project_id, request_body)
        flags = evaluate_flags(state, project_id, request_body, _requested_keys(request_body))
    if (request.query_value("only_evaluate_survey_feature_flags") or "") in {"true", "1"}:
        flags = {
            key: evaluated
            for key, evaluated in flags.items()
            if key.startswith("survey-targeting-")
        }
    version = request.query_value("v") or "1"
    with_config = request.query_value("config") in {"true", "1"}
    config = remote_config(state, project_id) if with_config else {}
    number = int(version) if version.isascii() and version.isdigit() else 1
    response_body: dict[str, Any] = {
        **flags_body(flags, max(1, number), decide=decide, config=config),
        "requestId": state.uuid(),
        "evaluatedAt": int(state.settings.clock().timestamp() * 1000),
    }
    if quota_exhausted:
        response_body["quotaLimited"] = _QUOTA
    return json_response(200, response_body)


def _requested_keys(request_body: Mapping[str, Any]) -> list[str] | None:
    keys = request_body.get("flag_keys_to_evaluate")
    return [str(key) for key in keys] if is_array(keys) else None


def _parse_body(request: Request) -> dict[str, Any]:
    """Parse the JSON object of a request, which may be compressed or base64-encoded."""
    try:
        content = _decompress(request)
        read = json.loads(content)
    except (ValueError, EOFError, OSError, zlib.error, RecursionError):
        raise PlainTextError(400, "Failed to decode request: invalid JSON") from None
    if not is_object(read):
        raise PlainTextError(400, "Failed to decode request: expected an object")
    return read


def _decompress(request: Request) -> bytes:
    content = request.content
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    if content.startswith(b"data="):
        # A plus sign that was not escaped in the form arrives as a space.
        packed = parse_qs(content.decode())["data"][0].replace(" ", "+")
        try:
            content = base64.b64decode(packed, validate=True)
        except binascii.Error:
            content = packed.encode()
    return content


def _definitions(state: EmulatorState, request: Request) -> Response:
    if request.method not in {"GET", "HEAD"}:
        allowed = [("Allow", "GET, HEAD, OPTIONS")]
        return Response(204 if request.method == "OPTIONS" else 405, headers=allowed)
    extracted = extract_key(request, None)
    key = None if extracted is None else state.accounts.keys.get(extracted[0])
    project_id = state.project_id_for_token(request.query_value("token") or "")
    if key is None or project_id is None:
        return text_response(401, _NO_KEY if extracted is None else _BAD_KEY)
    if not _may_read_flags(key, project_id):
        return text_response(403, f"API key missing required scope '{_SCOPE}'")
    if "feature_flags" in state.settings.exhausted_quotas:
        return _over_quota()
    return conditional_response(request, flag_definitions(state, project_id, cohorts=True))


def _may_read_flags(key: Key, project_id: int) -> bool:
    return key.has_scope(_SCOPE) and (key.projects is None or project_id in key.projects)


def _over_quota() -> Response:
    detail = "You have exceeded your feature flag request quota"
    return ApiError(402, code="payment_required", detail=detail).to_response()


def _local_evaluation(state: EmulatorState, request: Request) -> Response:
    """Respond to the legacy path of local evaluation, which names the project by token only."""
    try:
        key = state.accounts.authenticate(request, None)
        token = request.query_value("token")
        account = state.accounts.account.project_id
        project_id = account if token is None else state.project_id_for_token(token)
        if project_id is None:
            raise not_found("Project not found.")
        if not _may_read_flags(key, project_id):
            raise permission_denied(f"API key missing required scope '{_SCOPE}'")
    except ApiError as error:
        return error.to_response()
    if "feature_flags" in state.settings.exhausted_quotas:
        return _over_quota()
    cohorts = request.query_value("send_cohorts") is not None
    return conditional_response(request, flag_definitions(state, project_id, cohorts=cohorts))


ROUTES = {
    "/flags": _flags,
    "/decide": _flags,
    "/flags/definitions": _definitions,
    "/api/feature_flag/local_evaluation": _local_evaluation,
}
"""Handlers by path, for `extra_routes`."""
