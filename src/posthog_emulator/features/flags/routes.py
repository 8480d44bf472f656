"""The endpoints of flags: evaluation for everybody, definitions for those with a key."""

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
from posthog_emulator.http.errors import ApiError, not_found, permission_denied
from posthog_emulator.http.messages import Request, Response, json_response, text_response
from posthog_emulator.json_types import is_array, is_object
from posthog_emulator.state import EmulatorState

from .lookup import (
    create_evaluator,
    create_subject,
    persist_hash_key_overrides,
    project_flags,
    project_id_for_token,
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


class _FlagsError(Exception):
    """A refusal in plain text, as this service writes them."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.answer = text_response(status, text)


def evaluate_flags(
    state: EmulatorState,
    project_id: int,
    request_body: Mapping[str, Any],
    keys: Iterable[str] | None = None,
) -> EvaluatedFlags:
    """The flags of a project, evaluated for who a request is about.

    Args:
        state: The emulator's state.
        project_id: The project.
        asked: The request, as for `subject_of`.
        keys: Which flags; all by default.
    """
    flags = {str(flag["key"]): flag for flag in project_flags(state, project_id)}
    judge = create_evaluator(state, create_subject(state, project_id, request_body), flags.values())
    wanted = flags if keys is None else {key: flags[key] for key in keys if key in flags}
    return {key: (flag, judge.evaluate(key)) for key, flag in wanted.items()}


def _flags(state: EmulatorState, request: Request) -> Response:
    if request.method == "OPTIONS":
        return Response(204, headers=[("Allow", "GET, POST, OPTIONS")])
    if request.method != "POST":
        return text_response(405, "Method not allowed")
    try:
        return _evaluate(state, request)
    except _FlagsError as refused:
        return refused.answer


def _evaluate(state: EmulatorState, request: Request) -> Response:
    asked = _parse_body(request)
    token = asked.get("token") or asked.get("api_key") or request.query_value("token")
    if not isinstance(token, str) or not token:
        raise _FlagsError(401, _NO_KEY)
    project_id = project_id_for_token(state, token)
    if project_id is None:
        raise _FlagsError(401, _BAD_KEY)
    if asked.get("distinct_id") is None:
        raise _FlagsError(400, _NO_DISTINCT_ID)
    if asked["distinct_id"] == "":
        raise _FlagsError(400, _EMPTY_DISTINCT_ID)
    decide = request.path.startswith("/decide")
    quota = "feature_flags" in state.settings.exhausted_quotas
    found: EvaluatedFlags = {}
    if not quota:
        persist_hash_key_overrides(state, project_id, asked)
        found = evaluate_flags(state, project_id, asked, _requested_keys(asked))
    if (request.query_value("only_evaluate_survey_feature_flags") or "") in {"true", "1"}:
        found = {key: one for key, one in found.items() if key.startswith("survey-targeting-")}
    version, config = (
        request.query_value("v") or "1",
        request.query_value("config") in {"true", "1"},
    )
    number = int(version) if version.isascii() and version.isdigit() else 1
    answer: dict[str, Any] = {
        **flags_body(found, max(1, number), decide=decide, config=config),
        "requestId": state.uuid(),
        "evaluatedAt": int(state.settings.clock().timestamp() * 1000),
    }
    if quota:
        answer["quotaLimited"] = _QUOTA
    return json_response(200, answer)


def _requested_keys(request_body: Mapping[str, Any]) -> list[str] | None:
    keys = request_body.get("flag_keys_to_evaluate")
    return [str(key) for key in keys] if is_array(keys) else None


def _parse_body(request: Request) -> dict[str, Any]:
    """The request's JSON object, however it was packed."""
    try:
        content = _decompress(request)
        read = json.loads(content)
    except (ValueError, EOFError, OSError, zlib.error, RecursionError):
        raise _FlagsError(400, "Failed to decode request: invalid JSON") from None
    if not is_object(read):
        raise _FlagsError(400, "Failed to decode request: expected an object")
    return read


def _decompress(request: Request) -> bytes:
    content = request.content
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    if content.startswith(b"data="):
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
    found = extract_key(request, None)
    key = None if found is None else state.accounts.keys.get(found[0])
    project_id = project_id_for_token(state, request.query_value("token") or "")
    if key is None or project_id is None:
        return text_response(401, _NO_KEY if found is None else _BAD_KEY)
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
    """The path of old, at which projects go by their token alone."""
    try:
        key = state.accounts.authenticate(request, None)
        token = request.query_value("token")
        account = state.accounts.account.project_id
        project_id = account if token is None else project_id_for_token(state, token)
        if project_id is None:
            raise not_found("Project not found.")
        if not _may_read_flags(key, project_id):
            raise permission_denied(f"API key missing required scope '{_SCOPE}'")
    except ApiError as problem:
        return problem.to_response()
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
"""By path, as `public` wants them."""
