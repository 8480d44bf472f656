"""What SDKs in browsers ask for: the configuration of a project, scripts, surveys, features.

All of it needs only a project token. See `docs/emulator.md` for what the scripts contain.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from posthog_emulator.http.errors import ApiError
from posthog_emulator.http.messages import (
    FIDELITY_HEADER,
    Request,
    Response,
    json_response,
    text_response,
)
from posthog_emulator.json_types import as_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.state import PROJECTS, EmulatorState

__all__ = ["PREFIX_ROUTES", "ROUTES", "remote_config"]

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_JAVASCRIPT: Final = "application/javascript"
_SCRIPT: Final = (
    "/* The emulator has none of PostHog's scripts. Bundle the SDK with its extensions, or set\n"
    "   disable_external_dependency_loading. */\n"
)
_SURVEY_FIELDS: Final = (
    "id", "name", "description", "type", "questions", "appearance", "start_date", "end_date",
    "current_iteration", "current_iteration_start_date", "schedule", "enable_partial_responses",
    "feature_flag_keys", "translations", "base_language",
)  # fmt: skip
_FLAG_KEYS: Final = ("linked_flag", "targeting_flag", "internal_targeting_flag")
_DEFAULT_STAGES: Final = ("beta",)


def remote_config(state: EmulatorState, project_id: int) -> dict[str, Any]:
    """Return the settings of a project that SDKs in browsers load at their start."""
    row = state.store.collection(PROJECTS).find(str(project_id))
    project: Mapping[str, Any] = {} if row is None else row.data
    exceptions = project.get("autocapture_exceptions_opt_in") is True
    performance = project.get("capture_performance_opt_in") is True
    vitals = project.get("autocapture_web_vitals_opt_in") is True
    return {
        "token": project.get("api_token"),
        "supportedCompression": ["gzip", "gzip-js"],
        "hasFeatureFlags": any(
            flag.data.get("active", True) for flag in _live(state, project_id, "feature_flags")
        ),
        "captureDeadClicks": project.get("capture_dead_clicks") is True,
        "capturePerformance": {
            "network_timing": performance,
            "web_vitals": vitals,
            "web_vitals_allowed_metrics": project.get("autocapture_web_vitals_allowed_metrics"),
        }
        if performance or vitals
        else False,
        "autocapture_opt_out": project.get("autocapture_opt_out") is True,
        "autocaptureExceptions": {"endpoint": "/e/"} if exceptions else False,
        "analytics": {"endpoint": "/i/v0/e/"},
        "elementsChainAsString": True,
        "errorTracking": {"autocaptureExceptions": exceptions, "suppressionRules": []},
        "sessionRecording": _session_recording(state, project),
        "surveys": any(_surveys(state, project_id)),
        "heatmaps": project.get("heatmaps_opt_in") is True,
        "flagsPersistenceDefault": project.get("flags_persistence_default") is True,
        "defaultIdentifiedOnly": True,
        "siteApps": [],
        "toolbarParams": {},
        "isAuthenticated": False,
    }


def _session_recording(state: EmulatorState, project: Mapping[str, Any]) -> Any:
    quota = "recordings" in state.settings.exhausted_quotas
    if quota or project.get("session_recording_opt_in") is not True:
        return False
    return {
        "endpoint": "/s/",
        "recorderVersion": "v2",
        "consoleLogRecordingEnabled": project.get("capture_console_log_opt_in") is True,
        "sampleRate": project.get("session_recording_sample_rate"),
        "minimumDurationMilliseconds": project.get(
            "session_recording_minimum_duration_milliseconds"
        ),
        "linkedFlag": None,
        "urlTriggers": [],
        "urlBlocklist": [],
        "eventTriggers": [],
    }


def _live(state: EmulatorState, project_id: int, name: str) -> Iterator[StoredObject]:
    rows = state.store.collection(f"/api/projects/{project_id}/{name}/")
    return (row for row in rows if not row.deleted)


def _array(state: EmulatorState, request: Request) -> Response:
    """Return the configuration of a token: `/array/<token>/config`, `config.js`, `array.js`."""
    if request.method not in {"GET", "HEAD"}:
        return Response(405, headers=[("Allow", "GET, HEAD")])
    _, _, token, *rest = request.path.rstrip("/").split("/")
    if not _TOKEN.fullmatch(token):
        return json_response(400, {"detail": "Invalid token"})
    project_id = state.project_id_for_token(token)
    if project_id is None or rest not in (["config"], ["config.js"], ["array.js"]):
        return ApiError(404).to_response()
    config = remote_config(state, project_id)
    if rest == ["config"]:
        return json_response(200, config)
    # `<` is escaped because the text may end up within a script element.
    entry = json.dumps({"config": config, "siteApps": []}).replace("<", "\\u003c")
    script = (
        "(function() {\n"
        "  window._POSTHOG_REMOTE_CONFIG = window._POSTHOG_REMOTE_CONFIG || {};\n"
        f"  window._POSTHOG_REMOTE_CONFIG[{json.dumps(token)}] = {entry};\n"
        "})();\n"
    )
    if rest == ["array.js"]:
        return _script(_SCRIPT + script, "schema")
    return _script(script, "stateful")


def _static(_: EmulatorState, request: Request) -> Response:
    """Return an empty script in place of one of the app's."""
    if request.method not in {"GET", "HEAD"}:
        return Response(405, headers=[("Allow", "GET, HEAD")])
    if not request.path.endswith(".js"):
        return text_response(404, "Not Found")
    return _script(_SCRIPT, "schema")


def _script(text: str, fidelity: str) -> Response:
    response = text_response(200, text, _JAVASCRIPT)
    response.headers += [
        ("Cache-Control", "public, max-age=60"),
        (FIDELITY_HEADER, fidelity),
    ]
    return response


def _for_project(
    body: Callable[[EmulatorState, int, Request], dict[str, Any]],
) -> Callable[[EmulatorState, Request], Response]:
    """Return a handler of a public path of the app, where a project token is enough."""

    def handler(state: EmulatorState, request: Request) -> Response:
        if request.method not in {"GET", "POST", "HEAD"}:
            return Response(405, headers=[("Allow", "GET, POST, HEAD")])
        token = request.query_value("token") or request.query_value("api_key")
        if not token:
            return _token_error("missing_api_key", "API key not provided.")
        project_id = state.project_id_for_token(token)
        if project_id is None:
            return _token_error("invalid_api_key", "Project API key invalid.")
        return json_response(200, body(state, project_id, request))

    return handler


def _token_error(code: str, what: str) -> Response:
    detail = f"{what} You can find your project API key in PostHog project settings."
    return ApiError(401, code=code, detail=detail).to_response()


def _surveys(state: EmulatorState, project_id: int) -> Iterator[dict[str, Any]]:
    flags = {
        row.data.get("id"): row.data.get("key") for row in _live(state, project_id, "feature_flags")
    }
    for row in _live(state, project_id, "surveys"):
        data = row.data
        if data.get("archived"):
            continue
        survey = {name: data.get(name) for name in _SURVEY_FIELDS}
        conditions: dict[str, Any] = dict(as_object(data.get("conditions")))
        survey["conditions"] = conditions or None
        for name in _FLAG_KEYS:
            flag = as_object(data.get(name))
            key = flag.get("key") or flags.get(data.get(f"{name}_id"))
            survey[f"{name}_key"] = key or None
        yield survey


def _survey_body(state: EmulatorState, project_id: int, _: Request) -> dict[str, Any]:
    row = state.store.collection(PROJECTS).find(str(project_id))
    config = None if row is None else row.data.get("survey_config")
    return {"surveys": list(_surveys(state, project_id)), "survey_config": config or None}


def _feature_body(state: EmulatorState, project_id: int, request: Request) -> dict[str, Any]:
    stages = request.query_values("stage") or _DEFAULT_STAGES
    features: list[dict[str, Any]] = [
        {
            "id": row.data.get("id"),
            "name": row.data.get("name"),
            "description": row.data.get("description"),
            "stage": row.data.get("stage"),
            "documentationUrl": row.data.get("documentation_url"),
            "payload": row.data.get("payload") or {},
            "flagKey": as_object(row.data.get("feature_flag")).get("key") or None,
        }
        for row in _live(state, project_id, "early_access_feature")
        if row.data.get("stage") in stages
    ]
    return {"earlyAccessFeatures": features}


def _experiment_body(state: EmulatorState, project_id: int, _: Request) -> dict[str, Any]:
    names = ("id", "name", "feature_flag_key", "variants")
    rows = _live(state, project_id, "web_experiments")
    return {"experiments": [{name: row.data.get(name) for name in names} for row in rows]}


def _tour_body(state: EmulatorState, project_id: int, _: Request) -> dict[str, Any]:
    rows = _live(state, project_id, "product_tours")
    return {"product_tours": [row.data for row in rows if not row.data.get("archived")]}


Handlers = Mapping[str, Callable[[EmulatorState, Request], Response]]

ROUTES: Handlers = {
    "/api/early_access_features": _for_project(_feature_body),
    "/api/product_tours": _for_project(_tour_body),
    "/api/surveys": _for_project(_survey_body),
    "/api/web_experiments": _for_project(_experiment_body),
}
"""Handlers by path, without trailing slash."""

PREFIX_ROUTES: Handlers = {"/array/": _array, "/static/": _static}
"""Handlers by the prefix of the path, with trailing slash."""
