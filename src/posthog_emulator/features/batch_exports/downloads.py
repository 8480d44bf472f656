"""File download endpoints: runs that write files and redirect to an object store."""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from posthog_emulator.http.errors import ApiError, invalid, not_found, permission_denied, required
from posthog_emulator.http.messages import Answer, json_answer
from posthog_emulator.json_types import as_object
from posthog_emulator.objects.store import Row
from posthog_emulator.rest.pagination import paged
from posthog_emulator.state import Call, EmulatorState, Handler

from . import files
from .hogql import duckdb_query
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


def _runs(world: EmulatorState) -> dict[str, _Download]:
    """Return all runs, by id."""
    return world.notes.setdefault("downloads", {})


def _status(world: EmulatorState, row: Row) -> str:
    """Return the current status of a run, finishing the run if it is due."""
    # There is no background task: a run is finished by the first request after its time.
    run = _runs(world).get(row.key)
    # Runs are in memory only: of one from a saved state nothing but the last status is known.
    if run is None:
        return str(row.data.get("status"))
    share = _elapsed_share(world, run)
    if not run.is_finished and share >= 1:
        _finish(world, row.key, run)
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


def _elapsed_share(world: EmulatorState, run: _Download) -> float:
    """Return the elapsed share of a run's duration; 1 or more when it is due."""
    seconds = world.settings.export_seconds
    elapsed = (world.settings.clock() - run.started_at).total_seconds()
    return elapsed / seconds if seconds > 0 else 2.0


def _finish(world: EmulatorState, key: str, run: _Download) -> None:
    run.error = world.settings.export_error
    if run.error is not None:
        return
    objects, selection = get_object_store(world), run.selection
    ending = files.COMPRESSIONS[run.format][run.compression]
    name = f"{selection.start.isoformat()}-{selection.end.isoformat()}"

    def path(part: int) -> Path:
        return objects.path(f"batch-exports/{key}/{name}-{part:04d}{ending}")

    try:
        paths, run.row_count = files.write_files(
            world.events,
            selection,
            format=run.format,
            compression=run.compression,
            max_bytes=run.max_bytes,
            path=path,
        )
    except _duckdb_error() as error:
        # A user's HogQL query can fail on the data; the queries of this package cannot.
        run.error = str(error).partition("\n")[0]
        return
    objects.prune(paths)
    # Ids derived from the names, so that the same run has the same ids every time.
    run.files = {str(uuid.uuid5(uuid.UUID(key), file.name)): file for file in paths}


def _create(call: Call) -> Answer:
    call.locate()
    world, body = call.world, as_object(call.body)
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
    active = [row for row in call.bucket if _status(world, row) in {"Starting", "Running"}]
    if len(active) >= world.settings.export_slots:
        raise ApiError(
            429,
            type="server_error",
            code="too_many_concurrent_file_downloads",
            detail="Too many concurrent file download batch exports for this team.",
        )
    key = world.uuid()
    limit = files.mebibytes_to_bytes(file.get("max_size_mb", _DEFAULT_MAX_SIZE_MB))
    run = _Download(selection, kind, compression, limit, world.settings.clock())
    _runs(world)[key] = run
    world.store.put(call.address, key, {"id": key, "status": "Starting"})
    return json_answer(call.operation.result.status, {"id": key})


def _selection(call: Call, body: Mapping[str, Any]) -> files.Selection:
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
    now = call.world.settings.clock()
    for name, timestamp in (("start", start), ("end", end)):
        if timestamp > now:
            given = timestamp.isoformat()
            raise invalid(f"The provided 'data_interval_{name}' ({given}) is in the future")
    include, exclude = body.get("include") or (), body.get("exclude") or ()
    query = None
    if model == "hogql":
        bounds = {
            "data_interval_start": _hogql_timestamp(start),
            "data_interval_end": _hogql_timestamp(end),
        }
        query = duckdb_query(call, body["hogql_query"], bounds)
    return files.Selection(int(call.values[0]), model, start, end, include, exclude, query=query)


def _check_hogql(call: Call, body: Mapping[str, Any]) -> None:
    if not call.world.settings.hogql_exports:
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


def _list(call: Call) -> Answer:
    call.locate()
    rows = sorted(call.bucket, key=lambda row: row.sequence, reverse=True)
    for row in rows:
        _status(call.world, row)
    return paged(call, rows)


def _get(call: Call) -> Answer:
    world, row = call.world, call.row()
    status, run = _status(world, row), _runs(world).get(row.key)
    data: dict[str, Any] = {"status": status}
    if status == "Completed":
        visible = list(_visible_files(world, run))
        if run is not None and run.row_count and not visible:
            data["status"] = "Running"
        else:
            data |= {"files": visible, "records_completed": 0 if run is None else run.row_count}
    elif run is not None and run.error is not None:
        data["error"] = run.error
    return json_answer(call.operation.result.status, data)


def _visible_files(world: EmulatorState, run: _Download | None) -> dict[str, Path]:
    """Return the files that are listed by now."""
    # The server may report a run as completed before its files appear; clients have to poll on.
    if run is None or run.files is None or _elapsed_share(world, run) < 1 + _LISTING_DELAY:
        return {}
    return run.files


def _cancel(call: Call) -> Answer:
    row = _run_row(call)
    status, run = _status(call.world, row), _runs(call.world).get(row.key)
    if status not in {"Starting", "Running"}:
        raise invalid(f"Cannot cancel a run that is in '{status}' status")
    if run is not None:
        run.cancelled = True
    row.data["status"] = "Cancelled"
    return json_answer(call.operation.result.status, {"status": "Cancelled"})


def _run_row(call: Call) -> Row:
    """Return the run that the path of an action refers to."""
    call.locate(2)
    row = call.world.store.bucket(f"/api/projects/{call.values[0]}/{_RESOURCE}/").find(
        call.values[1]
    )
    if row is None:
        raise not_found()
    return row


_RESOURCE: Final = "file_download_batch_exports"


def _download(call: Call) -> Answer:
    world, row = call.world, _run_row(call)
    status, run = _status(world, row), _runs(world).get(row.key)
    if status in {"Starting", "Running"}:
        raise invalid("Batch export run is still in progress")
    if status == "Cancelled":
        raise invalid("Batch export run was cancelled")
    if status != "Completed":
        raise invalid("Batch export run has failed")
    path = _select_file(
        _visible_files(world, run), call.values[2] if len(call.values) > 2 else None
    )
    objects, settings = get_object_store(world), world.settings
    address = objects.signed_url(
        str(path.relative_to(objects.folder)),
        store_origin(call.request),
        settings.clock(),
        settings.download_url_seconds,
    )
    return Answer(302, headers=[("Location", address), ("Cache-Control", "no-store")])


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


def _count_rows(call: Call) -> Answer:
    call.locate()
    body, now = as_object(call.body), call.world.settings.clock()
    _check_hogql(call, body)
    query = duckdb_query(call, body["hogql_query"], {})
    selection = files.Selection(int(call.values[0]), "hogql", now, now, query=query)
    try:
        count = files.count_rows(call.world.events, selection)
    except _duckdb_error() as error:
        raise invalid(str(error).partition("\n")[0]) from None
    return json_answer(call.operation.result.status, {"count": count})


def _duckdb_error() -> type[Exception]:
    return importlib.import_module("duckdb").Error


HANDLERS: Mapping[str, Handler] = {
    f"{_RESOURCE}.create": _create,
    f"{_RESOURCE}.list": _list,
    f"{_RESOURCE}.get": _get,
    f"{_RESOURCE}.cancel": _cancel,
    f"{_RESOURCE}.download": _download,
    f"{_RESOURCE}.download_part": _download,
    f"{_RESOURCE}.count_rows": _count_rows,
}
