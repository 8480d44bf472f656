"""Read and check files of overrides: ours, `openapi/overrides.yaml`, and those of users."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

import yaml

from .name_overrides import NameOverrides, load_name_overrides, operation_shape
from .parsing import load_yaml

__all__ = ["OperationOverrides", "Overrides", "load_overrides"]

BODY_KEYS: Final = ("required", "optional", "read_only")
"""Keys of a `body` entry: fields the server requires, does not require, or sets itself."""
_VERB_KEYS: Final = {
    "add": {"pointer", "value"},
    "replace": {"pointer", "value"},
    "remove": {"pointer"},
    "rename": {"pointer", "value"},
    "move_paths": {"from", "to"},
    "body": {"operation"},
    "nullable": {"component", "fields"},
}
"""The keys that each verb of `document` needs, besides `verb`."""
_DOCUMENT_KEYS: Final = frozenset(
    {"verb", "beside", "older", "only_missing", "reason", "source", *BODY_KEYS}
)
_OPERATION_KEYS: Final = frozenset({
    "operation", "name", "pagination", "items", "page_size", "buckets", "writes", "idempotent",
    "api_key_allowed", "status", "result", "presence_only", "booleans", "multi_segment", "flat",
    "soft_delete", "schema_gap_source", "note", "older", "reason", "source",
})  # fmt: skip
_RULE_KEYS: Final = {
    "buckets": frozenset({"match", "buckets", "older", "reason", "source"}),
    "scopes": frozenset({"match", "object", "scopes", "session_only", "older", "reason", "source"}),
}
"""The keys of the sections whose entries apply to all operations that match a pattern."""


@dataclass(frozen=True, slots=True)
class OperationOverrides:
    """The overrides of one operation; `values` has only the keys that are given."""

    operation: str
    values: Mapping[str, Any]

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of one key."""
        return self.values.get(name, default)


@dataclass(frozen=True, slots=True)
class Overrides:
    """The validated content of one file, or of two."""

    document: tuple[Mapping[str, Any], ...] = ()
    operations: tuple[OperationOverrides, ...] = ()
    buckets: tuple[Mapping[str, Any], ...] = ()
    scopes: tuple[Mapping[str, Any], ...] = ()
    limits: Mapping[str, Any] = field(default_factory=dict[str, Any])
    names: NameOverrides = field(default_factory=NameOverrides)

    def followed_by(self, other: Overrides) -> Overrides:
        """Return both together; where they disagree, `other` wins."""
        return replace(
            self,
            document=(*self.document, *other.document),
            operations=(*self.operations, *other.operations),
            # The first rule that matches wins.
            buckets=(*other.buckets, *self.buckets),
            scopes=(*other.scopes, *self.scopes),
            limits={**self.limits, **other.limits},
            names=self.names.followed_by(other.names),
        )


def load_overrides(path: Path, *, require_source: bool = True) -> Overrides:
    """Read and check a file.

    Args:
        path: The file.
        require_source: Whether each entry needs a reason and a source. Ours do; users' need not.

    Raises:
        ValueError: It cannot be read, or an entry is not valid. The message names the file, the
            entry and what to write instead.
    """
    try:
        raw = cast("Any", load_yaml(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"{path}: it cannot be read ({error.strerror}). Give a file.") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise ValueError(f"{path}: it is not YAML ({first_line}). Fix the file.") from None
    sections = {
        "document", "operations", "buckets", "limits", "scopes", "names", "model_names",
    }  # fmt: skip
    if not isinstance(raw, dict):
        raise ValueError(f"{path}: it is not an object. Give one with {sorted(sections)}.")
    sections_given = cast("dict[str, Any]", raw)
    unknown = set(sections_given) - sections
    if unknown:
        raise ValueError(
            f"{path}: unknown sections {sorted(map(str, unknown))}. Use {sorted(sections)}."
        )
    check = _Checker(path, require_source)
    limits: Any = sections_given.get("limits") or {}
    if not isinstance(limits, dict):
        raise ValueError(f"{path}: /limits is not an object of rate limits. Fix the file.")
    operations = tuple(
        check.operation(where, entry)
        for where, entry in check.entries(sections_given, "operations")
    )
    names = load_name_overrides(str(path), sections_given, require_source=require_source)
    for entry in operations:
        if entry.get("name") and operation_shape(entry.operation) in names.methods:
            raise ValueError(
                f"{path}: {entry.operation} has a name in the section names too. Remove one."
            )
    return Overrides(
        document=tuple(
            check.document(where, entry)
            for where, entry in check.entries(sections_given, "document")
        ),
        operations=operations,
        buckets=tuple(
            check.rule("buckets", where, entry)
            for where, entry in check.entries(sections_given, "buckets")
        ),
        scopes=tuple(
            check.rule("scopes", where, entry)
            for where, entry in check.entries(sections_given, "scopes")
        ),
        limits=cast("dict[str, Any]", limits),
        names=names,
    )


def _is_identifier(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)


class _Checker:
    """Checks the entries of one file."""

    def __init__(self, path: Path, require_source: bool) -> None:
        self._path = path
        self._require_source = require_source

    def entries(self, raw: Mapping[str, Any], section: str) -> list[tuple[str, dict[str, Any]]]:
        """Return the entries of a section with their pointers."""
        listed: Any = raw.get(section) or []
        if not isinstance(listed, list):
            raise self._error(f"/{section}", "it is not a list of entries")
        result: list[tuple[str, dict[str, Any]]] = []
        for index, entry in enumerate(cast("list[Any]", listed)):
            where = f"/{section}/{index}"
            if not isinstance(entry, dict):
                raise self._error(where, "it is not an object")
            result.append((where, cast("dict[str, Any]", entry)))
        return result

    def document(self, where: str, entry: dict[str, Any]) -> Mapping[str, Any]:
        """Return an entry of `document`."""
        verb = entry.get("verb")
        if verb not in _VERB_KEYS:
            raise self._error(where, f"{entry} needs a verb of {sorted(_VERB_KEYS)}")
        needed = _VERB_KEYS[verb]
        missing = sorted(needed - set(entry))
        if missing:
            raise self._error(where, f"{verb!r} needs {missing}")
        self._check_keys(where, entry, needed | _DOCUMENT_KEYS)
        self._check_source(where, entry)
        for key in needed - {"value", "fields"}:
            self._check_text(where, entry, key)
        pointer = entry.get("pointer")
        if pointer is not None and not pointer.startswith("/"):
            raise self._error(where, f"{pointer!r} is not a JSON pointer such as /paths/~1api~1x~1")
        if verb == "move_paths" and not entry["to"].startswith("/api/"):
            raise self._error(where, f"`to` is {entry['to']!r}, which is not below /api/")
        if verb == "nullable":
            self._check_texts(where, entry, "fields", needed=True)
        if verb == "body":
            self._check_operation(where, entry)
            self._check_body_fields(where, entry)
        return entry

    def operation(self, where: str, entry: dict[str, Any]) -> OperationOverrides:
        """Return an entry of `operations`."""
        self._check_text(where, entry, "operation")
        self._check_operation(where, entry)
        self._check_source(where, entry)
        self._check_keys(where, entry, _OPERATION_KEYS)
        if "name" in entry:
            name = entry["name"]
            parts = str(name).split(".")
            if len(parts) < 2 or not all(map(_is_identifier, parts)):
                raise self._error(where, f"the name {name!r} is not one such as cohorts.list")
        return OperationOverrides(entry["operation"], entry)

    def rule(self, section: str, where: str, entry: dict[str, Any]) -> Mapping[str, Any]:
        """Return an entry of `buckets` or `scopes`."""
        self._check_keys(where, entry, _RULE_KEYS[section])
        self._check_source(where, entry)
        self._check_texts(where, entry, "match", needed=True)
        if section == "scopes" and {"object", "session_only"} & entry.keys():
            if "object" in entry:
                self._check_text(where, entry, "object")
            return entry
        self._check_texts(where, entry, section, needed=True)
        return entry

    def _error(self, where: str, reason: str) -> ValueError:
        return ValueError(f"{self._path}#{where}: {reason}. Fix the entry.")

    def _check_keys(self, where: str, entry: Mapping[str, Any], allowed: AbstractSet[str]) -> None:
        unknown = sorted(str(key) for key in entry if key not in allowed)
        if unknown:
            raise self._error(
                where, f"unknown keys {unknown}; the known ones are {sorted(allowed)}"
            )

    def _check_source(self, where: str, entry: Mapping[str, Any]) -> None:
        for key in ("reason", "source"):
            if self._require_source and not entry.get(key):
                raise self._error(where, f"{entry} has no {key}")

    def _check_text(self, where: str, entry: Mapping[str, Any], key: str) -> None:
        if not isinstance(entry.get(key), str) or not entry[key]:
            raise self._error(where, f"it has no text {key!r}")

    def _check_texts(
        self, where: str, entry: Mapping[str, Any], key: str, *, needed: bool = False
    ) -> None:
        values: Any = entry.get(key, None if needed else [])
        if not isinstance(values, list) or not all(
            isinstance(value, str) for value in cast("list[Any]", values)
        ):
            raise self._error(where, f"{key} is a list of texts")

    def _check_operation(self, where: str, entry: Mapping[str, Any]) -> None:
        method, _, path = str(entry["operation"]).partition(" ")
        if method not in {"GET", "POST", "PUT", "PATCH", "DELETE"} or not path.startswith("/"):
            raise self._error(
                where, f"the operation {entry['operation']!r} is not one such as GET /api/users/"
            )

    def _check_body_fields(self, where: str, entry: Mapping[str, Any]) -> None:
        seen: set[str] = set()
        for key in BODY_KEYS:
            fields: Any = entry.get(key, [])
            if not isinstance(fields, list) or not all(
                isinstance(field, str) for field in cast("list[Any]", fields)
            ):
                raise self._error(where, f"{key} is a list of fields")
            repeated = seen & set(cast("list[str]", fields))
            if repeated:
                raise self._error(where, f"{sorted(repeated)} is named twice")
            seen |= set(cast("list[str]", fields))
