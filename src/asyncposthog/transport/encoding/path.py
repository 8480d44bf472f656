"""Encode paths: validate identifiers and put them into the template."""

from __future__ import annotations

import re
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import quote
from uuid import UUID

from asyncposthog.operation import Operation, Parameter

__all__ = ["PathTemplate", "build_path", "encode_segment", "path_template"]

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")
_FORBIDDEN_CHARACTERS: Final = re.compile(r"[/\\?#\x00-\x1f\x7f-\x9f]")
_INTEGER: Final = re.compile(r"-?[0-9]+")
_UUID: Final = re.compile(r"(?i)[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")
_ALIASES: Final = frozenset({"@me", "@current"})
"""Values that the server accepts instead of an identifier."""

_encode = partial(quote, safe="")


class PathTemplate(NamedTuple):
    """The path of an operation, split at its placeholders."""

    operation: Operation
    literals: tuple[str, ...]
    """The text around the placeholders: one more than there are placeholders."""
    has_owner: bool
    """Whether the first placeholder is the id of the project or organization."""
    parameters: tuple[Parameter, ...]


# A cache. It holds operations of the registry, of which there is a fixed number, and at most one
# untyped operation: those share one id, and there is no limit to their paths.
_templates: dict[str, PathTemplate] = {}


def path_template(operation: Operation) -> PathTemplate:
    """Return the path template of an operation."""
    template = _templates.get(operation.id)
    if template is None or template.operation is not operation:
        template = _templates[operation.id] = _parse_template(operation)
    return template


def _parse_template(operation: Operation) -> PathTemplate:
    parts = re.split(r"\{[^{}]*\}", operation.path)
    parameters = operation.path_parameters
    has_owner = operation.owner is not None and len(parts) - 1 == len(parameters) + 1
    if not has_owner and len(parts) - 1 != len(parameters):
        raise ValueError(
            f"{operation.id}: the path {operation.path} has {len(parts) - 1} placeholders, "
            f"the operation {len(parameters)} path parameters"
        )
    return PathTemplate(operation, tuple(parts), has_owner, parameters)


def build_path(operation: Operation, owner_id: str | int | None, values: tuple[object, ...]) -> str:
    """Return the encoded path of a call.

    Args:
        operation: The operation.
        owner_id: The id of the project or organization, if the path has a place for it.
        values: The positional arguments, in the order of the path.

    Raises:
        TypeError: A value has a type that no identifier has, or there are too few or too many.
        ValueError: A value would change which resource is addressed.
    """
    template = path_template(operation)
    parameters, literals = template.parameters, template.literals
    if len(values) != len(parameters):
        raise TypeError(
            f"{operation.id} takes {len(parameters)} path parameters, got {len(values)}"
        )
    path = literals[0]
    start = 1
    if template.has_owner:
        assert owner_id is not None
        path += f"{owner_id}{literals[1]}"
        start = 2
    for index, parameter in enumerate(parameters):
        value = values[index]
        # Most identifiers are numbers, which need no encoding.
        plain = type(value) is int and parameter.format != "uuid"
        path += str(value) if plain else encode_segment(operation, parameter, value)
        path += literals[start + index]
    return path


def encode_segment(operation: Operation, parameter: Parameter, value: object) -> str:
    """Validate and encode one path parameter."""
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
    reason = None
    segments = value.split("/") if parameter.multi_segment else [value]
    if value == "@current" and operation.writes:
        reason = (
            "'@current' is whatever the owner of the key last opened in the browser, so it is not "
            "permitted for a write; give the identifier"
        )
    elif any(segment == "" for segment in segments):
        reason = "it is empty" if value == "" else "it has an empty segment"
    elif any(segment in {".", ".."} for segment in segments):
        reason = "'.' and '..' would address another resource"
    elif match := next(filter(None, map(_FORBIDDEN_CHARACTERS.search, segments)), None):
        reason = f"it contains {match[0]!r}"
    elif parameter.type == "integer" and not _INTEGER.fullmatch(value) and value not in _ALIASES:
        reason = "it must be a whole number"
    elif parameter.format == "uuid" and not _UUID.fullmatch(value) and value not in _ALIASES:
        reason = "it must be a UUID"
    else:
        try:
            value.encode()
        except UnicodeEncodeError:
            reason = "it contains an unpaired surrogate, which cannot be encoded"
    if reason:
        excerpt = ascii(value if len(value) <= 80 else value[:79] + "…")
        raise ValueError(f"{operation.id}: {parameter.python_name}={excerpt} is refused: {reason}")


def _wrong_type(
    operation: Operation, parameter: Parameter, expected: str, value: object
) -> TypeError:
    actual = type(value).__name__
    return TypeError(f"{operation.id}: {parameter.python_name} must be {expected}, not {actual}")
