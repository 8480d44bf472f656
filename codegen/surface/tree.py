"""The surface as plain data: what the renderers print and the report counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from asyncposthog.operation import Operation
from codegen.diagnostics import Diagnostic

__all__ = ["Argument", "Method", "Resource", "SkippedOperation", "Surface"]

ArgumentLocation = Literal["path", "query", "header", "field", "body"]


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a generated method."""

    python_name: str
    wire_name: str
    location: ArgumentLocation
    annotation: str
    required: bool
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Method:
    """One generated method and the operation it performs."""

    operation: Operation
    arguments: tuple[Argument, ...]
    returns: str
    """The annotation of what it gives: of one item, for a cursor."""
    cursor: bool
    doc: str
    """What an instance's own schema says of it; empty for the pinned schema."""
    note: str = ""
    """What the overrides say a caller has to know."""

    @property
    def name(self) -> str:
        """The method's own name."""
        return self.operation.name


@dataclass(frozen=True, slots=True)
class Resource:
    """A class of methods and nested resources."""

    path: tuple[str, ...]
    class_name: str
    methods: tuple[Method, ...]
    children: tuple[Resource, ...] = ()

    @property
    def family(self) -> str:
        """The top-level resource it hangs below."""
        return self.path[0]


@dataclass(frozen=True, slots=True)
class SkippedOperation:
    """An operation no method reaches, and why."""

    operation: str
    reason: str


@dataclass(frozen=True, slots=True)
class Surface:
    """Everything the renderers need."""

    document: Mapping[str, Any]
    """The document with its inline bodies and answers hoisted to components."""
    resources: tuple[Resource, ...]
    """Top-level resources, by name."""
    methods: tuple[Method, ...]
    class_names: Mapping[str, str]
    """Public class names by component."""
    users: Mapping[str, frozenset[str]]
    """Which families use a component: `family` in answers, `family!request` in arguments."""
    released: Mapping[str, str]
    """The public name of each operation, by `GET /api/…/`."""
    schema_operations: tuple[str, ...]
    """Every operation of the document as it came, twins included."""
    skipped: tuple[SkippedOperation, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])
    """Released names that had to give way, by operation, with the new name."""
    buckets: Mapping[str, Any] = field(default_factory=dict[str, Any])
