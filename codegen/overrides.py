"""Apply overrides to a document: what PostHog's schema lacks or gets wrong.

Entries of `document` patch the normalised document by JSON pointer. Entries of `operations` are
facts that an OpenAPI document cannot express (names, pagination, rate-limit buckets). Each entry
has a reason and a source. An entry that does not apply is reported, so that it gets removed.
Entries marked `older` are for documents of older instances, and are reported if they apply to the
document they are checked with.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, cast

from codegen.normalise.parameters import without_null

from .diagnostics import Diagnostic
from .json_access import iter_objects, join_pointer, properties, split_pointer, strings
from .json_schema import component_of, reference_to, resolve
from .naming import resource_path
from .overrides_file import BODY_KEYS, OperationOverrides, Overrides, load_overrides

__all__ = [
    "OperationOverrides",
    "Overrides",
    "apply_overrides",
    "load_overrides",
    "merge_equal_paths",
    "operation_keys",
    "overrides_for",
    "unused_rules",
]

_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_PLACEHOLDER_NAME = re.compile(r"\{([^{}]*)\}")


def apply_overrides(
    document: Mapping[str, Any], overrides: Overrides
) -> tuple[dict[str, Any], tuple[Diagnostic, ...]]:
    """Return the patched document and a diagnostic for each patch that did not apply.

    An entry marked `older` gets one if it applies, because the mark says that it does not.
    """
    patched = cast("dict[str, Any]", copy.deepcopy(document))
    diagnostics: list[Diagnostic] = []
    for entry in overrides.document:
        reason = _apply_patch(patched, entry)
        keys = ("pointer", "from", "operation", "component")
        where = next(str(entry[key]) for key in keys if entry.get(key))
        if entry.get("older"):
            if reason is None:
                problem = f"override {entry['verb']} applies; remove its mark `older`"
                diagnostics.append(Diagnostic(where, problem))
        elif reason:
            diagnostics.append(
                Diagnostic(where, f"override {entry['verb']} does not apply: {reason}")
            )
    return patched, (*diagnostics, *overrides.names.unused(patched))


def operation_keys(document: Mapping[str, Any]) -> list[str]:
    """Return the operations of a document, as `"GET /api/…/"`."""
    paths = cast("Mapping[str, Mapping[str, Any]]", document["paths"])
    return [f"{method.upper()} {path}" for path, item in paths.items() for method in item]


def unused_rules(document: Mapping[str, Any], overrides: Overrides) -> tuple[Diagnostic, ...]:
    """Return a diagnostic for each entry about operations that a patched document does not have."""
    keys = operation_keys(document)
    shapes = {_PLACEHOLDER.sub("{}", key) for key in keys}
    diagnostics: list[Diagnostic] = []

    def check(where: str, applies: bool, older: bool) -> None:
        if applies and older:
            diagnostics.append(Diagnostic(where, "override applies; remove its mark `older`"))
        elif not applies and not older:
            reason = "override does not apply: there is no such operation"
            diagnostics.append(Diagnostic(where, reason))

    for entry in overrides.operations:
        applies = _PLACEHOLDER.sub("{}", entry.operation) in shapes
        check(entry.operation, applies, bool(entry.get("older")))
    for rule in (*overrides.buckets, *overrides.scopes):
        for pattern in rule["match"]:
            applies = any(fnmatchcase(key, pattern) for key in keys)
            check(pattern, applies, bool(rule.get("older")))
    return tuple(diagnostics)


def overrides_for(overrides: Overrides, key: str) -> OperationOverrides:
    """Return the overrides of an operation, `"GET /api/…/"`; later entries win.

    The names of placeholders are ignored, because they differ between releases of PostHog.
    """
    values: dict[str, Any] = {}
    shape = _PLACEHOLDER.sub("{}", key)
    for entry in overrides.operations:
        if _PLACEHOLDER.sub("{}", entry.operation) == shape:
            values.update(entry.values)
    if shape in overrides.names.methods:
        values["name"] = overrides.names.methods[shape]
    return OperationOverrides(key, values)


def _apply_patch(document: dict[str, Any], entry: Mapping[str, Any]) -> str | None:
    if entry["verb"] == "move_paths":
        return _move_paths(document, entry["from"], entry["to"])
    if entry["verb"] == "body":
        return _patch_body(document, entry)
    if entry["verb"] == "nullable":
        return _make_nullable(document, entry["component"], frozenset(entry["fields"]))
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
    if not isinstance(target, dict):
        return f"nothing at {last!r}"
    mapping = cast("dict[str, Any]", target)
    # An override that changes nothing is not needed any more, and is reported like one that fails.
    if verb == "add":
        if last in mapping and mapping[last] == value:
            return "the schema has this value already"
        if entry.get("only_missing") and last in mapping and isinstance(value, dict):
            addition = cast("dict[str, Any]", value)
            present = mapping[last] if split_pointer(entry["pointer"])[0] == "paths" else addition
            value = {key: part for key, part in addition.items() if key not in present}
            if not value:
                return "the schema has it already"
        _mark_added_operations(mapping, split_pointer(entry["pointer"]), value)
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


def _mark_added_operations(target: Mapping[str, Any], tokens: Sequence[str], value: Any) -> None:
    """Mark the operations in `value` that the schema does not have, if `value` has any."""
    if tokens[0] != "paths" or not isinstance(value, dict):
        return
    last = tokens[-1]
    added = cast("dict[str, Any]", value)
    if len(tokens) == 3 and last not in target:
        added["x-added"] = True
    elif len(tokens) == 2:
        for method in added.keys() - cast("dict[str, Any]", target.get(last, {})).keys():
            added[method]["x-added"] = True


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
        if _has_parameter(target, value):
            return f"the schema has a parameter {value['name']!r} already"
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


def _has_parameter(target: list[Any], value: Any) -> bool:
    """Return whether a list has a parameter of the same name and place."""
    if not isinstance(value, dict):
        return False
    added = cast("dict[str, Any]", value)
    if not {"name", "in"} <= added.keys():
        return False
    parameters = [cast("dict[str, Any]", item) for item in target if isinstance(item, dict)]
    key = (added["name"], added["in"])
    return any((item.get("name"), item.get("in")) == key for item in parameters)


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
    required, optional, read_only = (set[str](entry.get(key) or ()) for key in BODY_KEYS)
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
    changed = False
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
            changed = changed or _writable(content["schema"]) != _writable(schema)
        if required:
            changed = changed or not body.get("required")
            body["required"] = True
    if unknown:
        return f"the body has no {', '.join(sorted(unknown))}"
    return None if changed else "the schema has these fields already"


def _writable(schema: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Return the writable properties of a body, and which of them are required."""
    fields = {
        name: field for name, field in properties(schema).items() if not field.get("readOnly")
    }
    return fields, set(strings(schema, "required")) & fields.keys()


def _as_required(field: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a required field: it is writable, not nullable, and has no default."""
    dropped = {"default", "readOnly"}
    return without_null({key: value for key, value in field.items() if key not in dropped})


def _make_nullable(document: dict[str, Any], component: str, names: frozenset[str]) -> str | None:
    """Let read-only properties that refer to a component be null, if they have one of the names."""
    present: set[str] = set()
    for schema in document["components"]["schemas"].values():
        for name in names & properties(schema).keys():
            part = properties(schema)[name]
            if component_of(part) == component and part.get("readOnly"):
                present.add(name)
                del part["$ref"]
                part["anyOf"] = [reference_to(component), {"type": "null"}]
    missing = names - present
    if missing:
        return f"no read-only {', '.join(sorted(missing))} refers to {component}"
    return None


def _move_paths(document: dict[str, Any], source: str, target: str) -> str | None:
    """Move every path below `source` to `target`, and record the original operations.

    An operation that exists below `target` already is a twin: it is dropped, and recorded in
    `x-twins` of the one that stays. The names of placeholders are ignored.
    """
    paths = cast("dict[str, dict[str, dict[str, Any]]]", document["paths"])
    literals = (re.escape(part).replace(r"\*", r"[^/]+") for part in _PLACEHOLDER.split(source))
    pattern = re.compile("^" + r"\{([^{}]*)\}".join(literals))
    names = re.findall(r"{(.+?)}", target)
    moved = [path for path in paths if pattern.match(path)]
    spelled = _spelled(paths)
    for path in moved:
        item = paths.pop(path)
        match = pattern.match(path)
        assert match is not None
        renamed = dict(zip(match.groups(), names, strict=False))
        new_path = target + path[match.end() :]
        for method, operation in item.items():
            # Placeholders after the start may have other names than those of the twin.
            path_of_twin = spelled.setdefault((method, _PLACEHOLDER.sub("{}", new_path)), new_path)
            _put_operation(paths, method, path, operation, path_of_twin, renamed)
    document["paths"] = dict(sorted(paths.items()))
    return None if moved else "no path starts with it"


def merge_equal_paths(
    document: Mapping[str, Any],
) -> tuple[dict[str, Any], tuple[Diagnostic, ...]]:
    """Join operations whose paths differ only in the names of placeholders, and report them.

    They are one URL, so the server cannot tell them apart. The first in the order of the alphabet
    is kept, and the others are recorded as its twins.
    """
    paths = cast("dict[str, dict[str, dict[str, Any]]]", document["paths"])
    spellings = _spelled(paths)
    merged: dict[str, dict[str, dict[str, Any]]] = {path: {} for path in sorted(paths)}
    diagnostics: list[Diagnostic] = []
    for path in sorted(paths):
        for method, operation in paths[path].items():
            first = spellings[method, _PLACEHOLDER.sub("{}", path)]
            if first == path:
                merged[path][method] = dict(operation)
                continue
            _put_operation(merged, method, path, operation, first, {})
            where = join_pointer("", "paths", path, method)
            reason = f"it is the same operation as that of {first}; one method is made of both"
            diagnostics.append(Diagnostic(where, reason))
    return {**document, "paths": merged}, tuple(diagnostics)


def _spelled(paths: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """Return the first path of each operation, by method and path without placeholder names."""
    spelled: dict[tuple[str, str], str] = {}
    for path in sorted(paths):
        for method in paths[path]:
            spelled.setdefault((method, _PLACEHOLDER.sub("{}", path)), path)
    return spelled


def _put_operation(
    paths: dict[str, dict[str, dict[str, Any]]],
    method: str,
    path: str,
    operation: dict[str, Any],
    target: str,
    renamed: Mapping[str, str],
) -> None:
    """Put an operation at another path, and record where it comes from.

    If there is one already, it stays, and the other is recorded as its twin.
    """
    item = paths.setdefault(target, {})
    origins = list(operation.get("x-twins", []))
    if not operation.get("x-moved"):
        origins.insert(0, f"{method.upper()} {path}")
    if method in item:
        item[method]["x-twins"] = [*item[method].get("x-twins", []), *origins]
        return
    operation["x-twins"] = origins
    operation["x-moved"] = True
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path" and parameter["name"] in renamed:
            parameter["name"] = renamed[parameter["name"]]
    item[method] = operation
