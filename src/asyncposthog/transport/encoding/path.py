"""Paths: identifiers are checked, percent-encoded and put into the template."""

from __future__ import annotations

import re
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import quote
from uuid import UUID

from asyncposthog.operation import Operation, Parameter

__all__ = ["build_path", "encode_segment", "needs_owner"]

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")
_FORBIDDEN_CHARACTERS: Final = re.compile(r"[/\\?#\x00-\x1f\x7f-\x9f]")
_INTEGER: Final = re.compile(r"-?[0-9]+")
_UUID: Final = re.compile(r"(?i)[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")
_ALIASES: Final = frozenset({"@me", "@current"})
"""What the server takes in place of an identifier."""

_encode = partial(quote, safe="")


class _PathTemplate(NamedTuple):
    """A template taken apart: `literals` has one more element than there are placeholders."""

    operation: Operation
    literals: tuple[str, ...]
    has_owner: bool
    parameters: tuple[Parameter, ...]


# A cache of pure results, at most one entry an operation.
_templates: dict[str, _PathTemplate] = {}


def _template_of(operation: Operation) -> _PathTemplate:
    template = _templates.get(operation.id)
    if template is None or template.operation is not operation:
        template = _templates[operation.id] = _parse_template(operation)
    return template


def _parse_template(operation: Operation) -> _PathTemplate:
    parts = re.split(r"\{[^{}]*\}", operation.path)
    parameters = operation.path_parameters
    has_owner = operation.owner is not None and len(parts) - 1 == len(parameters) + 1
    if not has_owner and len(parts) - 1 != len(parameters):
        raise ValueError(
            f"{operation.id}: the path {operation.path} has {len(parts) - 1} placeholders, "
            f"the operation {len(parameters)} path parameters"
        )
    return _PathTemplate(operation, tuple(parts), has_owner, parameters)


def needs_owner(operation: Operation) -> bool:
    """Tell whether the path has a place for a project's or an organization's identifier."""
    return _template_of(operation).has_owner


def build_path(operation: Operation, owner_id: str | None, values: tuple[object, ...]) -> str:
    """Return the encoded path of a call.

    Args:
        operation: What is called.
        owner_id: The identifier that fills the first placeholder, if the operation has one for it.
        values: The positional arguments, in the order of the template.

    Raises:
        TypeError: A value is of a type that no identifier has, or there are too few or too many.
        ValueError: A value would change which resource is addressed.
    """
    template = _template_of(operation)
    if len(values) != len(template.parameters):
        raise TypeError(
            f"{operation.id} takes {len(template.parameters)} path parameters, got {len(values)}"
        )
    literals = template.literals
    path = literals[0]
    start = 1
    if template.has_owner:
        assert owner_id is not None
        path += owner_id + literals[1]
        start = 2
    for index, parameter in enumerate(template.parameters):
        path += encode_segment(operation, parameter, values[index]) + literals[start + index]
    return path


def encode_segment(operation: Operation, parameter: Parameter, value: object) -> str:
    """Check and encode one path parameter."""
    if type(value) is int:
        if parameter.format == "uuid":
            raise _wrong_type(operation, parameter, "a UUID", value)
        return str(value)
    if isinstance(value, UUID):
        if parameter.type == "integer":
            raise _wrong_type(operation, parameter, "an int", value)
        return str(value)
    if not isinstance(value, str):
        raise _wrong_type(operation, parameter, "an int, a str or a UUID", value)
    _check_text(operation, parameter, value)
    if _PLAIN.fullmatch(value):
        return value
    if parameter.multi_segment:
        return "/".join(map(_encode, value.split("/")))
    return _encode(value)


def _check_text(operation: Operation, parameter: Parameter, value: str) -> None:
    problem = None
    segments = value.split("/") if parameter.multi_segment else [value]
    if value == "@current" and operation.writes:
        problem = (
            "'@current' follows whatever its user last opened in the browser, so it is never "
            "used for a write; give the identifier"
        )
    elif any(segment == "" for segment in segments):
        problem = "it is empty" if value == "" else "it has an empty segment"
    elif any(segment in {".", ".."} for segment in segments):
        problem = "'.' and '..' would address another resource"
    elif found := next((f for f in map(_FORBIDDEN_CHARACTERS.search, segments) if f), None):
        problem = f"it contains {found[0]!r}"
    elif parameter.type == "integer" and not _INTEGER.fullmatch(value) and value not in _ALIASES:
        problem = "it must be a whole number"
    elif parameter.format == "uuid" and not _UUID.fullmatch(value) and value not in _ALIASES:
        problem = "it must be a UUID"
    else:
        try:
            value.encode()
        except UnicodeEncodeError:
            problem = "it holds half of a surrogate pair, which is no character"
    if problem:
        shown = ascii(value if len(value) <= 80 else value[:79] + "…")
        raise ValueError(f"{operation.id}: {parameter.python_name}={shown} is refused: {problem}")


def _wrong_type(
    operation: Operation, parameter: Parameter, expected: str, value: object
) -> TypeError:
    found = type(value).__name__
    return TypeError(f"{operation.id}: {parameter.python_name} must be {expected}, not {found}")
