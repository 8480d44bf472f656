"""Query and header parameters: which are known, and whether their values fit."""

from __future__ import annotations

from collections.abc import Iterator

from asyncposthog.operation import Operation, PageStyle, Parameter
from posthog_emulator.http.errors import ApiError, invalid, required
from posthog_emulator.http.messages import Request

from .validation import fits, sentence

__all__ = ["EVERYWHERE", "PAGING", "header_problems", "split", "unknown_query", "value_problems"]

PAGING: dict[PageStyle, frozenset[str]] = {
    "offset": frozenset({"limit", "offset"}),
    "persons": frozenset({"limit", "offset", "include_total"}),
    "cursor": frozenset({"cursor"}),
    "page": frozenset({"page"}),
    "events": frozenset({"limit", "offset", "before", "after", "orderBy"}),
    "recordings": frozenset({"limit", "offset"}),
    "body_cursor": frozenset(),
    "single": frozenset(),
}
"""Parameters a style of paging takes whether or not the schema declares them."""

EVERYWHERE = frozenset({"format", "personal_api_key", "token"})
"""Parameters every operation takes."""

_PRESENT = frozenset({"include_total"})
"""Parameters that only have to be there, whatever the registry says of their values."""

_BOOLEANS = frozenset({"true", "false", "1", "0"})
_UNSIGNED = frozenset({"limit", "offset", "page", "page_size"})


def unknown_query(operation: Operation, request: Request) -> list[str]:
    """Names in the query string that the operation does not know."""
    known = {p.name for p in operation.query_parameters} | EVERYWHERE
    if operation.pagination is not None:
        known |= PAGING[operation.pagination.style]
        known.add("deleted")
    return [name for name in dict.fromkeys(key for key, _ in request.query) if name not in known]


def split(parameter: Parameter, values: list[str]) -> list[str]:
    """The items of an array parameter, repeated or joined by commas."""
    if parameter.type != "array" or parameter.explode:
        return values
    return [item for value in values for item in value.split(",")]


def value_problems(operation: Operation, request: Request) -> Iterator[ApiError]:
    """What is wrong with the values in the query string."""
    declared = {p.name: p for p in operation.query_parameters}
    for parameter in declared.values():
        values = request.values(parameter.name)
        if not values:
            if parameter.required:
                yield required(parameter.name)
        elif not parameter.presence_only and parameter.name not in _PRESENT:
            for value in split(parameter, values):
                yield from _value(parameter, value)
            if parameter.type != "array" and len(values) > 1:
                yield invalid("This parameter was given more than once.", parameter.name)
    if operation.pagination is None:
        return
    for name in sorted(PAGING[operation.pagination.style] & _UNSIGNED - declared.keys()):
        for value in request.values(name):
            yield from _value(
                Parameter(name=name, python_name=name, location="query", type="integer"), value
            )


def header_problems(operation: Operation, request: Request) -> Iterator[ApiError]:
    """What is wrong with the header parameters."""
    for parameter in operation.header_parameters:
        value = request.headers.get(parameter.name.lower())
        if value is None:
            if parameter.required:
                yield required(parameter.name)
        else:
            yield from _value(parameter, value)


def _value(parameter: Parameter, value: str) -> Iterator[ApiError]:
    name = parameter.name
    if parameter.enum and value not in {_text(choice) for choice in parameter.enum}:
        detail = f"Select a valid choice. {value} is not one of the available choices."
        yield invalid(detail, name, "invalid_choice")
    elif parameter.type == "integer" and not _is_integer(value, unsigned=name in _UNSIGNED):
        yield invalid("A valid integer is required.", name)
    elif parameter.type == "number" and not _is_number(value):
        yield invalid("A valid number is required.", name)
    elif parameter.type == "boolean" and value.lower() not in _BOOLEANS:
        yield invalid("Must be a valid boolean.", name)
    elif parameter.type == "string" and parameter.format in {"uuid", "date-time", "date"}:
        # The server reads relative dates such as -7d wherever it reads a date.
        relative = parameter.format != "uuid" and (value[:1] in "-+" or not value[:1].isdigit())
        if not relative and not fits(parameter.format, value) and not fits("date", value):
            yield invalid(sentence(parameter.format), name)


def _text(choice: object) -> str:
    return str(choice).lower() if isinstance(choice, bool) else str(choice)


def _is_integer(value: str, *, unsigned: bool) -> bool:
    digits = value if unsigned else value.removeprefix("-")
    return digits.isascii() and digits.isdigit()


def _is_number(value: str) -> bool:
    try:
        return float(value) == float(value)
    except ValueError:
        return False
