"""`Toolkit`: the tools of one client, and the safe way to call them."""

from __future__ import annotations

import inspect
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, cast

from asyncposthog.catalog.arguments import ArgumentError, close_names, convert
from asyncposthog.catalog.schema import input_schema, type_text
from asyncposthog.core.resource import Resource, get_executor
from asyncposthog.errors import PermissionDeniedError, PostHogError
from asyncposthog.operation import Operation
from asyncposthog.redact import mask

from .context import Context, answers
from .core_tools import core_tools
from .operations import Operations, Refused, read_only_refusal
from .results import CHARS_PER_TOKEN, ToolError, ToolResult, cut, dumps, json_safe
from .safety import (
    Approve,
    AuditRecord,
    Plans,
    WriteRequest,
    check_hook,
    is_destructive,
    masked,
    masked_arguments,
    missing_scopes,
)
from .tools import Noted, Tool, tool_of

if TYPE_CHECKING:
    from asyncposthog.client import AsyncPostHog

__all__ = ["Format", "Toolkit"]

logger = logging.getLogger("asyncposthog")

Format: TypeAlias = Literal["json", "anthropic", "openai", "openai-chat", "mcp"]
Framework: TypeAlias = Literal[
    "anthropic",
    "claude-agent-sdk",
    "openai",
    "openai-agents",
    "pydantic-ai",
    "langchain",
    "google-adk",
]
OnCall: TypeAlias = Callable[[AuditRecord], Awaitable[None] | None]

_PREFIX: Final = "posthog_"
_MAX_AUDIT: Final = 1000


class Toolkit:
    """Tools for a model, over an open client.

    ```python
    kit = Toolkit(ph)
    result = await kit.call("search_operations", {"query": "switch a flag off"})
    print(result.text)
    ```

    By default there are six small tools, which reach every operation of the API. `use` adds
    ready-made ones, `expose` any operation, `add` functions of your own.
    """

    def __init__(
        self,
        client: AsyncPostHog,
        *,
        core: bool = True,
        read_only: bool = False,
        dry_run: bool = False,
        approve: Approve | None = None,
        on_call: OnCall | None = None,
        scopes: Iterable[str] | None = None,
        projects: Iterable[int] = (),
        features: Iterable[str] | None = None,
        max_result_tokens: int = 6000,
        plan_seconds: float = 600.0,
        query_timeout: float | None = 120.0,
        export_dir: Path | str | None = None,
    ) -> None:
        """Make the default tools. Nothing is sent.

        Args:
            client: An open client. It is not closed with the toolkit.
            core: Whether to have the six default tools.
            read_only: Leave out and refuse everything that changes something in PostHog.
            dry_run: Writes return the request that they would send, and send nothing.
            approve: A function or async function that is asked before each write. It gets a
                `WriteRequest`; anything but True denies the write.
            on_call: A function or async function that gets an `AuditRecord` of each call. Its
                errors are logged.
            scopes: The scopes of the key. Operations that need others are hidden and refused. None:
                they are not known; `load_scopes()` asks PostHog for them.
            projects: Ids of projects that calls may name besides the client's own.
            features: The only top-level resources that may be used, such as `feature_flags`; None:
                all.
            max_result_tokens: The size of a result, in tokens of 4 characters. What is beyond is
                cut, with a note.
            plan_seconds: How long a planned write can be carried out.
            query_timeout: Seconds for a query; None: no limit.
            export_dir: Where `export_data` writes files; None: a new folder among the temporary
                ones.

        Raises:
            TypeError: `approve` or `on_call` cannot be called with one argument.
            ValueError: A number is out of range, or there is no such feature.
        """
        check_hook("approve", approve, "the WriteRequest")
        check_hook("on_call", on_call, "the AuditRecord")
        if max_result_tokens < 50:
            raise ValueError("max_result_tokens must be 50 or more")
        if plan_seconds <= 0:
            raise ValueError("plan_seconds must be more than 0")
        self.client = client
        self.read_only = read_only
        self.dry_run = dry_run
        self.on_call = on_call
        self.max_result_tokens = max_result_tokens
        self._operations = Operations(
            get_executor(client.query),
            read_only=read_only,
            scopes=None if scopes is None else frozenset(scopes),
            projects=frozenset(projects),
            families=_checked_features(features),
        )
        self.audit: deque[AuditRecord] = deque(maxlen=_MAX_AUDIT)
        """The last 1,000 calls, the newest last."""
        self._context = Context(
            client,
            self._operations,
            Plans(plan_seconds),
            read_only=read_only,
            dry_run=dry_run,
            approve=approve,
            query_timeout=query_timeout,
            export_dir=None if export_dir is None else Path(export_dir),
        )
        self._tools: dict[str, Tool] = {}
        if core:
            for tool in core_tools(self._context):
                self._tools[tool.name] = tool

    # Which tools there are.

    def __iter__(self) -> Iterator[Tool]:
        """Iterate over the tools that may be used."""
        return iter([tool for tool in self._tools.values() if self._permits(tool)])

    def __len__(self) -> int:
        """Return the number of tools that may be used."""
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        """Return whether there is a tool of this name that may be used."""
        return isinstance(name, str) and name in {tool.name for tool in self}

    def __repr__(self) -> str:
        """Return the names of the tools."""
        return f"<Toolkit {', '.join(tool.name for tool in self)}>"

    def _permits(self, tool: Tool) -> bool:
        if self.read_only and tool.writes:
            return False
        if missing_scopes(tool.scopes, self._operations.scopes):
            return False
        if not self._operations.has_feature(tool.resource):
            return False
        return tool.operation is None or self._operations.permits(tool.operation)

    def use(self, *names: str) -> Self:
        """Add ready-made tools, by name or by tag; return the toolkit.

        Args:
            names: Names such as `create_feature_flag`, or tags such as `flags` or `surveys`;
                `all` for all of them.

        Raises:
            ValueError: There is no such tool or tag; the message has near matches.
        """
        from .actions import actions

        known = actions(self._context)
        tags = sorted({tag for tool in known.values() for tag in tool.tags})
        for name in names:
            plain = _plain(name)
            chosen = [
                tool for tool in known.values() if plain in {tool.name, "all"} or plain in tool.tags
            ]
            if not chosen:
                near = close_names(plain, [*tags, *known])
                hint = f"did you mean {' or '.join(near)}?" if near else f"tags: {', '.join(tags)}"
                raise ValueError(f"there is no ready-made tool or tag {name!r}; {hint}")
            for tool in chosen:
                self._tools.setdefault(tool.name, tool)
        return self

    def expose(
        self,
        *methods: Callable[..., Any] | Operation | str,
        name: str | None = None,
        description: str | None = None,
        tags: Iterable[str] = (),
    ) -> Self:
        """Turn operations into tools of their own; return the toolkit.

        `kit.expose(ph.surveys.create)`. The JSON Schema and the description come from the registry.

        Args:
            methods: Generated methods, operations, or ids such as `surveys.create`.
            name: The tool's name, for one method; default: `surveys_create`.
            description: Its description, for one method.
            tags: Tags to filter by, besides the resource.

        Raises:
            TypeError: Something else was given.
            ValueError: There is no such operation, or names were given for several methods.
        """
        if len(methods) != 1 and (name is not None or description is not None):
            raise ValueError("expose() takes a name or a description for one method only")
        for method in methods:
            tool = self._operation_tool(_operation(method), name, description, frozenset(tags))
            self._tools[tool.name] = tool
        return self

    def add(self, *tools: Tool | Callable[..., Any]) -> Self:
        """Add tools of your own: functions, with or without `@tool`, or `Tool` objects.

        Raises:
            TypeError: A parameter of a function has no type that JSON has.
        """
        for tool in tools:
            made = tool if isinstance(tool, Tool) else tool_of(tool)
            self._tools[made.name] = made
        return self

    def remove(self, *names: str) -> Self:
        """Remove tools by name; return the toolkit.

        Raises:
            ValueError: There is no such tool.
        """
        for name in names:
            tool = self._find(name)
            if tool is None:
                raise ValueError(f"there is no tool {name!r}")
            del self._tools[tool.name]
        return self

    def only(self, *names: str) -> Self:
        """Keep only tools with these names or tags; return the toolkit."""
        wanted = {_plain(name) for name in names}
        self._tools = {
            name: tool
            for name, tool in self._tools.items()
            if name in wanted or not wanted.isdisjoint(tool.tags)
        }
        return self

    def _find(self, name: str) -> Tool | None:
        return self._tools.get(name) or self._tools.get(_plain(name))

    async def load_scopes(self) -> frozenset[str]:
        """Ask PostHog for the scopes of the key, hide what needs others, and return them.

        Raises:
            PostHogError: The call failed.
        """
        key = await self.client.personal_api_keys.current()
        found = frozenset(cast("Iterable[str]", key.raw().get("scopes") or ()))
        self._operations.scopes = found
        return found

    def _operation_tool(
        self,
        operation: Operation,
        name: str | None,
        description: str | None,
        tags: frozenset[str],
    ) -> Tool:
        from asyncposthog.catalog.search import summary

        operations = self._operations

        async def run(arguments: dict[str, Any]) -> Any:
            call = operations.prepare(operation, arguments)
            if operation.writes:
                result = await operations.run(call)
                return {"done": operation.id} if result is None else result
            return await operations.read(call)

        async def preview(arguments: dict[str, Any]) -> WriteRequest:
            call = operations.prepare(operation, arguments)
            return (await operations.preview(tool_name, call, arguments))[1]

        tool_name = name or operation.id.replace(".", "_")
        return Tool(
            name=tool_name,
            description=description or summary(operation),
            input_schema=input_schema(operation),
            run=run,
            writes=operation.writes,
            destructive=is_destructive(operation),
            read_only=not operation.writes,
            tags=tags | {operation.id.partition(".")[0]},
            scopes=operation.scopes,
            operation=operation,
            preview=preview,
        )

    # Definitions and framework objects.

    def definitions(self, format: Format = "json") -> list[dict[str, Any]]:
        """Return the definitions of the tools as plain dicts.

        Args:
            format: `json`: name, description, input_schema; or the form of an API.

        Raises:
            ValueError: There is no such format.
        """
        from .formats import definition

        return [definition(tool, format) for tool in self]

    def tools(self, framework: Framework) -> Any:
        """Return the tools as objects of a framework, which is imported now.

        Raises:
            ImportError: The framework is not installed; the message says how to install it.
            ValueError: There is no such framework.
        """
        from .adapters import adapt

        return adapt(self, framework)

    @property
    def definition_tokens(self) -> int:
        """The size of the definitions, in tokens of 4 characters."""
        return -(-len(dumps(self.definitions())) // CHARS_PER_TOKEN)

    # Calls.

    async def call(self, name: str, arguments: Mapping[str, Any] | str | None = None) -> ToolResult:
        """Run a tool and return its result. Errors are results too; only cancellation is raised.

        Args:
            name: The name of the tool.
            arguments: Its arguments, as a mapping or as JSON text.
        """
        started_at = time.perf_counter()
        tool = self._find(name) if isinstance(cast("object", name), str) else None
        given_answers: list[bool] = []
        token = answers.set(given_answers)
        given: dict[str, Any] = {}
        audited: Mapping[str, Any] = given
        try:
            given = _parsed(arguments)
            # Tools may change their arguments.
            audited = masked_arguments(given)
            if tool is None or not self._permits(tool):
                raise self._unavailable(str(name), tool)
            given = _converted(tool, given)
            result = await self._run(tool, given)
        except Exception as error:
            result = ToolResult(False, error=_error_of(error))
        finally:
            answers.reset(token)
        await self._record(tool, name, audited, result, given_answers, started_at)
        return result

    async def _run(self, tool: Tool, given: dict[str, Any]) -> ToolResult:
        if tool.writes and not tool.asks_itself:
            if self.dry_run:
                return self._result(await self._dry(tool, given))
            await self._context.approve_write(await self._request(tool, given))
        return self._result(await tool.run(given))

    async def _dry(self, tool: Tool, given: dict[str, Any]) -> Noted:
        request = await self._request(tool, given)
        shown: dict[str, Any] = {"tool": tool.name, "arguments": request.arguments}
        if request.url is not None:
            shown = {"request": f"{request.method} {request.url}", "body": request.body}
        return Noted(shown, ("Dry run: this would be sent; nothing is carried out.",))

    async def _request(self, tool: Tool, given: dict[str, Any]) -> WriteRequest:
        if tool.preview is not None:
            return await tool.preview(given)
        return WriteRequest(
            tool=tool.name,
            operation=tool.operation.id if tool.operation else None,
            arguments=masked(given),
            destructive=tool.destructive,
        )

    def _result(self, value: Any) -> ToolResult:
        if isinstance(value, ToolResult):
            return value
        notes: tuple[str, ...] = ()
        is_json = False
        if isinstance(value, Noted):
            value, notes, is_json = value.data, value.notes, value.is_json
        data = value if is_json else json_safe(value)
        budget = self.max_result_tokens * CHARS_PER_TOKEN
        kept, cuts = cut(data, budget)
        if cuts:
            notes = (*notes, f"Cut to {self.max_result_tokens} tokens: {'; '.join(cuts[:5])}.")
            notes = (*notes, _rest(data, kept))
        return ToolResult(True, kept, notes=notes)

    def _unavailable(self, name: str, tool: Tool | None) -> Refused:
        if tool is None:
            names = [tool.name for tool in self]
            near = close_names(_plain(name), names)
            hint = (
                f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(names)}."
            )
            return Refused(f"There is no tool {name[:80]!r}.", "unknown_tool", hint)
        if self.read_only and tool.writes:
            return read_only_refusal(tool.name)
        lacking = missing_scopes(tool.scopes, self._operations.scopes)
        if lacking:
            return Refused(
                f"The API key lacks the scope {', '.join(lacking)}, which {tool.name} needs.",
                "missing_scope",
                f"Use an API key with {', '.join(lacking)}.",
            )
        return Refused(f"{tool.name} is not permitted here.", "not_allowed")

    async def _record(
        self,
        tool: Tool | None,
        name: object,
        given: Mapping[str, Any],
        result: ToolResult,
        given_answers: Sequence[bool],
        started_at: float,
    ) -> None:
        operation = given.get("operation")
        if tool is not None and tool.operation is not None:
            operation = tool.operation.id
        if not isinstance(operation, str):
            operation = None
        elif not result.successful:
            operation = mask(operation[:80])  # it may be anything that a model has made up
        record = AuditRecord(
            tool=tool.name if tool else mask(str(name)[:80]),
            arguments=given,
            operation=operation,
            writes=tool is not None and tool.writes,
            approved=given_answers[-1] if given_answers else None,
            successful=result.successful,
            error=None if result.error is None else result.error.message,
            seconds=time.perf_counter() - started_at,
        )
        self.audit.append(record)
        if self.on_call is not None:
            try:
                answer = self.on_call(record)
                if inspect.isawaitable(answer):
                    await answer
            except Exception:
                # The call was made: what it has done must not look as if it had failed.
                logger.exception("on_call of a toolkit failed")


def _checked_features(features: Iterable[str] | None) -> frozenset[str] | None:
    if features is None:
        return None
    from asyncposthog import registry

    names = {name.strip().replace("-", "_") for name in features}
    unknown = sorted(names - set(registry.FAMILIES))
    if unknown:
        near = close_names(unknown[0], registry.FAMILIES)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"there is no feature {unknown[0]!r}{hint}")
    return frozenset(names)


def _plain(name: str) -> str:
    """Return a name without the prefix that other tool sets give it: `POSTHOG_GET_PERSON`."""
    return name.strip().lower().replace("-", "_").removeprefix(_PREFIX)


def _operation(method: object) -> Operation:
    """Return the operation of a generated method, of its id, or the operation itself."""
    from asyncposthog import registry

    if isinstance(method, Operation):
        return method
    if isinstance(method, str):
        try:
            return registry.find(method)
        except KeyError:
            from asyncposthog.catalog.search import near_matches

            near = near_matches(method, 3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"there is no operation {method!r}{hint}") from None
    owner = getattr(method, "__self__", None)
    name = getattr(method, "__name__", None)
    if isinstance(owner, Resource) and isinstance(name, str):
        found = _operation_of_method(owner, name)
        if found is not None:
            return found
    raise TypeError(f"expose() takes generated methods such as ph.surveys.create, not {method!r}")


def _operation_of_method(resource: Resource, name: str) -> Operation | None:
    """Return the operation that a generated method performs, also one that is overridden."""
    from asyncposthog import registry

    for base in type(resource).__mro__:
        family = base.__module__.rpartition(".")[2]
        code = getattr(vars(base).get(name), "__code__", None)
        if code is None or family not in registry.FAMILIES:
            continue
        # A generated method names its operation as a constant of its family: `registry.LIST`.
        module = import_module(f"{registry.__name__}.families.{family}")
        found = [getattr(module, constant, None) for constant in code.co_names]
        operations = [value for value in found if isinstance(value, Operation)]
        if operations:
            return operations[0]
    return None


def _parsed(arguments: object) -> dict[str, Any]:
    """Return arguments as a dict.

    Raises:
        ArgumentError: They are not an object.
    """
    if isinstance(arguments, dict):
        return dict(cast("dict[str, Any]", arguments))
    if arguments is None or arguments == "":
        return {}
    if isinstance(arguments, str | bytes):
        try:
            arguments = json.loads(arguments)
        except ValueError as error:
            raise ArgumentError(
                f"The arguments are not JSON: {error}.", expected="a JSON object"
            ) from None
    if not isinstance(arguments, Mapping):
        raise ArgumentError(
            f"The arguments are {type(arguments).__name__}, not an object.",
            expected="a JSON object",
        )
    return {str(name): value for name, value in cast("Mapping[Any, Any]", arguments).items()}


def _converted(tool: Tool, given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with the types of the tool's schema.

    Raises:
        ArgumentError: One is unknown, missing or of the wrong type.
    """
    if tool.operation is not None:
        return given  # checked with the operation itself, which knows more names
    known = tool.arguments
    values: dict[str, Any] = {}
    for name, value in given.items():
        argument = known.get(name)
        if argument is None:
            near = close_names(name, known)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            if name in tool.hints:
                hint = f" {tool.hints[name]}"
            elif not near and "arguments" in known:
                hint = " What the operation takes goes into arguments."
            raise ArgumentError(
                f"{tool.name} has no argument {name[:80]!r}.{hint}",
                field=name[:80],
                expected=", ".join(known) or "no arguments",
                near=near,
            )
        if value is None and not argument.required:
            continue  # models send null for what they leave out
        values[name] = convert(argument, value)
    missing = [name for name, a in known.items() if a.required and name not in values]
    if missing:
        raise ArgumentError(
            f"{tool.name} needs {', '.join(missing)}.",
            field=missing[0],
            expected=type_text(known[missing[0]].schema),
            missing=missing,
        )
    return values


def _rest(data: Any, kept: Any) -> str:
    """Return how to get what was cut."""
    page = cast("dict[str, Any]", kept) if isinstance(kept, dict) else {}
    shown: Any = page.get("items")
    if isinstance(shown, list) and len(cast("list[Any]", shown)) < len(data["items"]):
        # The next page begins after the items that were left out, so it would skip them.
        page.pop("next_page", None)
        return (
            f"To get the rest: repeat it with limit={len(cast('list[Any]', shown))}, which gives a "
            "next_page, or with fewer fields."
        )
    if isinstance(data, dict) and "rows" in data:
        return "To get the rest: aggregate, select fewer columns, or use export_data."
    return "To get the rest: ask for fewer fields, or for a part of it."


def _error_of(error: Exception) -> ToolError:
    """Return the error of a result. What is unexpected is named without its details."""
    if isinstance(error, ArgumentError):
        missing = {"missing": list(error.missing)} if error.missing else {}
        return ToolError(
            mask(error.message),
            suggestion=None,
            code="invalid_arguments",
            field=error.field,
            expected=error.expected,
            near_matches=error.near,
            details=missing,
        )
    if isinstance(error, Refused):
        return ToolError(mask(str(error)), error.suggestion, error.code)
    if isinstance(error, PostHogError):
        details: dict[str, Any] = {}
        for name in ("status", "retry_after"):
            value = getattr(error, name, None)
            if value is not None:
                details[name] = value
        code = error.code or type(error).__name__
        if isinstance(error, PermissionDeniedError) and error.missing_scope:
            code, details["missing_scope"] = "missing_scope", error.missing_scope
        near = error.details.get("near_matches", ())
        return ToolError(
            mask(error.message), error.suggestion, code, error.attr, None, tuple(near), details
        )
    if isinstance(error, TypeError | ValueError):
        return ToolError(mask(str(error)[:500]) or type(error).__name__, code="invalid_arguments")
    return ToolError(f"The tool failed: {type(error).__name__}.", code="internal_error")
