"""Types and JSON names of the fields of pydantic models."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any, get_type_hints

from pydantic import BaseModel

__all__ = ["ensure_fields_built", "json_name", "resolve_type_alias"]


def resolve_type_alias(annotation: Any) -> Any:
    """Return the type of a `type` alias; any other annotation unchanged."""
    while hasattr(annotation, "__value__"):
        module = sys.modules.get(annotation.__module__)
        holder = SimpleNamespace(__annotations__={"value": annotation.__value__})
        try:
            hints = get_type_hints(holder, vars(module) if module else None, include_extras=True)
        except NameError:  # it refers to a name that is imported for type checkers only
            return Any
        annotation = hints["value"]
    return annotation


def ensure_fields_built(cls: type[BaseModel]) -> None:
    """Resolve the annotations of a class that is not built yet."""
    complete = getattr(cls, "__pydantic_fields_complete__", None)
    if complete is None:  # before pydantic 2.11
        complete = cls.__pydantic_complete__
    if not complete:
        cls.model_rebuild(raise_errors=False)


def json_name(name: str, field: Any) -> str:
    """Return the JSON name of a field."""
    alias = field.validation_alias or field.alias
    return alias if isinstance(alias, str) else name
