"""The control API of an emulator: commands and views below `/_emulator/`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from posthog_emulator.http.errors import (
    invalid,
    method_not_allowed,
    not_found,
    parse_error,
    required,
)
from posthog_emulator.http.messages import Request, Response, json_response
from posthog_emulator.json_types import is_array, is_object
from posthog_emulator.recorder import RecordedRequest

if TYPE_CHECKING:
    from posthog_emulator.core import EmulatorCore

__all__ = ["COMMANDS", "Command", "handle_control"]

_ROOT: Final = "/_emulator"
_NULLABLE: Final = frozenset({"export_error", "next_host", "strict", "times"})
"""Fields in which null is a value. In all others it is the same as leaving the field out."""


def _is_integer(value: Any) -> bool:
    # bool is a subclass of int.
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


_TYPE_CHECKS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "any": lambda _: True,
    "array": is_array,
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_integer,
    "number": _is_number,
    "number or string": lambda value: _is_number(value) or _is_string(value),
    "object": is_object,
    "object of numbers": lambda value: is_object(value) and all(map(_is_number, value.values())),
    "object of strings": lambda value: is_object(value) and all(map(_is_string, value.values())),
    "string": _is_string,
    "strings": lambda value: is_array(value) and all(map(_is_string, value)),
}


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the control API."""

    action: Callable[..., Any]
    """Called with the emulator and the fields; its result is the response."""
    fields: Mapping[str, str]
    """The type of each field; one that ends with `!` is required."""

    def run(self, emulator: EmulatorCore, values: Mapping[str, Any]) -> Any:
        """Validate the fields, run the command and return its result.

        Raises:
            ApiError: 400, a field is missing, unknown or of another type, or has an invalid value.
        """
        for name in values:
            if name not in self.fields:
                names = ", ".join(self.fields) or "none"
                raise invalid(f"There is no such field; the fields are: {names}.", name)
        for name, declared in self.fields.items():
            type_name = declared.removesuffix("!")
            value = values.get(name)
            if value is None:
                if declared.endswith("!"):
                    raise required(name)
            elif not _TYPE_CHECKS[type_name](value):
                raise invalid(f"This must be: {type_name}.", name)
        arguments = {
            name: value for name, value in values.items() if value is not None or name in _NULLABLE
        }
        try:
            return self.action(emulator, **arguments)
        except (KeyError, ValueError) as error:
            # str() of a KeyError is the repr of its message.
            raise invalid(str(error.args[0]) if error.args else str(error)) from None


def _method(name: str, fields: Mapping[str, str], *, returns: bool = False) -> Command:
    """Return a command that calls a method of the emulator, such as `faults.drop`.

    Args:
        name: The name of the method, with dots.
        fields: The types of its arguments. `kinds` are positional arguments.
        returns: Whether the result of the method is the response.
    """
    method_of = attrgetter(name)

    def action(emulator: EmulatorCore, **arguments: Any) -> Any:
        kinds = arguments.pop("kinds", None) or ()
        result = method_of(emulator)(*kinds, **arguments)
        return result if returns else None

    return Command(action, fields)


def _randomize(emulator: EmulatorCore, kinds: list[Any] | None = None, **arguments: Any) -> None:
    # An empty list is passed on, so that it is rejected; only a missing one means the default.
    if kinds is not None:
        arguments["kinds"] = kinds
    emulator.faults.randomize(**arguments)


def _error_rates(emulator: EmulatorCore, rates: Mapping[str, float], **arguments: Any) -> None:
    # The keys of JSON objects are strings.
    emulator.faults.error_rates({int(status): rate for status, rate in rates.items()}, **arguments)


def _advance(emulator: EmulatorCore, seconds: float) -> dict[str, str]:
    return {"now": emulator.advance(seconds).isoformat()}


def _freeze(emulator: EmulatorCore, at: str | None = None) -> dict[str, str]:
    return {"now": emulator.freeze(at).isoformat()}


def _seed(
    emulator: EmulatorCore, resource: str, count: int, fields: Any = None, **arguments: Any
) -> dict[str, int]:
    if count < 0:
        raise ValueError(f"count must not be negative, but is {count}")
    return {"added": len(emulator.seed(resource, count, fields, **arguments))}


def _change_settings(emulator: EmulatorCore, **values: Any) -> dict[str, Any]:
    """Change settings and return all that this command can change."""
    for name, value in values.items():
        # JSON has no sets.
        setattr(emulator.settings, name, set(value) if name == "exhausted_quotas" else value)
    current = {name: getattr(emulator.settings, name) for name in _SETTINGS}
    return {**current, "exhausted_quotas": sorted(current["exhausted_quotas"])}


_SELECTION: Final = {"times": "integer", "path": "string", "method": "string"}
_CHANCE: Final = {"rate": "number", "seed": "integer"}
_KINDS: Final = {"kinds": "strings"}
_OWNER: Final = {"project_id": "integer", "parents": "array"}
_SETTINGS: Final = {
    "allow_hogql_exports": "boolean",
    "allow_offset": "boolean",
    "capture_retries": "integer",
    "exhausted_quotas": "strings",
    "export_error": "string",
    "export_seconds": "number",
    "html_errors": "boolean",
    "next_host": "string",
    "query_plan": "string",
    "query_seconds": "number",
    "rate_limits": "boolean",
    "redirect_environments": "boolean",
    "stale_person_reads": "integer",
    "stall_seconds": "number",
    "strict": "boolean",
}

COMMANDS: Final[Mapping[str, Command]] = {
    "add": _method("add", {"resource": "string!", "fields": "object", **_OWNER}, returns=True),
    "add_key": _method(
        "add_key",
        {"value": "string!", "scopes": "strings", "projects": "array", "organizations": "strings"},
    ),
    "add_project": _method(
        "add_project",
        {"project_id": "integer!", "name": "string", "member": "boolean"},
        returns=True,
    ),
    "advance": Command(_advance, {"seconds": "number!"}),
    "apply_pending_changes": _method("apply_pending_changes", {}),
    "faults/clear": _method("faults.clear", {}),
    "faults/corrupt_json": _method("faults.corrupt_json", {**_SELECTION, **_CHANCE}),
    "faults/drop": _method("faults.drop", {**_SELECTION, "reset": "boolean", "after": "boolean"}),
    "faults/error_bursts": _method(
        "faults.error_bursts",
        {
            "size": "integer!",
            "every": "integer!",
            "status": "integer",
            "retry_after": "number",
            "path": "string",
            "method": "string",
        },
    ),
    "faults/error_rates": Command(
        _error_rates,
        {
            "rates": "object of numbers!",
            "retry_after": "number",
            "seed": "integer",
            "path": "string",
            "method": "string",
        },
    ),
    "faults/fail": _method(
        "faults.fail",
        {
            "status": "integer!",
            "retry_after": "number",
            **_SELECTION,
            "code": "string",
            "detail": "string",
            "attr": "string",
            "body": "any",
            "headers": "object of strings",
        },
    ),
    "faults/html_error": _method("faults.html_error", {"status": "integer", **_SELECTION}),
    "faults/latency": _method(
        "faults.latency", {"seconds": "number or string!", **_SELECTION, **_CHANCE}
    ),
    "faults/mutate_fields": _method(
        "faults.mutate_fields", {**_KINDS, "fields": "strings", **_SELECTION, **_CHANCE}
    ),
    "faults/mutate_links": _method(
        "faults.mutate_links",
        {**_KINDS, "host": "string", "times": "integer", "path": "string", **_CHANCE},
    ),
    "faults/mutate_pages": _method(
        "faults.mutate_pages", {**_KINDS, "times": "integer", "path": "string", **_CHANCE}
    ),
    "faults/randomize": Command(_randomize, {**_KINDS, **_CHANCE}),
    "faults/truncate": _method("faults.truncate", {**_SELECTION, "cut": "boolean"}),
    "freeze": Command(_freeze, {"at": "string"}),
    "reset": _method("reset", {}),
    "save": _method("save", {}),
    "seed": Command(
        _seed, {"resource": "string!", "count": "integer!", "fields": "object", **_OWNER}
    ),
    "set_flag": _method(
        "set_flag",
        {
            "key": "string!",
            "variant": "string",
            "enabled": "boolean",
            "payload": "any",
            "distinct_id": "string",
            "project_id": "integer",
        },
        returns=True,
    ),
    "settings": Command(_change_settings, _SETTINGS),
    "unfreeze": _method("unfreeze", {}),
}
"""The commands by their path below `/_emulator/`."""


def handle_control(emulator: EmulatorCore, request: Request) -> Response:
    """Return the response to a request below `/_emulator/`.

    Raises:
        ApiError: 404, there is no such path; 405, not with this method; 400, a field is invalid.
    """
    name = request.path.removeprefix(_ROOT).strip("/")
    command, view = COMMANDS.get(name), _VIEWS.get(name)
    if view is not None:
        if request.method == "DELETE" and name in _CLEARABLE:
            _CLEARABLE[name](emulator).clear()
            return json_response(200, {"ok": True})
        if request.method != "GET":
            allowed = ["GET", "DELETE"] if name in _CLEARABLE else ["GET"]
            raise method_not_allowed(request.method, allowed)
        return json_response(200, view(emulator, request))
    if command is None:
        raise not_found(f"The control API has no command {name!r}; GET {_ROOT}/ lists them.")
    if request.method != "POST":
        raise method_not_allowed(request.method, ["POST"])
    result = command.run(emulator, _parse_fields(request))
    return json_response(200, {"ok": True} if result is None else result)


def _parse_fields(request: Request) -> dict[str, Any]:
    if not request.content:
        return {}
    try:
        fields = json.loads(request.content)
    except (ValueError, RecursionError) as error:
        raise parse_error(f"JSON parse error - {error}") from None
    if not is_object(fields):
        raise parse_error("A JSON object is expected.")
    return fields


def _overview(emulator: EmulatorCore, _: Request) -> dict[str, Any]:
    return {
        "project_id": emulator.project_id,
        "organization_id": emulator.organization_id,
        "personal_api_key": emulator.key,
        "project_api_key": emulator.state.accounts.account.project_token,
        "now": emulator.now.isoformat(),
        "get": [f"{_ROOT}/{name}" for name in sorted(_VIEWS) if name],
        "post": {f"{_ROOT}/{name}": dict(command.fields) for name, command in COMMANDS.items()},
    }


def _requests(emulator: EmulatorCore, request: Request) -> dict[str, Any]:
    status = request.query_value("status")
    if status is not None and not (status.isascii() and status.isdigit()):
        raise invalid("A valid integer is required.", "status")
    records = emulator.requests.matching(
        method=request.query_value("method"),
        path=request.query_value("path"),
        operation=request.query_value("operation"),
        status=None if status is None else int(status),
    )
    return {"count": len(records), "results": [_serialize_record(record) for record in records]}


def _serialize_record(record: RecordedRequest) -> dict[str, Any]:
    return {
        "method": record.method,
        "path": record.path,
        "query": record.query,
        "headers": record.headers,
        "body": record.body,
        "files": sorted(record.files),
        "status": record.status,
        "operation": record.operation,
        "at": record.at.astimezone(UTC).isoformat(),
        "seconds": record.seconds,
    }


def _captured_events(emulator: EmulatorCore, request: Request) -> dict[str, Any]:
    events = emulator.captured_events(
        request.query_value("event"), request.query_value("distinct_id")
    )
    results = [{**event, "timestamp": event["timestamp"].isoformat()} for event in events]
    return {"count": len(results), "results": results}


def _captured_telemetry(emulator: EmulatorCore, request: Request) -> dict[str, Any]:
    results = emulator.captured_telemetry(request.query_value("signal"))
    return {"count": len(results), "results": results}


def _items(emulator: EmulatorCore, request: Request) -> dict[str, Any]:
    resource = request.query_value("resource")
    if resource is None:
        raise required("resource")
    try:
        items = emulator.items(resource, parents=request.query_values("parent"))
    except (KeyError, ValueError) as error:
        raise invalid(str(error.args[0]), "resource") from None
    return {"count": len(items), "results": items}


def _warnings(emulator: EmulatorCore, _: Request) -> dict[str, Any]:
    return {"count": len(emulator.warnings), "results": emulator.warnings}


_VIEWS: Final[Mapping[str, Callable[[EmulatorCore, Request], Any]]] = {
    "": _overview,
    "captured_events": _captured_events,
    "captured_telemetry": _captured_telemetry,
    "items": _items,
    "requests": _requests,
    "warnings": _warnings,
}
"""What GET returns, by path below `/_emulator/`."""
_CLEARABLE: Final[Mapping[str, Callable[[EmulatorCore], list[Any]]]] = {
    "requests": lambda emulator: emulator.requests,
    "warnings": lambda emulator: emulator.warnings,
}
"""The lists that DELETE empties."""
