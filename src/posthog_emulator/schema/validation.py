"""Validate values by schemas and formats, with the error messages of the server."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import UUID

from posthog_emulator.http.errors import ApiError, invalid
from posthog_emulator.json_types import is_array, is_mapping

from .catalogue import Catalogue, Direction, Schema, schema_for

__all__ = ["FORMATS", "Validators", "format_error", "matches_format", "require_jsonschema"]

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


def _uuid(text: str) -> bool:
    UUID(text)
    return True


def _datetime(text: str) -> bool:
    datetime.fromisoformat(text)
    # `fromisoformat` also accepts a date without a time.
    return len(text) > len("2026-01-01")


def _date(text: str) -> bool:
    date.fromisoformat(text)
    return True


def _time(text: str) -> bool:
    time.fromisoformat(text)
    return True


def _uri(text: str) -> bool:
    parts = urlsplit(text)
    return bool(parts.scheme and (parts.netloc or parts.path)) and " " not in text


def _email(text: str) -> bool:
    return _EMAIL.fullmatch(text) is not None


FORMATS: dict[str, tuple[Callable[[str], bool], str]] = {
    "uuid": (_uuid, "Must be a valid UUID."),
    "date-time": (
        _datetime,
        "Datetime has wrong format. Use one of these formats instead: "
        "YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z].",
    ),
    "date": (
        _date,
        "Date has wrong format. Use one of these formats instead: YYYY-MM-DD.",
    ),
    "time": (
        _time,
        "Time has wrong format. Use one of these formats instead: hh:mm[:ss[.uuuuuu]].",
    ),
    "uri": (_uri, "Enter a valid URL."),
    "email": (_email, "Enter a valid email address."),
}
"""The validator of each format, and the message for a text that does not match it."""


def matches_format(format: str | None, text: str) -> bool:
    """Return whether a text matches a format; True for formats that are not in `FORMATS`."""
    entry = FORMATS.get(format or "")
    if entry is None:
        return True
    try:
        return entry[0](text)
    except ValueError:
        return False


def format_error(format: str | None) -> str:
    """Return the server's message for a text that does not match a format."""
    entry = FORMATS.get(format or "")
    return "Not a valid value." if entry is None else entry[1]


_URI = "urn:asyncposthog:"
_TYPE_ERRORS = {
    "integer": "A valid integer is required.",
    "number": "A valid number is required.",
    "boolean": "Must be a valid boolean.",
    "string": "Not a valid string.",
}
_TYPE_NAMES: Mapping[type[object], str] = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    list: "list",
    dict: "dict",
}


def require_jsonschema() -> None:
    """Check that `jsonschema` is installed, without importing it, which is slow.

    Raises:
        ImportError: It is not installed.
    """
    if importlib.util.find_spec("jsonschema") is None:
        raise ImportError("the emulator needs jsonschema: pip install 'asyncposthog[emulator]'")


class _DirectedComponents(Mapping[str, Schema]):
    """The components as they apply to one direction, each derived on first use."""

    def __init__(self, catalogue: Catalogue, direction: Direction) -> None:
        self._catalogue = catalogue
        self._direction: Direction = direction
        self._schemas: dict[str, Schema] = {}

    def __getitem__(self, name: str) -> Schema:
        schema = self._schemas.get(name)
        if schema is None:
            schema = self._catalogue.for_direction(name, self._direction)
            self._schemas[name] = schema
        return schema

    def __iter__(self) -> Iterator[str]:
        return iter(self._catalogue)

    def __len__(self) -> int:
        return len(self._catalogue)


class Validators:
    """Validators of the component schemas, one per component and direction, cached.

    Args:
        catalogue: The component schemas.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._roots: dict[Direction, Any] = {}
        self._validators: dict[tuple[Direction, str], Any] = {}

    def first_error(
        self,
        component: str,
        instance: Any,
        direction: Direction,
        *,
        unknown_fields: bool = False,
    ) -> ApiError | None:
        """Return the first error of a value by the name of its field; None if it is valid.

        Args:
            component: The name of the component schema.
            instance: The value.
            direction: Whether the value is a request or a response.
            unknown_fields: Whether fields that the schema does not allow are no errors.
        """
        validator = self._validators.get((direction, component))
        if validator is None:
            schema = {"$ref": f"{_URI}{direction}#/components/schemas/{component}"}
            validator = self._root(direction).evolve(schema=schema)
            self._validators[direction, component] = validator
        # Sorted, because jsonschema reports errors in the order of the schema's keywords.
        errors = sorted(validator.iter_errors(instance), key=_attr)
        if unknown_fields:
            errors = [item for item in errors if _leaf(item).validator != "additionalProperties"]
        return _api_error(errors[0]) if errors else None

    def checker(self, schema: Any, direction: Direction) -> Callable[[Any], bool]:
        """Return a function that validates values by any schema that may refer to components."""
        absolute = _absolute(schema_for(schema, direction), f"{_URI}{direction}")
        validator = self._root(direction).evolve(schema=absolute)
        return lambda instance: bool(validator.is_valid(instance))

    def _root(self, direction: Direction) -> Any:
        root = self._roots.get(direction)
        if root is None:
            jsonschema = importlib.import_module("jsonschema")
            registry = importlib.import_module("referencing").Registry()
            document = {"components": {"schemas": _DirectedComponents(self._catalogue, direction)}}
            # One document with all components: references are resolved in the mapping on use, so
            # that only the components that occur are derived.
            registry = registry.with_resource(f"{_URI}{direction}", _resource(document))
            checker = jsonschema.FormatChecker(formats=())
            for name in FORMATS:
                checker.checks(name)(_checker(name))
            root = jsonschema.Draft202012Validator(
                {"$ref": f"{_URI}{direction}"}, registry=registry, format_checker=checker
            )
            self._roots[direction] = root
        return root


def _resource(contents: Any) -> Any:
    specification: Any = importlib.import_module("referencing.jsonschema").DRAFT202012
    return specification.create_resource(contents)


def _absolute(schema: Any, base: str) -> Any:
    """Return a schema whose references are absolute, so that it may stand outside the document."""
    if is_array(schema):
        return [_absolute(part, base) for part in schema]
    if not is_mapping(schema):
        return schema
    return {
        key: base + value if key == "$ref" and isinstance(value, str) else _absolute(value, base)
        for key, value in schema.items()
    }


def _checker(name: str) -> Any:
    def check(value: object) -> bool:
        return not isinstance(value, str) or matches_format(name, value)

    return check


def _path(error: Any) -> list[str]:
    path = [str(part) for part in error.absolute_path]
    if error.validator == "required":
        path.append(_missing(error))
    elif error.validator == "additionalProperties":
        path.append(_unexpected(error))
    return path


def _missing(error: Any) -> str:
    return next((name for name in error.validator_value if name not in error.instance), "")


def _unexpected(error: Any) -> str:
    declared = error.schema.get("properties", {})
    return next((name for name in error.instance if name not in declared), "")


def _attr(error: Any) -> str:
    return "__".join(_path(error))


def _api_error(error: Any) -> ApiError:
    leaf = _leaf(error)
    code, detail = _wording(leaf)
    return invalid(detail, _attr(leaf) or None, code)


def _leaf(error: Any) -> Any:
    """Return the most specific error: for a union, one inside the branch that was intended.

    jsonschema reports only that no branch matches, while the server names the field.
    """
    while error.validator in {"anyOf", "oneOf"} and error.context:
        branches: dict[int, list[Any]] = {}
        for inner in error.context:
            branches.setdefault(inner.schema_path[0], []).append(inner)
        intended = _intended_branch(error, branches)
        if intended is None:
            break
        error = min(intended, key=_attr)
    return error


def _intended_branch(error: Any, branches: dict[int, list[Any]]) -> list[Any] | None:
    depth = len(error.absolute_path)
    # A branch that rejects the type of the value itself, or the constant that tells the branches
    # apart (such as `kind`), was not intended.
    candidates = [
        errors
        for errors in branches.values()
        if not any(
            (len(e.absolute_path) == depth and e.validator == "type") or e.validator == "const"
            for e in errors
        )
    ]
    if candidates:
        return min(candidates, key=len)
    # Otherwise a union of one type and null: the branch of the type was intended.
    typed = [
        errors
        for errors in branches.values()
        if any(e.validator == "type" and e.validator_value != "null" for e in errors)
    ]
    return typed[0] if len(typed) == 1 else None


def _wording(error: Any) -> tuple[str, str]:
    value, limit = error.instance, error.validator_value
    match error.validator:
        case "required":
            return "required", "This field is required."
        case "type":
            return _wrong_type(value, limit)
        case "enum" | "const":
            return "invalid_choice", f'"{value}" is not a valid choice.'
        case "maxLength":
            return "max_length", f"Ensure this field has no more than {limit} characters."
        case "minLength" if limit == 1:
            return "blank", "This field may not be blank."
        case "minLength":
            return "min_length", f"Ensure this field has at least {limit} characters."
        case "maximum":
            return "max_value", f"Ensure this value is less than or equal to {limit}."
        case "minimum":
            return "min_value", f"Ensure this value is greater than or equal to {limit}."
        case "maxItems":
            return "max_length", f"Ensure this field has no more than {limit} elements."
        case "minItems":
            return "min_length", f"Ensure this field has at least {limit} elements."
        case "pattern":
            return "invalid_input", "This value does not match the required pattern."
        case "format":
            return "invalid_input", format_error(limit)
        case "additionalProperties":
            return "invalid_input", f"Unexpected field '{_unexpected(error)}'."
        case _:
            return "invalid_input", "Not a valid value."


def _wrong_type(value: Any, expected: Any) -> tuple[str, str]:
    if value is None:
        return "null", "This field may not be null."
    kind = _TYPE_NAMES.get(cast("type[object]", type(value)), "str")
    expected = expected if isinstance(expected, str) else "any"
    if expected == "array":
        return "not_a_list", f'Expected a list of items but got type "{kind}".'
    if expected == "object":
        return "invalid_input", f"Invalid data. Expected a dictionary, but got {kind}."
    return "invalid_input", _TYPE_ERRORS.get(expected, "Not a valid value.")
