"""Resources and registry belong together, and every method follows the same rules."""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Iterator
from functools import cache, cached_property
from types import FunctionType
from typing import Any

import pytest

import asyncposthog
from asyncposthog import OMIT, AsyncPostHog, registry
from asyncposthog.client import BaseClient, ClientNamespaces
from asyncposthog.core.resource import Resource
from asyncposthog.operation import Operation
from asyncposthog.resources import Resources
from tests.helpers.operations import OPERATIONS
from tests.helpers.soft_assertions import SoftAssertions


@cache
def methods() -> dict[str, Any]:
    """Return every generated method by its public name."""
    client = AsyncPostHog("phx_guard", project_id=1)
    found: dict[str, Any] = {}
    for name, member in _members(Resources):
        assert isinstance(member, cached_property), name
        found |= _methods(getattr(client, name), name)
    return found


def _methods(resource: Resource, path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, member in _members(_generated(type(resource))):
        if isinstance(member, cached_property):
            found |= _methods(getattr(resource, name), f"{path}.{name}")
        else:
            assert isinstance(member, FunctionType), f"{path}.{name}"
            found[f"{path}.{name}"] = getattr(resource, name)
    return found


def _generated(kind: type) -> type:
    """Return the generated class behind a service."""
    return next(
        base for base in kind.__mro__ if base.__module__.startswith("asyncposthog.resources.")
    )


def _members(owner: type) -> Iterator[tuple[str, Any]]:
    return ((name, member) for name, member in vars(owner).items() if not name.startswith("_"))


def test_every_method_has_its_operation_and_every_operation_its_method() -> None:
    assert sorted(methods()) == sorted(operation.id for operation in OPERATIONS)
    assert len(OPERATIONS) > 1000


def test_every_family_is_listed_and_every_operation_is_found() -> None:
    assert {operation.id.split(".")[0] for operation in OPERATIONS} == set(registry.FAMILIES)
    assert [registry.find(operation.id) for operation in OPERATIONS] == list(OPERATIONS)
    with pytest.raises(KeyError):
        registry.find("feature_flags.lst")


@pytest.mark.parametrize(
    "name",
    [
        "batch_exports.list_test_steps", "batch_exports.test_new_step", "batch_exports.test_step",
        "cohorts.add_persons", "cohorts.remove_person", "dashboards.create_from_template",
        "dashboards.create_unlisted", "dashboards.tiles.reorder", "early_access_features.list",
        "error_tracking.issues.bulk_update", "error_tracking.issues.set_cohort",
        "error_tracking.stack_frames.bulk_get", "event_definitions.generate_typescript",
        "experiments.create_exposure_cohort", "external_data_sources.check_prefix",
        "external_data_sources.connectors", "feature_flags.create_static_cohort",
        "feature_flags.keys_by_id", "feature_flags.values", "file_system.restore",
        "file_system_shortcuts.reorder", "group_types.list", "groups.get", "heatmaps.saved.list",
        "hog_flows.batch_jobs.create", "hog_functions.reorder", "hog_functions.test",
        "insights.mark_viewed", "live_debugger_breakpoints.hits", "llm_analytics.render_text",
        "logs.explain", "organizations.invites.bulk_create", "persons.reset_distinct_id",
        "project_secret_api_keys.rotate", "projects.create", "query.check_async_auth",
        "query.get_log", "query.run_kind", "surveys.generate_headline", "tasks.runs.send_command",
        "uploaded_media.upload", "users.two_factor.start", "users.two_factor.validate",
        "warehouse_tables.upload",
    ],
)  # fmt: skip
def test_names_that_follow_the_rules_of_contributing(name: str) -> None:
    assert registry.find(name).id == name


def test_signatures() -> None:
    with SoftAssertions() as soft:
        for operation in OPERATIONS:
            with soft.case(operation.id):
                check_signature(operation)


def check_signature(operation: Operation) -> None:
    parameters = list(inspect.signature(methods()[operation.id]).parameters.values())
    positional = [p for p in parameters if p.kind is p.POSITIONAL_ONLY]
    rest = parameters[len(positional) :]
    assert [p.name for p in positional] == [p.python_name for p in operation.path_parameters]
    assert all(p.default is p.empty for p in positional)
    assert all(p.kind is p.KEYWORD_ONLY for p in rest)
    assert (rest[-1].name, rest[-1].default) == ("options", None)
    arguments = rest[:-1]
    # Other lists say in each page where the next one begins, so pages have to come in order.
    any_order = operation.pagination is not None and (
        operation.pagination.style in {"offset", "page"}
        or "include_total" in {p.name for p in operation.query_parameters}
    )
    assert any_order == ("concurrency" in {p.name for p in arguments})
    if any_order:
        assert (arguments[-1].name, arguments[-1].default) == ("concurrency", 1)
        arguments = arguments[:-1]
    assert all(p.default is OMIT or p.default is p.empty for p in arguments)
    required = [p.default is p.empty for p in arguments]
    assert required == sorted(required, reverse=True), "what is required comes first"
    assert {p.name for p in arguments} == set(_named(operation))
    assert not any(keyword.iskeyword(p.name) or p.name.startswith("_") for p in parameters)


def _named(operation: Operation) -> Iterator[str]:
    yield from (p.python_name for p in operation.parameters if p.location != "path")
    if operation.fixed_body is None and operation.body is not None:
        yield from (python for python, _ in operation.body.fields)
        if not operation.body.flat:
            yield "body"


def test_docstrings() -> None:
    with SoftAssertions() as soft:
        for operation in OPERATIONS:
            with soft.case(operation.id):
                check_docstring(operation)


def check_docstring(operation: Operation) -> None:
    text = " ".join((inspect.getdoc(methods()[operation.id]) or "").split())
    first = text.partition(". ")[0]
    assert 3 < len(first) < 200
    assert not first.startswith("Run the action `"), "a template: write it in openapi/docs.yaml"
    assert f"`{operation.method} {operation.path}`" in text
    assert all(f"`{scope}`" in text for scope in operation.scopes)
    assert all(f"`{bucket}`" in text for bucket in operation.buckets)


def test_methods_that_page_return_cursors_and_the_others_are_coroutines() -> None:
    for operation in OPERATIONS:
        method = methods()[operation.id]
        pages = operation.pagination is not None
        assert inspect.iscoroutinefunction(method) is not pages, operation.id
        assert inspect.signature(method).return_annotation.startswith("Cursor[") is pages


def test_no_name_shadows_another() -> None:
    assert not set(registry.FAMILIES) & set(dir(BaseClient))
    assert not set(registry.FAMILIES) & {"models", "resources", "registry"}
    for operation in OPERATIONS:
        *resources, name = operation.id.split(".")
        assert not {*resources[1:], name} & set(dir(Resource)), operation.id
        assert not keyword.iskeyword(name), operation.id
    below = {operation.resource for operation in OPERATIONS}
    assert not below & {operation.id for operation in OPERATIONS}


def test_public_names_are_sorted_and_there() -> None:
    names = list(asyncposthog.__all__)
    assert len(set(names)) == len(names)
    groups = [[n for n in names if test(n)] for test in (str.isupper, _is_class, _is_plain)]
    assert names == [name for group in groups for name in sorted(group)]
    for name in names:
        assert getattr(asyncposthog, name) is not None
    assert set(names) <= set(dir(asyncposthog))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = asyncposthog.Nothing


def _is_class(name: str) -> bool:
    return name[0].isupper() and not name.isupper()


def _is_plain(name: str) -> bool:
    return not name[0].isupper()


def test_no_namespace_hides_a_generated_resource() -> None:
    """A resource that PostHog adds must not get lost behind a namespace of the same name."""
    client = AsyncPostHog("phx_guard", project_id=1, project_api_key="phc_guard")
    for owner in (ClientNamespaces, BaseClient):
        for name, member in _members(owner):
            if isinstance(member, cached_property) and hasattr(Resources, name):
                generated = _generated(type(getattr(client, name)))
                assert generated.__module__ == f"asyncposthog.resources.{name}"
