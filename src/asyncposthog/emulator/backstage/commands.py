"""What can be told to an emulator over HTTP, and what each command takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from asyncposthog.emulator.guards import is_array, is_object
from asyncposthog.emulator.web.problems import invalid, required

if TYPE_CHECKING:
    from asyncposthog.emulator.core import Emulator

__all__ = ["COMMANDS", "Command"]

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

    def run(self, emulator: Emulator, given: Mapping[str, Any]) -> Any:
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

    def does(emulator: Emulator, **given: Any) -> None:
        kinds = given.pop("kinds", None) or ()
        getattr(emulator, name)(*kinds, **given)

    return Command(does, fields)


def _misbehave(emulator: Emulator, kinds: list[Any] | None = None, **given: Any) -> None:
    chosen = {} if kinds is None else {"kinds": kinds}
    emulator.misbehave(**chosen, **given)


def _error_rates(emulator: Emulator, rates: Mapping[str, float], **given: Any) -> None:
    emulator.error_rates({int(status): rate for status, rate in rates.items()}, **given)


def _add(emulator: Emulator, **given: Any) -> dict[str, Any]:
    return emulator.add(**given)


def _project(emulator: Emulator, **given: Any) -> dict[str, Any]:
    return emulator.add_project(**given)


def _flag(emulator: Emulator, **given: Any) -> dict[str, Any]:
    return emulator.flag(**given)


def _travel(emulator: Emulator, seconds: float) -> dict[str, str]:
    return {"now": emulator.travel(seconds).isoformat()}


def _freeze(emulator: Emulator, at: str | None = None) -> dict[str, str]:
    return {"now": emulator.freeze(at).isoformat()}


def _seed(
    emulator: Emulator, resource: str, count: int, fields: Any = None, **more: Any
) -> dict[str, int]:
    if count < 0:
        raise ValueError(f"count must not be negative, and is {count}")
    return {"added": len(emulator.seed(resource, count, fields, **more))}


def _settings(emulator: Emulator, **given: Any) -> dict[str, Any]:
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
