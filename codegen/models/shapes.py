"""What is to be generated, decided: the plain data between the stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from codegen.findings import Finding

__all__ = ["Field", "Prepared", "Shape", "ShapeKind", "Value"]

Value: TypeAlias = str | int | bool

ShapeKind: TypeAlias = Literal[
    "model",  # a class
    "enum",  # a named Literal
    "alias",  # any other named type
    "choice",  # a Literal, written out where it is used
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
    findings: tuple[Finding, ...]
    """What is represented more loosely than the schema has it."""
