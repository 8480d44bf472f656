"""Build a valid request for any operation from its own description."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

import httpx

from asyncposthog.operation import Operation, Parameter
from posthog_emulator import Emulator
from posthog_emulator.features.dashboards.tiles import add_tile, new_text
from posthog_emulator.objects.routing import PathPlaceholder
from posthog_emulator.schema.sampling import SampleGenerator, Style
from posthog_emulator.state import Change, EmulatorState, fill_path

UUID = "018f0000-0000-7000-8000-0000000000ff"
FORMATS = {"uuid": UUID, "date-time": "2026-01-01T00:00:00Z", "date": "2026-01-01"}
TYPES = {"integer": "1", "number": "1", "boolean": "true", "object": "{}"}

_EXPORT: dict[str, Any] = {
    "name": "to the lake",
    "interval": "hour",
    "destination": {
        "type": "AwsS3",
        "integration_id": 1,
        "config": {"bucket_name": "b", "prefix": "p", "region": "r"},
    },
}
_FLAG: dict[str, Any] = {
    "key": "a-flag",
    "name": "A flag",
    "active": False,
    "archived": True,
    "tags": ["a"],
    "filters": {
        "groups": [{"properties": [], "rollout_percentage": 50}],
        "multivariate": {
            "variants": [
                {"key": "control", "rollout_percentage": 50},
                {"key": "test", "rollout_percentage": 50},
            ]
        },
        "payloads": {"test": "1"},
    },
}
_EXPERIMENT: dict[str, Any] = {
    "name": "An experiment",
    "feature_flag_key": "experiment-1",
    "feature_flag": {"filters": _FLAG["filters"]},
    "start_date": "2026-01-01T00:00:00Z",
    "end_date": "2026-02-01T00:00:00Z",
}
_LAUNCHED: dict[str, Any] = {"start_date": "2026-01-01T00:00:00Z"}
_ENDED: dict[str, Any] = {**_LAUNCHED, "end_date": "2026-02-01T00:00:00Z"}
HOGQL: dict[str, Any] = {"query": {"kind": "HogQLQuery", "query": "SELECT 1"}}

BODIES: dict[str, dict[str, Any]] = {
    "batch_exports.create": _EXPORT,
    "batch_exports.replace": _EXPORT,
    "batch_exports.update": {"name": "renamed"},
    "batch_exports.backfills.create": {"start_at": "2026-01-01T00:00:00Z"},
    "file_download_batch_exports.create": {
        "model": "events",
        "file": {"format": "Parquet", "compression": "zstd"},
        "data_interval_start": "2026-01-01T00:00:00Z",
        "data_interval_end": "2026-01-02T00:00:00Z",
    },
    "dashboards.create": {"name": "a copy", "use_dashboard": 1},
    "dashboards.replace": {"name": "renamed"},
    "dashboards.tiles.copy": {"fromDashboardId": 1, "tileId": 1},
    "dashboards.tiles.delete": {"tile_id": 1},
    "dashboards.tiles.move": {"tile": {"id": 1}, "to_dashboard": 1},
    "dashboards.tiles.move_legacy": {"tile": {"id": 1}, "to_dashboard": 1},
    "dashboards.tiles.reorder": {"tile_order": [1]},
    "dashboards.tiles.update_text": {"tile_id": 1, "body": "changed"},
    "dashboards.update": {"name": "renamed", "pinned": True},
    "error_tracking.issues.bulk_update": {
        "ids": [UUID],
        "action": "set_status",
        "status": "resolved",
    },
    "error_tracking.issues.merge": {"ids": [UUID]},
    "error_tracking.issues.set_cohort": {"cohortId": 1},
    "error_tracking.query.get_issue": {"issueId": UUID},
    "error_tracking.query.list_issues": {"searchQuery": "a", "status": "all", "limit": 5},
    "error_tracking.query.list_issue_events": {"issueId": UUID, "limit": 5},
    "endpoints.run": {"limit": 1, "refresh": "force"},
    "experiments.create": _EXPERIMENT,
    "experiments.replace": _EXPERIMENT,
    "experiments.update": _EXPERIMENT,
    "experiments.ship_variant": {"variant_key": "test", "release_to_everyone": True},
    "feature_flags.bulk_delete": {"ids": [1]},
    "feature_flags.create": _FLAG,
    "feature_flags.replace": _FLAG,
    "feature_flags.update": _FLAG,
    "cohorts.add_persons": {"person_ids": [UUID]},
    "cohorts.remove_person": {"person_id": UUID},
    "logs.query": {"query": {"limit": 1}},
    "session_recordings.bulk_delete": {"session_recording_ids": ["1"]},
    "persons.bulk_delete": {"ids": [UUID]},
    "query.create": HOGQL,
    "query.run_kind": HOGQL,
    "persons.split": {"main_distinct_id": "a"},
    "persons.update_property": {"key": "a", "value": 1},
}
"""Bodies of operations with rules that the schema does not express."""

STATES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        ("batch_exports.backfills.create", "batch_exports.replace", "batch_exports.update"),
        _EXPORT,
    ),
    "cohorts.persons": {"is_static": True},
    "cohorts.add_persons": {"is_static": True},
    "cohorts.remove_person": {"is_static": True},
    "endpoints.run": HOGQL,
    "endpoints.run_with_defaults": HOGQL,
    "experiments.archive": _ENDED,
    "experiments.end": _LAUNCHED,
    "experiments.pause": _LAUNCHED,
    "experiments.reset": _ENDED,
    "experiments.resume": {**_LAUNCHED, "feature_flag": {"id": 1}},
    "experiments.ship_variant": _LAUNCHED,
    "experiments.unarchive": {**_ENDED, "archived": True},
    "feature_flags.enable": {"active": False, "archived": False},
    "batch_exports.runs.cancel": {"status": "Running"},
    "batch_exports.backfills.cancel": {"status": "Running"},
    "file_download_batch_exports.cancel": {"status": "Running"},
    "file_download_batch_exports.download": {"status": "Completed"},
    "file_download_batch_exports.download_part": {"status": "Completed"},
}
"""Fields that the object of an operation needs to have."""


NEEDS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "dashboards.create": [("dashboards", {})],
    "early_access_features.create": [("feature_flags", {"filters": {"groups": []}})],
    "error_tracking.fingerprints.resolve": [("error_tracking.fingerprints", {"fingerprint": "1"})],
    "error_tracking.issues.bulk_update": [("error_tracking.issues", {"id": UUID})],
    "error_tracking.issues.merge": [("error_tracking.issues", {"id": UUID})],
    "error_tracking.issues.set_cohort": [("cohorts", {})],
    "error_tracking.query.get_issue": [("error_tracking.issues", {"id": UUID})],
    "experiments.resume": [("feature_flags", {**_FLAG, "archived": False})],
    "insights.create": [("dashboards", {})],
    "insights.replace": [("dashboards", {})],
    "insights.update": [("dashboards", {})],
    "surveys.create": [("feature_flags", {})],
    "surveys.replace": [("feature_flags", {})],
    "surveys.update": [("feature_flags", {})],
    **{
        f"dashboards.tiles.{name}": [("insights", {"dashboards": [1]})]
        for name in ("copy", "delete", "move", "move_legacy", "reorder")
    },
}
"""Objects that the body of an operation names: resources, and the fields of an object of each."""


_MEMBERS = "/api/projects/{}/cohorts/{}/persons/"

_PLACEHOLDER = re.compile(
    r"\{[^}]+\}|(?<=^/api/organizations/)@\w+|(?<=^/api/projects/)@\w+"
    r"|(?<=^/api/users/)@\w+|(?<=^/api/personal_api_keys/)@\w+"
)


class Caller:
    """Builds requests for an emulator's operations, and creates the objects they need."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        checker = emulator.state.validators.checker
        styles: tuple[Style, ...] = ("rich", "bare")
        self._generators = {
            style: SampleGenerator(emulator.state.catalogue, "request", style, checker)
            for style in styles
        }

    def request(self, operation: Operation, style: Style) -> httpx.Request:
        """Return a valid request with all fields, or with the required ones only."""
        world, project = self._emulator.state, self._emulator.project_id
        if any(p.name == "group_key" and p.required for p in operation.query_parameters):
            self._emulator.add("groups", {"group_type_index": 1, "group_key": "1"})
        for resource, fields in NEEDS.get(operation.id, ()):
            self._emulator.add(resource, fields)
        if operation.id == "dashboards.tiles.update_text":
            add_tile(world, str(project), 1, text=new_text(world, str(project), "a text"))
        more: dict[str, Any] = {}
        body = self._body(operation, style)
        if operation.body is not None and operation.body.media == "multipart":
            files = operation.body.files
            more["files"] = {
                **{name: (None, _text(value)) for name, value in (body or {}).items()},
                **dict.fromkeys(files, ("a.txt", b"content")),
            }
        elif body is not None:
            more["json"] = body
        path = self._path(operation)
        headers = [p.name for p in operation.parameters if p.location == "header" and p.required]
        if operation.id == "cohorts.remove_person":
            persons = path.replace("remove_person_from_static_cohort", "persons")
            world.insert(world.plans.collections[_MEMBERS], persons, {"uuid": UUID}, project)
        return httpx.Request(
            operation.method,
            f"http://emulator{path}",
            params=[(p.name, _value(p)) for p in operation.query_parameters if p.required],
            headers={
                "Authorization": f"Bearer {self._emulator.key}",
                **dict.fromkeys(headers, "1"),
            },
            **more,
        )

    def before(self, operation: Operation) -> list[httpx.Request]:
        """Return the requests that have to be sent before the one of the operation."""
        if operation.id != "query.get":
            return []
        job = {**HOGQL, "client_query_id": "1", "refresh": "force_async"}
        headers = {"Authorization": f"Bearer {self._emulator.key}"}
        url = "http://emulator/api/projects/1/query/"
        return [httpx.Request("POST", url, json=job, headers=headers)]

    def _body(self, operation: Operation, style: Style) -> Any:
        if operation.fixed_body is not None:
            return dict(operation.fixed_body)
        if operation.id in BODIES:
            return BODIES[operation.id]
        if operation.body is None or operation.body.schema is None:
            return None
        return self._generators[style].component(operation.body.schema)

    def _path(self, operation: Operation) -> str:
        world = self._emulator.state
        declared = {parameter.name: parameter for parameter in operation.path_parameters}
        path, parents = operation.path, list[str]()
        segments = _PLACEHOLDER.findall(operation.path)
        for segment, step in zip(segments, world.plans.get(operation).placeholders, strict=True):
            state = STATES.get(operation.id, {})
            value, key = self._item(world, step, parents, declared.get(segment[1:-1]), state)
            parents.append(key)
            if segment.startswith("{"):
                path = path.replace(segment, quote(value, safe=""), 1)
        return path

    def _item(
        self,
        world: EmulatorState,
        step: PathPlaceholder,
        parents: list[str],
        parameter: Parameter | None,
        state: dict[str, Any],
    ) -> tuple[str, str]:
        """Return the value of a placeholder, and the key of its object."""
        account = world.accounts.account
        own = {
            "/api/projects/": str(account.project_id),
            "/api/organizations/": account.organization_id,
            "/api/users/": account.user_uuid,
        }.get(step.template)
        if own is not None:
            return own, own
        collection = world.plans.collections.get(step.template)
        if collection is None:
            value = _value(parameter) if parameter is not None else "1"
            return value, value
        given = {step.key_field: "thing"} if step.key_field else dict(state)
        row = world.insert(collection, fill_path(step.template, parents), given, account.project_id)
        lifecycle = world.lifecycles.get(step.template)
        if lifecycle is not None:
            lifecycle.created(Change(world, parents[0], given, row))
        return ("thing" if step.key_field else row.key), row.key


def _value(parameter: Parameter) -> str:
    if parameter.enum:
        return str(parameter.enum[0])
    return TYPES.get(parameter.type) or FORMATS.get(parameter.format or "", "1")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
