"""Read and apply `overrides.yaml`: what PostHog's schema lacks or gets wrong.

Entries of `document` patch the normalised document by JSON pointer. Entries of `operations` are
facts that an OpenAPI document cannot express (names, pagination, rate-limit buckets). Each entry
has a reason and a source. An entry that no longer applies is reported, so that it gets removed.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from codegen.normalise.parameters import without_null

from .diagnostics import Diagnostic
from .json_access import iter_objects, properties, split_pointer, strings
from .json_schema import component_of, resolve
from .naming import resource_path
from .parsing import load_yaml

__all__ = [
    "OperationOverrides",
    "Overrides",
    "apply_overrides",
    "load_overrides",
    "overrides_for",
]

_DOCUMENT_VERBS = frozenset({"add", "replace", "remove", "rename", "move_paths", "body"})
_BODY_KEYS = ("required", "optional", "read_only")
"""Keys of a `body` entry: fields the server requires, does not require, or sets itself."""
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_OPERATION_KEYS = frozenset({
    "operation", "name", "pagination", "items", "page_size", "buckets", "writes", "idempotent",
    "api_key_allowed", "status", "result", "presence_only", "booleans", "multi_segment", "flat",
    "soft_delete", "schema_gap_source", "note", "reason", "source",
})  # fmt: skip


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
    """The validated content of `overrides.yaml`."""

    document: tuple[Mapping[str, Any], ...] = ()
    operations: tuple[OperationOverrides, ...] = ()
    buckets: tuple[Mapping[str, Any], ...] = ()
    limits: Mapping[str, Any] = field(default_factory=dict[str, Any])


def load_overrides(path: Path) -> Overrides:
    """Read and check the file.

    Raises:
        ValueError: An entry has an unknown verb or key, or lacks a reason or a source.
    """
    raw = load_yaml(path.read_text(encoding="utf-8"))
    unknown = set(raw) - {"document", "operations", "buckets", "limits"}
    if unknown:
        raise ValueError(f"{path.name}: unknown sections {sorted(unknown)}")
    document = tuple(cast("list[dict[str, Any]]", raw.get("document") or []))
    operations: list[OperationOverrides] = []
    for entry in document:
        if entry.get("verb") not in _DOCUMENT_VERBS:
            raise ValueError(f"{path.name}: {entry} needs a verb of {sorted(_DOCUMENT_VERBS)}")
        _require_source(path, entry)
        if entry["verb"] == "body":
            _validate_body_fields(path, entry)
    for entry in cast("list[dict[str, Any]]", raw.get("operations") or []):
        _require_source(path, entry)
        unknown_keys = set(entry) - _OPERATION_KEYS
        if unknown_keys:
            raise ValueError(
                f"{path.name}: {entry['operation']}: unknown keys {sorted(unknown_keys)}"
            )
        operations.append(OperationOverrides(entry["operation"], entry))
    buckets = tuple(cast("list[dict[str, Any]]", raw.get("buckets") or []))
    return Overrides(document, tuple(operations), buckets, raw.get("limits") or {})


def _require_source(path: Path, entry: Mapping[str, Any]) -> None:
    for key in ("reason", "source"):
        if not entry.get(key):
            raise ValueError(f"{path.name}: {entry} has no {key}")


def _validate_body_fields(path: Path, entry: Mapping[str, Any]) -> None:
    seen: set[str] = set()
    for key in _BODY_KEYS:
        fields: Any = entry.get(key, [])
        if not isinstance(fields, list) or not all(
            isinstance(field, str) for field in cast("list[Any]", fields)
        ):
            raise ValueError(f"{path.name}: {entry['operation']}: {key} is a list of fields")
        repeated = seen & set(cast("list[str]", fields))
        if repeated:
            raise ValueError(
                f"{path.name}: {entry['operation']}: {sorted(repeated)} is named twice"
            )
        seen |= set(cast("list[str]", fields))


def apply_overrides(
    document: Mapping[str, Any], overrides: Overrides
) -> tuple[dict[str, Any], tuple[Diagnostic, ...]]:
    """Return the patched document and a diagnostic for each patch that did not apply."""
    patched = cast("dict[str, Any]", copy.deepcopy(document))
    diagnostics: list[Diagnostic] = []
    for entry in overrides.document:
        reason = _apply_patch(patched, entry)
        if reason:
            where = str(entry.get("pointer") or entry.get("from") or entry["operation"])
            diagnostics.append(
                Diagnostic(where, f"override {entry['verb']} does not apply: {reason}")
            )
    return patched, tuple(diagnostics)


def overrides_for(overrides: Overrides, key: str) -> OperationOverrides:
    """Return the overrides of an operation, `"GET /api/…/"`; later entries win.

    The names of placeholders are ignored, because they differ between releases of PostHog.
    """
    values: dict[str, Any] = {}
    shape = _PLACEHOLDER.sub("{}", key)
    for entry in overrides.operations:
        if _PLACEHOLDER.sub("{}", entry.operation) == shape:
            values.update(entry.values)
    return OperationOverrides(key, values)


def _apply_patch(document: dict[str, Any], entry: Mapping[str, Any]) -> str | None:
    if entry["verb"] == "move_paths":
        return _move_paths(document, entry["from"], entry["to"])
    if entry["verb"] == "body":
        return _patch_body(document, entry)
    resource = _missing_resource(document, entry)
    if resource:
        return f"this schema has nothing below {resource}"
    *parents, last = split_pointer(entry["pointer"])
    target: Any = document
    for token in parents:
        target = _descend(target, token)
        if target is None:
            return f"nothing at {token!r}"
    # Entries can share a value through a YAML anchor, so a patch must not change it.
    verb, value = entry["verb"], copy.deepcopy(entry.get("value"))
    components = document.get("components", {}).get("schemas", {})
    names = (component_of(node) for node in iter_objects(value))
    unknown = {name for name in names if name is not None and name not in components}
    if unknown:
        return f"this schema has no {', '.join(sorted(unknown))}"
    if isinstance(target, list):
        return _apply_to_list(cast("list[Any]", target), verb, last, value)
    mapping = cast("dict[str, Any]", target)
    # An override that changes nothing is not needed any more, and is reported like one that fails.
    if verb == "add":
        if last in mapping and mapping[last] == value:
            return "the schema has this value already"
        if isinstance(value, dict) and isinstance(mapping.get(last), dict):
            mapping[last].update(value)
        else:
            mapping[last] = value
        return None
    if last not in mapping:
        return f"nothing at {last!r}"
    if verb == "replace":
        if mapping[last] == value:
            return "the schema has this value already"
        mapping[last] = value
    elif verb == "remove":
        del mapping[last]
    else:
        mapping[str(value)] = mapping.pop(last)
    return None


def _missing_resource(document: Mapping[str, Any], entry: Mapping[str, Any]) -> str | None:
    """Return the resource of an added path if the schema has no path of that resource.

    An instance whose schema has no path of a resource does not serve it, or not to API keys.
    """
    tokens = split_pointer(entry["pointer"])
    if entry["verb"] != "add" or tokens[0] != "paths" or len(tokens) != 2:
        return None
    start = str(entry.get("beside") or resource_path(tokens[1]))
    shape = _PLACEHOLDER.sub("{}", start)
    paths = cast("dict[str, Any]", document["paths"])
    if any(_PLACEHOLDER.sub("{}", path).startswith(shape) for path in paths):
        return None
    return start


def _apply_to_list(target: list[Any], verb: str, last: str, value: Any) -> str | None:
    if verb == "add" and last == "-":
        if value in target:
            return "the schema has this value already"
        target.append(value)
        return None
    index = _index(target, last)
    if index is None:
        return f"nothing at {last!r}"
    if verb == "remove":
        del target[index]
    elif verb in {"replace", "add"}:
        target[index] = value
    else:
        return "rename needs an object"
    return None


def _index(target: list[Any], token: str) -> int | None:
    """Return the index of a list item, given by index, by its `name` or by its value."""
    # Parameters are addressed by name: their index changes whenever PostHog adds one.
    if token.isdigit():
        return int(token) if int(token) < len(target) else None
    for index, item in enumerate(target):
        if isinstance(item, dict) and cast("dict[str, Any]", item).get("name") == token:
            return index
        if item == token:
            return index
    return None


def _descend(target: Any, token: str) -> Any:
    if isinstance(target, list):
        items = cast("list[Any]", target)
        index = _index(items, token)
        return None if index is None else items[index]
    if isinstance(target, dict):
        return cast("dict[str, Any]", target).get(token)
    return None


def _patch_body(document: dict[str, Any], entry: Mapping[str, Any]) -> str | None:
    """Apply a `body` entry: which fields the server requires, does not require, or sets itself."""
    required, optional, read_only = (set[str](entry.get(key) or ()) for key in _BODY_KEYS)
    shape = _PLACEHOLDER.sub("{}", str(entry["operation"]))
    bodies = [
        operation["requestBody"]
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if _PLACEHOLDER.sub("{}", f"{method.upper()} {path}") == shape
        and "requestBody" in operation
    ]
    if not bodies:
        return "there is no such operation, or it has no body"
    unknown = required | optional | read_only
    for body in bodies:
        for content in body["content"].values():
            component = component_of(content.get("schema", {}))
            schema = resolve(content.get("schema", {}), document["components"]["schemas"])
            # The patched schema is inline. The surface stage has to know the component that was
            # declared, to tell a body that drf-spectacular only guessed (`_relax_guessed_bodies`).
            if component and not required:
                body["x-component"] = component
            fields = {
                wire: _as_required(field) if wire in required else field
                for wire, field in properties(schema).items()
                if wire not in read_only
            }
            unknown -= properties(schema).keys()
            required_fields = ({*strings(schema, "required"), *required} - optional) & fields.keys()
            content["schema"] = {
                **schema,
                "properties": fields,
                "required": sorted(required_fields),
            }
            if not required_fields:
                del content["schema"]["required"]
        if required:
            body["required"] = True
    return f"the body has no {', '.join(sorted(unknown))}" if unknown else None


def _as_required(field: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a required field: it is writable and not nullable."""
    return without_null({key: value for key, value in field.items() if key != "readOnly"})


def _move_paths(document: dict[str, Any], source: str, target: str) -> str | None:
    """Move every path below `source` to `target`, and record the original operations.

    An operation that exists below `target` already is a twin: it is dropped, and recorded in
    `x-twins` of the one that stays. The names of the placeholders of `source` are ignored.
    """
    paths = cast("dict[str, dict[str, dict[str, Any]]]", document["paths"])
    literals = (re.escape(part).replace(r"\*", r"[^/]+") for part in _PLACEHOLDER.split(source))
    pattern = re.compile("^" + r"\{([^{}]*)\}".join(literals))
    names = re.findall(r"{(.+?)}", target)
    moved = [path for path in paths if pattern.match(path)]
    for path in moved:
        item = paths.pop(path)
        match = pattern.match(path)
        assert match is not None
        renamed = dict(zip(match.groups(), names, strict=False))
        new_path = target + path[match.end() :]
        target_item = paths.setdefault(new_path, {})
        for method, operation in item.items():
            origin = f"{method.upper()} {path}"
            if method in target_item:
                target_item[method].setdefault("x-twins", []).append(origin)
            else:
                operation["x-twins"] = [origin]
                operation["x-moved"] = True
                for parameter in operation.get("parameters", []):
                    if parameter["in"] == "path" and parameter["name"] in renamed:
                        parameter["name"] = renamed[parameter["name"]]
                target_item[method] = operation
    document["paths"] = dict(sorted(paths.items()))
    return None if moved else "no path starts with it"
