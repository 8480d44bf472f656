"""Check arguments given as JSON, and turn them into a call. Pure.

Models make mistakes that a program does not make: a number as text, an object as a JSON string, a
field that is spelled differently. What is clear is converted; everything else is an error that says
which argument is wrong, what was expected, and what is close.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from asyncposthog.operation import Operation
from asyncposthog.types import OMIT

from .schema import BODY, JSON_TYPES, Argument, arguments, resolve, type_text, types_of

__all__ = ["ArgumentError", "PreparedArguments", "close_names", "prepare_arguments"]

PreparedArguments = tuple[tuple[Any, ...], dict[str, Any], dict[str, Any], object]
"""Path arguments, query parameters and headers by their names in the API, and the body."""


class ArgumentError(ValueError):
    """An argument is unknown, missing, or of the wrong type."""

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        expected: str | None = None,
        near: Iterable[str] = (),
        missing: Iterable[str] = (),
    ) -> None:
        """Say what is wrong.

        Args:
            message: What is wrong, in one sentence.
            field: The argument.
            expected: What was expected instead.
            near: Names or values that are close.
            missing: All arguments that are missing.
        """
        super().__init__(message)
        self.message = message
        self.field = field
        self.expected = expected
        self.near = tuple(near)
        self.missing = tuple(missing)


def close_names(name: str, candidates: Iterable[str], limit: int = 3) -> list[str]:
    """Return the candidates that are close to a name: by spelling, or with the same words."""
    from difflib import get_close_matches  # only for errors, and it takes time to import

    names = list(candidates)
    close = get_close_matches(name, names, n=limit, cutoff=0.6)
    part = [n for n in names if name and (name.lower() in n.lower() or n.lower() in name.lower())]
    return list(dict.fromkeys([*close, *part]))[:limit]


def prepare_arguments(
    operation: Operation, named_values: Mapping[str, Any], *, unknown_fields: bool = False
) -> PreparedArguments:
    """Check arguments, and sort them by where they are sent.

    Args:
        operation: The operation.
        named_values: Arguments by name, as `arguments()` has them; the names of the API work as
            well.
        unknown_fields: Whether to send arguments that the schema does not have as fields of the
            body. The server may know them.

    Raises:
        ArgumentError: An argument is unknown, missing, or of the wrong type.
    """
    plan = _plan(operation)
    accepted = plan.accepted
    unknown_fields = unknown_fields and operation.body is not None and operation.body.flat
    values: dict[str, Any] = {}
    sent: dict[str, dict[str, Any]] = {"query": {}, "header": {}, "field": {}}
    for own_name, value in named_values.items():
        name = own_name if own_name in accepted else plan.aliases.get(own_name)
        if name is None:
            if not unknown_fields:
                raise _unknown(operation, own_name, accepted)
            sent["field"][own_name] = value
            continue
        argument = accepted[name]
        values[name] = value = convert(argument, value)
        if argument.location in sent:
            sent[argument.location][argument.wire_name] = value
    missing = [name for name in plan.required if name not in values]
    if missing:
        first = accepted[missing[0]]
        raise ArgumentError(
            f"{operation.id} needs {', '.join(missing)}.",
            field=missing[0],
            expected=type_text(first.schema),
            missing=missing,
        )
    path = tuple([values[name] for name in plan.path])
    return path, sent["query"], sent["header"], _body(operation, values, sent["field"])


def _body(operation: Operation, values: dict[str, Any], fields: dict[str, Any]) -> object:
    if operation.fixed_body is not None:
        return dict(operation.fixed_body)
    if operation.body is None:
        return OMIT
    if not operation.body.flat:
        return values.get(BODY, OMIT)
    return fields if fields or operation.body.required else OMIT


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is needed to sort the arguments of an operation."""

    accepted: Mapping[str, Argument]
    aliases: Mapping[str, str]
    """Names by the names of the API."""
    required: tuple[str, ...]
    path: tuple[str, ...]


_plans: Final[dict[tuple[str, str], _Plan]] = {}


def _plan(operation: Operation) -> _Plan:
    key = operation.package, operation.id
    plan = _plans.get(key)
    if plan is None:
        accepted = arguments(operation)
        plan = _plans[key] = _Plan(
            accepted,
            {argument.wire_name: name for name, argument in accepted.items()},
            tuple(name for name, argument in accepted.items() if argument.required),
            tuple(parameter.python_name for parameter in operation.path_parameters),
        )
    return plan


def _unknown(operation: Operation, name: str, accepted: Mapping[str, Argument]) -> ArgumentError:
    near = close_names(name, accepted)
    takes = ", ".join(list(accepted)[:40]) or "no arguments"
    hint = f" Did you mean {' or '.join(near)}?" if near else f" It takes: {takes}."
    return ArgumentError(
        f"{operation.id} has no argument {name!r}.{hint}", field=name, expected=takes, near=near
    )


def convert(argument: Argument, value: Any) -> Any:
    """Return the value of an argument, converted where its meaning is clear.

    Raises:
        ArgumentError: The value is of another type, or not one of the permitted values.
    """
    if type(value) in argument.plain_types:
        return value
    if argument.is_file:
        return _file(argument, value)
    accepted = argument.types
    if accepted == frozenset({"object"}):
        # The schema calls the filters of several lists objects, and they are arrays.
        accepted |= {"array"}
    if accepted and not _is_of(value, accepted):
        value = _converted(argument, value, accepted)
    permitted = argument.values
    if permitted and value not in permitted and not isinstance(value, list):
        shown = ", ".join(json.dumps(v) for v in permitted[:20])
        near = close_names(str(value), [str(v) for v in permitted if v is not None])
        raise ArgumentError(
            f"{argument.name} is {_shown(value)}, which is not one of {shown}.",
            field=argument.name,
            expected=shown,
            near=near,
        )
    return cast("Any", value)


def _is_of(value: object, accepted: frozenset[str]) -> bool:
    kind = JSON_TYPES.get(cast("type", type(value)), "object")
    return kind in accepted or (kind == "integer" and "number" in accepted)


def _converted(argument: Argument, value: Any, accepted: frozenset[str]) -> Any:
    if isinstance(value, str):
        parsed = _parsed(value)
        if parsed is not OMIT and _is_of(parsed, accepted):
            return parsed
    if isinstance(value, float) and value.is_integer() and "integer" in accepted:
        return int(value)
    if type(value) in {int, float, bool} and "string" in accepted:
        return json.dumps(value)
    # One value where a list is expected is a list of one.
    if "array" in argument.types and not isinstance(value, list | dict):
        items = types_of(resolve(argument.schema).get("items"))
        if not items or _is_of(value, items):
            return [value]
    expected = type_text(argument.schema)
    raise ArgumentError(
        f"{argument.name} must be {expected}, not {_shown(value)}.",
        field=argument.name,
        expected=expected,
    )


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, OMIT)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:79] + "…"


def _file(argument: Argument, value: Any) -> tuple[str, bytes]:
    """Return a file: text is its content, `{"name": …, "base64": …}` has binary content."""
    if isinstance(value, str):
        return argument.wire_name, value.encode()
    if isinstance(value, Mapping):
        fields = cast("Mapping[str, Any]", value)
        name = str(fields.get("name") or argument.wire_name)
        try:
            if isinstance(fields.get("base64"), str):
                return name, base64.b64decode(fields["base64"], validate=True)
        except binascii.Error:
            pass
        if isinstance(fields.get("text"), str):
            return name, fields["text"].encode()
    expected = 'text, or {"name": "a.png", "base64": "…"}'
    raise ArgumentError(
        f"{argument.name} is a file: give {expected}.", field=argument.name, expected=expected
    )
