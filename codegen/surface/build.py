"""From a patched document to the tree of resources: the `surface` stage.

Two passes: the first hoists inline bodies and answers to components, the second, which then
knows every component's class name, writes signatures.
"""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, cast

from asyncposthog.operation import Body, Operation, Owner, Pagination
from codegen.annotations import references, resolve
from codegen.diagnostics import Finding
from codegen.json_access import child, mapping, objects, properties, strings
from codegen.naming import (
    Route,
    class_names,
    method_names,
    parse_route,
    path_problem,
    resource_class,
)
from codegen.overrides import OperationOverrides, Overrides, facts_for

from .arguments import Names, body_of, field_arguments, parameter_arguments, parameters_of
from .inline_schemas import Components
from .paging import is_list, paging
from .responses import Answer, answer_of, declared_answer
from .tree import Argument, Method, Resource, SkippedOperation, Surface
from .usage import usage

__all__ = ["Released", "build_surface"]

METHODS = ("get", "post", "put", "patch", "delete")
_MODULE_NAMES = frozenset({
    "Cursor", "Executor", "FileInput", "Id", "Literal", "Mapping", "Model", "Omit",
    "RequestOptions", "Resource", "Resources", "Sequence", "Timestamp",
})  # fmt: skip
"""Names that the modules of resources import or define themselves."""
_CRUD = frozenset({"create", "get", "update", "replace"})
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
"""A component in an annotation. Its name may hold more than a Python name."""


@dataclass(frozen=True, slots=True)
class Released:
    """Names already settled: methods by `GET /api/…/`, classes by component."""

    methods: Mapping[str, str]
    models: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _PendingMethod:
    """One operation after the first pass."""

    key: str
    method: str
    name: str
    raw: Mapping[str, Any]
    facts: OperationOverrides
    route: Route
    pages: Pagination | None
    answer: Answer
    body: Body | None
    body_schema: Mapping[str, Any]


def build_surface(document: Mapping[str, Any], overrides: Overrides, released: Released) -> Surface:
    """Build the tree. What two things want the name of is settled by rule, with a finding."""
    findings: list[Finding] = []

    def report(method: str, path: str, reason: str) -> None:
        findings.append(Finding(child("", "paths", path, method), reason))

    components = Components(document["components"]["schemas"])
    raw = {(m, p): o for p, m, o in _operations(document)}
    facts = {key: facts_for(overrides, f"{key[0].upper()} {key[1]}") for key in raw}
    settled = {
        f"{method.upper()} {path}": str(fact.get("name"))
        for (method, path), fact in facts.items()
        if fact.get("name")
    }
    shapes = [
        (m, p, is_list(m, _answer_schema(raw[m, p], facts[m, p], components))) for m, p in raw
    ]
    names = method_names(shapes, {**released.methods, **settled}, report)
    drafts = [
        _draft(key, names[key], raw[key], facts[key], components)
        for key in sorted(raw, key=lambda key: names[key])
    ]
    drafts = _relax_guessed_bodies(drafts)
    class_of = class_names(components.schemas, released.models)
    methods: list[Method] = []
    used: dict[str, set[str]] = {}
    patched = {d.route.path: d for d in drafts if d.method == "patch"}
    for draft in drafts:
        family = draft.name.split(".")[0]
        for root in draft.answer.roots:
            used.setdefault(family, set()).add(root)
        method, requested = _method(draft, components, class_of, overrides)
        used.setdefault(f"{family}!request", set()).update(requested)
        sibling = patched.get(draft.route.path)
        if draft.method == "delete" and _soft(draft, sibling):
            assert sibling is not None
            methods += _soft_delete(draft, _method(sibling, components, class_of, overrides)[0])
        else:
            methods.append(method)
    methods, restored = _once(methods)
    findings += restored
    methods.sort(key=lambda m: m.operation.id)
    finished = {
        **document,
        "components": {**document["components"], "schemas": components.schemas},
    }
    return Surface(
        document=finished,
        resources=_tree(methods),
        methods=tuple(methods),
        class_names=class_of,
        users=usage(used, components.schemas),
        released={draft.key: draft.name for draft in drafts},
        schema_operations=tuple(sorted(k for d in drafts for k in _origins(d))),
        left_out=_left_out(document),
        findings=tuple(findings),
        renamed=_renamed(names, released, settled),
        buckets=overrides.limits,
    )


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, item in sorted(document["paths"].items()):
        if path_problem(path) is not None:
            continue
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def _left_out(document: Mapping[str, Any]) -> tuple[SkippedOperation, ...]:
    return tuple(
        SkippedOperation(f"{method.upper()} {path}", problem)
        for path, item in sorted(document["paths"].items())
        if (problem := path_problem(path)) is not None
        for method in METHODS
        if method in item
    )


def _renamed(
    names: Mapping[tuple[str, str], str], released: Released, settled: Mapping[str, str]
) -> dict[str, str]:
    """Return the new names of released methods that no override renames."""
    found = {f"{method.upper()} {path}": name for (method, path), name in names.items()}
    return {
        operation: name
        for operation, name in found.items()
        if operation not in settled and released.methods.get(operation, name) != name
    }


def _once(methods: list[Method]) -> tuple[list[Method], list[Finding]]:
    """Drop the `restore` we add where the server has an operation of that name itself."""
    counted = Counter(method.operation.id for method in methods)
    nested = {
        ".".join(parts[:length])
        for parts in (method.operation.resource.split(".") for method in methods)
        for length in range(1, len(parts) + 1)
    }
    kept: list[Method] = []
    findings: list[Finding] = []
    for method in methods:
        operation = method.operation
        twice = counted[operation.id] > 1 or operation.id in nested
        if twice and operation.fixed_body is not None and not operation.schema_operations:
            where = child("", "paths", operation.path, operation.method.lower())
            reason = f"{operation.id!r} is in the schema, so no method of that name is added"
            findings.append(Finding(where, reason))
        else:
            kept.append(method)
    return kept, findings


def _answer_schema(
    raw: Mapping[str, Any], facts: OperationOverrides, components: Components
) -> Mapping[str, Any]:
    return resolve(declared_answer(raw, facts).schema, components.schemas)


def _draft(
    key: tuple[str, str],
    name: str,
    raw: Mapping[str, Any],
    facts: OperationOverrides,
    components: Components,
) -> _PendingMethod:
    method, path = key
    stem = resource_class(name.split("."))
    declared = declared_answer(raw, facts)
    query = [p["name"] for p in objects(raw, "parameters") if p["in"] == "query"]
    pages = paging(method, resolve(declared.schema, components.schemas), query, facts)
    answer = answer_of(declared, stem, components, pages, facts)
    body, schema = body_of(raw, stem, components, facts)
    return _PendingMethod(
        f"{method.upper()} {path}",
        method,
        name,
        raw,
        facts,
        parse_route(path),
        pages,
        answer,
        body,
        schema,
    )


def _relax_guessed_bodies(drafts: list[_PendingMethod]) -> list[_PendingMethod]:
    """Require no field of an action whose body is the resource's own serializer.

    Where a view declares no request of its own, drf-spectacular writes down the serializer of
    the view set (`batch_exports.pause` would need a destination); what the action really reads
    is not known, so every field may be given and none has to be.
    """
    own: dict[str, set[str | None]] = {}
    for draft in drafts:
        resource, _, name = draft.name.rpartition(".")
        if name in _CRUD:
            own.setdefault(resource, set()).update({draft.answer.result.schema})
            own[resource].add(_declared_body(draft))
    return [
        replace(draft, body=replace(draft.body, required=False))
        if draft.body is not None
        and draft.name.rpartition(".")[2] not in _CRUD
        and _declared_body(draft) in own.get(draft.name.rpartition(".")[0], ())
        else draft
        for draft in drafts
    ]


def _declared_body(draft: _PendingMethod) -> str | None:
    """Return the component the schema names for the body, even where an override changes it."""
    if draft.body is None:
        return None
    return mapping(draft.raw, "requestBody").get("x-component") or draft.body.schema


def _method(
    draft: _PendingMethod, components: Components, class_of: Mapping[str, str], overrides: Overrides
) -> tuple[Method, set[str]]:
    schemas = components.schemas
    names = Names(_wires(draft))
    parameters = parameters_of(draft.raw, draft.route.parameters, schemas, draft.facts, names)
    arguments = parameter_arguments(parameters, draft.raw, schemas, class_of)
    requested = references(draft.raw.get("parameters"))
    body = draft.body
    if body is not None:
        fields, used = field_arguments(body, draft.body_schema, schemas, class_of, names)
        requested |= used
        arguments += fields
        if body.flat:
            body = replace(body, fields=tuple((a.python_name, a.wire_name) for a in fields))
    model = draft.answer.result.model
    writes = _writes(draft)
    operation = Operation(
        id=draft.name,
        method=draft.method.upper(),
        path=_canonical(draft.route),
        owner=None if draft.route.root == "instance" else cast("Owner", draft.route.root),
        parameters=parameters,
        body=body,
        result=replace(draft.answer.result, model=_named(model, class_of)),
        pagination=draft.pages,
        scopes=_scopes(draft.raw),
        buckets=_buckets(draft.key, overrides),
        writes=writes,
        idempotent=bool(
            draft.facts.get("idempotent", draft.method in {"put", "delete"} or not writes)
        ),
        api_key_allowed=bool(draft.facts.get("key_access", True)),
        deprecated=bool(draft.raw.get("deprecated")),
        schema_operations=_origins(draft),
        schema_gap_source=draft.facts.get("since"),
    )
    method = Method(
        operation,
        tuple(sorted(arguments, key=_rank)),
        _named(draft.answer.returns, class_of) or "None",
        cursor=draft.pages is not None,
        doc=str(draft.raw.get("description") or draft.raw.get("summary") or ""),
        note=str(draft.facts.get("note") or ""),
    )
    return method, requested


def _wires(draft: _PendingMethod) -> Iterator[str]:
    """Name everything that becomes an argument of its own."""
    yield from draft.route.parameters
    yield from (p["name"] for p in objects(draft.raw, "parameters") if p["in"] != "path")
    if draft.body is None:
        return
    if draft.body.flat:
        yield from properties(draft.body_schema)
    else:
        yield "body"


def _rank(argument: Argument) -> tuple[bool, bool]:
    """Put path arguments first in the order of the path, then what is required."""
    return argument.where != "path", argument.where != "path" and not argument.required


def _named(text: str | None, class_of: Mapping[str, str]) -> str | None:
    return text and _PLACEHOLDER.sub(lambda match: class_of[match.group(1)], text)


def _canonical(route: Route) -> str:
    """Write the path with the root's placeholder under its one name."""
    if route.root_parameter is None:
        return route.path
    return route.path.replace(f"{{{route.root_parameter}}}", f"{{{route.root}_id}}", 1)


def _scopes(raw: Mapping[str, Any]) -> tuple[str, ...]:
    requirements = cast("list[dict[str, list[str]]]", raw.get("security") or [])
    return tuple(sorted({s for item in requirements for scopes in item.values() for s in scopes}))


def _writes(draft: _PendingMethod) -> bool:
    if "writes" in draft.facts.values:
        return bool(draft.facts.get("writes"))
    scopes = _scopes(draft.raw)
    if draft.method == "get":
        # A few views write by GET, and ask for the scope that it takes.
        return bool(scopes) and all(scope.endswith(":write") for scope in scopes)
    reads = bool(scopes) and all(scope.endswith(":read") for scope in scopes)
    return not (reads and draft.method == "post")


def _buckets(key: str, overrides: Overrides) -> tuple[str, ...]:
    for rule in overrides.buckets:
        if any(fnmatchcase(key, pattern) for pattern in rule["match"]):
            return tuple(rule["buckets"])
    return ("burst", "sustained")


def _origins(draft: _PendingMethod) -> tuple[str, ...]:
    """Name the operations of the schema that this one stands for."""
    if draft.facts.get("since"):
        return ()
    twins = tuple(strings(draft.raw, "x-twins"))
    return twins if draft.raw.get("x-moved") else (draft.key, *twins)


def _soft(draft: _PendingMethod, sibling: _PendingMethod | None) -> bool:
    """Whether DELETE is refused and PATCH has `deleted` instead."""
    if "soft_delete" in draft.facts.values:
        return bool(draft.facts.get("soft_delete"))
    if sibling is None or set(mapping(draft.raw, "responses")) != {"405"}:
        return False
    field = properties(sibling.body_schema).get("deleted")
    return field is not None and not field.get("readOnly")


def _soft_delete(draft: _PendingMethod, update: Method) -> Iterator[Method]:
    """Give delete and restore as the PATCH the server wants in their place."""
    owner = draft.name.rpartition(".")[0]
    for name, deleted in ((draft.name, True), (f"{owner}.restore", False)):
        operation = replace(
            update.operation,
            id=name,
            parameters=update.operation.path_parameters,
            body=replace(update.operation.body, fields=()) if update.operation.body else None,
            fixed_body={"deleted": deleted},
            idempotent=True,
            schema_operations=_origins(draft) if deleted else (),
        )
        yield replace(
            update,
            operation=operation,
            arguments=tuple(a for a in update.arguments if a.where == "path"),
            doc="",
            note="",
        )


def _tree(methods: list[Method]) -> tuple[Resource, ...]:
    by_path: dict[tuple[str, ...], list[Method]] = {}
    classes: dict[tuple[str, ...], str] = {}
    for method in methods:
        path = tuple(method.operation.resource.split("."))
        for depth in range(1, len(path) + 1):
            by_path.setdefault(path[:depth], [])
        by_path[path].append(method)

    def grow(path: tuple[str, ...]) -> Resource:
        children = sorted(p for p in by_path if p[:-1] == path)
        return Resource(path, classes[path], tuple(by_path[path]), tuple(map(grow, children)))

    taken: dict[str, set[str]] = {}
    for path in sorted(by_path):
        name, used = resource_class(path), taken.setdefault(path[0], set())
        while name in used or name in _MODULE_NAMES or keyword.iskeyword(name):
            name = f"{name}Resource"
        used.add(name)
        classes[path] = name
    return tuple(grow(path) for path in sorted(by_path) if len(path) == 1)
