"""Read `docs.yaml`, what we know about the API in our own words, and add it to a surface.

Entries are found by what PostHog names: an operation by method and path, a resource by the start
of its paths, a parameter by its name on the wire, a model by its component. Renaming a method or
a class does not affect them. An entry without a counterpart in the document is an error.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from .json_access import mapping, properties
from .json_schema import resolve
from .parsing import load_yaml
from .phrases import Noun, default_noun, summarize
from .surface import Argument, Method, Resource, Surface

__all__ = ["Docs", "ModelDoc", "apply_docs", "load_docs", "model_docs", "unmatched_docs"]

_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_COLLECTION_VOTES = 1000
"""More than the methods of any resource."""
_SECTIONS = frozenset({"operations", "resources", "parameters", "models"})


@dataclass(frozen=True, slots=True)
class OperationDoc:
    """What is known about one operation."""

    text: str = ""
    args: Mapping[str, str] = field(default_factory=dict[str, str])
    """By wire name."""
    returns: str = ""


@dataclass(frozen=True, slots=True)
class ResourceDoc:
    """What a resource is."""

    text: str
    noun: str = ""
    also: tuple[str, ...] = ()
    """Further starts of its paths, if they have none in common."""


@dataclass(frozen=True, slots=True)
class ModelDoc:
    """What a model and its fields mean."""

    text: str = ""
    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    """By wire name."""


@dataclass(frozen=True, slots=True)
class Docs:
    """The validated content of `docs.yaml`."""

    operations: Mapping[str, OperationDoc] = field(default_factory=dict[str, OperationDoc])
    """By method and path."""
    resources: Mapping[str, ResourceDoc] = field(default_factory=dict[str, ResourceDoc])
    """By the start of the paths of the resource."""
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    """Parameters that many operations share: by name, path parameters in braces."""
    models: Mapping[str, ModelDoc] = field(default_factory=dict[str, ModelDoc])
    """By component."""


def load_docs(path: Path) -> Docs:
    """Read and check the file. A missing file is an empty one.

    Raises:
        ValueError: A section, a key or the type of a value is unknown.
    """
    if not path.exists():
        return Docs()
    raw = load_yaml(path.read_text(encoding="utf-8")) or {}
    unknown = set(raw) - _SECTIONS
    if unknown:
        raise ValueError(
            f"{path.name}: unknown sections {sorted(unknown)}; use {sorted(_SECTIONS)}"
        )
    operations = {
        key: OperationDoc(
            entry.get("text", ""),
            _texts(path, f"{key}: args", entry.get("args")),
            entry.get("returns", ""),
        )
        for key, entry in _entries(path, raw, "operations", {"text", "args", "returns"})
    }
    resources = {
        key: ResourceDoc(
            entry.get("text", ""),
            entry.get("noun", ""),
            _paths(path, f"resources: {key}: also", entry.get("also")),
        )
        for key, entry in _entries(path, raw, "resources", {"text", "noun", "also"})
    }
    models = {
        key: ModelDoc(entry.get("text", ""), _texts(path, f"{key}: fields", entry.get("fields")))
        for key, entry in _entries(path, raw, "models", {"text", "fields"})
    }
    return Docs(operations, resources, _texts(path, "parameters", raw.get("parameters")), models)


def _entries(
    path: Path, raw: Mapping[str, Any], section: str, keys: set[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the entries of a section; a text alone is short for `{text: …}`."""
    for key, value in cast("dict[str, Any]", raw.get(section) or {}).items():
        if isinstance(value, str):
            yield key, {"text": value}
            continue
        if not isinstance(value, dict):
            raise ValueError(f"{path.name}: {section}: {key}: give a text or {sorted(keys)}")
        entry = cast("dict[str, Any]", value)
        unknown = set(entry) - keys
        if unknown:
            raise ValueError(
                f"{path.name}: {section}: {key}: unknown keys {sorted(unknown)}; use {sorted(keys)}"
            )
        for name in ("text", "noun", "returns"):
            if not isinstance(entry.get(name, ""), str):
                raise ValueError(f"{path.name}: {section}: {key}: {name} is not a text")
        yield key, entry


def _texts(path: Path, where: str, raw: Any) -> dict[str, str]:
    entries = cast("dict[Any, Any]", raw or {})
    if not isinstance(raw or {}, dict) or not all(
        isinstance(name, str) and isinstance(text, str) for name, text in entries.items()
    ):
        raise ValueError(f"{path.name}: {where}: give texts by name")
    return cast("dict[str, str]", entries)


def _paths(path: Path, where: str, raw: Any) -> tuple[str, ...]:
    paths = cast("list[Any]", raw or [])
    if not isinstance(raw or [], list) or not all(isinstance(item, str) for item in paths):
        raise ValueError(f"{path.name}: {where}: give a list of paths")
    return tuple(paths)


def apply_docs(surface: Surface, docs: Docs) -> Surface:
    """Return the surface with texts for its resources, methods and arguments."""
    operations = {_shape(key): doc for key, doc in docs.operations.items()}
    resources = _resource_docs(surface, docs)
    documented = {
        id(method): _method(method, operations, resources, docs) for method in surface.methods
    }

    def rebuild(resource: Resource) -> Resource:
        doc = resources.get(resource.path)
        return replace(
            resource,
            doc=doc.text if doc else "",
            methods=tuple(documented[id(method)] for method in resource.methods),
            children=tuple(rebuild(child) for child in resource.children),
        )

    return replace(
        surface,
        methods=tuple(documented[id(method)] for method in surface.methods),
        resources=tuple(rebuild(resource) for resource in surface.resources),
    )


def _method(
    method: Method,
    operations: Mapping[str, OperationDoc],
    resources: Mapping[tuple[str, ...], ResourceDoc],
    docs: Docs,
) -> Method:
    doc = operations.get(_method_shape(method), OperationDoc())
    path = tuple(method.operation.resource.split("."))
    resource = resources.get(path)
    noun = Noun.parse(resource.noun) if resource and resource.noun else default_noun(path)
    summary = summarize(method, noun, is_documented=resource is not None)
    about = "" if doc.text or resource is None else resource.text
    return replace(
        method,
        summary=doc.text or summary.text,
        about=about,
        template_only=not (doc.text or summary.composed or method.doc),
        returns_doc=doc.returns,
        arguments=tuple(_argument(a, method, doc, docs) for a in method.arguments),
    )


def _argument(argument: Argument, method: Method, doc: OperationDoc, docs: Docs) -> Argument:
    wire = argument.wire_name
    text = doc.args.get(wire, "")
    if not text and argument.location == "field":
        operation = method.operation
        body = operation.body.schema if operation.body else None
        for component in (body, operation.result.schema):
            text = text or docs.models.get(component or "", ModelDoc()).fields.get(wire, "")
    if not text and argument.location in {"path", "query", "header"}:
        text = argument.doc or docs.parameters.get(_parameter_key(argument), "")
    return replace(argument, doc=text or argument.doc)


def _parameter_key(argument: Argument) -> str:
    return f"{{{argument.wire_name}}}" if argument.location == "path" else argument.wire_name


def _method_shape(method: Method) -> str:
    """Return the operation of a method. A soft delete sends PATCH; its entry is that of DELETE."""
    operation = method.operation
    verb = operation.method
    if operation.fixed_body is not None:
        verb = "DELETE" if operation.fixed_body.get("deleted") else "RESTORE"
    return _shape(f"{verb} {operation.path}")


def _shape(key: str) -> str:
    return _PLACEHOLDER.sub("{}", key)


def _resource_docs(surface: Surface, docs: Docs) -> dict[tuple[str, ...], ResourceDoc]:
    """Return the text of each resource.

    A resource has the entry of its collection, or else the one that most of its methods are
    below, not counting those that a longer entry is for. If that is the entry of several
    resources, it belongs to the one with most such methods. A resource without methods has the
    entry that all of its nested resources are below.
    """
    entries = {_shape(path): doc for path, doc in docs.resources.items()}
    # The entry of each path that methods of its resource can be below.
    entry_of = {path: path for path in entries}
    entry_of |= {_shape(more): path for path, doc in entries.items() for more in doc.also}
    votes: dict[tuple[str, ...], Counter[str]] = {}
    shapes: dict[tuple[str, ...], list[str]] = {}
    for method in surface.methods:
        path = tuple(method.operation.resource.split("."))
        shape = _shape(method.operation.path)
        for depth in range(1, len(path)):
            shapes.setdefault(path[:depth], []).append(shape)
        counter = votes.setdefault(path, Counter())
        match = _longest_prefix(shape, entry_of)
        if match is not None:
            is_collection = method.name in {"list", "create"} and match == f"{shape.rstrip('/')}/"
            counter[entry_of[match]] += _COLLECTION_VOTES if is_collection else 1
    owners: dict[str, tuple[int, int, tuple[str, ...]]] = {}
    for path, counter in votes.items():
        if counter:
            entry, count = max(counter.items(), key=lambda item: (item[1], len(item[0])))
            # Of several with equally many methods, the one that is nested least.
            candidate = (-count, len(path), path)
            owners[entry] = min(owners.get(entry, candidate), candidate)
    docs_by_path = {path: entries[entry] for entry, (_, _, path) in owners.items()}
    for path, below in shapes.items():
        if path in votes:
            continue
        common = [
            prefix
            for prefix in entries
            if prefix not in owners and all(f"{s.rstrip('/')}/".startswith(prefix) for s in below)
        ]
        if common:
            docs_by_path[path] = entries[max(common, key=len)]
    return docs_by_path


def _longest_prefix(shape: str, entries: Mapping[str, Any]) -> str | None:
    slashed = f"{shape.rstrip('/')}/"
    end = len(slashed)
    while end > 0:
        if slashed[:end] in entries:
            return slashed[:end]
        end = slashed.rfind("/", 0, end - 1) + 1
    return None


def model_docs(surface: Surface, docs: Docs) -> dict[str, ModelDoc]:
    """Return the texts of the components that the surface has."""
    components = mapping(mapping(surface.document, "components"), "schemas")
    return {name: doc for name, doc in docs.models.items() if name in components}


def unmatched_docs(surface: Surface, docs: Docs) -> list[str]:
    """Return an error for each entry without a counterpart in the document."""
    errors: list[str] = []
    methods = {_method_shape(method): method for method in surface.methods}
    operations = {_shape(key) for key in surface.released}
    for key, doc in docs.operations.items():
        method = methods.get(_shape(key))
        if _shape(key) not in operations and method is None:
            errors.append(f"operations: {key}: there is no such operation")
            continue
        arguments = {argument.wire_name for argument in method.arguments} if method else set[str]()
        errors += [
            f"operations: {key}: it has no argument {name!r}"
            for name in doc.args
            if name not in arguments
        ]
    paths = [_shape(key.split(" ", 1)[1]) + "/" for key in surface.released]
    errors += [
        f"resources: {path}: no path starts with it"
        for path in (p for key, doc in docs.resources.items() for p in (key, *doc.also))
        if not path.endswith("/")
        or not any(candidate.startswith(_shape(path)) for candidate in paths)
    ]
    keys = {
        _parameter_key(argument)
        for method in surface.methods
        for argument in method.arguments
        if argument.location in {"path", "query", "header"}
    }
    errors += [
        f"parameters: {name}: no operation has it" for name in docs.parameters if name not in keys
    ]
    components = mapping(mapping(surface.document, "components"), "schemas")
    for name, doc in docs.models.items():
        if name not in components:
            errors.append(f"models: {name}: there is no such component")
            continue
        fields = properties(resolve(components[name], components))
        errors += [
            f"models: {name}: it has no field {wire!r}" for wire in doc.fields if wire not in fields
        ]
    return errors
