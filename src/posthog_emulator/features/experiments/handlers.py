"""The steps of an experiment: launch, pause, resume, end, ship, archive, reset, duplicate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from posthog_emulator.features.flags.links import EXPERIMENTS, linked
from posthog_emulator.features.flags.owned import change_flag, live_flags
from posthog_emulator.features.flags.rules import check_no_dependents, variants_of
from posthog_emulator.http.errors import invalid, not_found
from posthog_emulator.http.messages import Response, json_response
from posthog_emulator.json_types import as_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.operation_handler import OperationHandler
from posthog_emulator.rest.activity import copy_fields, log_activity, log_row_update
from posthog_emulator.state import ApiCall, Change, fill_path

from .lifecycle import LIFECYCLE, experiment_flag
from .rules import check_variants, experiment_status, shipped_filters

__all__ = ["OPERATION_HANDLERS"]

_ARCHIVED_FLAGS: Final = "/experiments/{}/archived_flags/"
"""Path of the experiments that archived their flag, by key, in the saved state."""

Step = Callable[[ApiCall, StoredObject, StoredObject], None]


def _experiment(call: ApiCall) -> StoredObject:
    call.resolve_parents()
    path = fill_path(EXPERIMENTS, [call.project])
    row = call.state.store.collection(path).find(call.parents[1])
    if row is None or row.deleted:
        raise not_found()
    return row


def _step(step: Step) -> Callable[[ApiCall], Response]:
    """Return a handler that takes a step with an experiment and its flag."""

    def handler(call: ApiCall) -> Response:
        row = _experiment(call)
        flag = experiment_flag(call.state, call.project, row)
        if flag is None:
            raise invalid("Experiment does not have a feature flag linked.")
        before = copy_fields(row.data)
        step(call, row, flag)
        spec = call.state.plans.collections[EXPERIMENTS]
        call.state.object_schemas.get(spec).mark_updated(row.data, call.state)
        log_row_update(call.state, call.project, EXPERIMENTS, before, row)
        return _response(call, row)

    return handler


def _response(call: ApiCall, row: StoredObject) -> Response:
    LIFECYCLE.derive(call.state, call.project, [row])
    return json_response(call.operation.result.status, row.data)


def _status(row: StoredObject, flag: StoredObject) -> str:
    return experiment_status(row.data, flag_active=bool(flag.data.get("active")))


def _require_running(row: StoredObject, flag: StoredObject) -> None:
    status = _status(row, flag)
    if status == "draft":
        raise invalid("Experiment has not been launched yet.")
    if status == "stopped":
        raise invalid("Experiment has already ended.")


def _launch(call: ApiCall, row: StoredObject, flag: StoredObject) -> None:
    if _status(row, flag) != "draft":
        raise invalid("Experiment has already been launched.")
    if flag.deleted:
        raise invalid("Experiment cannot be launched because its feature flag has been deleted.")
    check_variants(variants_of(as_object(flag.data.get("filters"))))
    row.data["start_date"] = call.state.now()
    if not flag.data.get("active"):
        change_flag(call.state, call.project, flag, {"active": True})


def _pause(call: ApiCall, row: StoredObject, flag: StoredObject) -> None:
    _require_running(row, flag)
    if not flag.data.get("active"):
        raise invalid("Experiment is already paused.")
    change_flag(call.state, call.project, flag, {"active": False})


def _resume(call: ApiCall, row: StoredObject, flag: StoredObject) -> None:
    _require_running(row, flag)
    if flag.data.get("active"):
        raise invalid("Experiment is not paused.")
    change_flag(call.state, call.project, flag, {"active": True})


def _end(call: ApiCall, row: StoredObject, flag: StoredObject) -> None:
    _require_running(row, flag)
    body = as_object(call.body)
    row.data["end_date"] = call.state.now()
    row.data["conclusion"] = body.get("conclusion")
    row.data["conclusion_comment"] = body.get("conclusion_comment")


def _ship(call: ApiCall, row: StoredObject, flag: StoredObject) -> None:
    if _status(row, flag) == "draft":
        raise invalid("Experiment has not been launched yet.")
    body = as_object(call.body)
    filters = shipped_filters(
        as_object(flag.data.get("filters")),
        str(body.get("variant_key")),
        to_everyone=bool(body.get("release_to_everyone")),
    )
    change_flag(call.state, call.project, flag, {"filters": filters})
    if not row.data.get("end_date"):
        row.data["end_date"] = call.state.now()
    for name in ("conclusion", "conclusion_comment"):
        if body.get(name) is not None:
            row.data[name] = body[name]


def _archive(call: ApiCall, row: StoredObject, flag: StoredObject) -> None:
    if row.data.get("archived"):
        raise invalid("Experiment is already archived.")
    if _status(row, flag) != "stopped":
        raise invalid("Experiment must be ended before it can be archived.")
    disables = bool(as_object(call.body).get("disable_feature_flag"))
    others = [
        other
        for other in linked(call.state, call.project, EXPERIMENTS, flag.data.get("id"))
        if other is not row and not other.data.get("archived")
    ]
    archives_flag = (
        not (flag.deleted or flag.data.get("archived") or others)
        and (disables or not flag.data.get("active"))
    )  # fmt: skip
    if archives_flag:
        if flag.data.get("active"):
            flags = live_flags(call.state, call.project)
            check_no_dependents(flag.data.get("id"), flags, "disable")
        change_flag(call.state, call.project, flag, {"active": False, "archived": True})
        _archived_flags(call)[row.key] = True
    row.data["archived"] = True


def _unarchive(call: ApiCall, row: StoredObject, flag: StoredObject) -> None:
    if not row.data.get("archived"):
        raise invalid("Experiment is not archived.")
    row.data["archived"] = False
    # A flag that the user archived stays archived.
    if _archived_flags(call).pop(row.key, False) and flag.data.get("archived"):
        change_flag(call.state, call.project, flag, {"archived": False})


def _archived_flags(call: ApiCall) -> dict[str, Any]:
    path = fill_path(_ARCHIVED_FLAGS, [call.project])
    return call.state.store.singletons.setdefault(path, {})


def _reset(call: ApiCall, row: StoredObject, flag: StoredObject) -> None:
    if _status(row, flag) == "draft":
        raise invalid("Experiment is already in draft state.")
    dates: dict[str, Any] = dict.fromkeys(("start_date", "end_date"))
    row.data.update({**dates, "archived": False, "conclusion": None, "conclusion_comment": None})


_NOT_COPIED: Final = frozenset(
    {"id", "created_at", "created_by", "updated_at", "start_date", "end_date", "archived",
     "conclusion", "conclusion_comment", "feature_flag", "status", "deleted"}
)  # fmt: skip


def _duplicate(call: ApiCall) -> Response:
    row = _experiment(call)
    body = as_object(call.body)
    copied = {name: value for name, value in row.data.items() if name not in _NOT_COPIED}
    fields = {
        **copy_fields(copied),
        "name": body.get("name") or f"{row.data.get('name')} (Copy)",
        "feature_flag_key": body.get("feature_flag_key") or row.data["feature_flag_key"],
    }
    change = Change(call.state, call.project, fields)
    LIFECYCLE.check(change)
    spec = call.state.plans.collections[EXPERIMENTS]
    path = fill_path(EXPERIMENTS, [call.project])
    copy = call.state.insert(spec, path, fields, call.project_id)
    LIFECYCLE.created(Change(call.state, call.project, fields, copy))
    log_activity(call.state, call.project, LIFECYCLE.scope, "created", copy.data, None)
    return _response(call, copy)


OPERATION_HANDLERS: Mapping[str, OperationHandler] = {
    "experiments.launch": OperationHandler(_step(_launch)),
    "experiments.pause": OperationHandler(_step(_pause)),
    "experiments.resume": OperationHandler(_step(_resume)),
    "experiments.end": OperationHandler(_step(_end)),
    "experiments.ship_variant": OperationHandler(_step(_ship)),
    "experiments.archive": OperationHandler(_step(_archive)),
    "experiments.unarchive": OperationHandler(_step(_unarchive)),
    "experiments.reset": OperationHandler(_step(_reset)),
    "experiments.duplicate": OperationHandler(_duplicate, validates=False),
}
