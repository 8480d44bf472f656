"""Parse JSON or YAML into plain JSON data.

YAML scalars are typed as in JSON: only what JSON calls a number, a boolean or null is one, and
every other scalar is a string. A repeated key is an error, because one of its values would be lost.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final, NoReturn, cast

import yaml

from .diagnostics import FIX_DOCUMENT, USE_SERVED_SCHEMA, SchemaError
from .json_access import join_pointer

__all__ = ["load_yaml", "parse"]

_MAX_DEPTH: Final = 100
# Aliases can make a short YAML text stand for exponentially many nodes ("billion laughs").
_MAX_NODES: Final = 20_000_000
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<part>\.[0-9]*)?(?P<power>[eE][-+]?[0-9]+)?")
# drf-spectacular writes YAML 1.1, where a number with an exponent needs a point: `1e3` is a string.
_PLAIN_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]*(?:[eE][-+][0-9]+)?)?")
# Python refuses to convert an integer of more than 4,300 digits, and needs quadratic time for long
# ones. The largest float has 309 digits.
_MAX_DIGITS: Final = 400
# JSON can escape half of a surrogate pair. Such a string cannot be written to a file in UTF-8.
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_HTML: Final = re.compile(r"\s*<[!?A-Za-z]")
_YAML_CONSTANTS: Final = {
    "": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "~": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
# The loaders in C are about ten times faster; PyYAML may have been built without them.
_LOADER: Final[Any] = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_SAFE_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _DuplicateKeyObject(dict[str, Any]):
    """An object with a repeated key. The class marks it until its pointer is known."""

    key = ""


def load_yaml(text: str) -> dict[str, Any]:
    """Return the object in a YAML file of our own; an empty file holds an empty one."""
    return cast("dict[str, Any]", yaml.load(text, Loader=_SAFE_LOADER) or {})  # noqa: S506


def parse(data: bytes, source: str) -> Any:
    """Return the plain JSON data in `data`.

    Args:
        data: The bytes, in UTF-8.
        source: The name of the source, for errors.

    Raises:
        SchemaError: They are neither JSON nor YAML.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"it is not UTF-8 text (byte {error.start})"
        raise SchemaError(source, reason, USE_SERVED_SCHEMA) from None
    start = text.lstrip()[:1]
    if not start:
        raise SchemaError(source, "it is empty", USE_SERVED_SCHEMA)
    if _HTML.match(text):
        remedy = f"{USE_SERVED_SCHEMA}; such a page is often a login or a proxy error"
        raise SchemaError(source, "it is an HTML page, not an OpenAPI document", remedy)
    try:
        return _parse_json(text, source) if start in "{[" else _YamlReader(source, text).load()
    except RecursionError:
        reason = f"it is nested more than {_MAX_DEPTH} levels deep"
        raise SchemaError(source, reason, FIX_DOCUMENT) from None


def _parse_json(text: str, source: str) -> Any:
    duplicates: list[_DuplicateKeyObject] = []

    def build_object(items: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(items)
        if len(value) == len(items):
            return value
        duplicate = _DuplicateKeyObject(value)
        keys = [key for key, _ in items]
        duplicate.key = next(key for key in keys if keys.count(key) > 1)
        duplicates.append(duplicate)
        return duplicate

    def parse_number(text: str) -> int | float:
        return _parse_number(text, source)

    try:
        value = json.loads(
            text,
            object_pairs_hook=build_object,
            parse_constant=parse_number,
            parse_float=parse_number,
            parse_int=parse_number,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise SchemaError(
            source, f"it is not valid JSON ({error.msg}, {where})", FIX_DOCUMENT
        ) from None
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            reason = "it has half of a surrogate pair, which is not valid Unicode"
            raise SchemaError(source, reason, FIX_DOCUMENT) from None
    pointers = _check_depth(value, source)
    if duplicates:
        where = f"{source}#{pointers[id(duplicates[0])]}"
        raise SchemaError(where, f"the key {duplicates[0].key!r} is repeated", FIX_DOCUMENT)
    return value


def _check_depth(root: Any, source: str) -> dict[int, str]:
    """Raise if data is nested too deeply; return the pointers of objects with a repeated key."""
    # Keyed by identity, because equal objects may be at several places.
    pointers: dict[int, str] = {}
    pending: list[tuple[Any, str, int]] = [(root, "", 0)]
    while pending:
        value, pointer, depth = pending.pop()
        if depth > _MAX_DEPTH:
            reason = f"it is nested more than {_MAX_DEPTH} levels deep"
            raise SchemaError(f"{source}#{pointer}", reason, FIX_DOCUMENT)
        if isinstance(value, _DuplicateKeyObject):
            pointers[id(value)] = pointer
        if isinstance(value, dict):
            items = cast("dict[str, Any]", value).items()
        elif isinstance(value, list):
            items = enumerate(cast("list[Any]", value))
        else:
            continue
        for key, inner in items:
            if isinstance(inner, dict | list):
                pending.append((cast("Any", inner), join_pointer(pointer, key), depth + 1))
    return pointers


def _parse_number(text: str, where: str) -> int | float:
    """Return a number that is valid in JSON: finite, and of limited length."""
    match = _NUMBER.fullmatch(text)
    if match and len(text) <= _MAX_DIGITS:
        if match["part"] is None and match["power"] is None:
            return int(text)
        if math.isfinite(value := float(text)):
            return value
    raise SchemaError(where, f"{text[:40]} is not a number that can be used", FIX_DOCUMENT)


class _YamlReader:
    """Builds plain data from the events of a YAML document.

    Uses events instead of PyYAML's node trees, because the C library builds those by unbounded
    recursion, which a deeply nested document could use to overflow the stack.
    """

    def __init__(self, source: str, text: str) -> None:
        self._source = source
        self._events: Iterator[Any] = cast("Any", yaml).parse(text, Loader=_LOADER)
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = 0

    def load(self) -> Any:
        """Return the data of the only document."""
        try:
            next(self._events)  # the start of the stream
            if isinstance(next(self._events), yaml.StreamEndEvent):
                raise SchemaError(self._source, "it has only comments", USE_SERVED_SCHEMA)
            document = self._value(next(self._events), 0)
            next(self._events)
            following = next(self._events)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "unknown line"
            problem = getattr(error, "problem", None) or "unreadable"
            reason = f"it is neither JSON nor valid YAML ({problem}, {where})"
            raise SchemaError(self._source, reason, USE_SERVED_SCHEMA) from None
        if not isinstance(following, yaml.StreamEndEvent):
            self._fail(following, "a second document starts")
        return document

    def _value(self, event: Any, depth: int) -> Any:
        before = self._nodes
        self._nodes += 1
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if depth > _MAX_DEPTH:
            self._fail(event, f"it is nested more than {_MAX_DEPTH} levels deep")
        if isinstance(event, yaml.ScalarEvent):
            built = self._scalar(event)
        elif isinstance(event, yaml.MappingStartEvent):
            built = self._mapping(depth)
        else:
            built = self._items(depth)
        if event.anchor:
            self._anchors[event.anchor] = built, self._nodes - before
        return built

    def _alias(self, event: Any) -> Any:
        if event.anchor not in self._anchors:
            self._fail(event, f"the alias *{event.anchor} refers to an unknown or incomplete node")
        built, nodes = self._anchors[event.anchor]
        self._nodes += nodes
        if self._nodes > _MAX_NODES:
            self._fail(event, f"its aliases expand to more than {_MAX_NODES:,} nodes")
        return built

    def _items(self, depth: int) -> list[Any]:
        built: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            built.append(self._value(event, depth + 1))
        return built

    def _mapping(self, depth: int) -> dict[str, Any]:
        built: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._fail(event, "a key has to be a scalar")
            # A key is always a string, also `200:`, `on:` and `null:`.
            name = str(event.value)
            if name == "<<" and not event.style:
                self._fail(event, "merge keys (`<<`) are not supported")
            if name in built:
                self._fail(event, f"the key {name!r} is repeated")
            built[name] = self._value(next(self._events), depth + 1)
        return built

    def _scalar(self, event: Any) -> Any:
        text = str(event.value)
        if event.style:
            return text
        if text in _YAML_CONSTANTS:
            return _YAML_CONSTANTS[text]
        if _PLAIN_NUMBER.fullmatch(text):
            return _parse_number(text, f"{self._source}, line {event.start_mark.line + 1}")
        return text

    def _fail(self, event: Any, reason: str) -> NoReturn:
        line = event.start_mark.line + 1
        raise SchemaError(f"{self._source}, line {line}", reason, FIX_DOCUMENT)
