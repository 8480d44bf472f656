"""A tool: a name, a description, a JSON Schema and an async function. And `@tool`, to make one."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast, get_type_hints, overload

from asyncposthog.catalog.schema import Argument
from asyncposthog.operation import Operation

if TYPE_CHECKING:
    from .parameters import ToolParameter
    from .safety import WriteRequest

__all__ = ["Noted", "Tool", "tool", "tool_of"]

Arguments: TypeAlias = Mapping[str, Any]
Run: TypeAlias = Callable[[dict[str, Any]], Awaitable[Any]]
Preview: TypeAlias = Callable[[dict[str, Any]], Awaitable["WriteRequest"]]
F = TypeVar("F", bound=Callable[..., Any])

_ATTRIBUTE = "__posthog_tool__"


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One tool. `Toolkit.call` runs it; `run` alone checks nothing."""

    name: str
    description: str
    input_schema: Mapping[str, Any]
    """The JSON Schema of its arguments, an object."""
    run: Run = field(repr=False)
    """Returns JSON data, `(data, notes)` as a `Noted`, or a `ToolResult`; raises on errors."""
    writes: bool = False
    """Whether it changes something in PostHog."""
    destructive: bool = False
    """Whether it deletes or overwrites something."""
    read_only: bool = True
    """Whether it changes nothing anywhere, files on this machine included."""
    tags: frozenset[str] = frozenset()
    scopes: tuple[str, ...] = ()
    """Scopes that the API key needs."""
    operation: Operation | None = None
    """The operation that it performs, if it is a single one."""
    resource: str | None = None
    """The top-level resource that it uses, for `features`; None: none, or that of `operation`."""
    preview: Preview | None = field(default=None, repr=False)
    """Returns the request of a write, for approval; None if it asks for itself."""
    asks_itself: bool = False
    """Whether it asks for approval itself, once it knows what it will do."""
    hints: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """What to do instead, by argument that tools of this name have elsewhere, and it has not."""

    @cached_property
    def arguments(self) -> dict[str, Argument]:
        """Its arguments by name, from the schema."""
        required = set(self.input_schema.get("required", ()))
        properties = cast("Mapping[str, Any]", self.input_schema.get("properties", {}))
        return {
            name: Argument(name, name, "field", name in required, schema, "")
            for name, schema in properties.items()
        }


@dataclass(frozen=True, slots=True)
class Noted:
    """Data and remarks on it."""

    data: Any
    notes: tuple[str, ...] = ()
    is_json: bool = False
    """Whether the data is JSON data already: the response of a server."""


@overload
def tool(function: F, /) -> F: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    parameters: Sequence[ToolParameter] | None = None,
    input_schema: Mapping[str, Any] | None = None,
    writes: bool = False,
    destructive: bool = False,
    tags: Sequence[str] = (),
    app_name: str | None = None,
    tool_name: str | None = None,
    returns: str | None = None,
) -> Callable[[F], F]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    parameters: Sequence[ToolParameter] | None = None,
    input_schema: Mapping[str, Any] | None = None,
    writes: bool = False,
    destructive: bool = False,
    tags: Sequence[str] = (),
    app_name: str | None = None,
    tool_name: str | None = None,
    returns: str | None = None,
) -> Any:
    """Mark a function or method as a tool; `kit.add(function)` adds it to a toolkit.

    Args:
        function: A function or async function. It returns JSON data, or a pair of a bool and data;
            an exception becomes the error of the result.
        name: Default: the name of the function. `tool_name` is another word for it.
        description: Default: the first paragraph of the docstring.
        parameters: Its parameters, where the annotations of the function do not say enough.
        input_schema: The JSON Schema of its arguments, instead of one from the annotations.
        writes: Whether it changes something: it is left out of a read-only toolkit, and the
            approval hook is asked.
        destructive: Whether it deletes or overwrites something.
        tags: Tags to filter by.
        app_name: One more tag.
        tool_name: The same as `name`.
        returns: What it returns, in words; added to the description.
    """

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        text = description or (inspect.getdoc(function) or "").partition("\n\n")[0]
        setattr(
            function,
            _ATTRIBUTE,
            {
                "name": name or tool_name or function.__name__,
                "description": f"{text} Returns: {returns}." if returns else text,
                "parameters": parameters,
                "input_schema": input_schema,
                "writes": writes or destructive,
                "destructive": destructive,
                "tags": frozenset([*tags, *([app_name] if app_name else [])]),
            },
        )
        return function

    return mark if function is None else mark(function)


def tool_of(function: Callable[..., Any]) -> Tool:
    """Return the tool of a function that is marked with `@tool`, or of any function.

    Raises:
        TypeError: A parameter has no type that JSON has.
    """
    marked: dict[str, Any] | None = getattr(function, _ATTRIBUTE, None)
    if marked is None:
        tool(getattr(function, "__func__", function))
        marked = cast("dict[str, Any]", getattr(function, _ATTRIBUTE))
    schema = marked["input_schema"]
    if schema is None and marked["parameters"] is not None:
        schema = _schema_of_parameters(marked["parameters"])
    if schema is None:
        schema = _schema_of_signature(function)

    async def run(arguments: dict[str, Any]) -> Any:
        result = function(**arguments)
        if inspect.isawaitable(result):
            result = await result
        return _unpaired(result)

    return Tool(
        name=marked["name"],
        description=marked["description"],
        input_schema=schema,
        run=run,
        writes=marked["writes"],
        destructive=marked["destructive"],
        read_only=not marked["writes"],
        tags=marked["tags"],
    )


def _unpaired(result: Any) -> Any:
    """Return the data of a (bool, data) pair; raise its error."""
    pair = cast("tuple[Any, ...]", result) if isinstance(result, tuple) else ()
    if len(pair) != 2 or not isinstance(pair[0], bool):
        return cast("Any", result)
    successful, data = pair
    if isinstance(data, str):
        with suppress(ValueError):
            data = json.loads(data)
    if successful:
        return data
    message = cast("Mapping[str, Any]", data).get("error") if isinstance(data, Mapping) else data
    raise ValueError(str(message))


def _schema_of_parameters(parameters: Sequence[ToolParameter]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            p.name: {"type": p.type.value} | _described(p.description) for p in parameters
        },
        "required": [p.name for p in parameters if p.required],
        "additionalProperties": False,
    }


def _described(text: str) -> dict[str, str]:
    return {"description": text} if text else {}


def _schema_of_signature(function: Callable[..., Any]) -> dict[str, Any]:
    from pydantic import TypeAdapter  # only for tools of the user's own

    hints = get_type_hints(function, include_extras=True)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            raise TypeError(f"{function.__qualname__}: a tool cannot have *args or **kwargs")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise TypeError(f"{function.__qualname__}: {name} cannot be passed by name")
        try:
            schema = TypeAdapter(hints[name]).json_schema() if name in hints else {}
        except Exception as error:
            raise TypeError(
                f"{function.__qualname__}: {name} has no type that JSON has: {error}"
            ) from None
        if parameter.default is parameter.empty:
            required.append(name)
        properties[name] = schema
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
