"""The variants of a union, which are imported when they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, cast

from pydantic import BaseModel

__all__ = ["DeferredVariants"]


class DeferredVariants:
    """The classes of a discriminated union by the values of its discriminator."""

    __slots__ = ("_loaded", "_models", "_names", "_variants")

    def __init__(
        self, models: str, wire: str, name: str, variants: Mapping[str | int, str]
    ) -> None:
        """Create them; `models` is the module that has the classes."""
        self._models = models
        self._names = tuple(dict.fromkeys((wire, name)))
        self._variants = variants
        self._loaded: dict[str, type[BaseModel]] = {}

    def __repr__(self) -> str:
        """Return the names of the variants, as in an annotation."""
        return " | ".join(self.class_names())

    def class_names(self) -> Iterator[str]:
        """Yield the class name of each variant once."""
        yield from dict.fromkeys(self._variants.values())

    def includes(self, cls: type[Any]) -> bool:
        """Return whether a class, or a base class of it, is a variant."""
        names = set(self._variants.values())
        return any(
            base.__name__ in names and base is self._load(base.__name__) for base in cls.__mro__
        )

    def _load(self, name: str) -> type[BaseModel]:
        cls = self._loaded.get(name)
        if cls is None:
            cls = cast("type[BaseModel]", getattr(import_module(self._models), name))
            if not cls.__pydantic_complete__:
                cls.model_rebuild()
            self._loaded[name] = cls
        return cls
