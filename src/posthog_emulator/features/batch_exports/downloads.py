"""File download endpoints: runs that write files and redirect to an object store."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from posthog_emulator.clickhouse.errors import ClickHouseError
from posthog_emulator.http.errors import ApiError, invalid, not_found, permission_denied, required
from posthog_emulator.http.messages import Response, json_response
from posthog_emulator.json_types import as_object
from posthog_emulator.objects.store import StoredObject
from posthog_emulator.rest.pagination import paginate
from posthog_emulator.state import ApiCall, EmulatorState, Handler

from . import files
from .hogql import clickhouse_query
from .object_store import get_object_store, store_origin

__all__ = ["HANDLERS"]

_MAX_INTERVAL: Final = timedelta(days=7)
_LISTING_DELAY: Final = 0.25
"""Share of the run's duration for which a completed run does not list its files yet."""
_STARTING_SHARE: Final = 0.1
_DEFAULT_MAX_SIZE_MB: Final = 1024
_NO_HOGQL: Final = "HogQL batch exports are not enabled for this team."


@dataclass(slots=True)
class _Download:
    """One run of a file download."""

    selection: files.Selection
    format: str
    compression: str | None
    max_bytes: int | None
    started_at: datetime
    cancelled: bool = False
    error: str | None = None
    files: dict[str, Path] | None = None
    """The files by id, in order; None until the run has completed."""
    row_count: int = 0

    @property
    def is_finished(self) -> bool:
        """Whether the run has completed, failed or been cancelled."""
        return self.cancelled or self.error is not None or self.files is not None


def _runs(state: EmulatorState) -> dict[str, _Download]:
    """Return all runs, by id."""
    return state.extensions.setdefault("downloads", {})


def _status(state: EmulatorState, row: StoredObject) -> str:
    """Return the current status of a run, finishing the run if it is due."""
    # There is no background task: a run is finished by the first request after its time.
    run = _runs(state).get(row.key)
    # Runs are in memory only: of one from a saved state nothing but the last status is known.
    if run is None:
        return str(row.data.get("status"))
    share = _elapsed_share(state, run)
    if not run.is_finished and share >= 1:
        _finish(state, row.key, run)
    if run.cancelled:
        status = "Cancelled"
    elif run.error is not None:
        status = "Failed"
    elif run.files is not None:
        status = "Completed"
    else:
        status = "Starting" if share < _STARTING_SHARE else "Running"
    row.data["status"] = status
    return status


def _elapsed_share(state: EmulatorState, run: _Download) -> float:
    """Return the elapsed share of a run's duration; 1 or more when it is due."""
    seconds = state.settings.export_seconds
    elapsed = (state.settings.clock() - run.started_at).total_seconds()
    return elapsed / seconds if seconds > 0 else 2.0


def _finish(state: EmulatorState, key: str, run: _Download) -> None:
    run.error = state.settings.export_error
    if run.error is not None:
        return
    objects, selection = get_object_store(state), run.selection
    ending = files.COMPRESSIONS[run.format][run.compression]
    name = f"{selection.start.isoformat()}-{selection.end.isoformat()}"

    def path(part: int) -> Path:
        return objects.path(f"batch-exports/{key}/{name}-{part:04d}{ending}")

    try:
        paths, run.row_count = files.write_files(
            state.events,
            selection,
            format=run.format,
            compression=run.compression,
            max_bytes=run.max_bytes,
            path=path,
        )
    except ClickHouseError as error:
        # A user's HogQL query can fail on the data; the queries of this package cannot.
        run.error = error.message
        return
    objects.prune(paths)
    # Ids derived from the names, so that the same run has the same ids every time.
    run.files = {str(uuid.uuid5(uuid.UUID(key), file.name)): file for file in paths}


def _create(call: ApiCall) -> Response:
    call.resolve_parents()
    state, body = call.state, as_object(call.body)
    selection = _selection(call, body)
    file = as_object(body.get("file"))
    kind, compression = file.get("format") or "Parquet", file.get("compression")
    if compression not in files.COMPRESSIONS[kind]:
        supported = ", ".join(name for name in files.COMPRESSIONS[kind] if name)
        raise invalid(
            f"Compression '{compression}' is not supported for '{kind}'; use one of: {supported}",
            "file__compression",
        )
    if kind == "JSONLines" and compression == "brotli":
        raise invalid("The emulator does not support JSONLines with brotli.", "file__compression")
    active = [row for row in call.objects if _status(state, row) in {"Starting", "Running"}]
    if len(active) >= state.settings.export_slots:
        raise ApiError(
            429,
            type="server_error",
            code="too_many_concurrent_file_downloads",
            detail="Too many concurrent file download batch exports for this team.",
        )
    key = state.uuid()
    limit = files.mebibytes_to_bytes(file.get("max_size_mb", _DEFAULT_MAX_SIZE_MB))
    run = _Download(selection, kind, compression, limit, state.settings.clock())
    _runs(state)[key] = run
    state.store.put(call.collection_path, key, {"id": key, "status": "Starting"})
    return json_response(call.operation.result.status, {"id": key})


def _selection(call: ApiCall, body: Mapping[str, Any]) -> files.Selection:
    model = body["model"]
    if model == "hogql":
        _check_hogql(call, body)
    elif body.get("hogql_query") is not None:
        raise invalid("'hogql_query' is only supported when 'model' is 'hogql'")
    start, end = (_timestamp(body.get(f"data_interval_{bound}")) for bound in ("start", "end"))
    if start is None or end is None:
        raise invalid(
            "'data_interval_start' and 'data_interval_end' are required. Provide both bounds."
        )
    if start > end:
        raise invalid("'data_interval_end' must occur after 'data_interval_start'")
    if end - start > _MAX_INTERVAL:
        raise invalid("data interval range too big. Choose an interval of at most seven days.")
    now = call.state.settings.clock()
    for name, timestamp in (("start", start), ("end", end)):
        if timestamp > now:
            bound = timestamp.isoformat()
            raise invalid(f"The provided 'data_interval_{name}' ({bound}) is in the future")
    include, exclude = body.get("include") or (), body.get("exclude") or ()
    query: str | None = None
    settings: Mapping[str, object] = {}
    if model == "hogql":
        bounds = {
            "data_interval_start": _hogql_timestamp(start),
            "data_interval_end": _hogql_timestamp(end),
        }
        query, settings = clickhouse_query(call, body["hogql_query"], bounds)
    return files.Selection(
        int(call.path_values[0]), model, start, end, include, exclude,
        query=query, settings=settings,
    )  # fmt: skip


def _check_hogql(call: ApiCall, body: Mapping[str, Any]) -> None:
    if not call.state.settings.allow_hogql_exports:
        raise permission_denied(_NO_HOGQL)
    if not body.get("hogql_query"):
        raise required("hogql_query")


def _hogql_timestamp(timestamp: datetime) -> str:
    return timestamp.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _timestamp(text: Any) -> datetime | None:
    if text is None:
        return None
    timestamp = datetime.fromisoformat(str(text))
    return timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)


def _list(call: ApiCall) -> Response:
    call.resolve_parents()
    rows = sorted(call.objects, key=lambda row: row.sequence, reverse=True)
    for row in rows:
        _status(call.state, row)
    return paginate(call, rows)


def _get(call: ApiCall) -> Response:
    state, row = call.state, call.get_object()
    status, run = _status(state, row), _runs(state).get(row.key)
    data: dict[str, Any] = {"status": status}
    if status == "Completed":
        visible = list(_visible_files(state, run))
        if run is not None and run.row_count and not visible:
            data["status"] = "Running"
        else:
            data |= {"files": visible, "records_completed": 0 if run is None else run.row_count}
    elif run is not None and run.error is not None:
        data["error"] = run.error
    return json_response(call.operation.result.status, data)


def _visible_files(state: EmulatorState, run: _Download | None) -> dict[str, Path]:
    """Return the files that are listed by now."""
    # The server may report a run as completed before its files appear; clients have to poll on.
    if run is None or run.files is None or _elapsed_share(state, run) < 1 + _LISTING_DELAY:
        return {}
    return run.files


def _cancel(call: ApiCall) -> Response:
    row = _run_row(call)
    status, run = _status(call.state, row), _runs(call.state).get(row.key)
    if status not in {"Starting", "Running"}:
        raise invalid(f"Cannot cancel a run that is in '{status}' status")
    if run is not None:
        run.cancelled = True
    row.data["status"] = "Cancelled"
    return json_response(call.operation.result.status, {"status": "Cancelled"})


def _run_row(call: ApiCall) -> StoredObject:
    """Return the run that the path of an action refers to."""
    call.resolve_parents(2)
    row = call.state.store.collection(f"/api/projects/{call.path_values[0]}/{_RESOURCE}/").find(
        call.path_values[1]
    )
    if row is None:
        raise not_found()
    return row


_RESOURCE: Final = "file_download_batch_exports"


def _download(call: ApiCall) -> Response:
    state, row = call.state, _run_row(call)
    status, run = _status(state, row), _runs(state).get(row.key)
    if status in {"Starting", "Running"}:
        raise invalid("Batch export run is still in progress")
    if status == "Cancelled":
        raise invalid("Batch export run was cancelled")
    if status != "Completed":
        raise invalid("Batch export run has failed")
    path = _select_file(
        _visible_files(state, run), call.path_values[2] if len(call.path_values) > 2 else None
    )
    objects, settings = get_object_store(state), state.settings
    address = objects.signed_url(
        str(path.relative_to(objects.folder)),
        store_origin(call.request),
        settings.clock(),
        settings.download_url_seconds,
    )
    return Response(302, headers=[("Location", address), ("Cache-Control", "no-store")])


def _select_file(visible: Mapping[str, Path], identifier: str | None) -> Path:
    # The path may have the id of a file or its index, and the first file is the default.
    if identifier is not None:
        try:
            by_id = visible.get(str(uuid.UUID(identifier)))
        except ValueError:
            pass
        else:
            if by_id is None:
                raise not_found()
            return by_id
    try:
        index = int(identifier or 0)
    except ValueError:
        raise invalid(f"Invalid file id or index: '{identifier}'") from None
    if not 0 <= index < len(visible):
        raise not_found(f"No files with index {index}")
    return list(visible.values())[index]


def _count_rows(call: ApiCall) -> Response:
    call.resolve_parents()
    body, now = as_object(call.body), call.state.settings.clock()
    _check_hogql(call, body)
    query, settings = clickhouse_query(call, body["hogql_query"], {})
    selection = files.Selection(
        int(call.path_values[0]), "hogql", now, now, query=query, settings=settings
    )
    try:
        count = files.count_rows(call.state.events, selection)
    except ClickHouseError as error:
        raise invalid(error.message) from None
    return json_response(call.operation.result.status, {"count": count})


HANDLERS: Mapping[str, Handler] = {
    f"{_RESOURCE}.create": _create,
    f"{_RESOURCE}.list": _list,
    f"{_RESOURCE}.get": _get,
    f"{_RESOURCE}.cancel": _cancel,
    f"{_RESOURCE}.download": _download,
    f"{_RESOURCE}.download_part": _download,
    f"{_RESOURCE}.count_rows": _count_rows,
}
