"""The control API below `/_emulator/`: for tests in other languages than Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from asyncposthog.emulator.backstage.commands import COMMANDS
from asyncposthog.emulator.guards import is_object
from asyncposthog.emulator.web.messages import Answer, Request, json_answer
from asyncposthog.emulator.web.problems import (
    invalid,
    method_not_allowed,
    not_found,
    parse_error,
    required,
)
from asyncposthog.emulator.web.recording import RecordedRequest

if TYPE_CHECKING:
    from asyncposthog.emulator.core import Emulator

__all__ = ["control"]

ROOT: Final = "/_emulator"


def control(emulator: Emulator, request: Request) -> Answer:
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


def _overview(emulator: Emulator, _: Request) -> dict[str, Any]:
    return {
        "project_id": emulator.project_id,
        "organization_id": emulator.organization_id,
        "personal_api_key": emulator.key,
        "project_api_key": emulator.world.accounts.account.project_token,
        "now": emulator.now.isoformat(),
        "get": [f"{ROOT}/{name}" for name in sorted(_VIEWS) if name],
        "post": {f"{ROOT}/{name}": dict(command.fields) for name, command in COMMANDS.items()},
    }


def _requests(emulator: Emulator, request: Request) -> dict[str, Any]:
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


def _captured(emulator: Emulator, request: Request) -> dict[str, Any]:
    found = emulator.captured(request.value("event"), request.value("distinct_id"))
    shown = [{**event, "timestamp": event["timestamp"].isoformat()} for event in found]
    return {"count": len(shown), "results": shown}


def _items(emulator: Emulator, request: Request) -> dict[str, Any]:
    resource = request.value("resource")
    if resource is None:
        raise required("resource")
    try:
        found = emulator.items(resource, parents=request.values("parent"))
    except (KeyError, ValueError) as error:
        raise invalid(str(error.args[0]), "resource") from None
    return {"count": len(found), "results": found}


def _complaints(emulator: Emulator, _: Request) -> dict[str, Any]:
    return {"count": len(emulator.complaints), "results": emulator.complaints}


_VIEWS: Final[Mapping[str, Callable[[Emulator, Request], Any]]] = {
    "": _overview,
    "captured": _captured,
    "complaints": _complaints,
    "items": _items,
    "requests": _requests,
}
_EMPTIED: Final[Mapping[str, Callable[[Emulator], list[Any]]]] = {
    "complaints": lambda emulator: emulator.complaints,
    "requests": lambda emulator: emulator.requests,
}
