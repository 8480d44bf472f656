"""The surface as plain data, for the renderers and the report."""

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
    default: str = ""
    """The default in the schema, as JSON; empty if it has none."""


@dataclass(frozen=True, slots=True)
class Method:
    """One generated method and the operation it performs."""

    operation: Operation
    arguments: tuple[Argument, ...]
    returns: str
    """The annotation of the result, or of one item if it returns a cursor."""
    cursor: bool
    doc: str
    """The description in the schema. The pinned schema has none."""
    note: str = ""
    """The note in the overrides."""
    summary: str = ""
    """What the method does, in one or two sentences."""
    about: str = ""
    """What its resource is, if nothing is written about the operation itself."""
    returns_doc: str = ""
    """What is known about the result."""
    template_only: bool = True
    """Whether the summary only repeats the name of the method."""
    assumed_buckets: bool = False
    """Whether no rule names its rate limits, so that it has the default ones."""
    assumed_scopes: bool = False
    """Whether its scopes are those of its view's other operations."""

    @property
    def name(self) -> str:
        """The name of the method, without its resource."""
        return self.operation.name


@dataclass(frozen=True, slots=True)
class Resource:
    """A class of methods and nested resources."""

    path: tuple[str, ...]
    class_name: str
    methods: tuple[Method, ...]
    children: tuple[Resource, ...] = ()
    doc: str = ""
    """What the resource is."""

    @property
    def family(self) -> str:
        """The top-level resource it belongs to."""
        return self.path[0]


@dataclass(frozen=True, slots=True)
class SkippedOperation:
    """An operation without a method, and the reason."""

    operation: str
    reason: str


@dataclass(frozen=True, slots=True)
class Surface:
    """Everything the renderers need."""

    document: Mapping[str, Any]
    """The document; inline bodies and responses have become components."""
    model_schemas: Mapping[str, Any]
    """The components as models have them: of requests without `readOnly` properties, of responses
    without `writeOnly` ones."""
    resources: tuple[Resource, ...]
    """Top-level resources, sorted by name."""
    methods: tuple[Method, ...]
    class_names: Mapping[str, str]
    """Public class names by component."""
    users: Mapping[str, frozenset[str]]
    """Users of each component: `family` for responses, `family!request` for arguments."""
    released: Mapping[str, str]
    """The public name of each operation, by `GET /api/…/`."""
    schema_operations: tuple[str, ...]
    """All operations of the document before overrides moved them, twins included."""
    skipped: tuple[SkippedOperation, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])
    """The new names of released methods that had to be renamed, by operation."""
    buckets: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def model_document(self) -> dict[str, Any]:
        """The document with the components that models are made of."""
        components = {**self.document["components"], "schemas": self.model_schemas}
        return {**self.document, "components": components}
