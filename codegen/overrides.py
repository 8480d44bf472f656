"""What the schema is silent on or gets wrong, as data: reading and applying `overrides.yaml`.

Each entry says what is so, why, and where that is known from. Entries of `document` are patches
by JSON pointer on the normalised document; entries of `operations` are facts no OpenAPI document
can hold (names, paging style, rate buckets). An entry that no longer applies is reported, so that
none is kept longer than it is needed.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from codegen.normalise.parameters import without_null

from .annotations import component_of, references, resolve
from .diagnostics import Finding
from .json_access import properties, strings
from .naming import resource_path

__all__ = [
    "OperationOverrides",
    "Overrides",
    "apply",
    "facts_for",
    "load_overrides",
]

_VERBS = frozenset({"add", "replace", "remove", "rename", "move_paths", "body"})
_BODY = ("required", "optional", "read_only")
"""What `body` says of fields: the server demands them, does not, or sets them itself."""
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_FACTS = frozenset({
    "operation", "name", "pagination", "items", "page_size", "buckets", "writes", "idempotent",
    "key_access", "status", "result", "presence", "booleans", "multi_segment", "flat",
    "soft_delete", "since", "note", "reason", "source",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class OperationOverrides:
    """What the overrides say of one operation. Absent facts are not in `values`."""

    operation: str
    values: Mapping[str, Any]

    def get(self, name: str, default: Any = None) -> Any:
        """Return one fact."""
        return self.values.get(name, default)


@dataclass(frozen=True, slots=True)
class Overrides:
    """The file `overrides.yaml`, checked."""

    document: tuple[Mapping[str, Any], ...] = ()
    operations: tuple[OperationOverrides, ...] = ()
    buckets: tuple[Mapping[str, Any], ...] = ()
    limits: Mapping[str, Any] = field(default_factory=dict[str, Any])


def load_overrides(path: Path) -> Overrides:
    """Read and check the file.

    Raises:
        ValueError: An entry has an unknown verb or key, or lacks its reason or source.
    """
    raw = cast("dict[str, Any]", yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    unknown = set(raw) - {"document", "operations", "buckets", "limits"}
    if unknown:
        raise ValueError(f"{path.name}: unknown sections {sorted(unknown)}")
    document = tuple(cast("list[dict[str, Any]]", raw.get("document") or []))
    operations: list[OperationOverrides] = []
    for entry in document:
        if entry.get("verb") not in _VERBS:
            raise ValueError(f"{path.name}: {entry} needs a verb of {sorted(_VERBS)}")
        _demand_source(path, entry)
        if entry["verb"] == "body":
            _check_fields(path, entry)
    for entry in cast("list[dict[str, Any]]", raw.get("operations") or []):
        _demand_source(path, entry)
        stray = set(entry) - _FACTS
        if stray:
            raise ValueError(f"{path.name}: {entry['operation']}: unknown facts {sorted(stray)}")
        operations.append(OperationOverrides(entry["operation"], entry))
    buckets = tuple(cast("list[dict[str, Any]]", raw.get("buckets") or []))
    return Overrides(document, tuple(operations), buckets, raw.get("limits") or {})


def _demand_source(path: Path, entry: Mapping[str, Any]) -> None:
    for key in ("reason", "source"):
        if not entry.get(key):
            raise ValueError(f"{path.name}: {entry} has no {key}")


def _check_fields(path: Path, entry: Mapping[str, Any]) -> None:
    named: set[str] = set()
    for fact in _BODY:
        fields: Any = entry.get(fact, [])
        if not isinstance(fields, list) or not all(
            isinstance(field, str) for field in cast("list[Any]", fields)
        ):
            raise ValueError(f"{path.name}: {entry['operation']}: {fact} is a list of fields")
        both = named & set(cast("list[str]", fields))
        if both:
            raise ValueError(f"{path.name}: {entry['operation']}: {sorted(both)} is named twice")
        named |= set(cast("list[str]", fields))


def apply(
    document: Mapping[str, Any], overrides: Overrides
) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """Return the patched document and a finding for each patch that did not apply."""
    patched = cast("dict[str, Any]", copy.deepcopy(document))
    findings: list[Finding] = []
    for entry in overrides.document:
        problem = _apply_one(patched, entry)
        if problem:
            where = str(entry.get("pointer") or entry.get("from") or entry["operation"])
            findings.append(Finding(where, f"override {entry['verb']} does not apply: {problem}"))
    return patched, tuple(findings)


def facts_for(overrides: Overrides, key: str) -> OperationOverrides:
    """Collect the facts of `"GET /api/…/"`; later entries win.

    What the placeholders of the path are called does not matter: that differs between vintages.
    """
    values: dict[str, Any] = {}
    shape = _PLACEHOLDER.sub("{}", key)
    for facts in overrides.operations:
        if _PLACEHOLDER.sub("{}", facts.operation) == shape:
            values.update(facts.values)
    return OperationOverrides(key, values)


def _apply_one(document: dict[str, Any], entry: Mapping[str, Any]) -> str | None:
    if entry["verb"] == "move_paths":
        return _move_paths(document, entry["from"], entry["to"])
    if entry["verb"] == "body":
        return _mend_body(document, entry)
    lacking = _lacks_resource(document, entry)
    if lacking:
        return f"this schema has nothing below {lacking}"
    *parents, last = list(_tokens(entry["pointer"]))
    target: Any = document
    for token in parents:
        target = _step(target, token)
        if target is None:
            return f"nothing at {token!r}"
    verb, value = entry["verb"], copy.deepcopy(entry.get("value"))
    unknown = references(value) - set(document.get("components", {}).get("schemas", {}))
    if unknown:
        return f"this schema has no {', '.join(sorted(unknown))}"
    if isinstance(target, list):
        return _apply_to_list(cast("list[Any]", target), verb, last, value)
    mapping = cast("dict[str, Any]", target)
    if verb == "add":
        if last in mapping and mapping[last] == value:
            return "the schema says so itself by now"
        if isinstance(value, dict) and isinstance(mapping.get(last), dict):
            mapping[last].update(value)
        else:
            mapping[last] = value
        return None
    if last not in mapping:
        return f"nothing at {last!r}"
    if verb == "replace":
        if mapping[last] == value:
            return "the schema says so itself by now"
        mapping[last] = value
    elif verb == "remove":
        del mapping[last]
    else:
        mapping[str(value)] = mapping.pop(last)
    return None


def _lacks_resource(document: Mapping[str, Any], entry: Mapping[str, Any]) -> str | None:
    """Return the resource an added path would be part of, where the schema does not have it.

    An instance whose schema says nothing of a resource does not serve it, or not to API keys.
    """
    tokens = list(_tokens(entry["pointer"]))
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
            return "the schema says so itself by now"
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
    """Find a list item by its index or, as parameters have no stable one, by its name."""
    if token.isdigit():
        return int(token) if int(token) < len(target) else None
    for index, item in enumerate(target):
        if isinstance(item, dict) and cast("dict[str, Any]", item).get("name") == token:
            return index
        if item == token:
            return index
    return None


def _step(target: Any, token: str) -> Any:
    if isinstance(target, list):
        items = cast("list[Any]", target)
        index = _index(items, token)
        return None if index is None else items[index]
    if isinstance(target, dict):
        return cast("dict[str, Any]", target).get(token)
    return None


def _tokens(pointer: str) -> Iterator[str]:
    for token in pointer.lstrip("/").split("/"):
        yield token.replace("~1", "/").replace("~0", "~")


def _mend_body(document: dict[str, Any], entry: Mapping[str, Any]) -> str | None:
    """Say of the fields of one body what the server demands of them.

    A body for which no field is named as required remembers its component: whether the schema
    only guesses at it shows from that.
    """
    required, optional, read_only = (set[str](entry.get(key) or ()) for key in _BODY)
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
            if component and not required:
                body["x-component"] = component
            fields = {
                wire: _demanded(field) if wire in required else field
                for wire, field in properties(schema).items()
                if wire not in read_only
            }
            unknown -= properties(schema).keys()
            needed = ({*strings(schema, "required"), *required} - optional) & fields.keys()
            content["schema"] = {**schema, "properties": fields, "required": sorted(needed)}
            if not needed:
                del content["schema"]["required"]
        if required:
            body["required"] = True
    return f"the body has no {', '.join(sorted(unknown))}" if unknown else None


def _demanded(field: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a field that has to be given: it can be written, and is not null."""
    return without_null({key: value for key, value in field.items() if key != "readOnly"})


def _move_paths(document: dict[str, Any], source: str, target: str) -> str | None:
    """Move every path below `source` to `target`, remembering where each operation stood.

    An operation that exists at its new place already is a twin: it is dropped, and noted on the
    one that stays. What the placeholders of `source` are called does not matter.
    """
    paths = cast("dict[str, dict[str, dict[str, Any]]]", document["paths"])
    fixed = (re.escape(part).replace(r"\*", r"[^/]+") for part in _PLACEHOLDER.split(source))
    pattern = re.compile("^" + r"\{([^{}]*)\}".join(fixed))
    names = re.findall(r"{(.+?)}", target)
    moved = [path for path in paths if pattern.match(path)]
    for path in moved:
        item = paths.pop(path)
        match = pattern.match(path)
        assert match is not None
        renamed = dict(zip(match.groups(), names, strict=False))
        place = target + path[match.end() :]
        there = paths.setdefault(place, {})
        for method, operation in item.items():
            origin = f"{method.upper()} {path}"
            if method in there:
                there[method].setdefault("x-twins", []).append(origin)
            else:
                operation["x-twins"] = [origin]
                operation["x-moved"] = True
                for parameter in operation.get("parameters", []):
                    if parameter["in"] == "path" and parameter["name"] in renamed:
                        parameter["name"] = renamed[parameter["name"]]
                there[method] = operation
    document["paths"] = dict(sorted(paths.items()))
    return None if moved else "no path is below it"
