"""Find the places where a value does not match its annotations."""

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
from pydantic.fields import FieldInfo

from .deferred_variants import DeferredVariants
from .pydantic_fields import ensure_fields_built, json_name, resolve_type_alias

__all__ = ["SchemaMismatch", "find_mismatches", "format_path"]

Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class SchemaMismatch:
    """One place where a response does not match the schema."""

    path: Path
    """JSON names, and positions in lists."""
    reason: str

    def __str__(self) -> str:
        """Return text such as `results[3].id: missing`."""
        return f"{format_path(self.path) or 'the response'}: {self.reason}"


def format_path(path: Path, *, positions: bool = True) -> str:
    """Return a path as `results[3].id`, or as `results[].id` without positions."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]" if positions else "[]"
        else:
            text += f".{part}" if text else part
    return text


def find_mismatches(value: object, annotation: Any = Any) -> list[SchemaMismatch]:
    """Compare a value with an annotation, and the models in it with theirs.

    Args:
        value: The decoded value.
        annotation: Its annotation.

    Returns:
        Fields that are missing though required, null where that is not allowed, or of another type.
    """
    if annotation is Any:
        return list(_search_models(value, ()))
    return list(_compare(value, _CompiledAnnotation(annotation), ()))


_SCALARS: Final = frozenset(
    {bool, bytes, date, datetime, Decimal, float, int, str, types.NoneType, UUID}
)


class _CompiledAnnotation:
    """An annotation, prepared for comparison with many values."""

    __slots__ = ("_items", "_values", "accepts_any", "branches", "exact_types", "scalar_types")

    def __init__(self, annotation: Any) -> None:
        self.branches = _branches(annotation)
        self.accepts_any = any(_accepts_any(branch) for branch in self.branches)
        # Types that match without further tests, which is enough for nearly all values.
        self.exact_types = frozenset(
            t for b in self.branches for t in _exact_types(get_origin(b) or b)
        )
        # Those of them whose values contain no other values.
        self.scalar_types = frozenset(t for t in self.exact_types if t in _SCALARS)
        self._items: _CompiledAnnotation | None = None
        self._values: _CompiledAnnotation | None = None

    def fits(self, value: object) -> bool:
        """Return whether the type of a value matches. Its content is not compared."""
        if self.accepts_any or type(value) in self.exact_types:
            return True
        return any(_fits_branch(value, branch) for branch in self.branches)

    @property
    def items(self) -> _CompiledAnnotation:
        """The annotation of list items."""
        if self._items is None:  # created on demand, because aliases may be recursive
            self._items = self._argument(list, 0)
        return self._items

    @property
    def values(self) -> _CompiledAnnotation:
        """The annotation of dict values."""
        if self._values is None:
            self._values = self._argument(dict, 1)
        return self._values

    def _argument(self, container: type, position: int) -> _CompiledAnnotation:
        members = [b for b in self.branches if get_origin(b) is container]
        if self.accepts_any or len(members) != 1:
            return _ANY_ANNOTATION
        return _CompiledAnnotation(get_args(members[0])[position])


_Plan: TypeAlias = "tuple[tuple[str, str, bool, _CompiledAnnotation], ...]"

# A cache of pure results. A class that goes away takes its entry with it.
_PLAN: Final = "__asyncposthog_shapes__"


def _field_plan(cls: type[BaseModel]) -> _Plan:
    """Return (Python name, wire name, whether required, shape) of every field."""
    plan: _Plan | None = cls.__dict__.get(_PLAN)
    if plan is None:
        ensure_fields_built(cls)
        plan = tuple(
            (
                name,
                json_name(name, field),
                field.is_required(),
                _CompiledAnnotation(_field_annotation(field)),
            )
            for name, field in cls.model_fields.items()
        )
        setattr(cls, _PLAN, plan)
    return plan


def _field_annotation(field: FieldInfo) -> Any:
    # pydantic moves the metadata of an annotation to the field.
    deferred = (part for part in field.metadata if isinstance(part, DeferredVariants))
    return next(deferred, field.annotation)


def _search_models(value: object, path: Path) -> Iterator[SchemaMismatch]:
    """Find the models in lists and dicts of which nothing is known."""
    if isinstance(value, BaseModel):
        yield from _compare_fields(value, path)
    elif isinstance(value, list | dict):
        for part, item in _entries(cast("list[object] | dict[str, object]", value)):
            yield from _search_models(item, (*path, part))


def _entries(
    value: list[object] | dict[str, object],
) -> Iterable[tuple[int, object]] | Iterable[tuple[str, object]]:
    return enumerate(value) if isinstance(value, list) else value.items()


def _compare(value: object, expected: _CompiledAnnotation, path: Path) -> Iterator[SchemaMismatch]:
    if not expected.fits(value):
        yield SchemaMismatch(
            path, f"expected {_describe(expected.branches)}, got {_json_kind(value)}"
        )
    elif isinstance(value, BaseModel):
        yield from _compare_fields(value, path)
    elif isinstance(value, list | dict):
        inner = expected.items if isinstance(value, list) else expected.values
        if not inner.accepts_any:
            for part, item in _entries(cast("list[object] | dict[str, object]", value)):
                if type(item) not in inner.scalar_types:
                    yield from _compare(item, inner, (*path, part))


def _compare_fields(model: BaseModel, path: Path) -> Iterator[SchemaMismatch]:
    plan, data = _field_plan(type(model)), vars(model)
    if type(model).__pydantic_root_model__:
        yield from _compare(data["root"], plan[0][3], path)
        return
    sent = model.__pydantic_fields_set__
    for name, wire, required, expected in plan:
        if name not in sent:
            if required:
                yield SchemaMismatch((*path, wire), "missing")
        elif type(data[name]) not in expected.scalar_types and not expected.accepts_any:
            yield from _compare(data[name], expected, (*path, wire))


def _branches(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, aliases resolved; anything else as its only member."""
    annotation = resolve_type_alias(annotation)
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        deferred = (part for part in metadata if isinstance(part, DeferredVariants))
        union = next(deferred, None)
        return _branches(inner) if union is None else (union,)
    if origin is Union or origin is types.UnionType:
        return tuple(b for member in get_args(annotation) for b in _branches(member))
    return (annotation,)


_EXACT_TYPES: Final[Mapping[Any, tuple[type, ...]]] = {
    None: (types.NoneType,),
    float: (float, int),
    date: (date,),
}


def _exact_types(kind: Any) -> tuple[type, ...]:
    return _EXACT_TYPES.get(kind) or ((kind,) if isinstance(kind, type) else ())


def _accepts_any(annotation: Any) -> bool:
    return annotation is Any or annotation is object or isinstance(annotation, TypeVar | str)


def _fits_branch(value: object, annotation: Any) -> bool:
    """Return whether a value matches one member of a union."""
    if isinstance(annotation, DeferredVariants):
        return annotation.includes(type(value))
    kind = get_origin(annotation) or annotation
    if kind is Literal:
        return any(value == a and type(value) is type(a) for a in get_args(annotation))
    if not isinstance(kind, type):
        return _accepts_any(kind)
    # Subclasses match, but bool is not an int in JSON, and datetime not a date.
    return isinstance(value, kind) and type(value) not in (bool, datetime)


_ANY_ANNOTATION: Final = _CompiledAnnotation(Any)


def _json_kind(value: object) -> str:
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
    names = [name for branch in branches for name in _annotation_names(branch)]
    listed = names[:6] + (["…"] if len(names) > 6 else [])
    return " or ".join(dict.fromkeys(listed))


def _annotation_names(annotation: Any) -> Iterable[str]:
    if isinstance(annotation, DeferredVariants):
        return annotation.class_names()
    return (_annotation_name(annotation),)


def _annotation_name(annotation: Any) -> str:
    if annotation is None or annotation is types.NoneType:
        return "null"
    if get_origin(annotation) is Literal:
        values = get_args(annotation)
        listed = ", ".join(repr(value) for value in values[:6])
        return f"one of {listed}{', …' if len(values) > 6 else ''}"
    return getattr(annotation, "__name__", None) or str(annotation)
