"""String formats: what the server refuses, in its own sentences."""

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

from .catalogue import Catalogue, Direction, Schema, stripped

__all__ = ["FORMATS", "Validators", "fits", "require_jsonschema", "sentence"]

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


def _uuid(text: str) -> bool:
    UUID(text)
    return True


def _datetime(text: str) -> bool:
    datetime.fromisoformat(text)
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
"""By format: whether a text has it, and what is said when it has not."""


def fits(format: str | None, text: str) -> bool:
    """Whether a text has a format; True for formats nobody checks."""
    known = FORMATS.get(format or "")
    if known is None:
        return True
    try:
        return known[0](text)
    except ValueError:
        return False


def sentence(format: str | None) -> str:
    """What the server says of a text that lacks a format."""
    known = FORMATS.get(format or "")
    return "Not a valid value." if known is None else known[1]


_URI = "urn:asyncposthog:"
_TYPE_SENTENCES = {
    "integer": "A valid integer is required.",
    "number": "A valid number is required.",
    "boolean": "Must be a valid boolean.",
    "string": "Not a valid string.",
}
_NAMES: Mapping[type[object], str] = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    list: "list",
    dict: "dict",
}


def require_jsonschema() -> None:
    """Make sure that there is `jsonschema`, which takes its time to load, without loading it.

    Raises:
        ImportError: It is not installed.
    """
    if importlib.util.find_spec("jsonschema") is None:
        raise ImportError("the emulator needs jsonschema: pip install 'asyncposthog[emulator]'")


class _Forms(Mapping[str, Schema]):
    """Components in the form of one direction, made when first looked at."""

    def __init__(self, catalogue: Catalogue, direction: Direction) -> None:
        self._catalogue = catalogue
        self._direction: Direction = direction
        self._made: dict[str, Schema] = {}

    def __getitem__(self, name: str) -> Schema:
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = self._catalogue.form(name, self._direction)
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(self._catalogue)

    def __len__(self) -> int:
        return len(self._catalogue)


class Validators:
    """One validator a component and direction, kept."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._roots: dict[Direction, Any] = {}
        self._made: dict[tuple[Direction, str], Any] = {}

    def problem(self, component: str, instance: Any, direction: Direction) -> ApiError | None:
        """What is wrong with an instance of a component; None when nothing is."""
        validator = self._made.get((direction, component))
        if validator is None:
            schema = {"$ref": f"{_URI}{direction}#/components/schemas/{component}"}
            validator = self._root(direction).evolve(schema=schema)
            self._made[direction, component] = validator
        errors = sorted(validator.iter_errors(instance), key=_attr)
        return _problem(errors[0]) if errors else None

    def checker(self, schema: Any, direction: Direction) -> Callable[[Any], bool]:
        """A test for instances of any schema, its references into the components."""
        absolute = _absolute(stripped(schema, direction), f"{_URI}{direction}")
        validator = self._root(direction).evolve(schema=absolute)
        return lambda instance: bool(validator.is_valid(instance))

    def _root(self, direction: Direction) -> Any:
        root = self._roots.get(direction)
        if root is None:
            jsonschema = importlib.import_module("jsonschema")
            registry = importlib.import_module("referencing").Registry()
            document = {"components": {"schemas": _Forms(self._catalogue, direction)}}
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
    """The schema with its references made to point into the components, wherever it stands."""
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
        return not isinstance(value, str) or fits(name, value)

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
    known = error.schema.get("properties", {})
    return next((name for name in error.instance if name not in known), "")


def _attr(error: Any) -> str:
    return "__".join(_path(error))


def _problem(error: Any) -> ApiError:
    leaf = _leaf(error)
    code, detail = _wording(leaf)
    return invalid(detail, _attr(leaf) or None, code)


def _leaf(error: Any) -> Any:
    """The error a person would name: inside the branch of a union that was meant."""
    while error.validator in {"anyOf", "oneOf"} and error.context:
        branches: dict[int, list[Any]] = {}
        for inner in error.context:
            branches.setdefault(inner.schema_path[0], []).append(inner)
        meant = _meant(error, branches)
        if meant is None:
            break
        error = min(meant, key=_attr)
    return error


def _meant(error: Any, branches: dict[int, list[Any]]) -> list[Any] | None:
    depth = len(error.absolute_path)
    # A branch that refuses the very type, or the constant that tells branches apart, was not meant.
    close = [
        errors
        for errors in branches.values()
        if not any(
            (len(e.absolute_path) == depth and e.validator == "type") or e.validator == "const"
            for e in errors
        )
    ]
    if close:
        return min(close, key=len)
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
            return "invalid_input", sentence(limit)
        case "additionalProperties":
            return "invalid_input", f"Unexpected field '{_unexpected(error)}'."
        case _:
            return "invalid_input", "Not a valid value."


def _wrong_type(value: Any, expected: Any) -> tuple[str, str]:
    if value is None:
        return "null", "This field may not be null."
    kind = _NAMES.get(cast("type[object]", type(value)), "str")
    wanted = expected if isinstance(expected, str) else "any"
    if wanted == "array":
        return "not_a_list", f'Expected a list of items but got type "{kind}".'
    if wanted == "object":
        return "invalid_input", f"Invalid data. Expected a dictionary, but got {kind}."
    return "invalid_input", _TYPE_SENTENCES.get(wanted, "Not a valid value.")
