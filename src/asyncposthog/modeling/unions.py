"""Select the variant of a union whose tag does not determine it.

Parsing accepts models without any of their fields, so nearly every object matches every variant.
The required fields of the schema are compared with the object here, before pydantic-core parses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, cast, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from .mismatches import find_mismatches
from .pydantic_fields import ensure_fields_built, json_name, resolve_type_alias

__all__ = [
    "KNOWN_VARIANT",
    "Annotation",
    "Schema",
    "UnknownVariantAsDict",
    "VariantSelector",
]

KNOWN_VARIANT: Final = "known_variant"
"""The type of errors that only refer to the errors of the variant itself."""

Schema: TypeAlias = dict[str, Any]
Annotation: TypeAlias = Callable[[], Any]


class VariantSelector:
    """Returns the variant whose required fields an object has; None if it cannot be selected.

    Variants whose constants differ from the object are excluded. Of several complete variants, the
    one with the most names of the object is selected, then the one whose nested objects match
    best, then the first.
    """

    __slots__ = ("_annotation", "_dicts", "_signatures", "_tag", "_variants")

    __name__: Final = "VariantSelector"  # pydantic-core shows it in errors

    def __init__(
        self,
        variants: Mapping[str, type[BaseModel] | str],
        annotation: Annotation,
        *,
        tag: str | None,
        has_dict_choice: bool,
    ) -> None:
        """Create a selector.

        Args:
            variants: The variants by the name to return: a class, or the reference of a class that
                is not built yet.
            annotation: Returns the annotation, to resolve references.
            tag: The name of the tag. An object that has it was tried before.
            has_dict_choice: Whether the union has a dict for an object without known names.
        """
        self._variants = variants
        self._annotation = annotation
        self._tag = tag
        self._dicts = has_dict_choice
        self._signatures: Sequence[_Variant] | None = None

    def __call__(self, value: object) -> str | None:
        """Return the name of the variant of an object, or None."""
        if not isinstance(value, dict) or self._tag in value:
            return None
        data = cast("dict[str, object]", value)
        if self._signatures is None:
            self._signatures = self._build_signatures()
        fits = [
            (variant[2].matched_fields(data), variant)
            for variant in self._signatures
            if not variant[2].contradicts(data)
        ]
        complete = [
            (len(matched_fields), v)
            for matched_fields, v in fits
            if v[2].required <= matched_fields
        ]
        max_count = max((count for count, _ in complete), default=0)
        best = [variant for count, variant in complete if count == max_count]
        if not best or (self._dicts and data and not max_count):
            return None
        if len(best) == 1:
            return best[0][0]
        closest = _closest_variants(data, best)
        # If no incomplete variant has as many names, pydantic selects one of these, by the types
        # of their fields.
        if self._tag is None and sum(
            len(matched_fields) >= max_count for matched_fields, _ in fits
        ) == len(best):
            return closest[0] if len(closest) == 1 else None
        return closest[0] if closest else None

    def _build_signatures(self) -> Sequence[_Variant]:
        variants: list[_Variant] = []
        for name, variant in self._variants.items():
            if isinstance(variant, str):
                models = _models(self._annotation(), set())
                match = next((model for model in models if _is_reference_to(variant, model)), None)
                if match is None:
                    return ()  # not selectable before all variants are known
                variant = match
            variants.append((name, variant, _signature(variant)))
        return tuple(variants)


def _closest_variants(data: dict[str, object], variants: Iterable[_Variant]) -> Sequence[str]:
    """Return the variants with the fewest mismatches, those in nested objects included."""
    counts: dict[str, int] = {}
    for name, cls, _ in variants:
        with suppress(ValidationError):
            counts[name] = len(find_mismatches(cls.model_validate(data)))
    fewest = min(counts.values(), default=0)
    return [name for name, count in counts.items() if count == fewest]


@dataclass(frozen=True, slots=True)
class _ModelSignature:
    """What distinguishes a model from others."""

    names: Mapping[str, str]
    """Fields by JSON name and Python name."""
    required: frozenset[str]
    constants: tuple[tuple[str, tuple[object, ...]], ...]
    """JSON name and values of every field that is a literal."""

    def matched_fields(self, data: dict[str, object]) -> frozenset[str]:
        return frozenset(self.names[name] for name in data if name in self.names)

    def contradicts(self, data: dict[str, object]) -> bool:
        return any(name in data and data[name] not in values for name, values in self.constants)


_Variant: TypeAlias = tuple[str, type[BaseModel], _ModelSignature]

# A cache on the class itself, so that it is freed with it.
_SIGNATURE: Final = "__asyncposthog_signature__"


def _signature(cls: type[BaseModel]) -> _ModelSignature:
    signature: _ModelSignature | None = cls.__dict__.get(_SIGNATURE)
    if signature is None:
        ensure_fields_built(cls)
        fields = {name: (json_name(name, field), field) for name, field in cls.model_fields.items()}
        closed = ((wire, resolve_type_alias(field.annotation)) for wire, field in fields.values())
        signature = _ModelSignature(
            names={name: name for name in fields} | {wire: n for n, (wire, _) in fields.items()},
            required=frozenset(name for name, (_, f) in fields.items() if f.is_required()),
            constants=tuple(
                (wire, get_args(annotation))
                for wire, annotation in closed
                if getattr(annotation, "__origin__", None) is Literal
            ),
        )
        setattr(cls, _SIGNATURE, signature)
    return signature


def _is_reference_to(reference: str, cls: type[BaseModel]) -> bool:
    # The internal format of pydantic. If it changes, no variant is selected here, and pydantic
    # selects one as usual.
    return reference.startswith(f"{cls.__module__}.{cls.__qualname__}:{id(cls)}")


def _models(annotation: Any, visited: set[int]) -> Iterator[type[BaseModel]]:
    """Yield the models in an annotation, which may be recursive."""
    if id(annotation) in visited:
        return
    visited.add(id(annotation))
    annotation = resolve_type_alias(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument, visited)


class UnknownVariantAsDict:
    """Accepts a dict of an unknown variant, and no other."""

    __slots__ = ("_annotation", "_discriminator", "_known_tags", "_unions")

    def __init__(
        self, discriminator: Any, unions: tuple[Schema, ...], annotation: Annotation
    ) -> None:
        """Accept dicts whose tag none of the unions has."""
        self._discriminator = discriminator
        self._unions = unions
        self._annotation = annotation
        self._known_tags: frozenset[Any] | None = None

    def __call__(self, value: dict[str, Any]) -> dict[str, Any]:
        """Return the dict.

        Raises:
            PydanticCustomError: It has the tag of a known variant.
        """
        name = self._discriminator
        if isinstance(name, str):
            tag = value.get(name)
            if isinstance(tag, str | int) and tag in self._tags(name):
                raise PydanticCustomError(
                    KNOWN_VARIANT, "The value is of a known variant, and does not match it"
                )
        return value

    def _tags(self, name: str) -> frozenset[Any]:
        # Evaluated for the first value that does not match: pydantic may create the tagged union
        # only after all variants are built.
        if self._known_tags is None:
            tagged = next((u for u in self._unions if u["type"] == "tagged-union"), None)
            self._known_tags = frozenset(
                _tags(self._annotation(), name) if tagged is None else tagged["choices"]
            )
        return self._known_tags


def _tags(annotation: Any, discriminator: str) -> Iterable[Any]:
    """Yield the values of the tag of every model in an annotation."""
    annotation = resolve_type_alias(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        ensure_fields_built(annotation)
        for name, field in annotation.model_fields.items():
            if discriminator in (name, json_name(name, field)):
                yield from _literals(field.annotation)
        return
    for argument in get_args(annotation):
        yield from _tags(argument, discriminator)


def _literals(annotation: Any) -> Iterable[Any]:
    annotation = resolve_type_alias(annotation)
    for argument in get_args(annotation):
        if getattr(annotation, "__origin__", None) is Literal:
            yield argument
        else:
            yield from _literals(argument)
