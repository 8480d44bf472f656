"""The toolkit: default tools, plans, approval, limits on what may be done, audit."""

from __future__ import annotations

import json
from functools import partial, reduce
from operator import getitem
from pathlib import Path
from typing import Any, cast

import anyio
import httpx
import pytest
import respx

from asyncposthog import AsyncPostHog, registry
from asyncposthog.toolkit import AuditRecord, Toolkit, ToolResult, WriteRequest, tool
from asyncposthog.toolkit.selection import select_fields
from posthog_emulator import Emulator
from tests.helpers.manual_clock import ManualClock

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    emulator = Emulator()
    emulator.seed("cohorts", 25)
    emulator.add_demo_events(events=300, seed=1)
    return emulator


@pytest.fixture
def ph(emulator: Emulator) -> AsyncPostHog:
    return AsyncPostHog.emulated(emulator)


@pytest.fixture
def kit(ph: AsyncPostHog) -> Toolkit:
    return Toolkit(ph)


def error_code(result: ToolResult) -> str | None:
    assert not result.successful
    assert result.error is not None
    return result.error.code


async def planned(kit: Toolkit, operation: str, **arguments: Any) -> str:
    result = await kit.call("write_operation", {"operation": operation, "arguments": arguments})
    assert result.successful, result.error
    return result.data["plan_id"]


def test_the_default_definitions_are_small(kit: Toolkit) -> None:
    assert kit.definition_tokens <= 700
    assert len(kit) == 6


def test_every_operation_is_reachable(kit: Toolkit) -> None:
    for operation in registry.operations():
        if operation.api_key_allowed:
            assert kit.expose(operation)
            kit.remove(operation.id.replace(".", "_"))


async def test_search_describe_read(kit: Toolkit) -> None:
    found = await kit.call("search_operations", {"query": "list cohorts"})
    assert found.data[0]["operation"] == "cohorts.list"
    assert found.data[0]["use"] == "read_operation"
    described = await kit.call("describe_operation", {"operation": "cohorts.list"})
    assert "limit" in described.data["arguments"]
    first = await kit.call(
        "read_operation",
        {"operation": "cohorts.list", "arguments": {"limit": 10}, "fields": ["id", "name"]},
    )
    assert [set(item) for item in first.data["items"]] == [{"id", "name"}] * 10
    assert first.data["count"] == 25
    second = await kit.call(
        "read_operation",
        {
            "operation": "cohorts.list",
            "arguments": {"limit": 10},
            "page": first.data["next_page"],
        },
    )
    assert second.data["items"][0]["id"] not in {item["id"] for item in first.data["items"]}


async def test_fields_that_do_not_exist_are_told(kit: Toolkit) -> None:
    async def read(*fields: str, operation: str = "cohorts.list", **arguments: Any) -> ToolResult:
        return await kit.call(
            "read_operation",
            {"operation": operation, "arguments": arguments, "fields": list(fields)},
        )

    typo = await read("nmae", limit=2)
    assert error_code(typo) == "invalid_arguments"
    assert typo.error is not None
    assert (typo.error.field, typo.error.near_matches) == ("fields", ("name",))
    partly = await read("id", "descriptoin", "created_by.emial", limit=2)
    assert [set(item) for item in partly.data["items"]] == [{"id"}] * 2
    assert partly.notes == (
        "The result has no field 'descriptoin'. Did you mean description?",
        "The result has no field 'created_by.emial'. Did you mean created_by.email?",
    )
    # Also where there is no object to compare with.
    empty = await read("descriptoin", operation="surveys.list")
    assert error_code(empty) == "invalid_arguments"
    assert (await read("description", operation="surveys.list")).data["items"] == []
    # Persons differ in their properties, so that none of these may have one.
    persons = await read("properties.emial", operation="persons.list", limit=3)
    assert persons.data["items"] == [{}] * 3
    assert persons.notes == (
        "The result has no field 'properties.emial'. Did you mean properties.email?",
    )
    single = await read("id", "filters.properties.type", operation="cohorts.get", id=1)
    assert single.notes == ()
    assert single.data["id"] == 1


@pytest.mark.parametrize(
    ("fields", "selected"),
    [
        (["a"], [{"a": 1}, {"a": None}, {}]),
        (["b.c"], [{"b.c": [1, 2]}, {"b.c": 3}, {}]),
        (["b.c", "later"], [{"b.c": [1, 2]}, {"b.c": 3}, {"later": 0}]),
    ],
)
def test_fields_of_lists_and_of_some_objects_are_selected(
    fields: list[str], selected: list[Any]
) -> None:
    data = [{"a": 1, "b": [{"c": 1}, {"c": 2}, {}]}, {"a": None, "b": {"c": 3}}, {"later": 0}]
    assert select_fields(data, fields, {}) == (selected, ())


async def test_a_page_that_is_no_next_page_is_refused(kit: Toolkit) -> None:
    for operation, page in (
        ("cohorts.list", {"offset": 10}),
        ("cohorts.list", {"query": {"offset": "10"}, "number": 2}),
        ("cohorts.get", {"query": {"offset": "10"}}),
    ):
        arguments = {"id": 1} if operation == "cohorts.get" else {}
        result = await kit.call(
            "read_operation", {"operation": operation, "arguments": arguments, "page": page}
        )
        assert error_code(result) == "invalid_arguments"
        assert result.error is not None
        assert result.error.field == "page"
    first = await kit.call("read_operation", {"operation": "cohorts.list", "page": {}})
    assert first.data["count"] == 25


async def test_arguments_in_a_wrong_place_are_told(kit: Toolkit) -> None:
    beside = await kit.call("read_operation", {"operation": "cohorts.list", "limit": 1})
    assert beside.error is not None
    assert "goes into arguments" in beside.error.message
    for wrong in ("limit=1", ["limit"], 7):
        result = await kit.call("read_operation", {"operation": "cohorts.list", "arguments": wrong})
        assert result.error is not None
        assert result.error.message.startswith("arguments must be ")
        assert (result.error.field, result.error.expected) == ("arguments", "object")
    with pytest.raises(ValueError, match=r"did you mean feature_flags\.create"):
        kit.expose("flags.create")
    sql = await kit.call("query_posthog", {"sql": "SELECT 1"})
    assert sql.error is not None
    assert "as query" in sql.error.message
    short = await kit.call("describe_operation", {"operation": "flags.update"})
    assert short.error is not None
    assert short.error.near_matches[0] == "feature_flags.update"


async def test_nested_fields_are_described(kit: Toolkit) -> None:
    described = await kit.call(
        "describe_operation", {"operation": "feature_flags.create", "field": "filters.groups"}
    )
    assert "rollout_percentage" in described.data["fields"]
    wrong = await kit.call(
        "describe_operation", {"operation": "feature_flags.create", "field": "filters.grups"}
    )
    assert wrong.error is not None
    assert "groups" in wrong.error.near_matches


async def test_a_write_is_planned_and_carried_out_once(kit: Toolkit, emulator: Emulator) -> None:
    before = len(emulator.requests)
    arguments = {"key": f"plan-{before}", "name": "Plan", "active": True}
    plan = await kit.call(
        "write_operation", {"operation": "feature_flags.create", "arguments": arguments}
    )
    assert plan.data["request"].startswith("POST http")
    assert f"/projects/{emulator.project_id}/" in plan.data["request"]
    assert plan.data["body"] == arguments
    assert len(emulator.requests) == before
    done = await kit.call("write_operation", {"plan_id": plan.data["plan_id"]})
    assert done.data["key"] == arguments["key"]
    assert len(emulator.requests) == before + 1
    again = await kit.call("write_operation", {"plan_id": plan.data["plan_id"]})
    assert error_code(again) == "plan_used"
    assert len(emulator.requests) == before + 1
    unknown = await kit.call("write_operation", {"plan_id": "0123456789abcdef"})
    assert error_code(unknown) == "plan_unknown"


async def test_a_plan_expires(emulator: Emulator) -> None:
    clock = ManualClock()
    ph = AsyncPostHog.emulated(emulator, clock=clock)
    kit = Toolkit(ph, plan_seconds=60)
    plan_id = await planned(kit, "cohorts.delete", id=1)
    clock.now += 60
    assert error_code(await kit.call("write_operation", {"plan_id": plan_id})) == "plan_expired"
    assert (await ph.cohorts.get(1)).deleted is False


async def test_a_plan_can_be_carried_out_once_also_by_two_tasks(
    kit: Toolkit, emulator: Emulator
) -> None:
    plan_id = await planned(kit, "annotations.create", content="deployed", scope="project")
    results: list[ToolResult] = []

    async def carry_out() -> None:
        results.append(await kit.call("write_operation", {"plan_id": plan_id}))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(carry_out)
        tasks.start_soon(carry_out)
    assert sorted(result.successful for result in results) == [False, True]


@pytest.mark.parametrize("answer", [False, None, "yes", 1])
async def test_a_write_that_is_not_approved_is_not_sent(
    ph: AsyncPostHog, emulator: Emulator, answer: Any
) -> None:
    asked: list[WriteRequest] = []

    def approve(request: WriteRequest) -> bool:
        asked.append(request)
        return cast("bool", answer)

    kit = Toolkit(ph, approve=approve).use("create_feature_flag").expose(ph.cohorts.delete)
    before = len(emulator.requests)
    plan_id = await planned(kit, "cohorts.delete", id=2)
    assert asked == []
    assert error_code(await kit.call("write_operation", {"plan_id": plan_id})) == "denied"
    assert error_code(await kit.call("cohorts_delete", {"id": 2})) == "denied"
    assert error_code(await kit.call("create_feature_flag", {"key": "denied"})) == "denied"
    assert len(emulator.requests) == before
    assert [request.operation for request in asked] == [
        "cohorts.delete", "cohorts.delete", "feature_flags.create",
    ]  # fmt: skip
    assert [request.destructive for request in asked] == [True, True, False]
    assert asked[1].method == "PATCH"
    assert str(asked[1].url).endswith(f"/api/projects/{emulator.project_id}/cohorts/2/")
    assert [record.approved for record in kit.audit] == [None, False, False, False]


async def test_an_async_hook_approves(ph: AsyncPostHog, emulator: Emulator) -> None:
    async def approve(request: WriteRequest) -> bool:
        await anyio.lowlevel.checkpoint()
        return request.operation == "feature_flags.create"

    kit = Toolkit(ph, approve=approve).use("create_feature_flag")
    assert (
        await kit.call("create_feature_flag", {"key": f"approved-{len(emulator.requests)}"})
    ).successful
    assert kit.audit[-1].approved is True


@pytest.mark.parametrize("failure", [RuntimeError("no terminal"), TypeError("takes 0 arguments")])
async def test_a_hook_that_fails_denies_and_the_arguments_are_not_to_blame(
    ph: AsyncPostHog,
    emulator: Emulator,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
) -> None:
    def approve(request: WriteRequest) -> bool:
        raise failure

    kit = Toolkit(ph, approve=approve).use("create_feature_flag")
    before = len(emulator.requests)
    for name, arguments in (
        ("create_feature_flag", {"key": "failed-hook"}),
        ("write_operation", {"plan_id": await planned(kit, "cohorts.delete", id=3)}),
    ):
        result = await kit.call(name, arguments)
        assert error_code(result) == "internal_error"
        assert result.error is not None
        assert "approval hook failed" in result.error.message
        assert "not of the arguments" in str(result.error.suggestion)
    assert str(failure) in caplog.text
    assert len(emulator.requests) == before


def test_a_hook_with_a_wrong_signature_is_an_error_at_once(ph: AsyncPostHog) -> None:
    def nothing() -> bool:
        return True

    async def two(request: WriteRequest, user: str) -> bool:
        return True

    class Approver:
        def approve(self, request: WriteRequest) -> bool:
            return True

    wrong: Any
    for wrong in (nothing, two, Approver.approve, "yes", True):
        with pytest.raises(TypeError, match="approve"):
            Toolkit(ph, approve=wrong)
    with pytest.raises(TypeError, match=r"one argument, the AuditRecord, which .*nothing"):
        Toolkit(ph, on_call=cast("Any", nothing))

    def anything(*arguments: object, **named: object) -> bool:
        return True

    right: Any
    for right in (None, Approver().approve, anything, partial(two, user="ada"), bool):
        assert len(Toolkit(ph, approve=right)) == 6


async def test_a_failing_on_call_does_not_change_the_result(
    ph: AsyncPostHog, caplog: pytest.LogCaptureFixture
) -> None:
    def on_call(record: AuditRecord) -> None:
        raise RuntimeError("the disk is full")

    kit = Toolkit(ph, on_call=on_call)
    assert (await kit.call("read_operation", {"operation": "cohorts.list"})).successful
    assert "the disk is full" in caplog.text


async def test_read_only_tools_cannot_write(ph: AsyncPostHog, emulator: Emulator) -> None:
    kit = Toolkit(ph, read_only=True).use("all").expose(ph.cohorts.delete, ph.cohorts.list)
    assert "write_operation" not in kit
    assert "create_feature_flag" not in kit
    assert "cohorts_delete" not in kit
    assert "cohorts_list" in kit
    assert all(not tool.writes for tool in kit)
    before = len(emulator.requests)
    for name, arguments in (
        ("write_operation", {"operation": "cohorts.delete", "arguments": {"id": 1}}),
        ("read_operation", {"operation": "cohorts.delete", "arguments": {"id": 1}}),
        ("cohorts_delete", {"id": 1}),
        ("create_feature_flag", {"key": "x"}),
        ("capture_event", {"event": "x", "distinct_id": "y"}),
    ):
        result = await kit.call(name, arguments)
        assert error_code(result) == "read_only"
        assert result.error is not None
        assert "these tools are read-only" in result.error.message
        assert "read_only=False" in str(result.error.suggestion)
    assert len(emulator.requests) == before
    found = await kit.call("search_operations", {"query": "delete a cohort", "limit": 20})
    assert all(entry["use"] == "read_operation" for entry in found.data)


async def test_a_read_operation_is_not_a_way_to_write(kit: Toolkit) -> None:
    result = await kit.call(
        "read_operation", {"operation": "cohorts.delete", "arguments": {"id": 1}}
    )
    assert error_code(result) == "not_a_read"
    result = await kit.call("write_operation", {"operation": "cohorts.list"})
    assert error_code(result) == "not_a_write"


async def test_a_dry_run_sends_nothing(ph: AsyncPostHog, emulator: Emulator) -> None:
    kit = Toolkit(ph, dry_run=True).use("create_feature_flag")
    before = len(emulator.requests)
    plan = await kit.call(
        "write_operation", {"operation": "cohorts.delete", "arguments": {"id": 1}}
    )
    assert "plan_id" not in plan.data
    assert plan.data["body"] == {"deleted": True}
    direct = await kit.call("create_feature_flag", {"key": "dry"})
    assert direct.data["request"].startswith("POST ")
    assert len(emulator.requests) == before


async def test_a_missing_scope_is_named(ph: AsyncPostHog) -> None:
    kit = Toolkit(ph, scopes=["cohort:read", "query:read"]).use("create_feature_flag")
    assert "create_feature_flag" not in kit
    result = await kit.call("read_operation", {"operation": "feature_flags.list"})
    assert error_code(result) == "missing_scope"
    assert result.error is not None
    assert "feature_flag:read" in result.error.message
    assert (await kit.call("read_operation", {"operation": "cohorts.list"})).successful
    result = await kit.call("create_feature_flag", {"key": "x"})
    assert "feature_flag:write" in (result.error.message if result.error else "")
    found = await kit.call("search_operations", {"query": "feature flag"})
    for entry in found.data:
        assert "feature_flag:read" not in registry.find(entry["operation"]).scopes
        assert "feature_flag:write" not in registry.find(entry["operation"]).scopes


async def test_scopes_are_loaded(ph: AsyncPostHog) -> None:
    kit = Toolkit(ph)
    assert await kit.load_scopes() == frozenset({"*"})
    assert (await kit.call("read_operation", {"operation": "feature_flags.list"})).successful


async def test_only_chosen_features_are_reachable(ph: AsyncPostHog) -> None:
    kit = Toolkit(ph, features=["cohorts"])
    assert (await kit.call("read_operation", {"operation": "cohorts.list"})).successful
    result = await kit.call("read_operation", {"operation": "surveys.list"})
    assert error_code(result) == "not_allowed"
    assert "query_posthog" not in kit
    assert error_code(await kit.call("query_posthog", {"query": "SELECT 1"})) == "not_allowed"
    kit.use("capture_event", "retrieve_project_cohorts_with_pagination", "list_objects")
    assert "capture_event" not in kit
    assert "retrieve_project_cohorts_with_pagination" in kit
    assert "list_objects" in kit
    assert "query_posthog" in Toolkit(ph, features=["cohorts", "query"])
    with pytest.raises(ValueError, match="did you mean cohorts"):
        Toolkit(ph, features=["cohort"])


async def test_ids_of_other_projects_are_refused(kit: Toolkit, ph: AsyncPostHog) -> None:
    arguments = {"id": 1, "project_id": 77}
    result = await kit.call(
        "write_operation", {"operation": "cohorts.delete", "arguments": arguments}
    )
    assert error_code(result) == "other_project"
    own = await kit.call(
        "write_operation",
        {"operation": "cohorts.delete", "arguments": {"id": 1, "project_id": "@current"}},
    )
    assert "/projects/1/" in own.data["request"]
    result = await kit.call(
        "write_operation",
        {"operation": "projects.update", "arguments": {"id": "@current", "name": "x"}},
    )
    assert not result.successful
    permitted = Toolkit(ph, projects=[77])
    plan = await permitted.call(
        "write_operation", {"operation": "cohorts.delete", "arguments": arguments}
    )
    assert "/projects/77/" in plan.data["request"]


async def test_a_project_that_is_looked_up_is_pinned() -> None:
    with respx.mock(base_url="https://us.posthog.com") as server:
        server.get("/api/users/@me/").mock(
            httpx.Response(200, json={"team": {"id": 5}, "organization": {"id": "o"}})
        )
        sent = server.patch("/api/projects/5/cohorts/3/").mock(httpx.Response(200, json={"id": 3}))
        async with AsyncPostHog("phx_key") as ph:
            kit = Toolkit(ph)
            plan = await kit.call(
                "write_operation", {"operation": "cohorts.delete", "arguments": {"id": 3}}
            )
            assert "/projects/5/" in plan.data["request"]
            assert (await kit.call("write_operation", {"plan_id": plan.data["plan_id"]})).successful
        assert sent.call_count == 1


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE events",
        "INSERT INTO events VALUES (1)",
        "",
        "-- SELECT\nALTER TABLE x",
        "(((" * 999,
    ],
)
async def test_a_query_that_is_no_select_is_refused(
    kit: Toolkit, emulator: Emulator, sql: str
) -> None:
    before = len(emulator.requests)
    result = await kit.call("query_posthog", {"query": sql})
    assert error_code(result) == "invalid_arguments"
    assert len(emulator.requests) == before


async def test_a_query_gets_a_limit(kit: Toolkit, emulator: Emulator) -> None:
    result = await kit.call("query_posthog", {"query": "SELECT event FROM events; -- all"})
    assert len(result.data["rows"]) == 300
    assert emulator.requests[-1].body["query"]["query"].endswith("LIMIT 1000")
    limited = await kit.call("query_posthog", {"query": "SELECT event FROM events LIMIT 3"})
    assert len(limited.data["rows"]) == 3
    broken = await kit.call("query_posthog", {"query": "SELECT nothing FROM nowhere"})
    assert broken.error is not None
    assert broken.error.suggestion


async def test_a_large_result_is_cut_and_says_how_to_go_on(ph: AsyncPostHog) -> None:
    kit = Toolkit(ph, max_result_tokens=500)
    result = await kit.call("read_operation", {"operation": "cohorts.list"})
    assert len(result.text) <= 500 * 4 + 600
    shown = len(result.data["items"])
    assert 0 < shown < 25
    assert "next_page" not in result.data
    assert f"the first {shown} of 25 items" in result.notes[0]
    assert f"limit={shown}" in result.notes[1]
    rows = await kit.call("query_posthog", {"query": "SELECT * FROM events"})
    assert "aggregate" in rows.notes[-1]


async def test_data_is_exported_to_a_file(ph: AsyncPostHog, tmp_path: Path) -> None:
    kit = Toolkit(ph, export_dir=tmp_path / "out")
    arguments = {"source": "events", "start": "2020-01-01", "end": "2030-01-01"}
    first = await kit.call("export_data", arguments)
    second = await kit.call("export_data", {**arguments, "format": "csv"})
    third = await kit.call("export_data", arguments)
    names = [Path(result.data["file"]).name for result in (first, second, third)]
    assert names == ["events.jsonl", "events.csv", "events-2.jsonl"]
    assert first.data["rows"] == 300
    lines = await anyio.Path(first.data["file"]).read_text(encoding="utf-8")
    assert len(lines.splitlines()) == 300
    wrong = await kit.call("export_data", {"source": "events", "start": "yesterday"})
    assert error_code(wrong) == "invalid_arguments"


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("no_such_tool", {}, "unknown_tool"),
        ("read_operation", {"operation": "cohort.lst"}, "invalid_arguments"),
        ("read_operation", {}, "invalid_arguments"),
        ("read_operation", "{not json", "invalid_arguments"),
        ("read_operation", "[1]", "invalid_arguments"),
        ("read_operation", {"operation": "cohorts.get"}, "invalid_arguments"),
        ("read_operation", {"operation": "cohorts.get", "arguments": {"id": 404}}, "not_found"),
        (
            "read_operation",
            {"operation": "cohorts.list", "page": {"query": 1}},
            "invalid_arguments",
        ),
        ("search_operations", {"query": "x", "limit": "many"}, "invalid_arguments"),
    ],
)
async def test_errors_are_results(kit: Toolkit, name: str, arguments: Any, code: str) -> None:
    assert error_code(await kit.call(name, arguments)) == code


async def test_an_unexpected_error_hides_its_details(ph: AsyncPostHog) -> None:
    def broken() -> None:
        raise KeyError("phx_secret_of_somebody")

    kit = Toolkit(ph).add(broken)
    result = await kit.call("broken")
    assert error_code(result) == "internal_error"
    assert "phx_" not in result.text


async def test_cancellation_is_not_swallowed(ph: AsyncPostHog) -> None:
    async def slow() -> None:
        await anyio.sleep_forever()

    kit = Toolkit(ph).add(slow)
    with anyio.move_on_after(0) as scope:
        await kit.call("slow")
    assert scope.cancelled_caught


async def test_the_audit_log_has_every_call_and_no_secrets(ph: AsyncPostHog) -> None:
    heard: list[AuditRecord] = []

    async def on_call(record: AuditRecord) -> None:
        await anyio.lowlevel.checkpoint()
        heard.append(record)

    kit = Toolkit(ph, on_call=on_call)
    secret = "phx_" + "s" * 40
    await kit.call("search_operations", {"query": f"who uses {secret}"})
    await kit.call(
        "write_operation",
        {"operation": "surveys.create", "arguments": {"name": "x", "password": secret}},
    )
    await kit.call("no_such_tool", {})
    assert [record.tool for record in heard] == [
        "search_operations", "write_operation", "no_such_tool",
    ]  # fmt: skip
    assert list(kit.audit) == heard
    assert [record.successful for record in heard] == [True, False, False]
    assert heard[1].operation == "surveys.create"
    assert secret not in json.dumps([record.arguments for record in heard])
    assert secret not in str(heard)


async def test_operations_become_tools(ph: AsyncPostHog) -> None:
    kit = Toolkit(ph, core=False)
    kit.expose(ph.surveys.create, ph.error_tracking.issues.list, name=None)
    kit.expose(ph.feature_flags.get, name="get_flag", description="Look at a flag.")
    kit.expose("cohorts.list")
    names = {made.name: made for made in kit}
    assert set(names) == {
        "surveys_create", "error_tracking_issues_list", "get_flag", "cohorts_list",
    }  # fmt: skip
    assert names["surveys_create"].writes
    assert names["surveys_create"].input_schema["properties"]["name"]["type"] == "string"
    assert names["get_flag"].input_schema["required"] == ["id"]
    assert len((await kit.call("cohorts_list", {"limit": 5})).data["items"]) == 5
    # Also methods that the client adds something to.
    kit.expose(ph.persons.update, ph.feature_flags.update, ph.query.create, ph.insights.list)
    assert {made.operation.id for made in kit if made.operation} >= {
        "persons.update", "feature_flags.update", "query.create", "insights.list",
    }  # fmt: skip
    with pytest.raises(TypeError, match="generated methods"):
        kit.expose(len)
    with pytest.raises(ValueError, match="no operation"):
        kit.expose("cohorts.lst")


async def test_own_functions_become_tools(ph: AsyncPostHog) -> None:
    kit = Toolkit(ph, core=False)

    @tool(writes=True, tags=["crm"])
    async def add_note(account: str, text: str, stars: int = 3) -> dict[str, Any]:
        """Add a note to an account.

        More about it.
        """
        return {"account": account, "text": text, "stars": stars}

    kit.add(add_note)
    (made,) = kit
    assert made.description == "Add a note to an account."
    assert made.input_schema["required"] == ["account", "text"]
    assert made.input_schema["properties"]["stars"]["type"] == "integer"
    result = await kit.call("add_note", {"account": "a", "text": "t", "stars": "5"})
    assert result.data == {"account": "a", "text": "t", "stars": 5}
    assert list(kit.only("crm")) == [made]
    assert list(kit.only("other")) == []

    def variadic(*names: str) -> None: ...

    with pytest.raises(TypeError, match="args"):
        kit.add(variadic)


def test_ready_made_tools_are_chosen_by_name_and_tag(ph: AsyncPostHog) -> None:
    kit = Toolkit(ph, core=False).use("flags", "create_project_survey")
    assert {made.name for made in kit} == {
        "create_feature_flag", "get_feature_flag_details", "update_feature_flag",
        "bulk_delete_feature_flags", "create_project_survey",
    }  # fmt: skip
    with pytest.raises(ValueError, match="did you mean flags"):
        kit.use("flag")


async def test_objects_and_fields(ph: AsyncPostHog) -> None:
    kit = Toolkit(ph, core=False).use("list_objects", "get_fields")
    assert "feature_flags" in (await kit.call("list_objects", {"search": "flag"})).data
    fields = await kit.call("get_fields", {"object_name": "events"})
    assert fields.data["event"]["type"] == "string"
    wrong = await kit.call("get_fields", {"object_name": "evnts"})
    assert wrong.error is not None
    assert "events" in wrong.error.near_matches


@pytest.mark.parametrize(
    ("format", "path"),
    [
        ("json", "input_schema"),
        ("anthropic", "input_schema"),
        ("openai", "parameters"),
        ("openai-chat", "function.parameters"),
        ("mcp", "inputSchema"),
    ],
)
def test_definitions_are_plain_data(kit: Toolkit, format: Any, path: str) -> None:
    definitions = kit.definitions(format)
    assert json.loads(json.dumps(definitions)) == definitions
    for definition in definitions:
        schema: Any = reduce(getitem, path.split("."), cast("Any", definition))
        assert schema["type"] == "object"


def test_annotations_tell_reads_from_writes(kit: Toolkit) -> None:
    hints = {d["name"]: d["annotations"] for d in kit.definitions("mcp")}
    assert hints["read_operation"]["readOnlyHint"]
    assert not hints["write_operation"]["readOnlyHint"]
    assert hints["write_operation"]["destructiveHint"]
    assert not hints["export_data"]["readOnlyHint"]
    assert not hints["export_data"]["destructiveHint"]


def test_unknown_formats_and_frameworks(kit: Toolkit) -> None:
    with pytest.raises(ValueError, match="is no format"):
        kit.definitions(cast("Any", "xml"))
    with pytest.raises(ValueError, match="is no framework"):
        kit.tools(cast("Any", "crewai"))


@pytest.mark.parametrize("settings", [{"max_result_tokens": 10}, {"plan_seconds": 0}])
def test_settings_out_of_range_are_refused(ph: AsyncPostHog, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Toolkit(ph, **settings)
