"""The fields of models, however they are written down: their types and their names in JSON."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any, get_type_hints

from pydantic import BaseModel

__all__ = ["ensure_fields_built", "json_name", "resolve_type_alias"]


def resolve_type_alias(annotation: Any) -> Any:
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


def ensure_fields_built(cls: type[BaseModel]) -> None:
    """Resolve the annotations of a class whose building was deferred."""
    complete = getattr(cls, "__pydantic_fields_complete__", None)
    if complete is None:  # before pydantic 2.11
        complete = cls.__pydantic_complete__
    if not complete:
        cls.model_rebuild(raise_errors=False)


def json_name(name: str, field: Any) -> str:
    """Return the name a field has in JSON."""
    alias = field.validation_alias or field.alias
    return alias if isinstance(alias, str) else name
