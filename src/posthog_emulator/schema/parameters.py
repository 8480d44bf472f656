"""Validate query and header parameters."""

from __future__ import annotations

from collections.abc import Iterator

from asyncposthog.operation import Operation, PageStyle, Parameter
from posthog_emulator.http.errors import ApiError, invalid, required
from posthog_emulator.http.messages import Request

from .validation import format_error, matches_format

__all__ = [
    "PAGING_PARAMETERS",
    "UNIVERSAL_PARAMETERS",
    "header_errors",
    "query_errors",
    "split_array",
    "unknown_query_parameters",
]

PAGING_PARAMETERS: dict[PageStyle, frozenset[str]] = {
    "offset": frozenset({"limit", "offset"}),
    "persons": frozenset({"limit", "offset", "include_total"}),
    "cursor": frozenset({"cursor"}),
    "page": frozenset({"page"}),
    "events": frozenset({"limit", "offset", "before", "after", "orderBy"}),
    "recordings": frozenset({"limit", "offset"}),
    "body_cursor": frozenset(),
    "body_offset": frozenset(),
    "has_more": frozenset({"limit", "offset"}),
    "next_values": frozenset({"limit"}),
    "until_empty": frozenset({"limit", "offset"}),
    "single": frozenset(),
}
"""The parameters of each pagination style, whether or not the schema declares them."""

UNIVERSAL_PARAMETERS = frozenset({"format", "personal_api_key", "token"})
"""Parameters that every operation accepts."""

_PRESENCE_ONLY = frozenset({"include_total"})
"""Parameters that take effect by being present with any value, which the schema does not say."""

_BOOLEAN_TEXTS = frozenset({"true", "false", "1", "0"})
_UNSIGNED = frozenset({"limit", "offset", "page", "page_size"})


def unknown_query_parameters(operation: Operation, request: Request) -> list[str]:
    """Return the names in the query string that the operation does not accept."""
    accepted = {p.name for p in operation.query_parameters} | UNIVERSAL_PARAMETERS
    if operation.pagination is not None:
        accepted |= PAGING_PARAMETERS[operation.pagination.style]
        # The server reads these in most lists, but the schema does not declare them for all.
        accepted |= {"deleted", "search"}
    sent = dict.fromkeys(key for key, _ in request.query)
    return [name for name in sent if name not in accepted]


def split_array(parameter: Parameter, values: list[str]) -> list[str]:
    """Return the items of an array parameter, whether it is repeated or joined by commas."""
    if parameter.type != "array" or parameter.explode:
        return values
    return [item for value in values for item in value.split(",")]


def query_errors(operation: Operation, request: Request) -> Iterator[ApiError]:
    """Yield an error for each missing or invalid value in the query string."""
    declared = {p.name: p for p in operation.query_parameters}
    for parameter in declared.values():
        values = request.query_values(parameter.name)
        if not values:
            if parameter.required:
                yield required(parameter.name)
        elif not parameter.presence_only and parameter.name not in _PRESENCE_ONLY:
            for value in split_array(parameter, values):
                yield from _value_errors(parameter, value)
            if parameter.type != "array" and len(values) > 1:
                yield invalid("This parameter was given more than once.", parameter.name)
    if operation.pagination is None:
        return
    # The schema does not declare these on every operation, but the server reads them.
    for name in sorted(PAGING_PARAMETERS[operation.pagination.style] & _UNSIGNED - declared.keys()):
        for value in request.query_values(name):
            yield from _value_errors(
                Parameter(name=name, python_name=name, location="query", type="integer"), value
            )


def header_errors(operation: Operation, request: Request) -> Iterator[ApiError]:
    """Yield an error for each missing or invalid header parameter."""
    for parameter in operation.header_parameters:
        value = request.headers.get(parameter.name.lower())
        if value is None:
            if parameter.required:
                yield required(parameter.name)
        else:
            yield from _value_errors(parameter, value)


def _value_errors(parameter: Parameter, value: str) -> Iterator[ApiError]:
    name = parameter.name
    if parameter.enum and value not in {_text(choice) for choice in parameter.enum}:
        detail = f"Select a valid choice. {value} is not one of the available choices."
        yield invalid(detail, name, "invalid_choice")
    elif parameter.type == "integer" and not _is_integer(value, unsigned=name in _UNSIGNED):
        yield invalid("A valid integer is required.", name)
    elif parameter.type == "number" and not _is_number(value):
        yield invalid("A valid number is required.", name)
    elif parameter.type == "boolean" and value.lower() not in _BOOLEAN_TEXTS:
        yield invalid("Must be a valid boolean.", name)
    elif parameter.type == "string" and parameter.format in {"uuid", "date-time", "date"}:
        # The server accepts relative dates such as -7d in every date parameter.
        relative = parameter.format != "uuid" and (value[:1] in "-+" or not value[:1].isdigit())
        if (
            not relative
            and not matches_format(parameter.format, value)
            and not matches_format("date", value)
        ):
            yield invalid(format_error(parameter.format), name)


def _text(choice: object) -> str:
    return str(choice).lower() if isinstance(choice, bool) else str(choice)


def _is_integer(value: str, *, unsigned: bool) -> bool:
    # Not int(): it accepts spaces, underscores and digits of other scripts.
    digits = value if unsigned else value.removeprefix("-")
    return digits.isascii() and digits.isdigit()


def _is_number(value: str) -> bool:
    try:
        # NaN is the only float that differs from itself.
        return float(value) == float(value)
    except ValueError:
        return False
