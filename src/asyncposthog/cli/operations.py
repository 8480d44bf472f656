"""Find the operation of a command, and convert its arguments from text. Pure."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import reduce
from pathlib import Path
from typing import Any, Final, NoReturn, cast
from uuid import UUID

from asyncposthog import registry
from asyncposthog.operation import Operation

from .error_messages import UsageError
from .schemas import json_types_of, parse_value

__all__ = ["bind_arguments", "client_method", "find_operation", "parse_pairs", "resources", "usage"]

_CRUD: Final = frozenset({"get", "list", "create", "update", "delete"})
_PATH_KINDS: Final = {"integer": frozenset({"integer"})}


def resources() -> dict[str, list[Operation]]:
    """Return the operations of every resource."""
    result: dict[str, list[Operation]] = {}
    for operation in registry.operations():
        result.setdefault(operation.id.rpartition(".")[0], []).append(operation)
    return dict(sorted(result.items()))


def find_operation(resource: str, action: str) -> Operation:
    """Return an operation by the names of its resource and method.

    Raises:
        UsageError: There is none; the message suggests similar names.
    """
    resource_name = resource.strip().replace("-", "_").replace("/", ".").strip(".")
    if not resource_name:
        raise UsageError(
            f"{action!r} is not an operation: use RESOURCE.METHOD.",
            f"For example {action}.list; `asyncposthog resources {action}` lists its operations.",
        )
    try:
        return registry.find(f"{resource_name}.{action}")
    except KeyError:
        pass
    resources_by_name = resources()
    nested = [name for name in resources_by_name if name.startswith(f"{resource_name}.")]
    if resource_name in resources_by_name:
        methods = sorted(op.id.rpartition(".")[2] for op in resources_by_name[resource_name])
        suggestion = f"It has: {', '.join(methods)}."
        if nested:
            suggestion += f" Below it: {', '.join(nested)}."
        elif not _CRUD.issuperset(methods):
            suggestion += " Run other methods with `asyncposthog call RESOURCE.METHOD`."
        raise UsageError(f"{resource_name} has no {action!r}.", suggestion)
    if nested:
        raise UsageError(
            f"{resource_name} has no {action!r}.", f"Use a resource below it: {', '.join(nested)}."
        )
    suggestions = _suggest(resource_name, resources_by_name)
    raise UsageError(
        f"There is no resource {resource!r}.",
        f"Did you mean {' or '.join(suggestions[:5])}?"
        if suggestions
        else "`asyncposthog resources` lists all.",
    )


def _suggest(resource_name: str, candidates: Iterable[str]) -> list[str]:
    names = list(candidates)
    inside = [
        name for name in names if resource_name and (resource_name in name or name in resource_name)
    ]
    last = {name: name.rpartition(".")[2] for name in names}
    close = get_close_matches(resource_name, names, n=3, cutoff=0.6)
    same_last_name = [n for n in names if last[n] == resource_name.rpartition(".")[2]]
    # `versions` most likely means a nested resource of that name, not one that is spelled like it.
    return list(dict.fromkeys([*same_last_name, *close, *inside]))


def client_method(client: object, operation: Operation) -> Callable[..., Any]:
    """Return the generated method of an operation."""
    return cast("Callable[..., Any]", reduce(getattr, operation.id.split("."), client))


def parse_pairs(values: Sequence[str], option: str) -> list[tuple[str, str]]:
    """Split arguments of the form `name=value`.

    Raises:
        UsageError: An argument has no name or no equals sign.
    """
    result: list[tuple[str, str]] = []
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{option} takes NAME=VALUE, not {text!r}.")
        result.append((name.strip(), value))
    return result


def bind_arguments(
    operation: Operation,
    method: Callable[..., Any],
    ids: Sequence[str],
    *,
    params: Sequence[tuple[str, str]] = (),
    fields: Sequence[tuple[str, str]] = (),
    data: Any = None,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a generated method.

    Args:
        operation: The operation.
        method: Its method, whose signature tells which arguments are required.
        ids: The values for its path.
        params: Query parameters, as text.
        fields: Fields of the body, as text.
        data: The body as JSON data; None: there is none.

    Raises:
        UsageError: An argument is missing, unknown, or of the wrong type.
    """
    keywords: dict[str, Any] = {}
    _add_data(operation, data, keywords)
    _add_fields(operation, fields, keywords)
    _add_params(operation, params, keywords)
    _check_required(operation, method, keywords)
    return _path_arguments(operation, ids), keywords


def _path_arguments(operation: Operation, ids: Sequence[str]) -> tuple[Any, ...]:
    parameters = operation.path_parameters
    if len(ids) != len(parameters):
        raise UsageError(
            f"{operation.id} takes {_id_count(len(parameters))}, but {_given_count(len(ids))}.",
            f"Usage: {usage(operation)}",
        )
    values: list[Any] = []
    for parameter, text in zip(parameters, ids, strict=True):
        if parameter.format == "uuid":
            _check_uuid(parameter.python_name, text)
        values.append(
            parse_value(parameter.python_name, text, _PATH_KINDS.get(parameter.type, {"string"}))
        )
    return tuple(values)


def _id_count(count: int) -> str:
    return {0: "no id", 1: "one id"}.get(count, f"{count} ids")


def _given_count(count: int) -> str:
    return {0: "none was given", 1: "one was given"}.get(count, f"{count} were given")


def usage(operation: Operation) -> str:
    """Return the command that calls an operation: `asyncposthog get cohorts ID`."""
    ids = [p.python_name.upper() for p in operation.path_parameters]
    if operation.name in _CRUD:
        return " ".join(("asyncposthog", operation.name, operation.resource, *ids))
    return " ".join(("asyncposthog", "call", operation.id, *ids))


def _check_uuid(name: str, text: str) -> None:
    try:
        UUID(text)
    except ValueError:
        raise UsageError(f"{name} must be a UUID, not {text!r}.") from None


def _add_params(
    operation: Operation, params: Sequence[tuple[str, str]], keywords: dict[str, Any]
) -> None:
    parameters_by_name = {
        name: parameter
        for parameter in operation.parameters
        if parameter.location != "path"
        for name in (parameter.name, parameter.python_name)
    }
    for name, text in params:
        parameter = parameters_by_name.get(name)
        if parameter is None:
            _raise_unknown(
                operation, "parameter", name, {p.name for p in parameters_by_name.values()}
            )
        python = parameter.python_name
        if parameter.type == "array":
            keywords.setdefault(python, []).append(text)
        elif parameter.type == "any":
            keywords[python] = parse_value(name, text, frozenset())
        else:
            keywords[python] = parse_value(name, text, {parameter.type})


def _add_fields(
    operation: Operation, fields: Sequence[tuple[str, str]], keywords: dict[str, Any]
) -> None:
    if not fields:
        return
    body = operation.body
    if body is None:
        hint = " Use --param for the query." if operation.method == "GET" else ""
        raise UsageError(f"{operation.id} takes no fields.{hint}")
    if not body.flat:
        raise UsageError(f"{operation.id} takes its body as a whole: use --data JSON.")
    python_of = {name: python for python, wire in body.fields for name in (python, wire)}
    wire_of = dict(body.fields)
    for name, text in fields:
        python = python_of.get(name)
        if python is None:
            _raise_unknown(operation, "field", name, set(wire_of.values()))
        wire = wire_of[python]
        if wire in body.files:
            keywords[python] = _file(name, text)
        else:
            keywords[python] = parse_value(name, text, json_types_of(body.schema, wire))


def _file(name: str, text: str) -> Path:
    if not text.startswith("@"):
        raise UsageError(f"{name} is a file: give its path as {name}=@PATH.")
    path = Path(text[1:])
    if not path.is_file():
        raise UsageError(f"{name}: there is no file {text[1:]!r}.")
    return path


def _add_data(operation: Operation, data: Any, keywords: dict[str, Any]) -> None:
    if data is None:
        return
    body = operation.body
    if body is None:
        raise UsageError(f"{operation.id} takes no body.")
    if not body.flat:
        keywords["body"] = data
        return
    if not isinstance(data, Mapping):
        raise UsageError(f"{operation.id} takes a JSON object, not {json.dumps(data)[:80]}.")
    python_of = {wire: python for python, wire in body.fields}
    rest: dict[str, Any] = {}
    for name, value in cast("Mapping[str, Any]", data).items():
        if name in python_of:
            keywords[python_of[name]] = value
        else:
            # The server may know fields that the schema lacks.
            rest[name] = value
    if rest:
        keywords["options"] = {"body": rest}


def _check_required(
    operation: Operation, method: Callable[..., Any], keywords: Mapping[str, Any]
) -> None:
    missing = [
        name
        for name, parameter in inspect.signature(method).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        and parameter.default is inspect.Parameter.empty
        and name not in keywords
    ]
    if not missing:
        return
    # Required arguments are read from the signature, which also has the corrections to the schema.
    if missing == ["body"]:
        raise UsageError(
            f"{operation.id} needs a body.", f"Add it with --data: {usage(operation)} --data JSON"
        )
    query_names = {p.python_name for p in operation.parameters}
    options = [f"--{'param' if name in query_names else 'field'} {name}=…" for name in missing]
    raise UsageError(f"{operation.id} needs {', '.join(missing)}.", f"Add {' '.join(options)}.")


def _raise_unknown(operation: Operation, kind: str, name: str, candidates: set[str]) -> NoReturn:
    suggestions = get_close_matches(name, candidates, n=3, cutoff=0.5)
    if suggestions:
        suggestion = f"Did you mean {' or '.join(suggestions)}?"
    elif candidates:
        suggestion = f"It takes: {', '.join(sorted(candidates))}."
    else:
        suggestion = None
    raise UsageError(f"{operation.id} has no {kind} {name!r}.", suggestion)
