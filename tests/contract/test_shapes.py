"""What one call of every kind looks like on the wire, written out by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from asyncposthog import OMIT, models, registry
from asyncposthog.core.resource import Resource, get_executor
from asyncposthog.operation import Operation, Parameter, Result

from .server import ORGANIZATION, Server, connect

pytestmark = pytest.mark.anyio

FLAG: dict[str, Any] = {"id": 5, "key": "new-nav", "name": "New navigation", "active": True}
NOTE: dict[str, Any] = {"id": 3, "content": "Released", "date_marker": "2026-03-01T12:00:00Z"}
EMPTY: dict[str, Any] = {"count": 0, "next": None, "previous": None, "results": []}


async def test_every_request_carries_these_headers(server: Server) -> None:
    server.answers(FLAG)
    async with connect() as ph:
        await ph.feature_flags.get(5)
    headers = server.only.headers
    assert headers["Authorization"] == "Bearer phx_secret"
    assert headers["Accept"] == "application/json"
    assert headers["User-Agent"].startswith("asyncposthog/")
    assert headers["Host"] == "us.posthog.com"
    assert "Content-Type" not in headers


async def test_get(server: Server) -> None:
    server.answers(FLAG)
    async with connect() as ph:
        flag = await ph.feature_flags.get(5)
    assert server.only.line == "GET /api/projects/7/feature_flags/5/"
    assert server.only.content == b""
    assert type(flag) is models.FeatureFlag
    assert (flag.id, flag.key, flag.active, flag.raw()) == (5, "new-nav", True, FLAG)


async def test_list_with_filters(server: Server) -> None:
    server.answers({**EMPTY, "count": 1, "results": [FLAG]})
    async with connect() as ph:
        page = await ph.feature_flags.list(
            search="nav & more", active="STALE", type="boolean", limit=20, offset=40
        )
    method, _, target = server.only.line.partition(" ")
    path, _, query = target.partition("?")
    assert (method, path) == ("GET", "/api/projects/7/feature_flags/")
    assert sorted(query.split("&")) == [
        "active=STALE",
        "limit=20",
        "offset=40",
        "search=nav%20%26%20more",
        "type=boolean",
    ]
    assert [flag.key for flag in page] == ["new-nav"]
    assert page.count == 1


async def test_list_without_filters_has_no_query(server: Server) -> None:
    server.answers(EMPTY)
    async with connect() as ph:
        assert await ph.cohorts.list().collect() == []
    assert server.only.line == "GET /api/projects/7/cohorts/"


async def test_create(server: Server) -> None:
    server.answers(NOTE, status=201)
    async with connect() as ph:
        note = await ph.annotations.create(
            content="Released", date_marker=datetime(2026, 3, 1, 12, tzinfo=UTC)
        )
    assert server.only.line == "POST /api/projects/7/annotations/"
    assert server.only.headers["Content-Type"] == "application/json"
    assert server.only.content == (
        b'{"content":"Released","date_marker":"2026-03-01T12:00:00+00:00"}'
    )
    assert note.date_marker == datetime(2026, 3, 1, 12, tzinfo=UTC)


async def test_update_tells_none_from_omit(server: Server) -> None:
    server.answers(NOTE)
    async with connect() as ph:
        await ph.annotations.update(3, content=None, date_marker=OMIT, scope="project")
    assert server.only.line == "PATCH /api/projects/7/annotations/3/"
    assert server.only.content == b'{"content":null,"scope":"project"}'


async def test_replace(server: Server) -> None:
    server.answers(NOTE)
    async with connect() as ph:
        await ph.annotations.replace(3, content="é \u2028", dashboard_item=4)
    assert server.only.line == "PUT /api/projects/7/annotations/3/"
    assert server.only.content == '{"content":"é \u2028","dashboard_item":4}'.encode()


async def test_real_delete(server: Server) -> None:
    server.answers_with(httpx.Response(204))
    async with connect() as ph:
        assert await ph.alerts.delete("0195f2a0-0000-7000-8000-000000000001") is None
    assert server.only.line == (
        "DELETE /api/projects/7/alerts/0195f2a0-0000-7000-8000-000000000001/"
    )
    assert server.only.content == b""


async def test_soft_delete_and_restore(server: Server) -> None:
    server.answers({**NOTE, "deleted": True}, NOTE)
    async with connect() as ph:
        gone = await ph.annotations.delete(3)
        await ph.annotations.restore(3)
    assert server.lines == ["PATCH /api/projects/7/annotations/3/"] * 2
    assert [seen.content for seen in server.seen] == [b'{"deleted":true}', b'{"deleted":false}']
    assert gone.deleted is True


SOFT = {
    "actions",
    "annotations",
    "cohorts",
    "comments",
    "dashboard_templates",
    "dashboards",
    "evaluations",
    "experiments",
    "feature_flags",
    "hog_functions",
    "insights",
    "notebooks",
    "heatmaps.saved",
    "session_recording_playlists",
    "subscriptions",
}


def test_resources_that_refuse_delete_are_deleted_softly() -> None:
    found = {
        name: [
            (operation.method, dict(operation.fixed_body or {}))
            for operation in (registry.find(f"{name}.delete"), registry.find(f"{name}.restore"))
        ]
        for name in SOFT
    }
    expected = [("PATCH", {"deleted": True}), ("PATCH", {"deleted": False})]
    assert found == dict.fromkeys(SOFT, expected)


async def test_action_on_one_thing(server: Server) -> None:
    server.answers({"paused": False})
    export = UUID("0195f2a0-0000-7000-8000-000000000009")
    async with connect() as ph:
        state = await ph.batch_exports.unpause(export, backfill=True)
    assert server.only.line == f"POST /api/projects/7/batch_exports/{export}/unpause/"
    assert server.only.content == b'{"backfill":true}'
    assert state.paused is False


async def test_action_on_a_collection(server: Server) -> None:
    server.answers({"updated": [{"id": 1, "tags": ["a"]}], "skipped": []})
    async with connect() as ph:
        await ph.feature_flags.bulk_update_tags(action="add", ids=[1, 2], tags=["a"])
    assert server.only.line == "POST /api/projects/7/feature_flags/bulk_update_tags/"
    assert server.only.content == b'{"action":"add","ids":[1,2],"tags":["a"]}'


async def test_nested_resource(server: Server) -> None:
    server.answers({"version": 2})
    async with connect() as ph:
        await ph.feature_flags.versions.get(5, 2)
    assert server.only.line == "GET /api/projects/7/feature_flags/5/versions/2/"


async def test_organization_level(server: Server) -> None:
    server.answers(EMPTY, EMPTY)
    other = "0195f2a0-0000-7000-8000-0000000000ff"
    async with connect() as ph:
        await ph.organizations.members.list(limit=1)
        await ph.organizations.members.list(limit=1, options={"organization_id": other})
    assert server.lines == [
        f"GET /api/organizations/{ORGANIZATION}/members/?limit=1",
        f"GET /api/organizations/{other}/members/?limit=1",
    ]


async def test_instance_level(server: Server) -> None:
    server.answers({"uuid": "0195f2a0-0000-7000-8000-000000000007", "first_name": "Ada"})
    async with connect() as ph:
        me = await ph.users.me()
    assert server.only.line == "GET /api/users/@me/"
    assert me.first_name == "Ada"


async def test_another_project_for_one_call(server: Server) -> None:
    server.answers(FLAG, FLAG)
    async with connect() as ph:
        await ph.feature_flags.get(5, options={"project_id": 8})
        await ph.with_options(project_id=9).feature_flags.get(5)
    assert server.lines == [
        "GET /api/projects/8/feature_flags/5/",
        "GET /api/projects/9/feature_flags/5/",
    ]


async def test_array_in_the_query_is_repeated(server: Server) -> None:
    server.answers({"next": None, "previous": None, "results": []})
    async with connect() as ph:
        await ph.batch_exports.runs.list(
            "0195f2a0-0000-7000-8000-000000000009", status=["Failed", "TimedOut"]
        )
    assert server.only.line == (
        "GET /api/projects/7/batch_exports/0195f2a0-0000-7000-8000-000000000009/runs/"
        "?status=Failed&status=TimedOut"
    )


async def test_objects_in_the_query_are_json(server: Server) -> None:
    server.answers({"next": None, "results": []})
    async with connect() as ph:
        await ph.events.list(
            properties=[{"key": "$browser", "value": ["Chrome"]}], include_person=False
        )
    assert server.only.line == (
        "GET /api/projects/7/events/?include_person=false&properties="
        "%5B%7B%22key%22%3A%22%24browser%22%2C%22value%22%3A%5B%22Chrome%22%5D%7D%5D"
    )


JOINED = Operation(
    id="contract.joined",
    method="GET",
    path="/api/projects/{project_id}/contract/",
    parameters=(
        Parameter(name="ids", python_name="ids", location="query", type="array", explode=False),
        Parameter(name="X-PostHog-Client", python_name="client", location="header"),
    ),
    result=Result(kind="json"),
    writes=False,
)
"""The pinned schema has neither of these; a user's own may."""


async def test_comma_joined_array_and_header_parameter(server: Server) -> None:
    server.answers([])
    async with connect() as ph:
        resource = Resource(get_executor(ph.feature_flags))
        await resource._call(JOINED, query={"ids": [1, "a b"]}, headers={"X-PostHog-Client": "mcp"})
    assert server.only.line == "GET /api/projects/7/contract/?ids=1,a%20b"
    assert server.only.headers["X-PostHog-Client"] == "mcp"


async def test_presence_based_flags_are_left_out_when_false(server: Server) -> None:
    server.answers_with(httpx.Response(202), httpx.Response(202))
    async with connect() as ph:
        await ph.persons.delete(11, delete_events=True, keep_person=False)
        await ph.persons.delete(11, delete_events=False, delete_recordings=False)
    assert server.lines == [
        "DELETE /api/projects/7/persons/11/?delete_events=true",
        "DELETE /api/projects/7/persons/11/",
    ]


@pytest.mark.parametrize("value", ["false", "", 0, 1, None, []])
async def test_text_that_the_server_takes_for_true_is_refused(server: Server, value: Any) -> None:
    server.answers({"persons_found": 1})
    async with connect() as ph:
        with pytest.raises(TypeError, match="delete_events must be True or False, not"):
            await ph.persons.bulk_delete(distinct_ids=["a"], delete_events=value)
        with pytest.raises(TypeError, match="keep_person must be True or False, not"):
            await ph.persons.bulk_delete(
                distinct_ids=["a"], options={"body": {"keep_person": value}}
            )
        await ph.persons.bulk_delete(distinct_ids=["a"], delete_events=False)
    assert server.only.content == b'{"delete_events":false,"distinct_ids":["a"]}'


async def test_path_of_several_segments(server: Server) -> None:
    server.answers({"path": "docs/read me.md", "content": ""})
    async with connect() as ph:
        await ph.llm_skills.files.get("a skill", "docs/read me.md", version=3)
    assert server.only.line == (
        "GET /api/projects/7/llm_skills/name/a%20skill/files/docs/read%20me.md/?version=3"
    )


async def test_ids_never_change_the_address(server: Server) -> None:
    server.answers({"id": "018f0000-0000-7000-8000-000000000001"})
    async with connect() as ph:
        await ph.error_tracking.issues.get("é ;&=+%2F")
        for name in ("..", ".", "", "a?b", "a\nb", "a#b"):
            with pytest.raises(ValueError, match="refused"):
                await ph.error_tracking.issues.get(name)
    assert server.only.line == (
        "GET /api/projects/7/error_tracking/issues/%C3%A9%20%3B%26%3D%2B%252F/"
    )


async def test_body_that_is_no_plain_object(server: Server) -> None:
    server.answers({"id": "0195f2a0-0000-7000-8000-000000000010"})
    async with connect() as ph:
        await ph.tasks.run("0195f2a0-0000-7000-8000-000000000010", body={"mode": "background"})
    assert server.only.line == (
        "POST /api/projects/7/tasks/0195f2a0-0000-7000-8000-000000000010/run/"
    )
    assert server.only.content == b'{"mode":"background"}'


async def test_models_in_a_body_are_sent_by_their_wire_names(server: Server) -> None:
    server.answers({"results": [[1]], "columns": ["1"]})
    async with connect() as ph:
        await ph.query.create(
            query=models.HogQLQuery(query="SELECT 1", values={"a": None}), refresh="force_blocking"
        )
    assert server.only.line == "POST /api/projects/7/query/"
    assert server.only.content == (
        b'{"query":{"kind":"HogQLQuery","query":"SELECT 1","values":{"a":null}},'
        b'"refresh":"force_blocking"}'
    )
