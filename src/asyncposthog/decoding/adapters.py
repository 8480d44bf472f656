"""What reads an answer: found by the model's name, built on first use, kept."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Protocol, cast

from pydantic import BaseModel, TypeAdapter

from asyncposthog.modeling.lenient_schema import Lenient

__all__ = ["Adapter", "get_adapter", "resolve_model"]


class _ValidateJson(Protocol):
    def __call__(self, content: bytes, /, *, strict: bool | None = None) -> Any: ...


@dataclass(frozen=True, slots=True)
class Adapter:
    """Reads one kind of answer, from bytes, in one call into pydantic-core."""

    annotation: Any
    """What the answer is declared to be."""
    validate: _ValidateJson
    """Raises pydantic's ValidationError for what is no JSON, or does not fit."""


def resolve_model(name: str, package: str = "asyncposthog") -> Any:
    """Return the class, or the type alias, of that name in the `models` of a package."""
    return getattr(importlib.import_module(f"{package}.models"), name)


@cache
def get_adapter(name: str, array: bool, package: str = "asyncposthog") -> Adapter:
    """Return what reads a model, or a bare array of it.

    Built once; `get_adapter.cache_clear()` forgets all of them, for tests that swap the models.
    """
    model = resolve_model(name, package)
    if array:
        model = list[model]
    elif isinstance(model, type) and issubclass(model, BaseModel):
        model.model_rebuild()
        return Adapter(model, cast("_ValidateJson", model.__pydantic_validator__.validate_json))
    marked: Any = Annotated[model, Lenient()]  # pyright: ignore[reportInvalidTypeForm]
    lenient: TypeAdapter[Any] = TypeAdapter(marked)
    return Adapter(model, cast("_ValidateJson", lenient.validator.validate_json))
