"""What the model stage is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from codegen.diagnostics import Diagnostic

__all__ = [
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPlan:
    """A document and the decisions its models follow."""

    document: Mapping[str, Any]
    """The normalised document, with inline bodies and results hoisted to components."""
    names: Mapping[str, str]
    """Public class name of each component; it starts with a capital."""
    users: Mapping[str, frozenset[str]]
    """Who uses a component: `family` or `family!request`. What no user reaches is left out."""
    package: str = "asyncposthog"
    """The package that holds `model.Model`, and in which `models/` will stand."""
    query_roots: frozenset[str] = frozenset({"QueryRequest"})
    """Components whose closure forms the package `models.query`."""
    field_names: Mapping[str, str] = field(default_factory=dict[str, str])
    """Python names of single properties by `ClassName.property`, where the rule will not do."""
    reserved: frozenset[str] = frozenset({"get", "raw"})
    """Attributes of `Model`, beside those of pydantic's own base, that no field may hide."""
    lenient: bool = False
    """Whether properties that share a name get names by rule, with findings, not an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Counts for the report."""

    models: int
    enums: int
    aliases: int
    typed: int
    """Fields with a type of their own."""
    untyped: int
    """Fields the schema says nothing about: `Any`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSet:
    """The generated package."""

    files: Mapping[str, str]
    """Text by path relative to the package, as `models/feature_flags.py`; not yet formatted."""
    exports: Mapping[str, str]
    """Module below `models` by public name: `feature_flags`, `query.trends_query`."""
    kinds: Mapping[str, Kind]
    statistics: Statistics
    diagnostics: tuple[Diagnostic, ...]
    """What could only be represented more loosely than the schema has it."""


Value: TypeAlias = str | int | bool

ShapeKind: TypeAlias = Literal[
    "model",  # a class
    "enum",  # a named Literal
    "alias",  # any other named type
    "literal",  # a Literal, written out where it is used
    "union",  # a discriminated union, written out where it is used
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a model."""

    token: str
    """Its name in the document handed to datamodel-code-generator."""
    wire: str
    name: str
    required: bool
    tag: Value | None = None
    """The value it has unless told otherwise: what names the variant in a union."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A type: a component, or something inline that needs to be known by itself."""

    token: str
    """Its name in the document handed to datamodel-code-generator."""
    kind: ShapeKind
    name: str
    """Its public name; empty where it is written out where it is used."""
    owner: str
    """The component it was found in."""
    component: str = ""
    """The component it is; empty for an inline type."""
    fields: tuple[Field, ...] = ()
    values: tuple[Value, ...] = ()
    """Of an enum or a choice."""
    discriminator: str | None = None
    """The field that tells the variants of a union apart, by its Python name."""
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A document of nothing but tokens, and what each token stands for."""

    document: Mapping[str, Any]
    shapes: Mapping[str, Shape]
    diagnostics: tuple[Diagnostic, ...]
    """What is represented more loosely than the schema has it."""
