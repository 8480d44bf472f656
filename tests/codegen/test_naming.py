"""Names are derived from paths, and released names do not change."""

from __future__ import annotations

import json
import keyword
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from asyncposthog import AsyncPostHog
from asyncposthog.resources import Resources
from codegen.naming import (
    CLIENT_NAMES,
    class_name,
    class_names,
    fixed_names,
    method_names,
    operation_shape,
    parse_route,
    path_error,
    python_name,
)
from codegen.pipeline import PINNED_SCHEMA

P = "/api/projects/{project_id}"


def names(*operations: tuple[str, str] | tuple[str, str, bool], **released: str) -> dict[str, str]:
    triples = [(op[0], op[1], op[2] if len(op) > 2 else False) for op in operations]
    result = method_names(triples, released)
    return {f"{method} {path.removeprefix(P)}": name for (method, path), name in result.items()}


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ("dateRange", "date_range"),
        ("user__uuid", "user_uuid"),
        ("$unset", "unset"),
        ("_create_in_folder", "create_in_folder"),
        ("from", "from_"),
        ("async", "async_"),
        ("2fa", "n2fa"),
        ("explainLogWithAI", "explain_log_with_ai"),
        ("X-PostHog-Task-Id", "x_posthog_task_id"),
        ("openapi.json", "openapi_json"),
        ("filterHogQL", "filter_hogql"),
        ("options", "options_"),
        ("$", "value"),
    ],
)
def test_python_name(wire: str, expected: str) -> None:
    assert python_name(wire) == expected


@given(st.text(min_size=1))
def test_python_name_is_always_an_identifier(wire: str) -> None:
    name = python_name(wire)
    assert name.isidentifier()
    assert not keyword.iskeyword(name)


@given(st.text(min_size=1))
def test_class_name_is_always_an_identifier(component: str) -> None:
    name = class_name(component)
    assert name.isidentifier()
    assert not keyword.iskeyword(name)


def test_crud_on_a_collection_and_its_items() -> None:
    assigned = names(
        ("get", f"{P}/cohorts/", True),
        ("post", f"{P}/cohorts/"),
        ("get", f"{P}/cohorts/{{id}}/"),
        ("patch", f"{P}/cohorts/{{id}}/"),
        ("put", f"{P}/cohorts/{{id}}/"),
        ("delete", f"{P}/cohorts/{{id}}/"),
    )
    assert assigned == {
        "get /cohorts/": "cohorts.list",
        "post /cohorts/": "cohorts.create",
        "get /cohorts/{id}/": "cohorts.get",
        "patch /cohorts/{id}/": "cohorts.update",
        "put /cohorts/{id}/": "cohorts.replace",
        "delete /cohorts/{id}/": "cohorts.delete",
    }


def test_collection_returning_one_object_is_named_get() -> None:
    assert names(("get", f"{P}/web_vitals/")) == {"get /web_vitals/": "web_vitals.get"}


def test_nested_resources_actions_and_shared_tails() -> None:
    assigned = names(
        ("get", f"{P}/error_tracking/issues/{{id}}/"),
        ("post", f"{P}/error_tracking/issues/{{id}}/merge/"),
        ("get", f"{P}/dashboards/{{dashboard_id}}/sharing/"),
        ("post", f"{P}/dashboards/{{dashboard_id}}/sharing/refresh/"),
        ("get", f"{P}/session_summaries/config/"),
        ("patch", f"{P}/session_summaries/config/"),
    )
    assert assigned["get /error_tracking/issues/{id}/"] == "error_tracking.issues.get"
    assert assigned["post /error_tracking/issues/{id}/merge/"] == "error_tracking.issues.merge"
    assert assigned["get /dashboards/{dashboard_id}/sharing/"] == "dashboards.sharing.get"
    assert (
        assigned["post /dashboards/{dashboard_id}/sharing/refresh/"] == "dashboards.sharing.refresh"
    )
    assert assigned["get /session_summaries/config/"] == "session_summaries.get_config"
    assert assigned["patch /session_summaries/config/"] == "session_summaries.update_config"


def test_item_action_wins_the_name_over_the_collection_action() -> None:
    assigned = names(
        ("get", f"{P}/feature_flags/activity/"),
        ("get", f"{P}/feature_flags/{{id}}/activity/"),
        ("get", f"{P}/feature_flags/{{id}}/"),
    )
    assert assigned["get /feature_flags/{id}/activity/"] == "feature_flags.activity"
    assert assigned["get /feature_flags/activity/"] == "feature_flags.all_activity"


def test_second_item_route_gets_its_parameter_in_the_name() -> None:
    assigned = names(("post", f"{P}/query/"), ("post", f"{P}/query/{{query_kind}}/"))
    assert assigned["post /query/{query_kind}/"] == "query.create_by_query_kind"


def test_remaining_name_clashes_get_a_verb_parameters_or_a_number() -> None:
    paths = [f"{P}/x/{{id}}/a/", f"{P}/x/{{id}}/{{b}}/a/", f"{P}/x/{{id}}/{{c}}/a/"]
    reports: list[tuple[str, str, str]] = []
    assigned = method_names(
        [("get", path, False) for path in paths],
        {},
        lambda method, path, reason: reports.append((method, path, reason)),
    )
    assert [assigned["get", path] for path in paths] == ["x.a", "x.get_a", "x.get_a_by_c"]
    assert [(method, path) for method, path, _ in reports] == [("get", p) for p in paths[1:]]
    assert reports[0][2] == "another method is called 'x.a'; it is 'x.get_a'"


def test_list_below_an_item_gets_the_item_parameter_in_its_name() -> None:
    paths = [
        f"{P}/files/versions/",
        f"{P}/files/{{id}}/versions/",
        f"{P}/files/{{id}}/versions/{{version_id}}/",
        f"{P}/files/{{zone}}/{{id}}/versions/",
    ]
    names = method_names([("get", path, True) for path in paths], {})
    assert [names["get", path] for path in paths] == [
        "files.versions.list",
        "files.versions.list_by_id",
        "files.versions.get",
        "files.versions.list_by_zone_and_id",
    ]
    # These differ by the names of their parameters only.
    paths = [f"{P}/a/b/{{x}}/c/", f"{P}/a/{{x}}/b/c/", f"{P}/a/{{x}}/b/{{x}}/c/"]
    names = method_names([("get", path, False) for path in paths], {})
    assert len(set(names.values())) == len(paths)


def test_method_named_like_a_nested_resource_gets_its_verb() -> None:
    actions, logs = f"{P}/jobs/{{id}}/logs/", f"{P}/jobs/logs/{{id}}/"
    reports: list[tuple[str, str, str]] = []
    assigned = method_names(
        [("get", actions, False), ("get", logs, False)],
        {f"GET {actions}": "jobs.logs", f"GET {logs}": "jobs.logs.get"},
        lambda method, path, reason: reports.append((method, path, reason)),
    )
    assert assigned == {("get", actions): "jobs.list_logs", ("get", logs): "jobs.logs.get"}
    assert [report[:2] for report in reports] == [("get", actions)]


def test_nested_resource_gives_way_to_a_method_whose_name_is_given() -> None:
    # As in PostHog's schema of November 2025: the first was released before the second existed.
    versions, version = (
        f"{P}/endpoints/{{name}}/versions/",
        f"{P}/endpoints/{{name}}/versions/{{id}}/",
    )
    reports: list[tuple[str, str, str]] = []
    assigned = method_names(
        [("get", versions, True), ("get", version, False)],
        {f"GET {versions}": "endpoints.versions"},
        lambda method, path, reason: reports.append((method, path, reason)),
    )
    assert assigned == {
        ("get", versions): "endpoints.versions",
        ("get", version): "endpoints.versions_.get",
    }
    assert [report[:2] for report in reports] == [("get", version)]
    assert "'endpoints.versions' is a method already" in reports[0][2]


def test_given_names_are_found_by_path_whatever_the_placeholders_are_called() -> None:
    keys = [("get", f"{P}/a/{{id}}/"), ("get", f"{P}/b/{{id}}/")]
    reports: list[str] = []
    given = fixed_names(
        keys,
        (
            {f"GET {P}/a/{{uuid}}/": "first.get"},
            {f"GET {P}/a/{{id}}/": "second.get", f"GET {P}/b/{{id}}/": "first.get"},
        ),
        lambda method, path, reason: reports.append(f"{method} {path}: {reason}"),
    )
    assert given == {f"GET {P}/a/{{id}}/": "first.get"}
    assert len(reports) == 1
    assert "b/{id}/: the name 'first.get' is given to GET" in reports[0]


def test_reserved_names_are_given_to_no_other_operation() -> None:
    operations = [("get", f"{P}/jobs/{{id}}/", False)]
    assigned = method_names(operations, {}, reserved=["jobs.get"])
    assert assigned == {operations[0][:2]: "jobs.get_by_id"}
    # An operation that is back gets its own name.
    assigned = method_names(
        operations, {f"GET {P}/jobs/{{id}}/": "jobs.get"}, reserved=["jobs.get"]
    )
    assert assigned == {operations[0][:2]: "jobs.get"}


PINNED = sorted(
    (method, path, "{" not in path.rstrip("/").rpartition("/")[2] and method == "get")
    for path, item in json.loads(PINNED_SCHEMA.read_text(encoding="utf-8"))["paths"].items()
    for method in item
    if path_error(path) is None
)
SEGMENTS = sorted({part for _, path, _ in PINNED for part in path.split("/")[4:] if part})
METHODS = ["delete", "get", "patch", "post", "put"]


@st.composite
def new_operations(draw: st.DrawFn, known: list[tuple[str, str, bool]]) -> tuple[str, str, bool]:
    """An operation that is not known, often one near those that are."""
    start = draw(st.sampled_from([path for _, path, _ in known] or [f"{P}/x/"]))
    parts = start.strip("/").split("/")
    parts = parts[: draw(st.integers(min(4, len(parts)), len(parts)))]
    more = st.sampled_from([*SEGMENTS, "{a}", "{b}", "get", "list", "stream"])
    parts += draw(st.lists(more, max_size=3))
    path = "/" + "/".join(parts) + "/"
    assume(path_error(path) is None)
    return draw(st.sampled_from(METHODS)), path, draw(st.booleans())


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_adding_operations_renames_none(data: st.DataObject) -> None:
    known = data.draw(st.lists(st.sampled_from(PINNED), min_size=1, max_size=40, unique=True))
    first = method_names(known, {})
    given_names = {f"{method.upper()} {path}": name for (method, path), name in first.items()}
    added = data.draw(
        st.lists(
            new_operations(known) | st.sampled_from(PINNED),
            min_size=1,
            max_size=5,
            unique_by=lambda operation: operation[:2],
        )
    )
    shapes = {operation_shape(operation) for operation in given_names}
    added = [o for o in added if operation_shape(f"{o[0].upper()} {o[1]}") not in shapes]
    every = data.draw(st.permutations([*known, *added]))

    second = method_names(every, fixed_names([o[:2] for o in every], (given_names,)))

    assert {key: second[key] for key in first} == first
    assert_usable(second)
    # The next run with these names changes none of them, and the order makes no difference.
    released = {f"{method.upper()} {path}": name for (method, path), name in second.items()}
    assert method_names(reversed(every), released, reserved=released.values()) == second


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_operations_does_not_matter(seed: int) -> None:
    assigned = method_names(Random(seed).sample(PINNED, len(PINNED)), {})
    assert assigned == method_names(PINNED, {})
    assert_usable(assigned)


def assert_usable(assigned: dict[tuple[str, str], str]) -> None:
    """Check that all methods and nested resources can exist beside one another."""
    methods = set(assigned.values())
    assert len(methods) == len(assigned)
    resources = {
        ".".join(parts[:length])
        for parts in (name.split(".") for name in methods)
        for length in range(1, len(parts))
    }
    assert not methods & resources
    for name in methods:
        parts = name.split(".")
        assert len(parts) > 1
        assert all(part.isidentifier() and not keyword.iskeyword(part) for part in parts)


def test_every_attribute_of_the_client_is_avoided() -> None:
    resources = {name for name in vars(Resources) if not name.startswith("_")}
    attributes = {name for name in dir(AsyncPostHog) if not name.startswith("_")} - resources
    assert attributes <= CLIENT_NAMES
    assigned = names(*(("get", f"{P}/{name}/") for name in sorted(attributes)))
    assert sorted(assigned.values()) == sorted(f"{name}_.get" for name in attributes)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/flags/", "not below /api/"),
        ("/api/", "names no resource"),
        ("/api/{x}/", "names no resource"),
        ("/api/projects/{project_id}/{id}/", "names no resource"),
        ("/api/x/{id/", "braces do not match"),
        ("/api/x/id}/", "braces do not match"),
        ("/api/x/{a}.{b}/", "not a whole segment"),
        ("/api/x/v{a}/", "not a whole segment"),
        ("/api/x/{}/", "not a whole segment"),
        ("/api/x/{id}/y/{id}/", "two placeholders of the same name"),
        ("/api/x\r\ny/", "characters"),
        ("/api/x?y/", "characters"),
        ("/api/x#y/", "characters"),
        ("/api/x%zz/", "characters"),
        ("/api/gr\u00f6\u00dfe/", "characters"),
        ("/api/x/../y/", "dots"),
        ("/api/x//y/", "empty or only dots"),
        ("/api/x/{id}/openapi.json/", None),
        ("/api/x%20y/@me/", None),
    ],
)
def test_a_path_that_no_method_can_be_made_for(path: str, reason: str | None) -> None:
    result = path_error(path)
    assert result is None if reason is None else reason in (result or "")


def test_reserved_names_get_an_underscore() -> None:
    assigned = method_names(
        [("get", f"{P}/stream/", False), ("get", f"{P}/x/{{id}}/cached_property/", False)], {}
    )
    assert sorted(assigned.values()) == ["stream_.get", "x.cached_property_"]


def test_released_name_wins_over_naming_rules() -> None:
    path = f"{P}/cohorts/"
    assigned = method_names([("get", path, False)], {f"GET {path}": "cohorts.list"})
    assert assigned == {("get", path): "cohorts.list"}


def test_route_owners() -> None:
    assert parse_route("/api/environments/{project_id}/x/").owner == "project"
    assert parse_route("/api/organizations/{organization_id}/roles/{id}/").segments == (
        "organizations", "roles", "{id}",
    )  # fmt: skip
    assert parse_route("/api/organizations/{id}/").owner is None
    with pytest.raises(ValueError, match="not below /api/"):
        parse_route("/flags/")


def test_class_names_are_unique_and_released_ones_stay() -> None:
    assigned = class_names(["User", "_User", "list", "DateRange"], {"DateRange": "DateRange_"})
    assert assigned["User"] == "User"
    assert assigned["_User"] == "UserSchema"
    assert assigned["list"] == "List"
    assert assigned["DateRange"] == "DateRange_"
    assert len(set(assigned.values())) == len(assigned)
