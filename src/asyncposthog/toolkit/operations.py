"""Search, describe, read and write any operation: what the default tools do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from asyncposthog import registry
from asyncposthog.call import Call, CallOptions
from asyncposthog.catalog.arguments import ArgumentError, close_names
from asyncposthog.catalog.schema import (
    arguments,
    describe_fields,
    result_schema,
    type_text,
)
from asyncposthog.core.json_calls import call_json, page_json, prepare_call
from asyncposthog.operation import Operation
from asyncposthog.pagination.state import PageState
from asyncposthog.transport.encoding.request import prepare_request

from .safety import WriteRequest, is_destructive, masked, missing_scopes
from .selection import property_schema, select_fields
from .tools import Noted

if TYPE_CHECKING:
    from asyncposthog.core.executor import Executor

__all__ = ["MissingScope", "Operations", "Refused", "read_only_refusal"]

_OWNER_ARGUMENTS: Final = ("project_id", "organization_id", "environment_id")
_MAX_RESULT_FIELDS: Final = 40


class Refused(Exception):
    """The toolkit's settings forbid a call. Nothing was sent."""

    def __init__(self, message: str, code: str, suggestion: str | None = None) -> None:
        """Say what is forbidden, and what to do instead."""
        super().__init__(message)
        self.code = code
        self.suggestion = suggestion


class MissingScope(Refused):
    """The API key lacks a scope that the operation needs."""

    def __init__(self, operation: Operation, scopes: Sequence[str]) -> None:
        """Name the scopes."""
        names = ", ".join(scopes)
        super().__init__(
            f"The API key lacks the scope {names}, which {operation.id} needs.",
            "missing_scope",
            f"Use an API key with {names}, or another operation.",
        )
        self.scopes = tuple(scopes)


def read_only_refusal(name: str) -> Refused:
    """Return the error for an operation or a tool that changes something, in a read-only toolkit.

    It says how writes are permitted, which only the program can do.
    """
    return Refused(
        f"{name} changes something, and these tools are read-only.",
        "read_only",
        "Tell the user what would have to be changed. The program permits writes with "
        "Toolkit(…, read_only=False), or `asyncposthog mcp` without --read-only.",
    )


@dataclass(slots=True)
class Operations:
    """The operations that a toolkit may use."""

    executor: Executor
    read_only: bool
    scopes: frozenset[str] | None
    """Granted scopes; None: unknown."""
    projects: frozenset[int]
    """Projects besides the client's that calls may name."""
    families: frozenset[str] | None = None
    """The only top-level resources that may be used; None: all."""

    def has_feature(self, resource: str | None) -> bool:
        """Return whether a top-level resource may be used; None: no resource in particular."""
        return self.families is None or resource is None or resource in self.families

    def permits(self, operation: Operation) -> bool:
        """Return whether an operation may be used."""
        return (
            (not self.read_only or not operation.writes)
            and operation.api_key_allowed
            and self.has_feature(operation.id.partition(".")[0])
            and not missing_scopes(operation.scopes, self.scopes)
            and self.executor.is_allowed(operation)
        )

    def check(self, operation: Operation) -> None:
        """Raise an error if an operation may not be used.

        Raises:
            Refused: The toolkit's settings forbid it.
            ReadOnlyError: The client's settings forbid it.
        """
        if self.read_only and operation.writes:
            raise read_only_refusal(operation.id)
        if self.families is not None and not self.has_feature(operation.id.partition(".")[0]):
            raise Refused(
                f"{operation.id} is not among the features that these tools may use.",
                "not_allowed",
                f"They may use: {', '.join(sorted(self.families))}.",
            )
        lacking = missing_scopes(operation.scopes, self.scopes)
        if lacking:
            raise MissingScope(operation, lacking)
        self.executor.check_allowed(operation)

    def find(self, name: str) -> Operation:
        """Return an operation by its id.

        Raises:
            ArgumentError: There is none; it has near matches.
        """
        known = name.strip().replace("-", "_").replace("/", ".").removeprefix("ph.")
        try:
            return registry.find(known)
        except KeyError:
            from asyncposthog.catalog.search import near_matches

            near = near_matches(known)
            hint = f"Did you mean {' or '.join(near[:3])}?" if near else ""
            raise ArgumentError(
                f"There is no operation {name[:80]!r}. {hint}".strip(),
                field="operation",
                expected="an id from search_operations, such as feature_flags.list",
                near=near,
            ) from None

    def search(self, text: str, limit: int) -> list[dict[str, Any]]:
        """Return the operations that fit a description best."""
        # Imported on use, as its words are compiled when it is imported.
        from asyncposthog.catalog.search import search, summary

        found: list[dict[str, Any]] = []
        for match in search(text, limit, where=self.permits):
            operation = match.operation
            known = arguments(operation).values()
            required = [a.name for a in known if a.required]
            optional = [a.name for a in known if not a.required][:12]
            entry: dict[str, Any] = {"operation": operation.id, "does": summary(operation)}
            if required:
                entry["required"] = ", ".join(required)
            if optional:
                entry["optional"] = ", ".join(optional)
            entry["use"] = "write_operation" if operation.writes else "read_operation"
            found.append(entry)
        return found

    def describe(self, operation: Operation, field: str | None) -> dict[str, Any]:
        """Return the arguments of an operation in words, or the fields inside of one of them.

        Raises:
            ArgumentError: There is no such field.
        """
        known = arguments(operation)
        if field:
            return self._describe_field(operation, field)
        texts = registry.docs()["operations"].get(operation.id, {})
        found: dict[str, Any] = {
            "operation": operation.id,
            "does": texts.get("text") or operation.path,
            "use": "write_operation" if operation.writes else "read_operation",
            "arguments": {
                argument.name: ", ".join(
                    part
                    for part in (
                        "file" if argument.is_file else type_text(argument.schema),
                        "required" if argument.required else "",
                        argument.text,
                    )
                    if part
                )
                for argument in known.values()
            },
        }
        result = [*result_schema(operation).get("properties", {})][:_MAX_RESULT_FIELDS]
        if result:
            found["returns"] = f"{'items with ' if operation.pagination else ''}{', '.join(result)}"
        if operation.scopes:
            found["scopes"] = list(operation.scopes)
        if is_destructive(operation):
            found["destructive"] = True
        nested = [a.name for a in known.values() if describe_fields(a.schema)]
        if nested:
            found["more"] = f"describe_operation with field={' or '.join(nested[:6])}"
        return found

    def _describe_field(self, operation: Operation, field: str) -> dict[str, Any]:
        parts = field.split(".")
        known = arguments(operation)
        if parts[0] not in known:
            near = close_names(parts[0], known)
            raise ArgumentError(
                f"{operation.id} has no argument {parts[0]!r}.",
                field="field",
                expected=", ".join(known),
                near=near,
            )
        schema: Any = known[parts[0]].schema
        for part in parts[1:]:
            inner = property_schema(schema, part)
            if inner is None:
                raise ArgumentError(
                    f"{field} is not a field of {operation.id}: there is no {part!r}.",
                    field="field",
                    expected=", ".join(describe_fields(schema)),
                    near=close_names(part, describe_fields(schema)),
                )
            schema = inner
        fields = describe_fields(schema)
        return {
            "operation": operation.id,
            "field": field,
            "type": type_text(schema),
            **({"fields": fields} if fields else {}),
        }

    def prepare(
        self, operation: Operation, given: Mapping[str, Any], *, unknown_fields: bool = False
    ) -> Call:
        """Check a call and return it. Ids of the project are checked and pinned.

        Raises:
            Refused: The toolkit's settings forbid it.
            ArgumentError: An argument is invalid.
        """
        self.check(operation)
        given, options = self._without_owner(operation, dict(given))
        if operation.writes:
            for parameter in operation.path_parameters:
                if given.get(parameter.python_name) == "@current":
                    raise Refused(
                        f"{parameter.python_name}='@current' can mean another project at any time.",
                        "ambiguous_project",
                        "Give the number of the project.",
                    )
        return prepare_call(self.executor, operation, given, options, unknown_fields=unknown_fields)

    def _without_owner(
        self, operation: Operation, given: dict[str, Any]
    ) -> tuple[dict[str, Any], CallOptions]:
        """Take the id of the project from the arguments; only permitted ones are accepted."""
        options = self.executor.default_options
        known = arguments(operation)
        for name in _OWNER_ARGUMENTS:
            if name not in given or name in known:
                continue
            value = given.pop(name)
            number = None if name == "organization_id" else self._project(value)
            if number is not None:
                options = replace(options, project_id=number)
        return given, options

    def _project(self, value: object) -> int | None:
        """Return the number of a permitted project; None for the client's own.

        Raises:
            ArgumentError: It is no number.
            Refused: It is another project.
        """
        if value in (None, "", "@current"):
            return None
        try:
            number = int(str(value))
        except ValueError:
            raise ArgumentError(
                f"project_id must be a number, not {str(value)[:40]!r}.",
                field="project_id",
                expected="the number of a project, or nothing",
            ) from None
        if number != self.project_id and number not in self.projects:
            raise Refused(
                f"These tools are for project {self.project_id}, not for {number}.",
                "other_project",
                "Leave project_id out.",
            )
        return number

    def check_own_project(self, value: object) -> None:
        """Raise an error unless a project is the client's own.

        Raises:
            ArgumentError: It is no number.
            Refused: It is another project.
        """
        number = self._project(value)
        if number is not None and number != self.project_id:
            raise Refused(
                "This tool works on the client's own project only.",
                "other_project",
                "Leave project_id out.",
            )

    @property
    def project_id(self) -> int | None:
        """The id of the client's project; None if it was not looked up yet."""
        executor = self.executor
        return executor.settings.project_id or executor.owners.cached_project_id(
            executor.settings.api_key
        )

    async def pin_project(self) -> int | None:
        """Look the client's project up, so that writes name it by its number."""
        return self.project_id or await self.executor.project_id()

    async def run(self, call: Call) -> Any:
        """Make a call that is not a list, and return its result."""
        return await call_json(self.executor, call)

    async def read(
        self,
        call: Call,
        fields: Sequence[str] | None = None,
        page: Mapping[str, Any] | None = None,
    ) -> Noted:
        """Make a call that reads, and return its result, with the items of one page of a list.

        Raises:
            ArgumentError: The result has none of the fields, or there is no such page.
        """
        _check_page(call.operation, page)
        if call.operation.pagination is None:
            data, notes = _select(call, await call_json(self.executor, call), fields)
            return Noted(data, notes, is_json=not isinstance(data, bytes))
        result = await page_json(self.executor, call, page or None)
        items, notes = _select(call, result.items, fields)
        data: dict[str, Any] = {"items": items}
        if result.count is not None:
            data["count"] = result.count
        if result.state is not None:
            data["next_page"] = result.state
        return Noted(data, notes, is_json=True)

    async def preview(
        self, tool: str, call: Call, given: Mapping[str, Any], plan_id: str | None = None
    ) -> tuple[Call, WriteRequest]:
        """Return a call with its project pinned, and the request that it sends."""
        operation, owner_id = call.operation, None
        if operation.owner == "project" and "{project_id}" in operation.path:
            owner_id = call.options.project_id or await self.pin_project()
            call = replace(call, options=replace(call.options, project_id=owner_id))
        elif operation.owner == "organization":
            owner_id = call.options.organization_id or "{organization_id}"
        request = prepare_request(call, None if owner_id is None else str(owner_id))
        parts = urlsplit(self.executor.settings.host + request.target)
        body = call.merged_body()
        return call, WriteRequest(
            tool=tool,
            operation=operation.id,
            arguments=masked(dict(given)),
            destructive=is_destructive(operation),
            method=operation.method,
            url=f"{parts.scheme}://{parts.netloc}{parts.path}"
            + (f"?{parts.query}" if parts.query else ""),
            body=masked(body, 2000) if isinstance(body, Mapping | list) else None,
            plan_id=plan_id,
        )

    def now(self) -> float:
        """Return the time on the client's clock, in seconds."""
        return self.executor.transport.clock.monotonic()


def _check_page(operation: Operation, page: Mapping[str, Any] | None) -> None:
    if not page:
        return
    if operation.pagination is None:
        raise ArgumentError(f"{operation.id} has no pages.", field="page", expected="nothing")
    try:
        PageState.from_json(page)
    except ValueError:
        # Otherwise the first page would come again and again.
        raise ArgumentError(
            "page is not the next_page of a result.",
            field="page",
            expected="next_page of the previous result, as it is",
        ) from None


def _select(call: Call, data: Any, fields: Sequence[str] | None) -> tuple[Any, tuple[str, ...]]:
    if not fields:
        return data, ()
    return select_fields(data, fields, result_schema(call.operation))
