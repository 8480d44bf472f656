"""Where a value departs from what its annotations say."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
)
from uuid import UUID

from pydantic import BaseModel

from .pydantic_fields import ensure_fields_built, resolve_type_alias, wire_name

__all__ = ["SchemaMismatch", "dotted", "find_mismatches"]

Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class SchemaMismatch:
    """One place where an answer is not what the schema promises."""

    path: Path
    """Names on the wire, and positions in lists."""
    reason: str

    def __str__(self) -> str:
        """Read as `results[3].id: missing`."""
        return f"{dotted(self.path) or 'the answer'}: {self.reason}"


def dotted(path: Path, *, positions: bool = True) -> str:
    """Write a path as `results[3].id`, or as `results[].id` without positions."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]" if positions else "[]"
        else:
            text += f".{part}" if text else part
    return text


def find_mismatches(value: object, annotation: Any = Any) -> list[SchemaMismatch]:
    """Compare a model, or models in lists and dicts, with the annotations.

    Args:
        value: What was decoded.
        annotation: What it should be; models inside are held against their own.

    Returns:
        Fields that are missing though required, null where that is not allowed, or of another type.
    """
    if annotation is Any:
        return list(_search(value, ()))
    return list(_compare(value, _CompiledAnnotation(annotation), ()))


_SCALARS: Final = frozenset(
    {bool, bytes, date, datetime, Decimal, float, int, str, types.NoneType, UUID}
)


class _CompiledAnnotation:
    """An annotation, prepared for comparing many values with it."""

    __slots__ = ("_items", "_values", "branches", "exact", "open", "settled")

    def __init__(self, annotation: Any) -> None:
        self.branches = _branches(annotation)
        self.open = any(_is_open(branch) for branch in self.branches)
        # Types that fit without a closer look: nearly every value is settled by this.
        self.exact = frozenset(t for b in self.branches for t in _exact(get_origin(b) or b))
        # Of these, the types that hold nothing to look into.
        self.settled = frozenset(t for t in self.exact if t in _SCALARS)
        self._items: _CompiledAnnotation | None = None
        self._values: _CompiledAnnotation | None = None

    def fits(self, value: object) -> bool:
        """Whether a value is of the right kind, without looking into it."""
        if self.open or type(value) in self.exact:
            return True
        return any(_fits_branch(value, branch) for branch in self.branches)

    @property
    def items(self) -> _CompiledAnnotation:
        """The shape of what a list holds."""
        if self._items is None:  # not before it is asked for: aliases may be recursive
            self._items = self._argument(list, 0)
        return self._items

    @property
    def values(self) -> _CompiledAnnotation:
        """The shape of the values of a dict."""
        if self._values is None:
            self._values = self._argument(dict, 1)
        return self._values

    def _argument(self, container: type, position: int) -> _CompiledAnnotation:
        found = [b for b in self.branches if get_origin(b) is container]
        if self.open or len(found) != 1:
            return _OPEN
        return _CompiledAnnotation(get_args(found[0])[position])


_Plan: TypeAlias = "tuple[tuple[str, str, bool, _CompiledAnnotation], ...]"

# A cache of pure results. A class that goes away takes its entry with it.
_PLAN: Final = "__asyncposthog_shapes__"


def _plan(cls: type[BaseModel]) -> _Plan:
    """Return (Python name, wire name, whether required, shape) of every field."""
    plan: _Plan | None = cls.__dict__.get(_PLAN)
    if plan is None:
        ensure_fields_built(cls)
        plan = tuple(
            (
                name,
                wire_name(name, field),
                field.is_required(),
                _CompiledAnnotation(field.annotation),
            )
            for name, field in cls.model_fields.items()
        )
        setattr(cls, _PLAN, plan)
    return plan


def _search(value: object, path: Path) -> Iterator[SchemaMismatch]:
    """Find the models in lists and dicts of which nothing is known."""
    if isinstance(value, BaseModel):
        yield from _fields(value, path)
    elif isinstance(value, list | dict):
        for part, item in _parts(cast("list[object] | dict[str, object]", value)):
            yield from _search(item, (*path, part))


def _parts(
    value: list[object] | dict[str, object],
) -> Iterable[tuple[int, object]] | Iterable[tuple[str, object]]:
    return enumerate(value) if isinstance(value, list) else value.items()


def _compare(value: object, shape: _CompiledAnnotation, path: Path) -> Iterator[SchemaMismatch]:
    if not shape.fits(value):
        yield SchemaMismatch(path, f"expected {_describe(shape.branches)}, got {_kind(value)}")
    elif isinstance(value, BaseModel):
        yield from _fields(value, path)
    elif isinstance(value, list | dict):
        inner = shape.items if isinstance(value, list) else shape.values
        if not inner.open:
            for part, item in _parts(cast("list[object] | dict[str, object]", value)):
                if type(item) not in inner.settled:
                    yield from _compare(item, inner, (*path, part))


def _fields(model: BaseModel, path: Path) -> Iterator[SchemaMismatch]:
    plan, data = _plan(type(model)), vars(model)
    if type(model).__pydantic_root_model__:
        yield from _compare(data["root"], plan[0][3], path)
        return
    sent = model.__pydantic_fields_set__
    for name, wire, required, shape in plan:
        if name not in sent:
            if required:
                yield SchemaMismatch((*path, wire), "missing")
        elif type(data[name]) not in shape.settled and not shape.open:
            yield from _compare(data[name], shape, (*path, wire))


def _branches(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, aliases resolved; anything else as its only member."""
    annotation = resolve_type_alias(annotation)
    origin = get_origin(annotation)
    if origin is Annotated:
        return _branches(get_args(annotation)[0])
    if origin is Union or origin is types.UnionType:
        return tuple(b for member in get_args(annotation) for b in _branches(member))
    return (annotation,)


_EXACT: Final[Mapping[Any, tuple[type, ...]]] = {
    None: (types.NoneType,),
    float: (float, int),
    date: (date,),
}


def _exact(kind: Any) -> tuple[type, ...]:
    return _EXACT.get(kind) or ((kind,) if isinstance(kind, type) else ())


def _is_open(annotation: Any) -> bool:
    return annotation is Any or annotation is object or isinstance(annotation, TypeVar | str)


def _fits_branch(value: object, annotation: Any) -> bool:
    """Compare what is no scalar of exactly the right type."""
    kind = get_origin(annotation) or annotation
    if kind is Literal:
        return any(value == a and type(value) is type(a) for a in get_args(annotation))
    if not isinstance(kind, type):
        return _is_open(kind)
    # A subclass fits, but for the two that are subclasses by accident of history.
    return isinstance(value, kind) and type(value) not in (bool, datetime)


_OPEN: Final = _CompiledAnnotation(Any)


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "an object of no known variant" if value else "an empty object"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    return "an array" if isinstance(value, list) else type(value).__name__


def _describe(branches: tuple[Any, ...]) -> str:
    names = [_name(branch) for branch in branches]
    shown = names[:6] + (["…"] if len(names) > 6 else [])
    return " or ".join(dict.fromkeys(shown))


def _name(annotation: Any) -> str:
    if annotation is None or annotation is types.NoneType:
        return "null"
    if get_origin(annotation) is Literal:
        values = get_args(annotation)
        shown = ", ".join(repr(value) for value in values[:6])
        return f"one of {shown}{', …' if len(values) > 6 else ''}"
    return getattr(annotation, "__name__", None) or str(annotation)
