"""Calls with arguments and results as JSON data, for programs and models that have no types.

Results are not decoded to models. They are what the server sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from asyncposthog.call import Call, CallOptions
from asyncposthog.catalog.arguments import prepare_arguments
from asyncposthog.operation import Operation, Result

if TYPE_CHECKING:
    from asyncposthog.pagination import Cursor

    from .executor import Executor

__all__ = ["JsonPage", "call_json", "list_json", "page_json", "prepare_call"]

_json_operations: Final[dict[tuple[str, str], Operation]] = {}


@dataclass(frozen=True, slots=True)
class JsonPage:
    """One page of a list."""

    items: list[Any]
    count: int | None
    """The server's count of the items on all pages; None if it gives none."""
    state: dict[str, Any] | None
    """Where the next page begins; None at the end."""


def _as_json(operation: Operation) -> Operation:
    """Return an operation whose result is decoded as JSON data."""
    key = operation.package, operation.id
    json_operation = _json_operations.get(key)
    if json_operation is None:
        result = Result(kind="json", status=operation.result.status, media=operation.result.media)
        json_operation = _json_operations[key] = replace(operation, result=result)
    return json_operation


def prepare_call(
    executor: Executor,
    operation: Operation,
    arguments: Mapping[str, Any],
    options: CallOptions | None = None,
    *,
    unknown_fields: bool = False,
) -> Call:
    """Return the call of an operation with JSON arguments. Nothing is sent.

    Args:
        executor: The executor that will make the call.
        operation: The operation.
        arguments: Arguments by name.
        options: Options of the call; None: those of the client.
        unknown_fields: Whether to send fields of the body that the schema does not have.

    Raises:
        ArgumentError: An argument is unknown, missing, or of the wrong type.
    """
    path, query, headers, body = prepare_arguments(
        operation, arguments, unknown_fields=unknown_fields
    )
    return Call(operation, path, query, headers, body, options or executor.default_options)


async def call_json(executor: Executor, call: Call) -> Any:
    """Make a call and return its result: JSON data, text, bytes, or None for an empty body."""
    # Imported on use: a program that imports the toolkit may never make a call.
    from .raw_response import response_json, response_text

    response = await executor.perform(call)
    if not response.content:
        return None
    media = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media in {"", "application/json"} or media.endswith("+json"):
        return response_json(call.operation, response)
    return response_text(response) if media.startswith("text/") else response.content


def list_json(executor: Executor, call: Call) -> Cursor[Any]:
    """Return a cursor over the items of a list as JSON data. Nothing is requested yet."""
    return executor.cursor(replace(call, operation=_as_json(call.operation)))


async def page_json(
    executor: Executor, call: Call, state: Mapping[str, Any] | None = None
) -> JsonPage:
    """Return one page of a list.

    Args:
        executor: The executor.
        call: The call of the list operation.
        state: The `state` of the page before it; None: the first page.

    Raises:
        ValueError: The state is something else.
    """
    cursor = list_json(executor, call)
    if state is not None:
        cursor = cursor.resume(state)
    page = await cursor
    following = page.state
    if following is not None:
        following = {name: value for name, value in following.items() if value}
    return JsonPage(page.items, page.count, following)
