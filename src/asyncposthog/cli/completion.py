"""Shell completion of resources, operations, parameters, fields and columns.

Nothing is sent, and neither the client nor the models are imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import typer

from asyncposthog.operation import Operation

__all__ = [
    "EXPORT_COLUMNS",
    "complete_column",
    "complete_export_column",
    "complete_field",
    "complete_known_resource",
    "complete_operation",
    "complete_operations",
    "complete_parameter",
    "complete_resource",
]


EXPORT_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "events": (
        "uuid", "event", "timestamp", "distinct_id", "person_id", "properties", "properties.",
        "elements_chain", "created_at", "person.properties.", "$session_id", "$window_id",
    ),
    "persons": ("id", "created_at", "properties", "properties.", "is_identified"),
    "sessions": (
        "session_id", "distinct_id", "$start_timestamp", "$end_timestamp", "$session_duration",
        "$entry_current_url", "$end_current_url", "$pageview_count", "$autocapture_count",
        "$is_bounce",
    ),
    "groups": ("index", "key", "created_at", "properties", "properties."),
}  # fmt: skip
"""Common columns of each `export` command. Any other HogQL expression is allowed too."""


def complete_resource(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the resources that have the method of the command."""
    action = ctx.info_name or ""
    return _starting(incomplete, (op.resource for op in _operations() if op.name == action))


def complete_known_resource(incomplete: str) -> list[str]:
    """Return all resources."""
    return _starting(incomplete, (op.resource for op in _operations()))


def complete_operation(incomplete: str) -> list[str]:
    """Return all operations."""
    return _starting(incomplete, (op.id for op in _operations()))


def complete_operations(incomplete: str) -> list[str]:
    """Return all operations, and a pattern for each resource."""
    patterns = {f"{op.resource}.*" for op in _operations()}
    return [*complete_operation(incomplete), *_starting(incomplete, patterns)]


def complete_column(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the fields of the operation's objects; after a comma, for the next name."""
    from .columns import field_names

    operation = _operation(ctx)
    if operation is None:
        return []
    before, comma, name = incomplete.rpartition(",")
    return [f"{before}{comma}{field}" for field in _starting(name, field_names(operation, name))]


def complete_export_column(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the common columns of an `export` command."""
    return _starting(incomplete, EXPORT_COLUMNS.get(ctx.info_name or "", ()))


def complete_parameter(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the query parameters of the operation, each with an equals sign."""
    operation = _operation(ctx)
    if operation is None:
        return []
    return _starting(incomplete, (f"{p.name}=" for p in operation.query_parameters))


def complete_field(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the fields of the operation's body, each with an equals sign."""
    operation = _operation(ctx)
    body = None if operation is None else operation.body
    if body is None or not body.flat:
        return []
    return _starting(incomplete, (f"{wire}=" for _, wire in body.fields))


def _operation(ctx: typer.Context) -> Operation | None:
    """Return the operation that was typed before; None if there is none."""
    from .error_messages import UsageError
    from .operations import find_operation

    # While an option lacks its value, the parser has not yet put the arguments into `params`.
    argument = next(iter(ctx.args), "")
    resource, action = ctx.params.get("resource") or argument, ctx.info_name or ""
    if "operation" in ctx.params:
        resource, _, action = (ctx.params["operation"] or argument).rpartition(".")
    try:
        return find_operation(resource, action)
    except UsageError:
        return None


def _operations() -> Iterator[Operation]:
    from asyncposthog import registry

    return registry.operations()


def _starting(incomplete: str, words: Iterable[str]) -> list[str]:
    return sorted({word for word in words if word.startswith(incomplete)})
