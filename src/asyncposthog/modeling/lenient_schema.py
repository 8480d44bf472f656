"""Core schemas made tolerant: what `Model` does to the types of its fields.

Real servers send null where the schema says never, leave out what it requires, and know variants
of a union that it does not. The types are opened up for that once, when a class is built, so that
pydantic-core can read an answer in one pass. Python is only asked where no tag tells the variants
of a union apart.
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
    """Open the fields of a model's own core schema, in place.

    Every field may be null or absent (then it reads as None), and tagged unions take variants
    they do not know as plain dicts. Nested models are left alone: they do it themselves.
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
    """Marks a type that is no model: `Annotated[list[Flag | Cohort], Lenient()]`."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Open the schema of the type."""
        schema = cast("Schema", handler(source))
        return cast("CoreSchema", _relax(schema, _resolver(handler), lambda: source)[0])


def _resolver(handler: GetCoreSchemaHandler) -> _Resolve:
    def resolve(reference: Schema) -> Schema | None:
        try:
            return cast("Schema", handler.resolve_ref_schema(cast("CoreSchema", reference)))
        except LookupError:  # of a recursive type that is still being built
            return None

    return resolve


def _model_fields(schema: Schema, resolve: _Resolve) -> Schema | None:
    """Find the fields below validators, serialisers and references."""
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
    if not keep_serializer:
        schema.setdefault("serialization", _ANY)
    return schema


def _nullable(schema: Schema) -> Schema:
    if schema["type"] in _NO_NULL_NEEDED:
        return schema
    return {"type": "nullable", "schema": schema}


def _relax(schema: Schema, resolve: _Resolve, annotation: Annotation) -> tuple[Schema, bool]:
    """Return a schema that takes null in lists and dicts, and unknown variants of unions.

    Also whether its serialisation has to be kept: there are models in it, or a serialiser.
    """
    kind = schema["type"]
    if kind in _LEAVES:
        return schema, "serialization" in schema
    if kind == "tagged-union" or _has_pending_discriminator(schema):
        return _with_fallback(schema, schema, resolve, annotation), True
    if kind == "definition-ref":
        target = resolve(schema)
        # A named alias of a union; models are left to themselves.
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
            inner, found = _relax(schema[key], resolve, annotation)
            schema[key] = _nullable(inner)
            keep_serializer |= found
    if kind not in _MODELS and isinstance(schema.get("schema"), dict):
        schema["schema"], found = _relax(schema["schema"], resolve, annotation)
        keep_serializer |= found
    return schema, keep_serializer


def _relax_choices(union: Schema, resolve: _Resolve, annotation: Annotation) -> bool:
    """Open the branches of a union, in place, and return whether to keep how it is serialised."""
    choices: list[Schema | tuple[Schema, str]] = union["choices"]
    keep_serializer = False
    for index, choice in enumerate(choices):
        relaxed, found = _relax(_choice_schema(choice), resolve, annotation)
        choices[index] = (relaxed, choice[1]) if isinstance(choice, tuple) else relaxed
        keep_serializer |= found
    return keep_serializer


def _choice_schema(choice: Any) -> Schema:
    return cast("Schema", choice[0] if isinstance(choice, tuple) else choice)


def _has_pending_discriminator(schema: Schema) -> bool:
    """Whether pydantic is going to make a tagged union of it, once it knows every variant."""
    metadata: Mapping[str, Any] | None = schema.get("metadata")
    return bool(metadata) and any(key.endswith("union_discriminator") for key in metadata)


def _is_relaxed(union: Schema) -> bool:
    """Whether a union is one that was made here."""
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
    """Return a union that asks first which variant an object is, if there are several."""
    selector = _variant_selector(union, resolve, annotation, None)
    if selector is None:
        return schema
    return {"type": "union", "mode": "left_to_right", "choices": [selector, schema]}


def _variant_selector(
    union: Schema, resolve: _Resolve, annotation: Annotation, tag: str | None
) -> tuple[Schema, str] | None:
    """Return the choice of the variant by its required fields."""
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
        # Never writes anything: that is left to the union that follows.
        "serialization": {"type": "none"},
    }, "complete variant"


def _variants(schema: Schema, resolve: _Resolve) -> Iterator[tuple[type[BaseModel] | str, Schema]]:
    """Yield the models of a union and of unions in it, with what reads them."""
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
    """Return the model that a schema makes, below its validators."""
    current: Schema | None = schema
    while current is not None and current["type"] != "model":
        current = current.get("schema")
    return None if current is None or current.get("root_model") else current["cls"]


def _with_fallback(
    schema: Schema, union: Schema, resolve: _Resolve, annotation: Annotation
) -> Schema:
    """Return a union of the tagged union and, for variants it does not know, a plain dict."""
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
