"""Create the objects of the default account: its organization, project and user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posthog_emulator.objects.routing import CollectionSpec

from .accounts import Account
from .json_types import is_mapping
from .state import ORGANIZATIONS, PROJECTS, USERS, EmulatorState

__all__ = ["add_project", "create_default_account"]


def create_default_account(state: EmulatorState) -> None:
    """Put the objects of the account into an empty store."""
    account = state.accounts.account
    organization = {
        "id": account.organization_id,
        "name": account.organization_name,
        "slug": "emulated-organization",
    }
    project = {"id": account.project_id, "name": account.project_name}
    projects = {
        "teams": [{**project, "organization": account.organization_id}],
        "projects": [{**project, "organization_id": account.organization_id}],
    }
    _put(state, ORGANIZATIONS, {**organization, **projects})
    add_project(state, account.project_id, account.project_name, account.project_token)
    user = {
        **state.current_user(),
        "date_joined": state.now(),
        "is_email_verified": True,
    }
    if USERS in state.plans.collections:
        user |= _user_relations(state, account, organization)
    _put(state, USERS, user, key=account.user_uuid)


def add_project(state: EmulatorState, project_id: int, name: str, token: str) -> dict[str, Any]:
    """Put a project of the account's organization into the store."""
    project = {
        "id": project_id,
        "name": name,
        "api_token": token,
        "organization": state.organization_id,
        "project_id": project_id,
        "timezone": "UTC",
    }
    return _put(state, PROJECTS, project)


def _put(
    state: EmulatorState, path: str, fields: Mapping[str, Any], key: str | None = None
) -> dict[str, Any]:
    collection = state.plans.collections.get(path)
    if collection is None:
        # An emulator of a partial registry may lack the collection. Authorization still needs the
        # object, so it is stored without a schema.
        return state.store.put(path, key or str(fields["id"]), dict(fields)).data
    declared = state.object_schemas.get(collection).properties
    values = {name: value for name, value in fields.items() if not declared or name in declared}
    return state.insert(collection, path, {**values, **_key_fields(collection, fields)}, None).data


def _key_fields(collection: CollectionSpec, fields: Mapping[str, Any]) -> dict[str, Any]:
    name = collection.key_field
    return {name: fields[name]} if name in fields else {}


def _user_relations(
    state: EmulatorState, account: Account, organization: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the user's `team`, `organization` and `organizations`, as far as declared."""
    properties = state.object_schemas.get(state.plans.collections[USERS]).properties
    project = {
        "id": account.project_id,
        "uuid": state.uuid(),
        "name": account.project_name,
        "api_token": account.project_token,
        "organization": account.organization_id,
        "project_id": account.project_id,
    }
    relations: dict[str, Any] = {}
    for name, values in (("team", project), ("organization", organization)):
        if name in properties:
            relations[name] = state.object_schemas.fit(properties[name], values)
    items = state.catalogue.resolve(properties.get("organizations", {})).get("items")
    if is_mapping(items):
        relations["organizations"] = [state.object_schemas.fit(items, organization)]
    return relations
