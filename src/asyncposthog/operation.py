"""An operation of the API as data.

The registry holds one `Operation` for each method of the client. Everything that acts on calls
(the executor, the limiter, raw responses, dry runs, tools, the emulator) reads this one table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

__all__ = [
    "Body",
    "BodyMedia",
    "Operation",
    "Owner",
    "PageStyle",
    "Pagination",
    "Parameter",
    "ParameterLocation",
    "Result",
    "ResultKind",
]

Owner: TypeAlias = Literal["project", "organization"]
ParameterLocation: TypeAlias = Literal["path", "query", "header"]
BodyMedia: TypeAlias = Literal["json", "multipart"]
ResultKind: TypeAlias = Literal["none", "json", "text", "bytes", "model"]
PageStyle: TypeAlias = Literal[
    "offset",  # count, next, previous, results; limit and offset in the query
    "persons",  # as offset without count; the last page may be empty; `previous` lies
    "cursor",  # next, previous, results; an opaque cursor in `next`; no count
    "page",  # as offset, with a page number in the query
    "events",  # next, results; `next` narrows `before`/`after` by timestamp
    "recordings",  # results with has_next (and, newer, next_cursor)
    "body_cursor",  # a POST whose answer's nextCursor goes back in the body as `after`
    "single",  # everything in one answer: a bare array, or results without a next
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A path, query or header parameter."""

    name: str
    """Its name on the wire."""
    python_name: str
    location: ParameterLocation
    required: bool = False
    type: str = "string"
    """The JSON type: string, integer, number, boolean, array, object, or any."""
    format: str | None = None
    """uuid, date-time, date, int64 …, as the schema has it."""
    enum: tuple[Any, ...] = ()
    explode: bool = True
    """Whether an array is repeated (`a=1&a=2`) rather than joined by commas (`a=1,2`)."""
    presence_only: bool = False
    """Whether the server only looks whether the parameter is there, whatever its value."""
    multi_segment: bool = False
    """Whether a path parameter may contain slashes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A request body."""

    media: BodyMedia = "json"
    schema: str | None = None
    """The component in `registry/schemas.json` it is validated against."""
    required: bool = False
    flat: bool = False
    """Whether the method takes the fields of the object as keyword arguments."""
    fields: tuple[tuple[str, str], ...] = ()
    """(python name, wire name) of each field of a flat body."""
    files: tuple[str, ...] = ()
    """Wire names of the fields of a multipart body that are files."""
    booleans: tuple[str, ...] = ()
    """Wire names of fields of which the server takes anything that is not empty for true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a successful answer holds."""

    kind: ResultKind = "none"
    model: str | None = None
    """For kind `model`, the public name in `asyncposthog.models`."""
    array: bool = False
    """Whether the answer is a bare array of `model`."""
    schema: str | None = None
    """The component in `registry/schemas.json`; None where the schema declares no answer."""
    status: int = 200
    """The status the server answers with on success."""
    media: str = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pagination:
    """How a list operation is paged."""

    style: PageStyle
    items: str | None = "results"
    """The field of the answer that holds the items; None when the answer is the array."""
    page_size: int | None = None
    """Items in a page when no limit is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One callable operation."""

    id: str
    """The public name below the client: `feature_flags.list`, `error_tracking.issues.get`."""
    method: str
    """GET, POST, PUT, PATCH or DELETE."""
    path: str
    """The template, below the host: `/api/projects/{project_id}/feature_flags/{id}/`."""
    owner: Owner | None = "project"
    """Whose identifier fills the first placeholder of the path, if there is one for it; None: the
    operation belongs to the whole instance."""
    parameters: tuple[Parameter, ...] = ()
    """Path (in the order of the template, without the owner's), then query, then header."""
    body: Body | None = None
    fixed_body: Mapping[str, Any] | None = None
    """A body that is always the same: soft delete and restore."""
    result: Result = Result()
    pagination: Pagination | None = None
    scopes: tuple[str, ...] = ()
    """Scopes an API key needs, as `feature_flag:read`."""
    buckets: tuple[str, ...] = ("burst", "sustained")
    """The rate-limit buckets a call is charged to."""
    writes: bool = True
    """Whether the call changes anything on the server. Some POSTs only read."""
    idempotent: bool = False
    """Whether repeating the call has the effect of doing it once."""
    api_key_allowed: bool = True
    """Whether any API key may call it at all."""
    deprecated: bool = False
    schema_operations: tuple[str, ...] = ()
    """The schema's own operations this stands for, as `GET /api/projects/{project_id}/…/`."""
    schema_gap_source: str | None = None
    """For an operation the schema lacks, the source that says the API has it."""
    package: str = "asyncposthog"
    """The package whose `models` hold the result; another one for sets generated elsewhere."""

    @property
    def resource(self) -> str:
        """The resource it belongs to: `feature_flags`, `error_tracking.issues`."""
        return self.id.rpartition(".")[0]

    @property
    def name(self) -> str:
        """The method's own name: `list`, `get`, `bulk_delete`."""
        return self.id.rpartition(".")[2]

    @property
    def path_parameters(self) -> tuple[Parameter, ...]:
        """The positional parameters, in the order of the path."""
        return tuple(p for p in self.parameters if p.location == "path")

    @property
    def query_parameters(self) -> tuple[Parameter, ...]:
        """The parameters that go into the query string."""
        return tuple(p for p in self.parameters if p.location == "query")

    @property
    def header_parameters(self) -> tuple[Parameter, ...]:
        """The parameters that go into headers."""
        return tuple(p for p in self.parameters if p.location == "header")
