"""JSON validators of models, built on first use and cached."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Protocol, cast

from pydantic import BaseModel, TypeAdapter

from asyncposthog.modeling.lenient_schema import Lenient

__all__ = ["Adapter", "get_adapter", "resolve_model"]


class _ValidateJson(Protocol):
    def __call__(
        self,
        content: bytes,
        /,
        *,
        strict: bool | None = None,
        context: dict[str, Any] | None = None,
    ) -> Any: ...


@dataclass(frozen=True, slots=True)
class Adapter:
    """Parses one kind of response from bytes, in one call of pydantic-core."""

    annotation: Any
    """The declared type of the response."""
    validate: _ValidateJson
    """Raises pydantic's ValidationError for invalid JSON or a value that does not match."""


def resolve_model(name: str, package: str = "asyncposthog") -> Any:
    """Return the class or type alias of that name in the `models` of a package."""
    return getattr(importlib.import_module(f"{package}.models"), name)


@cache
def get_adapter(name: str, array: bool, package: str = "asyncposthog") -> Adapter:
    """Return the adapter of a model, or of an array of it.

    Cached; `get_adapter.cache_clear()` is for tests that replace models.
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
