"""Make ready-made tools of operations, with parameters of their own."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from asyncposthog.catalog.arguments import ArgumentError
from asyncposthog.registry import find
from asyncposthog.toolkit.safety import WriteRequest, is_destructive
from asyncposthog.toolkit.tools import Noted, Tool

if TYPE_CHECKING:
    from asyncposthog.toolkit.context import Context

__all__ = ["Prepare", "custom_tool", "operation_tool", "parsed", "schema"]

Prepare: TypeAlias = Callable[[dict[str, Any]], dict[str, Any] | Awaitable[dict[str, Any]]]
"""Turns the arguments of a tool into those of its operation."""

PROJECT: Final = {
    "type": ["string", "integer"],
    "description": "Default: the project of the tools. No other project can be named.",
}


def schema(parameters: Mapping[str, str], *, project: bool = True) -> dict[str, Any]:
    """Return the JSON Schema of parameters.

    Args:
        parameters: By name: the type, `!` if it is required, and a description:
            `"string! The key of the flag."`.
        project: Whether there is a parameter `project_id`.
    """
    properties: dict[str, Any] = {}
    required: list[str] = []
    for name, text in parameters.items():
        kind, _, description = text.partition(" ")
        if kind.endswith("!"):
            required.append(name)
        types = kind.rstrip("!").split("|")
        found: dict[str, Any] = {"type": types[0] if len(types) == 1 else types}
        if description:
            found["description"] = description
        properties[name] = found
    if project:
        properties["project_id"] = PROJECT
    result: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        result["required"] = required
    return result | {"additionalProperties": False}


def operation_tool(
    context: Context,
    name: str,
    operation_id: str,
    description: str,
    parameters: Mapping[str, str],
    *tags: str,
    prepare: Prepare | None = None,
    ignored: Mapping[str, str] | None = None,
    project: bool = True,
) -> Tool:
    """Return a tool that performs one operation.

    Args:
        context: What the tools share.
        name: The tool's name.
        operation_id: The operation.
        description: What it does.
        parameters: As for `schema`.
        tags: Its tags.
        prepare: Turns the arguments into those of the operation; None: they are the same.
        ignored: Parameters that the operation does not have, and a note for a call that has one.
        project: Whether it has a parameter `project_id`.
    """
    operation = find(operation_id)

    async def arguments_of(given: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
        kept = {n: v for n, v in given.items() if n not in (ignored or {})}
        notes = tuple(text for n, text in (ignored or {}).items() if n in given)
        project_id = kept.pop("project_id", None)
        if prepare is not None:
            prepared = prepare(kept)
            kept = await prepared if not isinstance(prepared, dict) else prepared
        if project_id is not None:
            kept["project_id"] = project_id
        return kept, notes

    async def run(given: dict[str, Any]) -> Any:
        arguments, notes = await arguments_of(given)
        call = context.operations.prepare(operation, arguments)
        if operation.writes:
            # Filled in, so that the call goes to the project that was shown for approval.
            await context.operations.pin_project()
            data = await context.operations.run(call)
            data = {"done": operation.id} if data is None else data
        else:
            result = await context.operations.read(call)
            return Noted(result.data, notes, result.is_json)
        return Noted(data, notes)

    async def preview(given: dict[str, Any]) -> WriteRequest:
        arguments, _ = await arguments_of(given)
        call = context.operations.prepare(operation, arguments)
        return (await context.operations.preview(name, call, given))[1]

    return Tool(
        name=name,
        description=description,
        input_schema=schema(parameters, project=project),
        run=run,
        writes=operation.writes,
        destructive=is_destructive(operation),
        read_only=not operation.writes,
        tags=frozenset(tags),
        scopes=operation.scopes,
        resource=operation.id.partition(".")[0],
        preview=preview,
    )


def custom_tool(
    context: Context,
    name: str,
    description: str,
    parameters: Mapping[str, str],
    run: Callable[[dict[str, Any]], Awaitable[Any]],
    *tags: str,
    writes: bool = False,
    scopes: tuple[str, ...] = (),
    resource: str | None = None,
    project: bool = True,
) -> Tool:
    """Return a tool with a function of its own, which works on the client's project alone."""

    async def checked(given: dict[str, Any]) -> Any:
        context.operations.check_own_project(given.pop("project_id", None))
        return await run(given)

    return Tool(
        name=name,
        description=description,
        input_schema=schema(parameters, project=project),
        run=checked,
        writes=writes,
        read_only=not writes,
        tags=frozenset(tags),
        scopes=scopes,
        resource=resource,
    )


def parsed(given: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return arguments with JSON texts of these names parsed.

    Raises:
        ArgumentError: A text is not JSON.
    """
    for name in names:
        value = given.get(name)
        if isinstance(value, str):
            try:
                given[name] = json.loads(value)
            except ValueError as error:
                raise ArgumentError(
                    f"{name} is not JSON: {error}.", field=name, expected="JSON"
                ) from None
    return given
