"""Build the tree of resources and methods from a normalised document with overrides.

In two passes: the first makes components of inline bodies and responses; the second builds the
signatures, which need the class names of all components.
"""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, cast

from asyncposthog.operation import Body, Operation, Pagination
from codegen.diagnostics import Diagnostic
from codegen.graph import propagate_users
from codegen.json_access import join_pointer, mapping, objects, properties, strings
from codegen.json_schema import reference_graph, resolve
from codegen.name_overrides import NameOverrides, operation_shape, without_overridden
from codegen.naming import (
    Route,
    class_names,
    fixed_names,
    method_names,
    parse_route,
    path_error,
    resource_class,
)
from codegen.overrides import OperationOverrides, Overrides, overrides_for

from .arguments import (
    NameAllocator,
    body_components,
    build_body,
    build_parameters,
    field_arguments,
    parameter_arguments,
    parameter_components,
)
from .directions import Directions, separate_directions
from .inline_schemas import ComponentRegistry
from .pagination import detect_pagination, is_list
from .responses import MethodResponse, declared_response, method_response
from .tree import Argument, Method, Resource, SkippedOperation, Surface

__all__ = ["ReleasedNames", "build_surface"]

METHODS = ("get", "post", "put", "patch", "delete")
_MODULE_NAMES = frozenset({
    "Cursor", "Executor", "FileInput", "Id", "Literal", "Mapping", "Model", "Omit",
    "RequestOptions", "Resource", "Resources", "Sequence", "Timestamp",
})  # fmt: skip
"""Names that the modules of resources import or define."""
_DEFAULT_BUCKETS = ("burst", "sustained")
"""The throttles of every view that does not declare its own."""
_CRUD = frozenset({"create", "get", "update", "replace"})
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
"""A component in an annotation. Its name may have characters that a Python name cannot have."""


@dataclass(frozen=True, slots=True)
class ReleasedNames:
    """Fixed public names: of methods by `GET /api/…/`, of classes by component."""

    methods: Mapping[str, str]
    models: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _PendingMethod:
    """An operation after the first pass."""

    key: str
    method: str
    name: str
    raw: Mapping[str, Any]
    overrides: OperationOverrides
    route: Route
    pagination: Pagination | None
    response: MethodResponse
    body: Body | None
    body_schema: Mapping[str, Any]
    guessed_body: bool = False
    """Whether the schema only guesses the body, so that it is any mapping."""


_NO_NAMES = ReleasedNames({}, {})


def build_surface(
    document: Mapping[str, Any],
    overrides: Overrides,
    released: ReleasedNames,
    package_names: ReleasedNames = _NO_NAMES,
) -> Surface:
    """Build the tree of resources. Name clashes are resolved by rule and reported.

    Args:
        document: A normalised document with overrides.
        overrides: Facts about its operations.
        released: Names that are fixed unless an override says otherwise.
        package_names: Names that are fixed even against an override: those of a package generated
            before.
    """
    diagnostics: list[Diagnostic] = []

    def report(method: str, path: str, reason: str) -> None:
        diagnostics.append(Diagnostic(join_pointer("", "paths", path, method), reason))

    components = ComponentRegistry(document["components"]["schemas"])
    raw = {(m, p): o for p, m, o in _operations(document)}
    overrides_of = {key: overrides_for(overrides, f"{key[0].upper()} {key[1]}") for key in raw}
    names_in_overrides = {
        f"{method.upper()} {path}": str(entry.get("name"))
        for (method, path), entry in overrides_of.items()
        if entry.get("name")
    }
    listed = [
        (
            m,
            p,
            is_list(
                m,
                _response_schema(raw[m, p], overrides_of[m, p], components),
                _query_schemas(raw[m, p]),
                components.schemas,
            ),
        )
        for m, p in raw
    ]
    fixed = fixed_names(raw, (package_names.methods, names_in_overrides, released.methods), report)
    names = method_names(listed, fixed, report, package_names.methods.values())
    pending_methods = [
        _pending_method(key, names[key], raw[key], overrides_of[key], components)
        # In the order of names, because components of inline schemas are numbered in this order.
        # Operations with a fixed name come first, so that a new one does not change the numbers.
        for key in sorted(raw, key=lambda k: (f"{k[0].upper()} {k[1]}" not in fixed, names[k]))
    ]
    pending_methods = _relax_guessed_bodies(pending_methods)
    aliases, alias_diagnostics = _alias_methods(pending_methods, overrides.names)
    diagnostics += alias_diagnostics
    directions = separate_directions(
        components.schemas,
        requested={name for d in pending_methods for name in _requested(d, components.schemas)},
        returned={name for d in pending_methods for name in d.response.components},
    )
    class_of = class_names(
        directions.schemas,
        {**without_overridden(released.models, overrides.names.models), **package_names.models},
        package_names.models.values(),
    )
    methods: list[Method] = []
    # The users of components by family. `!` cannot be in a family's name, so `family!request` is
    # never the name of another family.
    used: dict[str, set[str]] = {}
    # Each DELETE may have to become a PATCH, so the PATCH of every path is kept.
    patched = {d.route.path: d for d in pending_methods if d.method == "patch"}
    for pending in (*pending_methods, *aliases):
        family = pending.name.split(".")[0]
        for component in pending.response.components:
            used.setdefault(family, set()).add(component)
        method, requested = _method(pending, directions, class_of, overrides)
        used.setdefault(f"{family}!request", set()).update(requested)
        sibling = patched.get(pending.route.path)
        if pending.method == "delete" and _is_soft_delete(pending, sibling):
            assert sibling is not None
            methods += _soft_delete_methods(
                pending, _method(sibling, directions, class_of, overrides)[0]
            )
        else:
            methods.append(method)
    methods, restore_diagnostics = _drop_duplicate_restores(methods)
    diagnostics += restore_diagnostics
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
        model_schemas=directions.schemas,
        users=propagate_users(used, reference_graph(directions.schemas)),
        released={pending.key: pending.name for pending in pending_methods},
        schema_operations=tuple(sorted(k for d in pending_methods for k in _schema_operations(d))),
        skipped=_skipped_operations(document),
        diagnostics=tuple(diagnostics),
        renamed=_renamed(names, released, names_in_overrides),
        buckets=overrides.limits,
    )


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, item in sorted(document["paths"].items()):
        if path_error(path) is not None:
            continue
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def _skipped_operations(document: Mapping[str, Any]) -> tuple[SkippedOperation, ...]:
    return tuple(
        SkippedOperation(f"{method.upper()} {path}", reason)
        for path, item in sorted(document["paths"].items())
        if (reason := path_error(path)) is not None
        for method in METHODS
        if method in item
    )


def _renamed(
    names: Mapping[tuple[str, str], str],
    released: ReleasedNames,
    names_in_overrides: Mapping[str, str],
) -> dict[str, str]:
    """Return the new names of released methods that change without an override."""
    names_by_operation = {
        f"{method.upper()} {path}": name for (method, path), name in names.items()
    }
    return {
        operation: name
        for operation, name in names_by_operation.items()
        if operation not in names_in_overrides and released.methods.get(operation, name) != name
    }


def _alias_methods(
    pending_methods: list[_PendingMethod], names: NameOverrides
) -> tuple[list[_PendingMethod], list[Diagnostic]]:
    """Return the second methods of operations that overrides give two names.

    An alias whose name is a method or a resource already is left out and reported.
    """
    by_shape = {operation_shape(pending.key): pending for pending in pending_methods}
    taken: set[str] = set()
    for pending in pending_methods:
        parts = pending.name.split(".")
        taken.update(".".join(parts[:length]) for length in range(1, len(parts) + 1))
    aliases: list[_PendingMethod] = []
    diagnostics: list[Diagnostic] = []
    for name, shape in names.aliases.items():
        if shape not in by_shape:
            continue  # reported as an override that does not apply
        if name in taken:
            diagnostics.append(Diagnostic(shape, f"its alias {name!r} is another method's name"))
        else:
            aliases.append(replace(by_shape[shape], name=name))
    return aliases, diagnostics


def _drop_duplicate_restores(methods: list[Method]) -> tuple[list[Method], list[Diagnostic]]:
    """Drop the `restore` methods we add if the server has an operation of that name."""
    counts = Counter(method.operation.id for method in methods)
    nested = {
        ".".join(parts[:length])
        for parts in (method.operation.resource.split(".") for method in methods)
        for length in range(1, len(parts) + 1)
    }
    remaining: list[Method] = []
    diagnostics: list[Diagnostic] = []
    for method in methods:
        operation = method.operation
        is_duplicate = counts[operation.id] > 1 or operation.id in nested
        if is_duplicate and operation.fixed_body is not None and not operation.schema_operations:
            where = join_pointer("", "paths", operation.path, operation.method.lower())
            reason = f"{operation.id!r} is in the schema, so no method of that name is added"
            diagnostics.append(Diagnostic(where, reason))
        else:
            remaining.append(method)
    return remaining, diagnostics


def _response_schema(
    raw: Mapping[str, Any], overrides: OperationOverrides, components: ComponentRegistry
) -> Mapping[str, Any]:
    return resolve(declared_response(raw, overrides).schema, components.schemas)


def _query_schemas(raw: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the schemas of the query parameters, by name."""
    return {
        p["name"]: mapping(p, "schema") for p in objects(raw, "parameters") if p["in"] == "query"
    }


def _pending_method(
    key: tuple[str, str],
    name: str,
    raw: Mapping[str, Any],
    overrides: OperationOverrides,
    components: ComponentRegistry,
) -> _PendingMethod:
    method, path = key
    stem = resource_class(name.split("."))
    declared = declared_response(raw, overrides)
    body, schema = build_body(raw, stem, components, overrides)
    pagination = detect_pagination(
        method,
        resolve(declared.schema, components.schemas),
        _query_schemas(raw),
        schema,
        overrides,
        components.schemas,
    )
    response = method_response(declared, stem, components, pagination, overrides)
    return _PendingMethod(
        f"{method.upper()} {path}",
        method,
        name,
        raw,
        overrides,
        parse_route(path),
        pagination,
        response,
        body,
        schema,
    )


def _relax_guessed_bodies(pending_methods: list[_PendingMethod]) -> list[_PendingMethod]:
    """Take one optional mapping for actions whose body is the serializer of the resource.

    If a view declares no request of its own, drf-spectacular declares the serializer of the view
    set: `batch_exports.pause` would require a destination. Which fields the action reads is
    unknown, so none of them becomes an argument. An override with `flat` decides otherwise. The
    resource can be any that the name is below: `users.two_factor.disable` is an action on a user.
    """
    resource_components: dict[str, set[str | None]] = {}
    for pending in pending_methods:
        resource, _, name = pending.name.rpartition(".")
        if name in _CRUD:
            components = {pending.response.result.schema, _declared_body(pending)}
            resource_components.setdefault(resource, set()).update(components - {None})
    return [
        _with_guessed_body(pending)
        if pending.name.rpartition(".")[2] not in _CRUD
        and any(
            _declared_body(pending) in resource_components.get(resource, ())
            for resource in _resources_above(pending.name)
        )
        else pending
        for pending in pending_methods
    ]


def _resources_above(name: str) -> Iterator[str]:
    """Yield the resource that a method belongs to, and each that it is nested in."""
    while name := name.rpartition(".")[0]:
        yield name


def _with_guessed_body(pending: _PendingMethod) -> _PendingMethod:
    body = pending.body
    if body is None or "flat" in pending.overrides.values:
        return pending
    # A form with files has no JSON body that could be given as a mapping.
    flat = body.flat and body.media == "multipart"
    return replace(pending, body=replace(body, required=False, flat=flat), guessed_body=not flat)


def _declared_body(pending: _PendingMethod) -> str | None:
    """Return the component of the body in the schema, even if an override changes the body."""
    if pending.body is None:
        return None
    return mapping(pending.raw, "requestBody").get("x-component") or pending.body.schema


def _requested(pending: _PendingMethod, components: Mapping[str, Any]) -> set[str]:
    """Return the components that the arguments of a method refer to."""
    body = body_components(pending.body, pending.body_schema, components)
    return body | parameter_components(pending.raw)


def _method(
    pending: _PendingMethod,
    directions: Directions,
    class_of: Mapping[str, str],
    overrides: Overrides,
) -> tuple[Method, set[str]]:
    schemas = directions.schemas
    names = NameAllocator(_argument_wire_names(pending))
    parameters = build_parameters(
        pending.raw, pending.route.parameters, schemas, pending.overrides, names
    )
    arguments = parameter_arguments(parameters, pending.raw, schemas, class_of)
    requested = parameter_components(pending.raw)
    body = pending.body
    if body is not None:
        if pending.guessed_body:
            fields, used = [_any_body(names)], set[str]()
        else:
            fields, used = field_arguments(body, pending.body_schema, directions, class_of, names)
        requested |= used
        arguments += fields
        if body.flat:
            body = replace(body, fields=tuple((a.python_name, a.wire_name) for a in fields))
    model = pending.response.result.model
    writes = _writes(pending)
    # A view with an empty list needs no key.
    states_security = pending.raw.get("security") is not None
    scope_rule = {} if states_security else _rule(overrides.scopes, pending.key) or {}
    bucket_rule = _rule(overrides.buckets, pending.key)
    operation = Operation(
        id=pending.name,
        method=pending.method.upper(),
        path=_canonical(pending.route),
        owner=pending.route.owner,
        parameters=parameters,
        body=body,
        result=replace(pending.response.result, model=_fill_class_names(model, class_of)),
        pagination=pending.pagination,
        scopes=_scopes(pending.raw) or _scopes_by_rule(scope_rule, writes),
        buckets=tuple(bucket_rule["buckets"]) if bucket_rule else _DEFAULT_BUCKETS,
        writes=writes,
        # By RFC 9110; overrides mark the operations that behave differently.
        idempotent=bool(
            pending.overrides.get("idempotent", pending.method in {"put", "delete"} or not writes)
        ),
        api_key_allowed=bool(
            pending.overrides.get("api_key_allowed", not scope_rule.get("session_only"))
        ),
        deprecated=bool(pending.raw.get("deprecated")),
        schema_operations=_schema_operations(pending),
        # The schemas of other instances may have the operation.
        schema_gap_source=pending.overrides.get("schema_gap_source")
        if pending.raw.get("x-added")
        else None,
    )
    method = Method(
        operation,
        tuple(sorted(arguments, key=_argument_rank)),
        _fill_class_names(pending.response.returns, class_of) or "None",
        cursor=pending.pagination is not None,
        doc=str(pending.raw.get("description") or pending.raw.get("summary") or ""),
        note=str(pending.overrides.get("note") or ""),
        assumed_buckets=bucket_rule is None,
        assumed_scopes=bool(scope_rule.get("object")),
    )
    return method, requested


def _any_body(names: NameAllocator) -> Argument:
    doc = "The JSON body. PostHog's schema does not say which fields this action reads."
    return Argument(names.allocate("body"), "body", "body", "Mapping[str, JSON]", False, doc)


def _argument_wire_names(pending: _PendingMethod) -> Iterator[str]:
    """Yield the wire name of everything that becomes an argument."""
    yield from pending.route.parameters
    yield from (p["name"] for p in objects(pending.raw, "parameters") if p["in"] != "path")
    if pending.body is None:
        return
    if pending.body.flat:
        yield from properties(pending.body_schema)
    else:
        yield "body"


def _argument_rank(argument: Argument) -> tuple[bool, bool]:
    """Return a sort key: path arguments first, in the order of the path, then required ones."""
    return argument.location != "path", argument.location != "path" and not argument.required


def _fill_class_names(text: str | None, class_of: Mapping[str, str]) -> str | None:
    return text and _PLACEHOLDER.sub(lambda match: class_of[match.group(1)], text)


def _canonical(route: Route) -> str:
    """Return the path with the owner's placeholder as `{project_id}` or `{organization_id}`."""
    if route.owner_parameter is None:
        return route.path
    return route.path.replace(f"{{{route.owner_parameter}}}", f"{{{route.owner}_id}}", 1)


def _scopes(raw: Mapping[str, Any]) -> tuple[str, ...]:
    requirements = cast("list[dict[str, list[str]]]", raw.get("security") or [])
    return tuple(sorted({s for item in requirements for scopes in item.values() for s in scopes}))


def _writes(pending: _PendingMethod) -> bool:
    if "writes" in pending.overrides.values:
        return bool(pending.overrides.get("writes"))
    scopes = _scopes(pending.raw)
    if pending.method == "get":
        # Some views write on GET. They require a write scope.
        return bool(scopes) and all(scope.endswith(":write") for scope in scopes)
    # A POST that requires only read scopes is a query or a search with a body.
    reads = bool(scopes) and all(scope.endswith(":read") for scope in scopes)
    return not (reads and pending.method == "post")


def _scopes_by_rule(rule: Mapping[str, Any], writes: bool) -> tuple[str, ...]:
    """Return the scopes of an operation whose security the schema leaves out."""
    if "object" in rule:
        return (f"{rule['object']}:{'write' if writes else 'read'}",)
    return tuple(rule.get("scopes", ()))


def _rule(rules: tuple[Mapping[str, Any], ...], key: str) -> Mapping[str, Any] | None:
    """Return the first rule with a pattern that matches an operation."""
    matching = (r for r in rules if any(fnmatchcase(key, pattern) for pattern in r["match"]))
    return next(matching, None)


def _schema_operations(pending: _PendingMethod) -> tuple[str, ...]:
    """Return the operations of the schema that a method calls; several if there are twins."""
    if pending.raw.get("x-added"):
        return ()
    twins = tuple(strings(pending.raw, "x-twins"))
    return twins if pending.raw.get("x-moved") else (pending.key, *twins)


def _is_soft_delete(pending: _PendingMethod, sibling: _PendingMethod | None) -> bool:
    """Whether DELETE is refused with 405 and PATCH sets `deleted` instead."""
    if "soft_delete" in pending.overrides.values:
        return bool(pending.overrides.get("soft_delete"))
    if sibling is None or set(mapping(pending.raw, "responses")) != {"405"}:
        return False
    field = properties(sibling.body_schema).get("deleted")
    return field is not None and not field.get("readOnly")


def _soft_delete_methods(pending: _PendingMethod, update: Method) -> Iterator[Method]:
    """Yield `delete` and `restore`, which send the PATCH that the server requires instead."""
    parent = pending.name.rpartition(".")[0]
    for name, deleted in ((pending.name, True), (f"{parent}.restore", False)):
        operation = replace(
            update.operation,
            id=name,
            parameters=update.operation.path_parameters,
            body=replace(update.operation.body, fields=()) if update.operation.body else None,
            fixed_body={"deleted": deleted},
            idempotent=True,
            schema_operations=_schema_operations(pending) if deleted else (),
        )
        yield replace(
            update,
            operation=operation,
            arguments=tuple(a for a in update.arguments if a.location == "path"),
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

    def build(path: tuple[str, ...]) -> Resource:
        children = sorted(p for p in by_path if p[:-1] == path)
        return Resource(path, classes[path], tuple(by_path[path]), tuple(map(build, children)))

    taken: dict[str, set[str]] = {}
    for path in sorted(by_path):
        name, used = resource_class(path), taken.setdefault(path[0], set())
        while name in used or name in _MODULE_NAMES or keyword.iskeyword(name):
            name = f"{name}Resource"
        used.add(name)
        classes[path] = name
    return tuple(build(path) for path in sorted(by_path) if len(path) == 1)
