"""Operations of the API as data.

The registry has one `Operation` for each generated method. The executor, the rate limiter, raw
responses, dry runs, the command line and the emulator all use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

__all__ = [
    "TOTAL_PARAMETER",
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
TOTAL_PARAMETER = "include_total"
"""The query parameter that asks a list for its count."""
ResultKind: TypeAlias = Literal["none", "json", "text", "bytes", "model"]
PageStyle: TypeAlias = Literal[
    "offset",  # count, next, previous, results; limit and offset in the query
    "persons",  # as offset, without count; the last page may be empty; `previous` is wrong
    "cursor",  # next, previous, results; an opaque cursor in `next`; no count
    "page",  # as offset, with a page number in the query
    "events",  # next, results; `next` narrows `before`/`after` by timestamp
    "recordings",  # results with has_next (and, newer, next_cursor)
    "body_cursor",  # a POST; nextCursor of the response is sent as `after` in the next body
    "body_offset",  # a POST; nextOffset of the response is sent as `offset` in the next body
    "has_more",  # has_more or has_next instead of links; limit and offset in the query
    "next_values",  # `next_<parameter>` is the value of that query parameter on the next page
    "until_empty",  # nothing says whether there are more; limit and offset in the query
    "single",  # one response: an array, or an envelope that no parameter leads on from
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A path, query or header parameter."""

    name: str
    """Its name in the API."""
    python_name: str
    location: ParameterLocation
    required: bool = False
    type: str = "string"
    """The JSON type: string, integer, number, boolean, array, object, or any."""
    format: str | None = None
    """The format of the schema: uuid, date-time, date, int64 …"""
    enum: tuple[Any, ...] = ()
    explode: bool = True
    """Whether an array is sent as `a=1&a=2` instead of `a=1,2`."""
    presence_only: bool = False
    """Whether the server only tests if the parameter is present, and ignores its value."""
    multi_segment: bool = False
    """Whether a path parameter may contain slashes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A request body."""

    media: BodyMedia = "json"
    schema: str | None = None
    """The name of its schema in `registry/schemas.json`."""
    required: bool = False
    flat: bool = False
    """Whether the method takes the fields of the object as keyword arguments."""
    fields: tuple[tuple[str, str], ...] = ()
    """(Python name, API name) of each field of a flat body."""
    files: tuple[str, ...] = ()
    """API names of the fields of a multipart body that are files."""
    booleans: tuple[str, ...] = ()
    """API names of boolean fields for which the server takes any non-empty value as true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The content of a successful response."""

    kind: ResultKind = "none"
    model: str | None = None
    """The name of the model in `asyncposthog.models`, for the kind `model`."""
    array: bool = False
    """Whether the response is an array of `model`."""
    schema: str | None = None
    """The name of its schema in `registry/schemas.json`; None if the API declares none."""
    status: int = 200
    """The status of a successful response."""
    media: str = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pagination:
    """How a list operation is paged."""

    style: PageStyle
    items: str | None = "results"
    """The field of the response with the items; None if the response is an array."""
    page_size: int | None = None
    """The default number of items in a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation: an HTTP method and a path."""

    id: str
    """The name of the method in the client: `feature_flags.list`, `error_tracking.issues.get`."""
    method: str
    """GET, POST, PUT, PATCH or DELETE."""
    path: str
    """The path with placeholders: `/api/projects/{project_id}/feature_flags/{id}/`."""
    owner: Owner | None = "project"
    """Whose identifier fills the first placeholder of the path, if there is one for it; None: the
    operation belongs to the whole instance."""
    parameters: tuple[Parameter, ...] = ()
    """Path parameters in the order of the path, without the owner, then query, then header."""
    body: Body | None = None
    fixed_body: Mapping[str, Any] | None = None
    """A constant body, as for soft delete and restore."""
    result: Result = Result()
    pagination: Pagination | None = None
    scopes: tuple[str, ...] = ()
    """Scopes that an API key needs, such as `feature_flag:read`."""
    buckets: tuple[str, ...] = ("burst", "sustained")
    """The rate limits that a call counts against."""
    writes: bool = True
    """Whether the call changes something on the server. Some POSTs only read."""
    idempotent: bool = False
    """Whether making the call twice has the same effect as making it once."""
    api_key_allowed: bool = True
    """Whether it can be called with an API key."""
    deprecated: bool = False
    schema_operations: tuple[str, ...] = ()
    """The operations of the OpenAPI schema: `GET /api/projects/{project_id}/…/`."""
    schema_gap_source: str | None = None
    """The source of an operation that is missing in the OpenAPI schema."""
    package: str = "asyncposthog"
    """The package of the result model; another one for clients generated elsewhere."""

    @property
    def resource(self) -> str:
        """The resource: `feature_flags`, `error_tracking.issues`."""
        return self.id.rpartition(".")[0]

    @property
    def name(self) -> str:
        """The name of the method: `list`, `get`, `bulk_delete`."""
        return self.id.rpartition(".")[2]

    @property
    def path_parameters(self) -> tuple[Parameter, ...]:
        """The path parameters, in the order of the path."""
        return tuple(p for p in self.parameters if p.location == "path")

    @property
    def query_parameters(self) -> tuple[Parameter, ...]:
        """The query parameters."""
        return tuple(p for p in self.parameters if p.location == "query")

    @property
    def pages_in_any_order(self) -> bool:
        """Whether pages can be requested concurrently: where each one begins is known in advance.

        Lists with an offset or page numbers have a count; other lists can have one on request.
        """
        return self.pagination is not None and (
            self.pagination.style in ("offset", "page")
            or any(parameter.name == TOTAL_PARAMETER for parameter in self.query_parameters)
        )

    @property
    def header_parameters(self) -> tuple[Parameter, ...]:
        """The header parameters."""
        return tuple(p for p in self.parameters if p.location == "header")
