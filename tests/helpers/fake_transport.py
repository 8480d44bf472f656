"""A hand-made resource and a virtual clock, for tests of what lies between method and wire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any

import httpx

from asyncposthog import AsyncPostHog
from asyncposthog.call import Call, CallOptions, Policy
from asyncposthog.core.resource import Resource
from asyncposthog.operation import Body, Operation, Pagination, Parameter, Result
from asyncposthog.types import OMIT

from .manual_clock import ManualClock

KEY = "phx_s3cr3tK3yOfTheTests"

_ID = Parameter(name="id", python_name="id", location="path", type="integer")

GET = Operation(
    id="things.get",
    method="GET",
    path="/api/projects/{project_id}/things/{id}/",
    parameters=(_ID,),
    result=Result(kind="json"),
    scopes=("thing:read",),
    writes=False,
)
LIST = Operation(
    id="things.list",
    method="GET",
    path="/api/projects/{project_id}/things/",
    parameters=(Parameter(name="limit", python_name="limit", location="query", type="integer"),),
    result=Result(kind="json"),
    pagination=Pagination(style="offset", page_size=100),
    scopes=("thing:read",),
    writes=False,
)
CREATE = Operation(
    id="things.create",
    method="POST",
    path="/api/projects/{project_id}/things/",
    body=Body(flat=True, fields=(("name", "name"),)),
    result=Result(kind="json"),
    scopes=("thing:write",),
)
UPLOAD = Operation(
    id="things.upload",
    method="POST",
    path="/api/projects/{project_id}/things/upload/",
    body=Body(media="multipart", flat=True, files=("file",)),
    result=Result(kind="json"),
)
DELETE = Operation(
    id="things.delete",
    method="PATCH",
    path="/api/projects/{project_id}/things/{id}/",
    parameters=(_ID,),
    body=Body(),
    fixed_body={"deleted": True},
    idempotent=True,
)
QUERY = Operation(
    id="query.create",
    method="POST",
    path="/api/projects/{project_id}/query/",
    body=Body(flat=True),
    result=Result(kind="json"),
    writes=False,
)
MEMBERS = Operation(
    id="members.list",
    method="GET",
    path="/api/organizations/{organization_id}/members/",
    owner="organization",
    result=Result(kind="json"),
    writes=False,
)
REPORT = Operation(
    id="things.report",
    method="GET",
    path="/api/projects/{project_id}/things/report/",
    result=Result(kind="text", media="text/csv"),
    writes=False,
)


class Things(Resource):
    """What the generator would write for the operations above."""

    async def get(self, id: int | str, /, *, options: Any = None) -> Any:
        return await self._call(GET, (id,), options=options)

    def list(self, *, limit: Any = OMIT, concurrency: int = 1, options: Any = None) -> Any:
        return self._cursor(LIST, query={"limit": limit}, concurrency=concurrency, options=options)

    async def create(self, *, name: Any = OMIT, options: Any = None) -> Any:
        return await self._call(CREATE, body={"name": name}, options=options)

    async def upload(self, *, file: Any, note: Any = OMIT, options: Any = None) -> Any:
        return await self._call(UPLOAD, body={"file": file, "note": note}, options=options)

    async def delete(self, id: int, /, *, options: Any = None) -> None:
        await self._call(DELETE, (id,), options=options)

    async def query(self, *, query: Any, options: Any = None) -> Any:
        return await self._call(QUERY, body={"query": query}, options=options)

    async def members(self, *, options: Any = None) -> Any:
        return await self._call(MEMBERS, options=options)

    async def report(self, *, options: Any = None) -> Any:
        return await self._call(REPORT, options=options)


def new_call(
    operation: Operation, path: tuple[object, ...] = (), body: object = OMIT, **options: Any
) -> Call:
    """Return a call of an operation; `options` are fields of `CallOptions`."""
    settings: dict[str, Any] = {
        "policy": Policy(), "strict": False, "project_id": None, "organization_id": None,
    }  # fmt: skip
    return Call(operation, path, None, None, body, CallOptions(**{**settings, **options}))


class Client(AsyncPostHog):
    """A client with that resource."""

    @cached_property
    def things(self) -> Things:
        return Things(self._executor)


Handler = (
    Callable[[httpx.Request], httpx.Response] | Callable[[httpx.Request], Awaitable[httpx.Response]]
)


class Server:
    """Answers with the given responses, one after the other, and keeps what it received.

    The last one is repeated. An exception is raised; a function is called with the request.
    """

    def __init__(self, *answers: Any) -> None:
        self.answers: list[Any] = list(answers) or [httpx.Response(200, json={})]
        self.requests: list[httpx.Request] = []
        self.authorizations: list[str | None] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.authorizations.append(request.headers.get("Authorization"))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            made: Any = answer(request)
            answer = made if isinstance(made, httpx.Response) else await made
        assert isinstance(answer, httpx.Response)
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    @property
    def last(self) -> httpx.Request:
        return self.requests[-1]


def client(server: Any, **settings: Any) -> Client:
    """Return a client whose requests go to `server`."""
    settings = {
        "api_key": KEY,
        "project_id": 1,
        "clock": ManualClock(),
        "transport": httpx.MockTransport(server),
        **settings,
    }
    return Client(**{name: value for name, value in settings.items() if value is not None})
