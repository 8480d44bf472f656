"""`resources`, `get`, `list`, `create`, `update`, `delete` and `call`: every operation by name."""

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
from .error_messages import UsageProblem
from .operations import bind, find_operation, method_of, pairs, resources
from .output import Format, form_of, show_object, show_objects
from .session import session
from .terminal import ask, note, print_success, table, write

__all__ = ["Request", "call", "remove", "show_resources"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a command asks for, as text."""

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
    """List the resources with their methods; of one resource, its operations."""
    known = resources()
    if name is not None:
        _show_resource(known, name, format)
        return
    rows = [(name, [op.id.rpartition(".")[2] for op in ops]) for name, ops in known.items()]
    form = form_of(format, "jsonl")
    if form == "table":
        table(["resource", "methods"], ((name, ", ".join(methods)) for name, methods in rows))
        note(f"{len(rows)} resources. `asyncposthog resources NAME` shows one of them.")
        return
    objects = [{"resource": name, "methods": methods} for name, methods in rows]
    show_object(objects, form)


def _show_resource(known: dict[str, list[Operation]], name: str, format: Format) -> None:
    wanted = name.replace("-", "_")
    chosen = {n: ops for n, ops in known.items() if n == wanted or n.startswith(f"{wanted}.")}
    if not chosen:
        find_operation(name, "list")  # it says which names are near
    rows = [
        {
            "operation": op.id,
            "arguments": " ".join(p.python_name for p in op.parameters if p.location == "path"),
            "endpoint": f"{op.method} {op.path}",
            "scopes": ", ".join(op.scopes),
        }
        for ops in chosen.values()
        for op in ops
    ]
    show_object(rows, form_of(format, "jsonl"))


async def call(request: Request) -> None:
    """Perform an operation and show its answer."""
    operation = find_operation(request.resource, request.action)
    columns = split_columns(request.columns)
    check_columns(operation, columns)
    data = _data(request.data)
    params, fields = pairs(request.params, "--param"), pairs(request.fields, "--field")
    if request.action == "update" and not fields and data is None:
        raise UsageProblem("Nothing to update.", "Add --field NAME=VALUE or --data JSON.")
    async with session.client() as client:
        method = method_of(client, operation)
        path, keywords = bind(
            operation, method, request.ids, params=params, fields=fields, data=data
        )
        if request.dry_run:
            await _preview(client.dry_run(method, *path, **keywords))
        elif operation.pagination is not None:
            _limit_first_page(operation, request.limit, keywords)
            items = cast("Cursor[Any]", method(*path, **keywords))
            await show_objects(items, request.format, request.limit, columns)
        else:
            answer = await client.raw(method, *path, **keywords)
            _show(operation, answer.content, answer.json, request.format, columns)


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
    """Let the first page be no longer than what is wanted of it."""
    if limit is None or operation.pagination is None:
        return
    usual = operation.pagination.page_size or 100
    if limit < usual and any(p.python_name == "limit" for p in operation.parameters):
        keywords.setdefault("limit", limit)


async def remove(request: Request, *, sure: bool) -> None:
    """Delete an object, once somebody has said yes."""
    operation = find_operation(request.resource, request.action)
    params = pairs(request.params, "--param")
    async with session.client() as client:
        method = method_of(client, operation)
        path, keywords = bind(operation, method, request.ids, params=params)
        if not sure and not request.dry_run:
            if not sys.stdin.isatty():
                raise UsageProblem(
                    "Deleting has to be confirmed, and stdin is no terminal.",
                    "Add --yes to delete without asking.",
                )
            if not ask(f"Delete {request.resource} {' '.join(request.ids)}?"):
                raise UsageProblem("Nothing was deleted.")
        if request.dry_run:
            await _preview(client.dry_run(method, *path, **keywords))
        else:
            # Some resources answer with what was deleted: nobody asked for that.
            await client.raw(method, *path, **keywords)
            print_success(f"Deleted {request.resource} {' '.join(request.ids)}.")


async def _preview(coming: Any) -> None:
    preview = await coming
    show_object(
        {
            "method": preview.method,
            "url": preview.url,
            "query": dict(preview.query),
            "body": preview.body,
        },
        "json",
    )
    note("Nothing was sent.")


def _data(given: str | None) -> Any:
    """Read the JSON of `--data`: itself, of a file, or of stdin."""
    if given is None:
        return None
    if given == "-":
        text = sys.stdin.read()
    elif given.startswith("@"):
        text = Path(given[1:]).read_text(encoding="utf-8")
    else:
        text = given
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageProblem(f"--data is no JSON: {error}.", "@FILE reads a file, - stdin.") from None
