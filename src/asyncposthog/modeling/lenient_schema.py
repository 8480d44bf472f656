"""Relax the core schema of models.

Servers send null and leave out fields in spite of the schema, and send unknown variants of unions.
The core schema is relaxed once, when a class is built, so that pydantic-core parses a response in
one pass. Python code runs only for unions whose variants no tag distinguishes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema

from .pydantic_fields import ensure_fields_built
from .unions import KNOWN_VARIANT, Annotation, Schema, UnknownVariantAsDict, VariantSelector

__all__ = ["Lenient", "make_lenient"]

_ANY: Final = {"type": "any"}
_MODELS: Final = frozenset({"model", "definition-ref", "dataclass", "typed-dict", "definitions"})
_LEAVES: Final = frozenset(
    {"any", "bool", "date", "datetime", "decimal", "float", "int", "literal", "none", "str", "uuid"}
)
_NO_NULL_NEEDED: Final = frozenset({"nullable", "any", "none"})

_Resolve = Callable[[Schema], Schema | None]


def make_lenient(cls: type[BaseModel], schema: CoreSchema, handler: GetCoreSchemaHandler) -> None:
    """Relax the fields in the core schema of a model, in place.

    Fields may be null or missing, and unknown variants of tagged unions become dicts. Nested models
    are not changed, because each relaxes its own schema.
    """
    resolve = _resolver(handler)
    fields = _model_fields(cast("Schema", schema), resolve)
    if fields is None:
        return
    for name, field in fields["fields"].items():
        field["schema"] = _relax_field(field["schema"], resolve, _annotation_of(cls, name))
    extras = fields.get("extras_schema")
    if extras is not None:
        fields["extras_schema"] = _nullable(extras)


class Lenient:
    """Relaxes a type that is not a model: `Annotated[list[Flag | Cohort], Lenient()]`."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the relaxed schema of the type."""
        schema = cast("Schema", handler(source))
        return cast("CoreSchema", _relax(schema, _resolver(handler), lambda: source)[0])


def _resolver(handler: GetCoreSchemaHandler) -> _Resolve:
    def resolve(reference: Schema) -> Schema | None:
        try:
            return cast("Schema", handler.resolve_ref_schema(cast("CoreSchema", reference)))
        except LookupError:  # of a recursive type that is not built yet
            return None

    return resolve


def _model_fields(schema: Schema, resolve: _Resolve) -> Schema | None:
    """Return the fields below validators, serializers and references."""
    current: Schema | None = schema
    while current is not None and current["type"] != "model-fields":
        reference = current["type"] == "definition-ref"
        current = resolve(current) if reference else current.get("schema")
    return current


def _relax_field(schema: Schema, resolve: _Resolve, annotation: Annotation) -> Schema:
    """Return the schema of a field that may be null or absent."""
    has_default = schema["type"] == "default"
    inner, keep_serializer = _relax(
        schema["schema"] if has_default else schema, resolve, annotation
    )
    # Literals distinguish the variants of a tagged union. pydantic finds them below a default, but
    # not below a nullable.
    if inner["type"] != "literal":
        inner = _nullable(inner)
    if has_default:
        schema["schema"] = inner
    else:
        schema = {"type": "default", "schema": inner, "default": None}
    # Serialized by the actual type, so that a raw value causes no warning. Not for nested models:
    # each would build a serializer of its own.
    if not keep_serializer:
        schema.setdefault("serialization", _ANY)
    return schema


def _nullable(schema: Schema) -> Schema:
    if schema["type"] in _NO_NULL_NEEDED:
        return schema
    return {"type": "nullable", "schema": schema}


def _relax(schema: Schema, resolve: _Resolve, annotation: Annotation) -> tuple[Schema, bool]:
    """Return a schema that accepts null in lists and dicts, and unknown variants of unions.

    Also return whether its serialization has to be kept, because of models or a serializer in it.
    """
    kind = schema["type"]
    if kind in _LEAVES:
        return schema, "serialization" in schema
    if kind == "tagged-union" or _has_pending_discriminator(schema):
        return _with_fallback(schema, schema, resolve, annotation), True
    if kind == "definition-ref":
        target = resolve(schema)
        # A named alias of a union. Models relax their own schema.
        if target is None or target["type"] not in ("tagged-union", "union"):
            return schema, True
        if target["type"] == "tagged-union" or _has_pending_discriminator(target):
            return _with_fallback(schema, target, resolve, annotation), True
        return _with_variant_selector(schema, target, resolve, annotation), True
    if kind == "union":
        if _is_relaxed(schema):
            return schema, True
        keep_serializer = _relax_choices(schema, resolve, annotation)
        return _with_variant_selector(schema, schema, resolve, annotation), keep_serializer
    keep_serializer = kind in _MODELS or "serialization" in schema
    for key in ("items_schema", "values_schema"):
        if isinstance(schema.get(key), dict):
            inner, inner_keeps = _relax(schema[key], resolve, annotation)
            schema[key] = _nullable(inner)
            keep_serializer |= inner_keeps
    if kind not in _MODELS and isinstance(schema.get("schema"), dict):
        schema["schema"], inner_keeps = _relax(schema["schema"], resolve, annotation)
        keep_serializer |= inner_keeps
    return schema, keep_serializer


def _relax_choices(union: Schema, resolve: _Resolve, annotation: Annotation) -> bool:
    """Relax the choices of a union, in place; return whether to keep its serialization."""
    choices: list[Schema | tuple[Schema, str]] = union["choices"]
    keep_serializer = False
    for index, choice in enumerate(choices):
        relaxed, inner_keeps = _relax(_choice_schema(choice), resolve, annotation)
        choices[index] = (relaxed, choice[1]) if isinstance(choice, tuple) else relaxed
        keep_serializer |= inner_keeps
    return keep_serializer


def _choice_schema(choice: Any) -> Schema:
    return cast("Schema", choice[0] if isinstance(choice, tuple) else choice)


def _has_pending_discriminator(schema: Schema) -> bool:
    """Return whether pydantic will make a tagged union of it when it has built all variants."""
    metadata: Mapping[str, Any] | None = schema.get("metadata")
    return bool(metadata) and any(key.endswith("union_discriminator") for key in metadata)


def _is_relaxed(union: Schema) -> bool:
    """Return whether a union was created by this module."""
    for choice in map(_choice_schema, union["choices"]):
        function: Mapping[str, Any] = choice.get("function") or {}
        if isinstance(function.get("function"), UnknownVariantAsDict):
            return True
        if isinstance(choice.get("discriminator"), VariantSelector):
            return True
    return False


def _with_variant_selector(
    schema: Schema, union: Schema, resolve: _Resolve, annotation: Annotation
) -> Schema:
    """Return a union that selects the variant by its required fields, if there are several."""
    selector = _variant_selector(union, resolve, annotation, None)
    if selector is None:
        return schema
    return {"type": "union", "mode": "left_to_right", "choices": [selector, schema]}


def _variant_selector(
    union: Schema, resolve: _Resolve, annotation: Annotation, tag: str | None
) -> tuple[Schema, str] | None:
    """Return the choice that selects a variant by its required fields."""
    variants = dict(_variants(union, resolve))
    if len(variants) < 2:
        return None
    names = {f"variant {number}": variant for number, variant in enumerate(variants)}
    has_dict_choice = tag is not None or any(
        _choice_schema(choice)["type"] not in _MODELS for choice in union["choices"]
    )
    return {
        "type": "tagged-union",
        "choices": dict(zip(names, variants.values(), strict=True)),
        "discriminator": VariantSelector(
            names, annotation, tag=tag, has_dict_choice=has_dict_choice
        ),
        "custom_error_type": KNOWN_VARIANT,
        "custom_error_message": "The variant is not known by its required fields",
        # Never serializes: the union after it does.
        "serialization": {"type": "none"},
    }, "complete variant"


def _variants(schema: Schema, resolve: _Resolve) -> Iterator[tuple[type[BaseModel] | str, Schema]]:
    """Yield the models of a union and of nested unions, with their schemas."""
    kind = schema["type"]
    if kind == "union":
        for choice in schema["choices"]:
            yield from _variants(_choice_schema(choice), resolve)
    elif kind == "tagged-union":
        for choice in schema["choices"].values():
            yield from _variants(choice, resolve)
    elif kind == "nullable":
        yield from _variants(schema["schema"], resolve)
    elif kind == "definition-ref":
        target = resolve(schema)
        if target is None:
            yield schema["schema_ref"], dict(schema)
        elif target["type"] in ("union", "tagged-union", "nullable"):
            yield from _variants(target, resolve)
        else:
            cls = _model_class(target)
            if cls is not None:
                yield cls, dict(schema)
    elif "ref" not in schema:
        cls = _model_class(schema)
        if cls is not None:
            yield cls, dict(schema)


def _model_class(schema: Schema) -> type[BaseModel] | None:
    """Return the model class of a schema, below its validators."""
    current: Schema | None = schema
    while current is not None and current["type"] != "model":
        current = current.get("schema")
    return None if current is None or current.get("root_model") else current["cls"]


def _with_fallback(
    schema: Schema, union: Schema, resolve: _Resolve, annotation: Annotation
) -> Schema:
    """Return a union of a tagged union and a dict for unknown variants."""
    discriminator: Any = union.get("discriminator")
    if discriminator is None:
        metadata: Mapping[str, Any] = union["metadata"]
        discriminator = next(
            value for key, value in metadata.items() if key.endswith("union_discriminator")
        )
    fallback: Schema = {
        "type": "function-after",
        "function": {
            "type": "no-info",
            "function": UnknownVariantAsDict(discriminator, (schema, union), annotation),
        },
        "schema": {"type": "dict"},
        "serialization": _ANY,
    }
    tag = discriminator if isinstance(discriminator, str) else None
    selector = None if tag is None else _variant_selector(union, resolve, annotation, tag)
    choices = [schema, *([selector] if selector else []), (fallback, "unknown variant")]
    return {"type": "union", "mode": "left_to_right", "choices": choices}


def _annotation_of(cls: type[BaseModel], name: str) -> Annotation:
    def annotation() -> Any:
        ensure_fields_built(cls)
        return cls.model_fields[name].annotation

    return annotation
