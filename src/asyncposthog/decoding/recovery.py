"""Decode a response with mismatches: matching values are parsed, others are kept raw.

The values with errors are removed from the JSON, the rest is parsed, and the raw values are put
back. Nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from asyncposthog.model import python_names
from asyncposthog.modeling.mismatches import SchemaMismatch

from .adapters import Adapter
from .errors import from_pydantic_error, primary_errors

__all__ = ["decode_partial", "locate"]

Path: TypeAlias = tuple[str | int, ...]

_MAX_PASSES: Final = 32
"""Passes before the whole response is returned raw. Each one removes more values."""


def decode_partial(
    adapter: Adapter, content: bytes, error: ValidationError
) -> tuple[Any, list[SchemaMismatch]]:
    """Decode all values that match.

    Args:
        adapter: The adapter of the response.
        content: The body; it has to be JSON.
        error: The error of parsing all of it.

    Returns:
        The value, and the mismatches, where it has raw data.
    """
    data = from_json(content)
    mismatches: dict[Path, SchemaMismatch] = {}
    removed: set[Path] = set()
    for _ in range(_MAX_PASSES):
        errors_by_path: dict[Path, dict[str, Any]] = {}
        for detail in primary_errors(error):  # a union has an error for each of its choices
            errors_by_path.setdefault(locate(detail["loc"], data), detail)
        parents = {location[:n] for location in errors_by_path for n in range(len(location))}
        for location, detail in errors_by_path.items():
            # If one choice of a union has an error for the object and another for a part of it, the
            # part is removed first. If that does not help, the next pass removes the object.
            if location not in parents and _exists(data, location):
                path = _remove_at(data, location)
                removed.add(path)
                mismatches.setdefault(path, from_pydantic_error(path, detail))
        if () in removed:
            break
        try:
            value = adapter.validate(to_json(data, inf_nan_mode="constants"))
        except ValidationError as next_error:
            error = next_error
            continue
        original = from_json(content)
        outermost = _drop_nested(removed)
        for path in outermost:
            value = _restore_raw(value, path, original)
        return value, [mismatches[path] for path in outermost]
    whole = mismatches.get((), SchemaMismatch((), "no part of it matches"))
    return _construct_raw(adapter.annotation, from_json(content)), [whole]


def locate(location: Iterable[str | int], data: Any) -> Path:
    """Return the path of an error in JSON data, without the names of union choices."""
    path: list[str | int] = []
    for part in location:
        if _has(data, part):
            data = data[part]
            path.append(part)
    return tuple(path)


def _has(data: Any, part: str | int) -> bool:
    if isinstance(data, dict):
        return part in data
    return isinstance(data, list) and isinstance(part, int) and part < len(cast("Any", data))


def _remove_at(data: Any, path: Path) -> Path:
    """Remove the value at a path, or its nearest removable parent; return the path."""
    while path:
        container = _at(data, path[:-1])
        last: Any = path[-1]
        if isinstance(container, dict) and last in container:
            del container[last]
            return path
        if isinstance(container, list) and container[last] is not None:
            container[last] = None  # lists accept null, and the other items keep their positions
            return path
        path = path[:-1]
    return path


def _at(data: Any, path: Path) -> Any:
    for part in path:
        if not _has(data, part):
            return None
        data = data[part]
    return data


def _exists(data: Any, path: Path) -> bool:
    """Return whether no parent of a path was removed."""
    return not path or _has(_at(data, path[:-1]), path[-1])


def _drop_nested(paths: set[Path]) -> list[Path]:
    """Return the paths without those below another one."""
    return sorted(
        (p for p in paths if not any(p[:n] in paths for n in range(len(p)))),
        key=lambda p: [str(part) for part in p],
    )


def _restore_raw(value: Any, path: Path, original: Any) -> Any:
    """Set the raw value at a path, or at its parent if the parsed value does not accept it."""
    while path:
        target = value
        for part in path[:-1]:
            target = _step(target, part)
        if _put(target, path[-1], _at(original, path)):
            return value
        path = path[:-1]
    return original


def _step(value: Any, part: str | int) -> Any:
    value = _below_root(value)
    if isinstance(value, BaseModel):
        return getattr(value, python_names(type(value)).get(str(part), str(part)), None)
    return _at(value, (part,))


def _put(target: Any, part: str | int, raw: Any) -> bool:
    target = _below_root(target)
    if isinstance(target, BaseModel):
        _set(target, str(part), raw)
    elif isinstance(target, dict) or (isinstance(target, list) and isinstance(part, int)):
        cast("Any", target)[part] = raw
    else:
        return False
    return True


def _below_root(value: Any) -> Any:
    while isinstance(value, BaseModel) and type(value).__pydantic_root_model__:
        value = vars(value)["root"]
    return value


def _set(model: BaseModel, wire: str, raw: Any) -> None:
    """Set a known or unknown field without validation."""
    name = python_names(type(model)).get(wire)
    if name is not None:
        vars(model)[name] = raw
        model.__pydantic_fields_set__.add(name)
    elif model.__pydantic_extra__ is not None:
        model.__pydantic_extra__[wire] = raw


def _construct_raw(annotation: Any, data: Any) -> Any:
    """Return raw data as a model without validation, if it is an object and a model is declared."""
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return data
    cls: type[BaseModel] = annotation
    if cls.__pydantic_root_model__ or not isinstance(data, dict):
        return data
    instance = cls.model_construct()
    for name in cls.model_fields:
        vars(instance).setdefault(name, None)
    for wire, raw in cast("dict[str, Any]", data).items():
        _set(instance, wire, raw)
    return instance
