"""What the methods people use demand, where the schema says less or more than the server."""

from __future__ import annotations

import inspect

import pytest

from .wire import Wire

SET_BY_THE_SERVER: dict[str, set[str]] = {
    "warehouse_saved_queries.create": {"folder_name", "origin"},
    "warehouse_saved_queries.replace": {"folder_name", "origin"},
    "warehouse_saved_queries.update": {"folder_name", "origin"},
    "evaluations.create": {"status", "status_reason"},
    "evaluations.replace": {"status", "status_reason"},
    "evaluations.update": {"status", "status_reason"},
    "llm_analytics.evaluation_reports.replace": {"evaluation"},
    "llm_analytics.evaluation_reports.update": {"evaluation"},
    "users.replace": {"pending_invites"},
    "users.update": {"pending_invites"},
    "users.hedgehog_config.update": {"pending_invites"},
    "users.cancel_email_change": {"pending_invites"},
    "users.request_email_verification": {"pending_invites"},
    "users.set_scene_personalisation": {"pending_invites"},
    "users.two_factor.generate_backup_codes": {"pending_invites"},
    "users.two_factor.disable": {"pending_invites"},
    "users.two_factor.validate": {"pending_invites"},
    "users.two_factor.validate_legacy": {"pending_invites"},
    "error_tracking.grouping_rules.reorder": {"issue"},
    "error_tracking.assignment_rules.reorder": {"created_at"},
    "tasks.create": {"slug", "task_number"},
    "tasks.replace": {"slug", "task_number"},
    "tasks.update": {"slug", "task_number"},
    "sandbox_environments.create": {"effective_domains", "internal"},
    "sandbox_environments.update": {"effective_domains", "internal"},
}
DEMANDED: dict[str, set[str]] = {
    "warehouse_saved_queries.create": {"name", "query"},
    "warehouse_saved_queries.replace": {"name", "query"},
    "warehouse_saved_queries.update": set(),
    "evaluations.create": {"evaluation_type", "name", "output_type"},
    "evaluations.replace": {"evaluation_type", "name", "output_type"},
    "llm_analytics.evaluation_reports.replace": set(),
    "users.replace": {"email", "password"},
    "users.request_email_verification": set(),
    "users.two_factor.disable": set(),
    "tasks.create": set(),
    "tasks.replace": set(),
    "sandbox_environments.create": {"name"},
    "dataset_items.create": {"dataset", "input"},
    "subscriptions.create": {"frequency", "interval", "start_date", "target_type", "target_value"},
    "subscriptions.replace": {"frequency", "interval", "start_date", "target_type", "target_value"},
    "alerts.create": {"insight", "subscribed_users", "threshold"},
}


def keywords(name: str) -> dict[str, bool]:
    """The keyword arguments of a method, and whether each has to be given."""
    parameters = inspect.signature(Wire().method(name)).parameters.values()
    return {p.name: p.default is p.empty for p in parameters if p.kind is p.KEYWORD_ONLY}


@pytest.mark.parametrize("name", SET_BY_THE_SERVER)
def test_no_argument_is_for_what_the_server_sets_itself(name: str) -> None:
    assert keywords(name).keys() & SET_BY_THE_SERVER[name] == set()


@pytest.mark.parametrize("name", DEMANDED)
def test_a_method_demands_what_the_server_demands(name: str) -> None:
    assert {argument for argument, needed in keywords(name).items() if needed} == DEMANDED[name]
