"""What can be told to an emulator over HTTP, and what each command takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from posthog_emulator.http.errors import (
    invalid,
    method_not_allowed,
    not_found,
    parse_error,
    required,
)
from posthog_emulator.http.messages import Answer, Request, json_answer
from posthog_emulator.json_types import is_array, is_object
from posthog_emulator.recorder import RecordedRequest

if TYPE_CHECKING:
    from posthog_emulator.core import EmulatorCore

__all__ = ["COMMANDS", "Command", "control"]

_NUMBER: Final = (int, float)
_NULLS: Final = frozenset({"export_error", "next_host", "times"})
"""Fields in which null is a value of its own."""
_TESTS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "any": lambda _: True,
    "array": is_array,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, _NUMBER) and not isinstance(value, bool),
    "number or string": lambda value: (
        isinstance(value, str | int | float) and not isinstance(value, bool)
    ),
    "object": is_object,
    "object of numbers": lambda value: (
        is_object(value) and all(_TESTS["number"](number) for number in value.values())
    ),
    "object of strings": lambda value: (
        is_object(value) and all(isinstance(text, str) for text in value.values())
    ),
    "string": lambda value: isinstance(value, str),
    "strings": lambda value: is_array(value) and all(isinstance(text, str) for text in value),
}

_WHICH: Final = {"times": "integer", "path": "string", "method": "string"}
_CHANCE: Final = {"rate": "number", "seed": "integer"}
_KINDS: Final = {"kinds": "strings"}


@dataclass(frozen=True, slots=True)
class Command:
    """One thing to do."""

    does: Callable[..., Any]
    """Gets the emulator and the fields; what it returns is answered."""
    fields: Mapping[str, str]
    """The type of each field; `!` after it: it is required. Null is as good as left out, but in
    `times`: without end."""

    def run(self, emulator: EmulatorCore, given: Mapping[str, Any]) -> Any:
        """Do it.

        Raises:
            Problem: 400, a field is missing, unknown or of another type, or its value is refused.
        """
        for name in given:
            if name not in self.fields:
                known = ", ".join(self.fields) or "none"
                raise invalid(f"There is no such field; there are: {known}.", name)
        for name, kind in self.fields.items():
            wanted = kind.removesuffix("!")
            value = given.get(name)
            if value is None:
                if kind.endswith("!"):
                    raise required(name)
            elif not _TESTS[wanted](value):
                raise invalid(f"This must be: {wanted}.", name)
        told = {name: v for name, v in given.items() if v is not None or name in _NULLS}
        try:
            return self.does(emulator, **told)
        except (KeyError, ValueError) as error:
            raise invalid(str(error.args[0]) if error.args else str(error)) from None


def _method(name: str, fields: Mapping[str, str]) -> Command:
    """A command that is a method of the emulator, and answers nothing."""

    def does(emulator: EmulatorCore, **given: Any) -> None:
        kinds = given.pop("kinds", None) or ()
        getattr(emulator, name)(*kinds, **given)

    return Command(does, fields)


def _misbehave(emulator: EmulatorCore, kinds: list[Any] | None = None, **given: Any) -> None:
    chosen = {} if kinds is None else {"kinds": kinds}
    emulator.misbehave(**chosen, **given)


def _error_rates(emulator: EmulatorCore, rates: Mapping[str, float], **given: Any) -> None:
    emulator.error_rates({int(status): rate for status, rate in rates.items()}, **given)


def _add(emulator: EmulatorCore, **given: Any) -> dict[str, Any]:
    return emulator.add(**given)


def _project(emulator: EmulatorCore, **given: Any) -> dict[str, Any]:
    return emulator.add_project(**given)


def _flag(emulator: EmulatorCore, **given: Any) -> dict[str, Any]:
    return emulator.flag(**given)


def _travel(emulator: EmulatorCore, seconds: float) -> dict[str, str]:
    return {"now": emulator.travel(seconds).isoformat()}


def _freeze(emulator: EmulatorCore, at: str | None = None) -> dict[str, str]:
    return {"now": emulator.freeze(at).isoformat()}


def _seed(
    emulator: EmulatorCore, resource: str, count: int, fields: Any = None, **more: Any
) -> dict[str, int]:
    if count < 0:
        raise ValueError(f"count must not be negative, and is {count}")
    return {"added": len(emulator.seed(resource, count, fields, **more))}


def _settings(emulator: EmulatorCore, **given: Any) -> dict[str, Any]:
    for name, value in given.items():
        setattr(emulator.settings, name, set(value) if name == "quota_limited" else value)
    now = {name: getattr(emulator.settings, name) for name in _SETTINGS}
    return {**now, "quota_limited": sorted(now["quota_limited"])}


_PLACE: Final = {"project_id": "integer", "parents": "array"}
_SETTINGS: Final = {
    "environments_redirect": "boolean",
    "export_error": "string",
    "export_seconds": "number",
    "hogql_exports": "boolean",
    "html_errors": "boolean",
    "losing": "integer",
    "next_host": "string",
    "offset_allowed": "boolean",
    "person_lag": "integer",
    "query_plan": "string",
    "query_seconds": "number",
    "quota_limited": "strings",
    "rate_limits": "boolean",
    "stall": "number",
    "strict": "boolean",
}

COMMANDS: Final[Mapping[str, Command]] = {
    "add": Command(
        _add,
        {"resource": "string!", "fields": "object", **_PLACE},
    ),
    "behave": _method("behave", {}),
    "bursts": _method(
        "bursts",
        {
            "size": "integer!",
            "every": "integer!",
            "status": "integer",
            "retry_after": "number",
            "path": "string",
            "method": "string",
        },
    ),
    "drift": _method("drift", {**_KINDS, "fields": "strings", **_WHICH, **_CHANCE}),
    "drop": _method("drop", {**_WHICH, "reset": "boolean", "after": "boolean"}),
    "error_rates": Command(
        _error_rates,
        {
            "rates": "object of numbers!",
            "retry_after": "number",
            "seed": "integer",
            "path": "string",
            "method": "string",
        },
    ),
    "fail": _method(
        "fail",
        {
            "status": "integer!",
            "retry_after": "number",
            **_WHICH,
            "code": "string",
            "detail": "string",
            "attr": "string",
            "body": "any",
            "headers": "object of strings",
        },
    ),
    "flag": Command(
        _flag,
        {
            "key": "string!",
            "variant": "string",
            "enabled": "boolean",
            "payload": "any",
            "distinct_id": "string",
            "project_id": "integer",
        },
    ),
    "freeze": Command(_freeze, {"at": "string"}),
    "garble": _method("garble", {**_WHICH, **_CHANCE}),
    "html": _method("html", {"status": "integer", **_WHICH}),
    "key": _method(
        "add_key",
        {"value": "string!", "scopes": "strings", "projects": "array", "organizations": "strings"},
    ),
    "latency": _method("latency", {"seconds": "number or string!", **_WHICH, **_CHANCE}),
    "links": _method(
        "links", {**_KINDS, "host": "string", "times": "integer", "path": "string", **_CHANCE}
    ),
    "misbehave": Command(_misbehave, {**_KINDS, **_CHANCE}),
    "pages": _method("pages", {**_KINDS, "times": "integer", "path": "string", **_CHANCE}),
    "project": Command(
        _project,
        {"project_id": "integer!", "name": "string", "member": "boolean"},
    ),
    "reset": _method("reset", {}),
    "save": _method("save", {}),
    "seed": Command(
        _seed, {"resource": "string!", "count": "integer!", "fields": "object", **_PLACE}
    ),
    "settings": Command(_settings, _SETTINGS),
    "settle": _method("settle", {}),
    "thaw": _method("thaw", {}),
    "travel": Command(_travel, {"seconds": "number!"}),
    "truncate": _method("truncate", {**_WHICH, "cut": "boolean"}),
}


ROOT: Final = "/_emulator"


def control(emulator: EmulatorCore, request: Request) -> Answer:
    """Answer a request below `/_emulator/`.

    Raises:
        Problem: It is not understood.
    """
    name = request.path.removeprefix(ROOT).strip("/")
    command, view = COMMANDS.get(name), _VIEWS.get(name)
    if view is not None:
        if request.method == "DELETE" and name in _EMPTIED:
            _EMPTIED[name](emulator).clear()
            return json_answer(200, {"ok": True})
        if request.method != "GET":
            raise method_not_allowed(request.method, ["GET", *["DELETE"] * (name in _EMPTIED)])
        return json_answer(200, view(emulator, request))
    if command is None:
        raise not_found(f"The emulator has no control {name!r}; GET {ROOT}/ lists them.")
    if request.method != "POST":
        raise method_not_allowed(request.method, ["POST"])
    told = command.run(emulator, _fields(request))
    return json_answer(200, {"ok": True} if told is None else told)


def _fields(request: Request) -> dict[str, Any]:
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
        "project_api_key": emulator.world.accounts.account.project_token,
        "now": emulator.now.isoformat(),
        "get": [f"{ROOT}/{name}" for name in sorted(_VIEWS) if name],
        "post": {f"{ROOT}/{name}": dict(command.fields) for name, command in COMMANDS.items()},
    }


def _requests(emulator: EmulatorCore, request: Request) -> dict[str, Any]:
    status = request.value("status")
    if status is not None and not (status.isascii() and status.isdigit()):
        raise invalid("A valid integer is required.", "status")
    found = emulator.requests.matching(
        method=request.value("method"),
        path=request.value("path"),
        operation=request.value("operation"),
        status=None if status is None else int(status),
    )
    return {"count": len(found), "results": [_shown(record) for record in found]}


def _shown(record: RecordedRequest) -> dict[str, Any]:
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


def _captured(emulator: EmulatorCore, request: Request) -> dict[str, Any]:
    found = emulator.captured(request.value("event"), request.value("distinct_id"))
    shown = [{**event, "timestamp": event["timestamp"].isoformat()} for event in found]
    return {"count": len(shown), "results": shown}


def _items(emulator: EmulatorCore, request: Request) -> dict[str, Any]:
    resource = request.value("resource")
    if resource is None:
        raise required("resource")
    try:
        found = emulator.items(resource, parents=request.values("parent"))
    except (KeyError, ValueError) as error:
        raise invalid(str(error.args[0]), "resource") from None
    return {"count": len(found), "results": found}


def _complaints(emulator: EmulatorCore, _: Request) -> dict[str, Any]:
    return {"count": len(emulator.complaints), "results": emulator.complaints}


_VIEWS: Final[Mapping[str, Callable[[EmulatorCore, Request], Any]]] = {
    "": _overview,
    "captured": _captured,
    "complaints": _complaints,
    "items": _items,
    "requests": _requests,
}
_EMPTIED: Final[Mapping[str, Callable[[EmulatorCore], list[Any]]]] = {
    "complaints": lambda emulator: emulator.complaints,
    "requests": lambda emulator: emulator.requests,
}
