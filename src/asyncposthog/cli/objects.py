"""`resources`, `get`, `list`, `create`, `update`, `delete` and `call`: operations by name."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from asyncposthog import Cursor
from asyncposthog.operation import Operation

from .columns import check_columns, split_columns
from .error_messages import UsageError
from .operations import bind_arguments, client_method, find_operation, parse_pairs, resources
from .output import Format, resolve_format, show_object, show_objects
from .session import session
from .terminal import confirm, print_status, print_success, table, write

__all__ = ["OperationRequest", "call_operation", "delete_object", "show_resources"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRequest:
    """Arguments of a command, as text."""

    resource: str
    action: str
    ids: Sequence[str] = ()
    params: Sequence[str] = ()
    fields: Sequence[str] = ()
    data: str | None = None
    format: Format = "auto"
    limit: int | None = None
    columns: Sequence[str] = field(default=())
    dry_run: bool = False


def show_resources(name: str | None, format: Format) -> None:
    """Print the resources with their methods, or the operations of one resource."""
    resources_by_name = resources()
    if name is not None:
        _show_resource(resources_by_name, name, format)
        return
    rows = [
        (name, [op.id.rpartition(".")[2] for op in ops]) for name, ops in resources_by_name.items()
    ]
    output_format = resolve_format(format, "jsonl")
    if output_format == "table":
        table(["resource", "methods"], ((name, ", ".join(methods)) for name, methods in rows))
        print_status(f"{len(rows)} resources. `asyncposthog resources NAME` shows one of them.")
        return
    objects = [{"resource": name, "methods": methods} for name, methods in rows]
    show_object(objects, output_format)


def _show_resource(
    resources_by_name: dict[str, list[Operation]], name: str, format: Format
) -> None:
    resource = name.replace("-", "_")
    matching = {
        n: ops
        for n, ops in resources_by_name.items()
        if n == resource or n.startswith(f"{resource}.")
    }
    if not matching:
        find_operation(name, "list")  # raises an error that suggests similar names
    rows = [
        {
            "operation": op.id,
            "arguments": " ".join(p.python_name for p in op.parameters if p.location == "path"),
            "endpoint": f"{op.method} {op.path}",
            "scopes": ", ".join(op.scopes),
        }
        for ops in matching.values()
        for op in ops
    ]
    show_object(rows, resolve_format(format, "jsonl"))


async def call_operation(request: OperationRequest) -> None:
    """Perform an operation and print its response."""
    operation = find_operation(request.resource, request.action)
    columns = split_columns(request.columns)
    check_columns(operation, columns)
    data = _data(request.data)
    params, fields = parse_pairs(request.params, "--param"), parse_pairs(request.fields, "--field")
    if request.action == "update" and not fields and data is None:
        # Most likely an option was forgotten, and an empty request would not show that.
        raise UsageError("Nothing to update.", "Add --field NAME=VALUE or --data JSON.")
    async with session.make_client() as client:
        method = client_method(client, operation)
        path, keywords = bind_arguments(
            operation, method, request.ids, params=params, fields=fields, data=data
        )
        if request.dry_run:
            await _preview(client.dry_run(method, *path, **keywords))
        elif operation.pagination is not None:
            _limit_first_page(operation, request.limit, keywords)
            items = cast("Cursor[Any]", method(*path, **keywords))
            await show_objects(items, request.format, request.limit, columns)
        else:
            # The JSON as the server sent it, not a model: a model would add and convert fields.
            response = await client.raw(method, *path, **keywords)
            _show(operation, response.content, response.json, request.format, columns)


def _show(
    operation: Operation,
    content: bytes,
    read: Callable[[], Any],
    format: Format,
    columns: Sequence[str],
) -> None:
    if not content:
        print_success(f"{operation.id}: done.")
    elif operation.result.kind in {"text", "bytes"}:
        write(content)
    else:
        show_object(read(), format, columns)


def _limit_first_page(operation: Operation, limit: int | None, keywords: dict[str, Any]) -> None:
    """Request a first page of no more than `limit` items."""
    if limit is None or operation.pagination is None:
        return
    default_size = operation.pagination.page_size or 100
    if limit < default_size and any(p.python_name == "limit" for p in operation.parameters):
        # setdefault(): --param limit=N is the user's own page size.
        keywords.setdefault("limit", limit)


async def delete_object(request: OperationRequest, *, assume_yes: bool) -> None:
    """Delete an object, after confirmation unless `assume_yes` is set."""
    operation = find_operation(request.resource, request.action)
    params = parse_pairs(request.params, "--param")
    async with session.make_client() as client:
        method = client_method(client, operation)
        path, keywords = bind_arguments(operation, method, request.ids, params=params)
        if not assume_yes and not request.dry_run:
            if not sys.stdin.isatty():
                raise UsageError(
                    "Cannot prompt for confirmation: stdin is not a terminal.",
                    "Add --yes to delete without confirmation.",
                )
            if not confirm(f"Delete {request.resource} {' '.join(request.ids)}?"):
                raise UsageError("Nothing was deleted.")
        if request.dry_run:
            await _preview(client.dry_run(method, *path, **keywords))
        else:
            # Some resources respond with the deleted object, which is not printed.
            await client.raw(method, *path, **keywords)
            print_success(f"Deleted {request.resource} {' '.join(request.ids)}.")


async def _preview(preview_call: Any) -> None:
    preview = await preview_call
    show_object(
        {
            "method": preview.method,
            "url": preview.url,
            "query": dict(preview.query),
            "body": preview.body,
        },
        "json",
    )
    print_status("Nothing was sent.")


def _data(value: str | None) -> Any:
    """Return the JSON of `--data`: the value itself, of a file, or of stdin."""
    if value is None:
        return None
    if value == "-":
        text = sys.stdin.read()
    elif value.startswith("@"):
        text = Path(value[1:]).read_text(encoding="utf-8")
    else:
        text = value
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"--data is not JSON: {error}.", "@FILE reads a file, - stdin.") from None
