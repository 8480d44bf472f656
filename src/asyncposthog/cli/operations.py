"""Which operation a command means, and its arguments made of text. Pure."""

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

from .error_messages import UsageProblem
from .schemas import kinds_of, read_value

__all__ = ["bind", "find_operation", "method_of", "pairs", "resources", "usage"]

_USUAL: Final = frozenset({"get", "list", "create", "update", "delete"})
_PATH_KINDS: Final = {"integer": frozenset({"integer"})}


def resources() -> dict[str, list[Operation]]:
    """Return the operations of every resource."""
    found: dict[str, list[Operation]] = {}
    for operation in registry.operations():
        found.setdefault(operation.id.rpartition(".")[0], []).append(operation)
    return dict(sorted(found.items()))


def find_operation(resource: str, action: str) -> Operation:
    """Return an operation by the name of its resource and of its method.

    Raises:
        UsageProblem: There is none; the message has those of similar names.
    """
    wanted = resource.strip().replace("-", "_").replace("/", ".").strip(".")
    if not wanted:
        raise UsageProblem(
            f"{action!r} names no operation: that is RESOURCE.METHOD.",
            f"As {action}.list; `asyncposthog resources {action}` lists those of one resource.",
        )
    try:
        return registry.find(f"{wanted}.{action}")
    except KeyError:
        pass
    known = resources()
    below = [name for name in known if name.startswith(f"{wanted}.")]
    if wanted in known:
        methods = sorted(op.id.rpartition(".")[2] for op in known[wanted])
        advice = f"It has: {', '.join(methods)}."
        if below:
            advice += f" Below it: {', '.join(below)}."
        elif not _USUAL.issuperset(methods):
            advice += " Other than the usual five: `asyncposthog call RESOURCE.METHOD`."
        raise UsageProblem(f"{wanted} has no {action!r}.", advice)
    near = below or _suggest(wanted, known)
    raise UsageProblem(
        f"There is no resource {resource!r}.",
        f"Did you mean {' or '.join(near[:5])}?" if near else "`asyncposthog resources` lists all.",
    )


def _suggest(wanted: str, known: Iterable[str]) -> list[str]:
    names = list(known)
    inside = [name for name in names if wanted and (wanted in name or name in wanted)]
    last = {name: name.rpartition(".")[2] for name in names}
    close = get_close_matches(wanted, names, n=3, cutoff=0.6)
    nested = [n for n in names if last[n] == wanted.rpartition(".")[2]]
    return list(dict.fromkeys([*nested, *close, *inside]))


def method_of(client: object, operation: Operation) -> Callable[..., Any]:
    """Return the generated method of an operation."""
    return cast("Callable[..., Any]", reduce(getattr, operation.id.split("."), client))


def pairs(given: Sequence[str], option: str) -> list[tuple[str, str]]:
    """Split `name=value`.

    Raises:
        UsageProblem: One has no name or no equals sign.
    """
    found: list[tuple[str, str]] = []
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageProblem(f"{option} takes NAME=VALUE, not {text!r}.")
        found.append((name.strip(), value))
    return found


def bind(
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
        method: Its method, whose signature says what is required.
        ids: What fills its path.
        params: Query parameters, as text.
        fields: Fields of the body, as text.
        data: The body as JSON data; None where there is none.

    Raises:
        UsageProblem: Something is missing, unknown, or of the wrong type.
    """
    keywords: dict[str, Any] = {}
    _take_data(operation, data, keywords)
    _take_fields(operation, fields, keywords)
    _take_params(operation, params, keywords)
    _check_required(operation, method, keywords)
    return _path(operation, ids), keywords


def _path(operation: Operation, ids: Sequence[str]) -> tuple[Any, ...]:
    wanted = operation.path_parameters
    if len(ids) != len(wanted):
        raise UsageProblem(
            f"{operation.id} takes {_number(len(wanted))}, but {_given(len(ids))}.",
            f"Usage: {usage(operation)}",
        )
    values: list[Any] = []
    for parameter, text in zip(wanted, ids, strict=True):
        if parameter.format == "uuid":
            _check_uuid(parameter.python_name, text)
        values.append(
            read_value(parameter.python_name, text, _PATH_KINDS.get(parameter.type, {"string"}))
        )
    return tuple(values)


def _number(count: int) -> str:
    return {0: "no id", 1: "one id"}.get(count, f"{count} ids")


def _given(count: int) -> str:
    return {0: "none was given", 1: "one was given"}.get(count, f"{count} were given")


def usage(operation: Operation) -> str:
    """Return the command that calls an operation: `asyncposthog get cohorts ID`."""
    ids = [p.python_name.upper() for p in operation.path_parameters]
    if operation.name in _USUAL:
        return " ".join(("asyncposthog", operation.name, operation.resource, *ids))
    return " ".join(("asyncposthog", "call", operation.id, *ids))


def _check_uuid(name: str, text: str) -> None:
    try:
        UUID(text)
    except ValueError:
        raise UsageProblem(f"{name} must be a UUID, not {text!r}.") from None


def _take_params(
    operation: Operation, params: Sequence[tuple[str, str]], keywords: dict[str, Any]
) -> None:
    known = {
        name: parameter
        for parameter in operation.parameters
        if parameter.location != "path"
        for name in (parameter.name, parameter.python_name)
    }
    for name, text in params:
        parameter = known.get(name)
        if parameter is None:
            _unknown(operation, "parameter", name, {p.name for p in known.values()})
        python = parameter.python_name
        if parameter.type == "array":
            keywords.setdefault(python, []).append(text)
        elif parameter.type == "any":
            keywords[python] = read_value(name, text, frozenset())
        else:
            keywords[python] = read_value(name, text, {parameter.type})


def _take_fields(
    operation: Operation, fields: Sequence[tuple[str, str]], keywords: dict[str, Any]
) -> None:
    if not fields:
        return
    body = operation.body
    if body is None:
        hint = " Use --param for the query." if operation.method == "GET" else ""
        raise UsageProblem(f"{operation.id} takes no fields.{hint}")
    if not body.flat:
        raise UsageProblem(f"{operation.id} takes its body as a whole: use --data JSON.")
    python_of = {name: python for python, wire in body.fields for name in (python, wire)}
    wire_of = dict(body.fields)
    for name, text in fields:
        python = python_of.get(name)
        if python is None:
            _unknown(operation, "field", name, set(wire_of.values()))
        wire = wire_of[python]
        if wire in body.files:
            keywords[python] = _file(name, text)
        else:
            keywords[python] = read_value(name, text, kinds_of(body.schema, wire))


def _file(name: str, text: str) -> Path:
    if not text.startswith("@"):
        raise UsageProblem(f"{name} is a file: give its path as {name}=@PATH.")
    path = Path(text[1:])
    if not path.is_file():
        raise UsageProblem(f"{name}: there is no file {text[1:]!r}.")
    return path


def _take_data(operation: Operation, data: Any, keywords: dict[str, Any]) -> None:
    if data is None:
        return
    body = operation.body
    if body is None:
        raise UsageProblem(f"{operation.id} takes no body.")
    if not body.flat:
        keywords["body"] = data
        return
    if not isinstance(data, Mapping):
        raise UsageProblem(f"{operation.id} takes a JSON object, not {json.dumps(data)[:80]}.")
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
    if missing == ["body"]:
        raise UsageProblem(
            f"{operation.id} needs a body.", f"Give it with --data: {usage(operation)} --data JSON"
        )
    queried = {p.python_name for p in operation.parameters}
    shown = [f"--{'param' if name in queried else 'field'} {name}=…" for name in missing]
    raise UsageProblem(f"{operation.id} needs {', '.join(missing)}.", f"Add {' '.join(shown)}.")


def _unknown(operation: Operation, what: str, name: str, known: set[str]) -> NoReturn:
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        advice = f"Did you mean {' or '.join(near)}?"
    elif known:
        advice = f"It takes: {', '.join(sorted(known))}."
    else:
        advice = None
    raise UsageProblem(f"{operation.id} has no {what} {name!r}.", advice)
