"""Inputs, outputs and intermediate types of the model stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from codegen.diagnostics import Diagnostic

__all__ = [
    "ComponentDoc",
    "Field",
    "Kind",
    "ModelPlan",
    "ModelSet",
    "Prepared",
    "Shape",
    "ShapeKind",
    "Statistics",
    "Value",
]

Kind: TypeAlias = Literal["model", "enum", "alias"]


class ComponentDoc(Protocol):
    """What a component and its properties mean."""

    @property
    def text(self) -> str: ...

    @property
    def fields(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPlan:
    """A document and the decisions about its models."""

    document: Mapping[str, Any]
    """The normalised document; inline bodies and responses are components."""
    names: Mapping[str, str]
    """Public class name of each component; it starts with a capital."""
    users: Mapping[str, frozenset[str]]
    """Users of each component: `family` or `family!request`. Unused components get no model."""
    package: str = "asyncposthog"
    """The package that has `model.Model`."""
    query_roots: frozenset[str] = frozenset({"QueryRequest"})
    """Components that form the package `models.query`, with all they refer to."""
    field_names: Mapping[str, str] = field(default_factory=dict[str, str])
    """Python names of properties, by `ClassName.property`, that override the naming rule."""
    reserved: frozenset[str] = frozenset({"get", "raw"})
    """Attributes of `Model`, in addition to those of pydantic's, that no field may hide."""
    docs: Mapping[str, ComponentDoc] = field(default_factory=dict[str, "ComponentDoc"])
    """What components mean, in addition to their description in the document."""
    lenient: bool = False
    """Whether properties with the same name get other names and a warning, not an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Counts for the report."""

    models: int
    enums: int
    aliases: int
    typed: int
    """Fields with a type other than `Any`."""
    untyped: int
    """Fields of type `Any`, for which the schema has no type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSet:
    """The generated package."""

    files: Mapping[str, str]
    """Unformatted text, by path in the package: `models/feature_flags.py`."""
    exports: Mapping[str, str]
    """Module below `models` by public name: `feature_flags`, `query.trends_query`."""
    kinds: Mapping[str, Kind]
    statistics: Statistics
    diagnostics: tuple[Diagnostic, ...]
    """Schemas that are represented by a wider type."""


Value: TypeAlias = str | int | bool

ShapeKind: TypeAlias = Literal[
    "model",  # a class
    "enum",  # a named Literal
    "alias",  # any other named type
    "literal",  # an inline Literal
    "union",  # an inline discriminated union
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a model."""

    token: str
    """Its name in the document passed to datamodel-code-generator."""
    wire: str
    name: str
    required: bool
    tag: Value | None = None
    """The default value, which names the variant of a union."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A type: a component, or an inline type that has a token of its own."""

    token: str
    """Its name in the document passed to datamodel-code-generator."""
    kind: ShapeKind
    name: str
    """Its public name; empty for a type that is written inline."""
    owner: str
    """The component that contains it."""
    component: str = ""
    """The component it is; empty for an inline type."""
    fields: tuple[Field, ...] = ()
    values: tuple[Value, ...] = ()
    """The values of an enum or a literal."""
    discriminator: str | None = None
    """The Python name of the field that distinguishes the variants of a union."""
    wire: str = ""
    """The wire name of that field."""
    variants: tuple[tuple[Value, str], ...] = ()
    """The values of that field, each with the token of its variant."""
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A document of tokens, and the type each token stands for."""

    document: Mapping[str, Any]
    shapes: Mapping[str, Shape]
    diagnostics: tuple[Diagnostic, ...]
    """Schemas that are represented by a wider type."""
