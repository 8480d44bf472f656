"""Core schemas made tolerant: what `Model` does to the types of its fields.

Real servers send null where the schema says never, leave out what it requires, and know variants
of a union that it does not. The types are opened up for that once, when a class is built, so that
pydantic-core can read an answer in one pass, without a line of Python.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any, Final, Literal, cast, get_args, get_type_hints

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError

__all__ = [
    "KNOWN_VARIANT",
    "Lenient",
    "accept_deviations",
    "alias_value",
    "complete_fields",
    "wire_name",
]

KNOWN_VARIANT: Final = "known_variant"
"""The type of the error that only says: look at the errors of the variant itself."""

_ANY: Final = {"type": "any"}
_MODELS: Final = frozenset({"model", "definition-ref", "dataclass", "typed-dict", "definitions"})
_LEAVES: Final = frozenset(
    {"any", "bool", "date", "datetime", "decimal", "float", "int", "literal", "none", "str", "uuid"}
)
_NO_NULL_NEEDED: Final = frozenset({"nullable", "any", "none"})

_Schema = dict[str, Any]
_Resolve = Callable[[_Schema], _Schema | None]
_Annotation = Callable[[], Any]


def accept_deviations(
    cls: type[BaseModel], schema: CoreSchema, handler: GetCoreSchemaHandler
) -> None:
    """Open the fields of a model's own core schema, in place.

    Every field may be null or absent (then it reads as None), and tagged unions take variants
    they do not know as plain dicts. Nested models are left alone: they do it themselves.
    """
    resolve = _resolver(handler)
    fields = _model_fields(cast("_Schema", schema), resolve)
    if fields is None:
        return
    for name, field in fields["fields"].items():
        field["schema"] = _open_field(field["schema"], resolve, _annotation_of(cls, name))
    extras = fields.get("extras_schema")
    if extras is not None:
        fields["extras_schema"] = _nullable(extras)


class Lenient:
    """Marks a type that is no model: `Annotated[list[Flag | Cohort], Lenient()]`."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Open the schema of the type."""
        schema = cast("_Schema", handler(source))
        return cast("CoreSchema", _open(schema, _resolver(handler), lambda: source)[0])


def _resolver(handler: GetCoreSchemaHandler) -> _Resolve:
    def resolve(reference: _Schema) -> _Schema | None:
        try:
            return cast("_Schema", handler.resolve_ref_schema(cast("CoreSchema", reference)))
        except LookupError:  # of a recursive type that is still being built
            return None

    return resolve


def _model_fields(schema: _Schema, resolve: _Resolve) -> _Schema | None:
    """Find the fields below validators, serialisers and references."""
    current: _Schema | None = schema
    while current is not None and current["type"] != "model-fields":
        reference = current["type"] == "definition-ref"
        current = resolve(current) if reference else current.get("schema")
    return current


def _open_field(schema: _Schema, resolve: _Resolve, annotation: _Annotation) -> _Schema:
    """Return the schema of a field that may be null or absent."""
    has_default = schema["type"] == "default"
    inner, keep = _open(schema["schema"] if has_default else schema, resolve, annotation)
    # The values of a literal are what tells the variants of a tagged union apart: pydantic finds
    # them below a default, but not below a nullable.
    if inner["type"] != "literal":
        inner = _nullable(inner)
    if has_default:
        schema["schema"] = inner
    else:
        schema = {"type": "default", "schema": inner, "default": None}
    # Serialised by what it is, not by what it should be: a raw value draws no warning. Not so for
    # nested models: that would make each of them build a serialiser of its own.
    if not keep:
        schema.setdefault("serialization", _ANY)
    return schema


def _nullable(schema: _Schema) -> _Schema:
    if schema["type"] in _NO_NULL_NEEDED:
        return schema
    return {"type": "nullable", "schema": schema}


def _open(schema: _Schema, resolve: _Resolve, annotation: _Annotation) -> tuple[_Schema, bool]:
    """Return a schema that takes null in lists and dicts, and unknown variants of unions.

    Also whether its serialisation has to be kept: there are models in it, or a serialiser.
    """
    kind = schema["type"]
    if kind in _LEAVES:
        return schema, "serialization" in schema
    if kind == "tagged-union" or _awaits_discriminator(schema):
        return _with_fallback(schema, annotation), True
    if kind == "definition-ref":
        target = resolve(schema)
        # A named alias of a tagged union; models are left to themselves.
        if target is not None and (
            target["type"] == "tagged-union" or _awaits_discriminator(target)
        ):
            return _with_fallback(schema, annotation, target), True
        return schema, True
    if kind == "union":
        return schema, _open_choices(schema, resolve, annotation)
    keep = kind in _MODELS or "serialization" in schema
    for key in ("items_schema", "values_schema"):
        if isinstance(schema.get(key), dict):
            inner, found = _open(schema[key], resolve, annotation)
            schema[key] = _nullable(inner)
            keep |= found
    if kind not in _MODELS and isinstance(schema.get("schema"), dict):
        schema["schema"], found = _open(schema["schema"], resolve, annotation)
        keep |= found
    return schema, keep


def _open_choices(union: _Schema, resolve: _Resolve, annotation: _Annotation) -> bool:
    """Open the branches of a union, in place, and return whether to keep how it is serialised."""
    choices: list[_Schema | tuple[_Schema, str]] = union["choices"]
    if any(_is_fallback(_choice(choice)) for choice in choices):
        return True  # it was opened before
    keep = False
    for index, choice in enumerate(choices):
        opened, found = _open(_choice(choice), resolve, annotation)
        choices[index] = (opened, choice[1]) if isinstance(choice, tuple) else opened
        keep |= found
    return keep


def _choice(choice: Any) -> _Schema:
    return cast("_Schema", choice[0] if isinstance(choice, tuple) else choice)


def _awaits_discriminator(schema: _Schema) -> bool:
    """Whether pydantic is going to make a tagged union of it, once it knows every variant."""
    metadata: Mapping[str, Any] | None = schema.get("metadata")
    return bool(metadata) and any(key.endswith("union_discriminator") for key in metadata)


def _is_fallback(schema: _Schema) -> bool:
    function: Mapping[str, Any] = schema.get("function") or {}
    return isinstance(function.get("function"), _Fallback)


def _with_fallback(
    schema: _Schema, annotation: _Annotation, target: _Schema | None = None
) -> _Schema:
    """Return a union of the tagged union and, for variants it does not know, a plain dict."""
    union = schema if target is None else target
    discriminator: Any = union.get("discriminator")
    if discriminator is None:
        metadata: Mapping[str, Any] = union["metadata"]
        discriminator = next(
            value for key, value in metadata.items() if key.endswith("union_discriminator")
        )
    fallback: _Schema = {
        "type": "function-after",
        "function": {
            "type": "no-info",
            "function": _Fallback(discriminator, (schema, union), annotation),
        },
        "schema": {"type": "dict"},
        "serialization": _ANY,
    }
    choices = [schema, (fallback, "unknown variant")]
    return {"type": "union", "mode": "left_to_right", "choices": choices}


class _Fallback:
    """Takes a dict that is of no known variant, and only such a dict."""

    __slots__ = ("_annotation", "_discriminator", "_known", "_unions")

    def __init__(
        self, discriminator: Any, unions: tuple[_Schema, ...], annotation: _Annotation
    ) -> None:
        self._discriminator = discriminator
        self._unions = unions
        self._annotation = annotation
        self._known: frozenset[Any] | None = None

    def __call__(self, value: dict[str, Any]) -> dict[str, Any]:
        name = self._discriminator
        if isinstance(name, str):
            tag = value.get(name)
            if isinstance(tag, str | int) and tag in self._tags(name):
                raise PydanticCustomError(
                    KNOWN_VARIANT, "The value is of a known variant, and does not fit it"
                )
        return value

    def _tags(self, name: str) -> frozenset[Any]:
        # Only now, when the first value does not fit: pydantic may have put off telling the
        # variants apart until it had seen all of them.
        if self._known is None:
            tagged = next((u for u in self._unions if u["type"] == "tagged-union"), None)
            self._known = frozenset(
                _tags(self._annotation(), name) if tagged is None else tagged["choices"]
            )
        return self._known


def _tags(annotation: Any, discriminator: str) -> Iterable[Any]:
    """Yield the values of the discriminating field of every model in an annotation."""
    annotation = alias_value(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        complete_fields(annotation)
        for name, field in annotation.model_fields.items():
            if discriminator in (name, wire_name(name, field)):
                yield from _literals(field.annotation)
        return
    for argument in get_args(annotation):
        yield from _tags(argument, discriminator)


def _literals(annotation: Any) -> Iterable[Any]:
    annotation = alias_value(annotation)
    for argument in get_args(annotation):
        if getattr(annotation, "__origin__", None) is Literal:
            yield argument
        else:
            yield from _literals(argument)


def alias_value(annotation: Any) -> Any:
    """Return what a `type` alias stands for; anything else as it is."""
    while hasattr(annotation, "__value__"):
        module = sys.modules.get(annotation.__module__)
        holder = SimpleNamespace(__annotations__={"value": annotation.__value__})
        try:
            hints = get_type_hints(holder, vars(module) if module else None, include_extras=True)
        except NameError:  # it names something that is only there for type checkers
            return Any
        annotation = hints["value"]
    return annotation


def _annotation_of(cls: type[BaseModel], name: str) -> Callable[[], Any]:
    def annotation() -> Any:
        complete_fields(cls)
        return cls.model_fields[name].annotation

    return annotation


def complete_fields(cls: type[BaseModel]) -> None:
    """Resolve the annotations of a class whose building was deferred."""
    complete = getattr(cls, "__pydantic_fields_complete__", None)
    if complete is None:  # before pydantic 2.11
        complete = cls.__pydantic_complete__
    if not complete:
        cls.model_rebuild(raise_errors=False)


def wire_name(name: str, field: Any) -> str:
    """Return the name a field has in JSON."""
    alias = field.validation_alias or field.alias
    return alias if isinstance(alias, str) else name
