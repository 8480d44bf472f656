"""CRUD, soft deletion, nesting and filters of collections."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from types import FrameType
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthog_emulator import FIDELITY_HEADER, Emulator

from . import widget_api
from .conftest import client

pytestmark = pytest.mark.anyio

WIDGETS = "/api/projects/1/widgets/"


async def made(http: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await http.post(WIDGETS, json={"name": "a", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_new_object_has_sent_fields_and_server_fields() -> None:
    clock = datetime(2026, 5, 1, 12, tzinfo=UTC)
    emulator = Emulator(widget_api.OPERATIONS, widget_api.SCHEMAS, clock=lambda: clock)
    async with httpx.AsyncClient(
        transport=emulator.transport(),
        base_url="http://emulator",
        headers={"Authorization": "Bearer phx_emulator"},
    ) as http:
        first = await made(http, kind="square", size=3, tags=["x"], password="secret")
        second = await made(http)
    assert (first["kind"], first["size"], first["tags"]) == ("square", 3, ["x"])
    assert (first["id"], second["id"]) == (1, 2)
    assert first["created_at"] == first["updated_at"] == "2026-05-01T12:00:00Z"
    assert first["created_by"]["email"] == "someone@example.com"
    assert first["version"] == 1
    assert first["active"] is True, "the schema's default"
    assert first["deleted"] is False
    assert first["owner"] is None
    assert "password" not in first


async def test_sent_read_only_fields_are_ignored(tiny_http: httpx.AsyncClient) -> None:
    widget = await made(tiny_http, id=77, version=9)
    assert widget["id"] == 1
    assert widget["version"] != 9


async def test_unknown_fields_are_ignored_with_a_warning(
    tiny: Emulator, tiny_http: httpx.AsyncClient
) -> None:
    widget = await made(tiny_http, colour="red")
    assert "colour" not in widget
    assert tiny.warnings == ["widgets.create: unknown body field 'colour'"]


async def test_get_returns_what_create_returned(tiny_http: httpx.AsyncClient) -> None:
    widget = await made(tiny_http, size=4)
    answer = await tiny_http.get(f"{WIDGETS}{widget['id']}/")
    assert answer.json() == widget
    assert answer.headers[FIDELITY_HEADER] == "stateful"


async def test_an_update_merges_at_the_top_level(tiny_http: httpx.AsyncClient) -> None:
    shape = {"type": "box", "sides": [1, 2]}
    widget = await made(tiny_http, size=4, shape=shape)
    answer = await tiny_http.patch(
        f"{WIDGETS}{widget['id']}/", json={"shape": {"type": "circle", "radius": 1.5}}
    )
    changed = answer.json()
    assert changed["shape"] == {"type": "circle", "radius": 1.5}
    assert changed["size"] == 4
    assert changed["version"] == widget["version"] + 1
    assert changed["updated_at"] >= widget["updated_at"]
    assert changed["created_at"] == widget["created_at"]


async def test_put_resets_absent_fields(tiny_http: httpx.AsyncClient) -> None:
    widget = await made(tiny_http, size=4, tags=["x"])
    answer = await tiny_http.put(f"{WIDGETS}{widget['id']}/", json={"name": "b"})
    changed = answer.json()
    assert (changed["name"], changed["size"], changed["tags"]) == ("b", 0, [])
    assert (changed["id"], changed["created_at"]) == (widget["id"], widget["created_at"])


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT"])
async def test_a_missing_item(tiny_http: httpx.AsyncClient, method: str) -> None:
    answer = await tiny_http.request(
        method, f"{WIDGETS}7/", json=None if method == "GET" else {"name": "x"}
    )
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


async def test_projects_do_not_share_objects(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    tiny.add_project(2)
    tiny.add("widgets", {"name": "there"}, project_id=2)
    widget = await made(tiny_http)
    assert widget["id"] == 2, "ids are numbered across projects, as in a database"
    assert (await tiny_http.get(f"/api/projects/2/widgets/{widget['id']}/")).status_code == 404
    assert (await tiny_http.get("/api/projects/2/widgets/")).json()["count"] == 1


async def test_soft_delete(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    widget = await made(tiny_http)
    item = f"{WIDGETS}{widget['id']}/"
    refused = await tiny_http.delete(item)
    assert (refused.status_code, refused.content) == (405, b"")
    assert (await tiny_http.get(WIDGETS)).json()["count"] == 1

    gone = await tiny_http.patch(item, json={"deleted": True})
    assert gone.json()["deleted"] is True
    assert tiny.requests[-1].operation == "widgets.delete"
    assert (await tiny_http.get(WIDGETS)).json()["count"] == 0
    assert (await tiny_http.get(WIDGETS, params={"deleted": "true"})).json()["count"] == 1
    assert (await tiny_http.get(item)).json()["deleted"] is True

    back = await tiny_http.patch(item, json={"deleted": False})
    assert back.json()["deleted"] is False
    assert (await tiny_http.get(WIDGETS)).json()["count"] == 1


async def test_soft_delete_among_other_changes(tiny_http: httpx.AsyncClient) -> None:
    widget = await made(tiny_http)
    changes = {"deleted": True, "name": "old"}
    answer = await tiny_http.patch(f"{WIDGETS}{widget['id']}/", json=changes)
    assert (answer.json()["deleted"], answer.json()["name"]) == (True, "old")
    assert (await tiny_http.get(WIDGETS)).json()["count"] == 0


async def test_nested_objects_live_below_their_parent(
    tiny: Emulator, tiny_http: httpx.AsyncClient
) -> None:
    one, two = tiny.add("widgets")["id"], tiny.add("widgets")["id"]
    part = (await tiny_http.post(f"{WIDGETS}{one}/parts/", json={"name": "p"})).json()
    assert part["widget_id"] == one
    assert [p["id"] for p in (await tiny_http.get(f"{WIDGETS}{one}/parts/")).json()] == [part["id"]]
    assert (await tiny_http.get(f"{WIDGETS}{two}/parts/")).json() == []
    assert (await tiny_http.get(f"{WIDGETS}{two}/parts/{part['id']}/")).status_code == 404
    assert (await tiny_http.get(f"{WIDGETS}9/parts/")).status_code == 404

    gone = await tiny_http.delete(f"{WIDGETS}{one}/parts/{part['id']}/")
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await tiny_http.get(f"{WIDGETS}{one}/parts/{part['id']}/")).status_code == 404


async def test_the_server_completes_nested_objects(
    tiny: Emulator, tiny_http: httpx.AsyncClient
) -> None:
    one = tiny.add("widgets")["id"]
    sent = {"name": "p", "screws": [{"length": 2.5}]}
    part = (await tiny_http.post(f"{WIDGETS}{one}/parts/", json=sent)).json()
    assert part["screws"] == [{"length": 2.5, "id": 0}]


async def test_delete_removes_nested_objects(http: httpx.AsyncClient) -> None:
    survey = (await http.post("/api/projects/1/alerts/", json={})).json()
    assert survey["type"] == "validation_error", "an alert needs more"
    role = await http.post("/api/organizations/@current/roles/", json={"name": "r"})
    item = f"/api/organizations/@current/roles/{role.json()['id']}/"
    assert (await http.get(item)).status_code == 200
    assert (await http.delete(item)).status_code == 204
    assert (await http.get(item)).status_code == 404
    assert (await http.get(f"{item}role_memberships/")).status_code == 404


async def test_singletons_store_their_fields(tiny_http: httpx.AsyncClient) -> None:
    path = "/api/projects/1/settings/"
    before = (await tiny_http.get(path)).json()
    assert before == {"colour": None, "limit": 1, "seen": False}
    changed = await tiny_http.patch(path, json={"colour": "red", "limit": 5, "seen": True})
    assert changed.json() == {"colour": "red", "limit": 5, "seen": False}
    assert (await tiny_http.get(path)).json() == changed.json()


async def test_strict_fidelity_refuses_samples(
    tiny: Emulator, tiny_http: httpx.AsyncClient
) -> None:
    tiny.settings.strict_fidelity = True
    one = tiny.add("widgets")["id"]
    polished = await tiny_http.post(f"{WIDGETS}{one}/polish/")
    assert (polished.status_code, polished.headers[FIDELITY_HEADER]) == (501, "error")
    assert polished.json()["code"] == "generated_response"
    assert "widgets.polish" in polished.json()["detail"]
    assert (await tiny_http.get(f"{WIDGETS}{one}/")).status_code == 200
    assert (await tiny_http.post(f"{WIDGETS}99/polish/")).status_code == 404
    assert [request.refused_generated for request in tiny.requests] == [True, False, False]


async def test_actions_return_a_sample(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    one = tiny.add("widgets")["id"]
    polished = await tiny_http.post(f"{WIDGETS}{one}/polish/")
    assert polished.status_code == 200
    assert polished.headers[FIDELITY_HEADER] == "schema"
    assert tiny.state.validators.first_error("Part", polished.json(), "response") is None
    assert (await tiny_http.post(f"{WIDGETS}99/polish/")).status_code == 404

    stats = await tiny_http.get(f"{WIDGETS}stats/")
    assert (stats.json(), stats.headers[FIDELITY_HEADER]) == ({}, "schema")
    label = await tiny_http.get(f"{WIDGETS}{one}/label/")
    assert label.headers["content-type"] == "text/csv"


async def test_flag_keys_are_unique(http: httpx.AsyncClient) -> None:
    path = "/api/projects/1/feature_flags/"
    first = await http.post(path, json={"key": "a"})
    again = await http.post(path, json={"key": "a"})
    assert (first.status_code, again.status_code) == (201, 400)
    assert first.json()["active"] is True, "the server's default, on which the schema is silent"
    assert again.json() == {
        "type": "validation_error",
        "code": "unique",
        "detail": "There is already a feature flag with this key.",
        "attr": "key",
    }
    await http.patch(f"{path}{first.json()['id']}/", json={"deleted": True})
    assert (await http.post(path, json={"key": "a"})).status_code == 201


async def test_list_filters(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    owner = "018f0000-0000-7000-8000-0000000000aa"
    tiny.add("widgets", {"name": "Alpha", "kind": "round", "size": 3, "active": True})
    tiny.add("widgets", {"name": "beta", "kind": "square", "size": 1, "active": False})
    tiny.add("widgets", {"name": "Gamma", "size": 2, "owner": owner, "tags": ["x", "y"]})

    async def names(**params: Any) -> list[str]:
        answer = await tiny_http.get(WIDGETS, params=params)
        assert answer.status_code == 200, answer.text
        assert answer.json()["count"] == len(answer.json()["results"])
        return [item["name"] for item in answer.json()["results"]]

    assert await names(search="ALPH") == ["Alpha"]
    assert await names(kind="square") == ["beta"]
    assert await names(active="false") == ["beta"]
    assert await names(size=2) == ["Gamma"]
    assert await names(owner=owner) == ["Gamma"]
    assert await names(tags=["y", "z"]) == ["Gamma"]
    assert await names(tags='["x"]') == ["Gamma"]
    assert await names(id__in="1,3") == ["Alpha", "Gamma"]
    assert await names(created_by="1") == ["Alpha", "beta", "Gamma"]
    assert await names(created_by="2") == []
    assert await names(ordering="size") == ["beta", "Gamma", "Alpha"]
    assert await names(ordering="-size") == ["Alpha", "Gamma", "beta"]
    assert await names(kind="square", search="alpha") == []


async def test_the_same_seed_generates_the_same_ids() -> None:
    def ids(seed: int) -> list[str]:
        emulator = Emulator(widget_api.OPERATIONS, widget_api.SCHEMAS, seed=seed)
        widget = emulator.add("widgets")["id"]
        return [part["id"] for part in emulator.seed("widgets.parts", 3, parents=[widget])]

    assert ids(1) == ids(1)
    assert not set(ids(1)) & set(ids(2))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["create", "delete", "restore", "update", "list"]), st.integers(0, 9)
    ),
    max_size=25,
)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
async def test_counts_agree_with_a_model(
    steps: list[tuple[str, int]],
) -> None:
    emulator = Emulator(widget_api.OPERATIONS, widget_api.SCHEMAS)
    expected: dict[int, tuple[str, bool]] = {}
    headers = {"Authorization": f"Bearer {emulator.key}"}
    async with httpx.AsyncClient(
        transport=emulator.transport(), base_url="http://emulator", headers=headers
    ) as http:
        for step, number in steps:
            item = f"{WIDGETS}{number}/"
            known = number in expected
            if step == "create":
                expected[(await made(http, name=f"n{number}"))["id"]] = (f"n{number}", True)
            elif step == "list":
                live = [one for one, (_, alive) in expected.items() if alive]
                page = (await http.get(WIDGETS, params={"limit": 3, "offset": number})).json()
                assert page["count"] == len(live)
                assert [one["id"] for one in page["results"]] == live[number : number + 3]
                assert (page["next"] is None) is (number + 3 >= len(live))
            elif step == "update":
                answer = await http.patch(item, json={"name": "new"})
                assert answer.status_code == (200 if known else 404)
                if known:
                    expected[number] = ("new", expected[number][1])
            else:
                answer = await http.patch(item, json={"deleted": step == "delete"})
                assert answer.status_code == (200 if known else 404)
                if known:
                    expected[number] = (expected[number][0], step == "restore")
        kept = {
            item["id"]: (item["name"], not item["deleted"]) for item in emulator.items("widgets")
        }
    assert kept == expected


FILTERED: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, str]]] = [
    ("insights", {"query": {"kind": "InsightVizNode", "source": {"kind": "TrendsQuery"}}},
     {"query": {"kind": "InsightVizNode", "source": {"kind": "FunnelsQuery"}}},
     {"insight": "TRENDS"}),
    ("insights", {"query": {"kind": "DataTableNode", "source": {"kind": "HogQLQuery"}}},
     {"query": {"kind": "InsightVizNode", "source": {"kind": "TrendsQuery"}}},
     {"insight": "SQL"}),
    ("insights", {"last_modified_at": "2026-05-01T00:00:00Z"},
     {"last_modified_at": "2026-04-01T00:00:00Z"}, {"date_from": "2026-04-15"}),
    ("insights", {"created_at": "2020-01-01T00:00:00Z"}, {}, {"created_date_to": "-30d"}),
    ("insights", {}, {"created_by": None}, {"user": "true"}),
    ("feature_flags", {"key": "a", "filters": {"multivariate": {"variants": [{"key": "x"}]}}},
     {"key": "b"}, {"type": "multivariant"}),
    ("feature_flags", {"key": "a"},
     {"key": "b", "filters": {"multivariate": {"variants": [{"key": "x"}]}}},
     {"type": "boolean"}),
    ("feature_flags", {"key": "a"}, {"key": "b"}, {"excluded_properties": '["b"]'}),
    ("feature_flags", {"key": "a", "active": False}, {"key": "b"}, {"active": "false"}),
    ("feature_flags", {"key": "a"}, {"key": "b", "created_by": None}, {"created_by_id": "1"}),
    ("notebooks", {"last_modified_at": "2026-05-01T00:00:00Z"},
     {"last_modified_at": "2026-05-03T00:00:00Z"}, {"date_to": "2026-05-02T00:00:00Z"}),
    ("session_recordings", {"id": "one"}, {"id": "two"}, {"session_ids": '["one"]'}),
    ("conversations.tickets", {"status": "open"}, {"status": "resolved"},
     {"status": "new,open"}),
    ("file_system", {"path": "a/b"}, {"path": "b/a"}, {"parent": "a"}),
    ("insights", {}, {"saved": False}, {"saved": "true"}),
    ("surveys", {"start_date": "2026-05-01T00:00:00Z", "end_date": None},
     {"start_date": None, "end_date": None}, {"status": "running"}),
    ("surveys", {"id": "018f0000-0000-7000-8000-0000000000aa"}, {},
     {"ids": "018f0000-0000-7000-8000-0000000000aa"}),
    ("comments", {"is_task": True, "completed_at": None}, {"is_task": False}, {"kind": "task"}),
    ("comments", {"completed_at": None}, {"completed_at": "2026-05-01T00:00:00Z"},
     {"completed": "open"}),
    ("event_definitions", {"name": "a"}, {"name": "b"}, {"names": "a"}),
    ("event_definitions", {"name": "a", "last_seen_at": None},
     {"name": "b", "last_seen_at": "2020-01-01T00:00:00Z"}, {"exclude_stale": "true"}),
    ("cohorts", {"name": "a"}, {"filters": {"properties": {"type": "AND", "values": [
        {"type": "behavioral", "key": "x"}]}}}, {"hide_behavioral_cohorts": "true"}),
    ("feature_flags", {"key": "a", "tags": ["x"]}, {"key": "b", "tags": ["y"]},
     {"excluded_tags": '["y"]'}),
    ("feature_flags", {"key": "a", "evaluation_contexts": ["web"]},
     {"key": "b", "evaluation_contexts": []}, {"has_evaluation_contexts": "true"}),
    ("notebooks", {"content": {"content": [{"type": "ph-recording", "attrs": {"id": "r"}}]}},
     {"content": {"content": [{"type": "ph-query"}]}}, {"contains": "recording:true,query:false"}),
    ("notebooks", {"content": {"content": [{"type": "ph-recording", "attrs": {"id": "r"}}]}},
     {"content": {"content": [{"type": "ph-recording", "attrs": {"id": "s"}}]}},
     {"contains": "recording:r"}),
    ("experiment_saved_metrics", {"query": {"source": {"event": "paid"}}},
     {"query": {"source": {"event": "signed up"}}}, {"event": "paid"}),
    ("error_tracking.symbol_sets", {"failure_reason": "no map"}, {"failure_reason": None},
     {"status": "invalid"}),
    ("conversations.tickets", {"tags": ["a", "b"]}, {"tags": ["a"]}, {"tags_all": '["a", "b"]'}),
    ("conversations.tickets", {"snoozed_until": "2999-01-01T00:00:00Z"}, {"snoozed_until": None},
     {"snoozed": "true"}),
    ("tasks", {"latest_run": {"status": "completed"}}, {"latest_run": {"status": "queued"}},
     {"status": "completed"}),
    ("accounts", {"churned_at": None}, {"churned_at": "2026-05-01T00:00:00Z"},
     {"include_churned": "false"}),
    ("subscriptions", {"insight": 4, "dashboard": None}, {"insight": None, "dashboard": 4},
     {"resource_type": "insight"}),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "within", "without", "asked"), FILTERED, ids=str)
async def test_filters_with_names_other_than_fields(
    emulator: Emulator,
    http: httpx.AsyncClient,
    resource: str,
    within: dict[str, Any],
    without: dict[str, Any],
    asked: dict[str, str],
) -> None:
    wanted = emulator.add(resource, within)
    emulator.add(resource, without)
    path = f"/api/projects/1/{resource.replace('.', '/')}/"
    everything = (await http.get(path)).json()["results"]
    answer = await http.get(path, params=asked)
    assert answer.status_code == 200, answer.text
    assert [item["id"] for item in answer.json()["results"]] == [wanted["id"]]
    assert (len(everything), answer.headers[FIDELITY_HEADER]) == (2, "stateful")


async def test_an_unknown_filter(emulator: Emulator, http: httpx.AsyncClient) -> None:
    path = "/api/projects/1/accounts/?all_roles_unassigned=true"
    nothing = await http.get(path)
    assert (nothing.status_code, nothing.json()["count"]) == (200, 0)
    emulator.seed("accounts", 2)
    refused = await http.get(path)
    assert (refused.status_code, refused.json()["attr"]) == (400, "all_roles_unassigned")
    assert "strict=False" in refused.json()["detail"]
    emulator.settings.strict = False
    overlooked = await http.get(path)
    assert (overlooked.json()["count"], overlooked.headers[FIDELITY_HEADER]) == (2, "schema")


async def test_invalid_filter_values(emulator: Emulator, http: httpx.AsyncClient) -> None:
    for path, name in (
        ("insights/?date_from=once", "date_from"),
        ("feature_flags/?excluded_properties=[", "excluded_properties"),
    ):
        answer = await http.get(f"/api/projects/1/{path}")
        assert (answer.status_code, answer.json()["attr"]) == (400, name)


async def test_recordings_are_sorted_descending(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    for name, count in (("a", 1), ("b", 3), ("c", 2)):
        emulator.add("session_recordings", {"id": name, "click_count": count})

    async def ids(**asked: str) -> list[str]:
        answer = await http.get("/api/projects/1/session_recordings/", params=asked)
        return [item["id"] for item in answer.json()["results"]]

    assert await ids(order="click_count") == ["b", "c", "a"]
    assert await ids(order="click_count", order_direction="ASC") == ["a", "c", "b"]


async def test_a_list_runs_through_few_modules(http: httpx.AsyncClient) -> None:
    modules: set[str] = set()

    def profile(frame: FrameType, event: str, _: Any) -> None:
        name = frame.f_globals.get("__name__", "")
        if event == "call" and name.startswith("posthog_emulator."):
            modules.add(name)

    path = "/api/projects/1/cohorts/"
    await http.get(path)
    sys.setprofile(profile)
    try:
        answer = await http.get(path)
    finally:
        sys.setprofile(None)
    assert answer.status_code == 200
    # The transport in this process belongs to the client, and stands for its connection.
    modules.discard("posthog_emulator.http.server")
    assert len(modules) <= 22, " ".join(sorted(modules))


async def test_properties_of_events(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.state.events.append(
        1,
        [
            {"event": "paid", "distinct_id": "ada", "properties": {"plan": "pro", "$os": "Linux"}},
            {"event": "left", "distinct_id": "ada", "properties": {"why": "x", "utm_source": "y"}},
        ],
    )

    async def names(**asked: str) -> dict[str, bool | None]:
        answer = await http.get("/api/projects/1/property_definitions/", params=asked)
        assert (answer.status_code, answer.headers[FIDELITY_HEADER]) == (200, "stateful")
        results = answer.json()["results"]
        return {item["name"]: item["is_seen_on_filtered_events"] for item in results}

    assert (await names()).keys() == {"plan", "$os", "why", "utm_source"}
    assert (await names(exclude_core_properties="true")).keys() == {"plan", "why"}
    assert await names(event_names='["paid"]', search="a") == {"plan": True}
    assert (await names(event_names='["paid"]'))["why"] is False
    only = {"event_names": '["left"]', "filter_by_event_names": "true"}
    assert await names(**only) == {"why": True, "utm_source": True}


async def test_lists_can_be_searched_whatever_the_schema_says(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    emulator.seed("event_definitions", 3)
    answer = await http.get("/api/projects/1/event_definitions/?search=definitions-2")
    assert [item["name"] for item in answer.json()["results"]] == ["event_definitions-2"]


async def test_unknown_fields_in_nested_objects() -> None:
    body = {
        "name": "Form",
        "feature_flag_key": "form",
        "parameters": {"feature_flag_variants": [{"key": "control"}, {"key": "test"}]},
    }
    for strict, status in ((True, 400), (False, 201)):
        emulator = Emulator(strict=strict)
        async with client(emulator) as http:
            answer = await http.post("/api/projects/1/experiments/", json=body)
        assert answer.status_code == status, answer.text


async def test_fields_that_older_clients_expect(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    emulator.add("experiments", {"name": "Form"})
    for path, field in (("insights", "filters"), ("experiments", "saved_metrics_ids")):
        if path == "insights":
            made = await http.post(f"/api/projects/1/{path}/", json={"name": "Sign-ups"})
            assert made.json()[field] == {}
        (item,) = (await http.get(f"/api/projects/1/{path}/")).json()["results"]
        assert field in item
