"""Resources as objects: names, fields, operations, and the operations of paths."""

from __future__ import annotations

import pytest

from asyncposthog import registry
from asyncposthog.catalog.objects import (
    canonical,
    fields,
    find_read,
    near_objects,
    object_names,
    operation_of,
)


def test_every_resource_is_an_object() -> None:
    assert {operation.resource for operation in registry.operations()} <= set(object_names())


def test_every_list_is_found_by_its_path() -> None:
    for operation in registry.operations():
        if operation.name != "list" or operation.method != "GET":
            continue
        if "{organization_id}" in operation.path or operation.path_parameters:
            continue
        path = operation.path.replace("{project_id}", "7")
        found = find_read(path)
        assert found is not None, operation.id
        assert found[0].path == operation.path


@pytest.mark.parametrize(
    ("path", "operation", "values"),
    [
        ("/dashboards", "dashboards.list", {}),
        ("dashboards/", "dashboards.list", {}),
        ("/dashboards/5", "dashboards.get", {"id": "5"}),
        ("/api/projects/3/dashboards/5/", "dashboards.get", {"id": "5"}),
        ("/error_tracking/issues", "error_tracking.issues.list", {}),
        ("error_tracking", "error_tracking.issues.list", {}),
        ("feature_flags/3/activity", "feature_flags.activity", {"id": "3"}),
        ("/users/@me", "users.me", {}),
        ("/dashboards?limit=5", "dashboards.list", {}),
    ],
)
def test_paths_that_people_write(path: str, operation: str, values: dict[str, str]) -> None:
    found = find_read(path)
    assert found is not None
    assert (found[0].id, found[1]) == (operation, values)


@pytest.mark.parametrize("path", ["", "/", "/invalid_endpoint", "/dashboards/1/2/3/4", "../x"])
def test_other_paths_are_not_found(path: str) -> None:
    assert find_read(path) is None


def test_names_are_read_leniently() -> None:
    assert canonical("Feature-Flags") == "feature_flags"
    assert canonical("error_tracking/issues") == "error_tracking.issues"
    assert canonical("flags") == "feature_flags"
    assert canonical("nothing") is None
    assert "surveys" in near_objects("survey")


def test_fields_say_what_can_be_written() -> None:
    found = fields("feature_flags")
    assert found["key"]["required"]
    assert not found["key"]["read_only"]
    created_at = found["created_at"]
    assert created_at["type"] == "datetime"
    assert created_at["read_only"]
    assert not created_at["required"]
    assert created_at["description"]
    assert found["evaluation_runtime"]["enum"] == ["server", "client", "all"]


def test_every_object_with_a_list_has_fields() -> None:
    without = [
        name
        for name in object_names()
        if (listed := operation_of(name, "list")) is not None
        and listed.result.schema is not None
        and not fields(name)
    ]
    # Lists whose items have no declared fields.
    assert len(without) < 25, without
