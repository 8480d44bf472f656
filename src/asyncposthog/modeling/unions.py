"""Which variant of a union an object is, where its tag does not tell.

All of a model's fields may be absent when it is read, so nearly every object fits every variant:
what the schema requires is held against the object here, before pydantic-core reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
"""The type of the error that only says: look at the errors of the variant itself."""

Schema: TypeAlias = dict[str, Any]
Annotation: TypeAlias = Callable[[], Any]


class VariantSelector:
    """Names the variant of which an object has everything required; None leaves it to the rest.

    A variant whose constants the object contradicts is out. Of several that are complete, the one
    that knows the most of the object's names wins, then the one whose own objects fit best, then
    the first.
    """

    __slots__ = ("_annotation", "_dicts", "_signatures", "_tag", "_variants")

    __name__: Final = "VariantSelector"  # pydantic-core shows it

    def __init__(
        self,
        variants: Mapping[str, type[BaseModel] | str],
        annotation: Annotation,
        *,
        tag: str | None,
        has_dict_choice: bool,
    ) -> None:
        """Choose among variants.

        Args:
            variants: Each by the name to return: a class, or the reference of one that is
                still being built.
            annotation: Finds the classes behind references.
            tag: What tells the variants apart; where it is there, it was tried before.
            has_dict_choice: Whether an object in which nothing is known has another place.
        """
        self._variants = variants
        self._annotation = annotation
        self._tag = tag
        self._dicts = has_dict_choice
        self._signatures: Sequence[_Variant] | None = None

    def __call__(self, value: object) -> str | None:
        """Return the name of a variant."""
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
        # Where no incomplete variant knows as much, pydantic is sure to take one of these, and
        # tells them apart by the types of their fields.
        if self._tag is None and sum(
            len(matched_fields) >= max_count for matched_fields, _ in fits
        ) == len(best):
            return None
        return _closest_variant(data, best)

    def _build_signatures(self) -> Sequence[_Variant]:
        found: list[_Variant] = []
        for name, variant in self._variants.items():
            if isinstance(variant, str):
                models = _models(self._annotation(), set())
                match = next((model for model in models if _is_reference_to(variant, model)), None)
                if match is None:
                    return ()  # not to be decided without knowing all of them
                variant = match
            found.append((name, variant, _signature(variant)))
        return tuple(found)


def _closest_variant(data: dict[str, object], variants: Iterable[_Variant]) -> str | None:
    """Return the variant that departs the least from its schema: objects in it may tell."""
    closest: tuple[int, str] | None = None
    for name, cls, _ in variants:
        try:
            count = len(find_mismatches(cls.model_validate(data)))
        except ValidationError:
            continue
        if closest is None or count < closest[0]:
            closest = count, name
        if not count:
            break
    return closest[1] if closest else None


@dataclass(frozen=True, slots=True)
class _ModelSignature:
    """What tells a model from others."""

    names: Mapping[str, str]
    """The field of each name on the wire or in Python."""
    required: frozenset[str]
    constants: tuple[tuple[str, tuple[object, ...]], ...]
    """The name on the wire of every field with a closed list of values."""

    def matched_fields(self, data: dict[str, object]) -> frozenset[str]:
        return frozenset(self.names[name] for name in data if name in self.names)

    def contradicts(self, data: dict[str, object]) -> bool:
        return any(name in data and data[name] not in values for name, values in self.constants)


_Variant: TypeAlias = tuple[str, type[BaseModel], _ModelSignature]

# A cache of pure results. A class that goes away takes its entry with it.
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
    # pydantic's way to name a class; were it to change, such a union would be read as without us.
    return reference.startswith(f"{cls.__module__}.{cls.__qualname__}:{id(cls)}")


def _models(annotation: Any, seen: set[int]) -> Iterator[type[BaseModel]]:
    """Yield the models in an annotation, which may be recursive."""
    if id(annotation) in seen:
        return
    seen.add(id(annotation))
    annotation = resolve_type_alias(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument, seen)


class UnknownVariantAsDict:
    """Takes a dict that is of no known variant, and only such a dict."""

    __slots__ = ("_annotation", "_discriminator", "_known_tags", "_unions")

    def __init__(
        self, discriminator: Any, unions: tuple[Schema, ...], annotation: Annotation
    ) -> None:
        """Take what none of the unions has a tag for."""
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
                    KNOWN_VARIANT, "The value is of a known variant, and does not fit it"
                )
        return value

    def _tags(self, name: str) -> frozenset[Any]:
        # Only now, when the first value does not fit: pydantic may have put off telling the
        # variants apart until it had seen all of them.
        if self._known_tags is None:
            tagged = next((u for u in self._unions if u["type"] == "tagged-union"), None)
            self._known_tags = frozenset(
                _tags(self._annotation(), name) if tagged is None else tagged["choices"]
            )
        return self._known_tags


def _tags(annotation: Any, discriminator: str) -> Iterable[Any]:
    """Yield the values of the discriminating field of every model in an annotation."""
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
