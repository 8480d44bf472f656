"""The default account as objects: its organization, its project, its user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posthog_emulator.objects.plans import Collection

from .accounts import Account
from .json_types import is_mapping
from .state import ORGANIZATIONS, PROJECTS, USERS, EmulatorState

__all__ = ["add_project", "create_default_account"]


def create_default_account(world: EmulatorState) -> None:
    """Put the account's objects into an empty store."""
    account = world.accounts.account
    organization = {
        "id": account.organization_id,
        "name": account.organization_name,
        "slug": "emulated-organization",
    }
    home = {"id": account.project_id, "name": account.project_name}
    projects = {
        "teams": [{**home, "organization": account.organization_id}],
        "projects": [{**home, "organization_id": account.organization_id}],
    }
    _put(world, ORGANIZATIONS, {**organization, **projects})
    add_project(world, account.project_id, account.project_name, account.project_token)
    user = {
        **world.person(),
        "date_joined": world.now(),
        "is_email_verified": True,
    }
    shape = world.plans.collections.get(USERS)
    if shape is not None:
        user |= _user_relations(world, account, organization)
    _put(world, USERS, user, key=account.user_uuid)


def add_project(world: EmulatorState, project_id: int, name: str, token: str) -> dict[str, Any]:
    """Put a project of the account's organization into the store."""
    project = {
        "id": project_id,
        "name": name,
        "api_token": token,
        "organization": world.organization_id,
        "project_id": project_id,
        "timezone": "UTC",
    }
    return _put(world, PROJECTS, project)


def _put(
    world: EmulatorState, address: str, given: Mapping[str, Any], key: str | None = None
) -> dict[str, Any]:
    collection = world.plans.collections.get(address)
    if collection is None:
        return world.store.put(address, key or str(given["id"]), dict(given)).data
    known = world.shapes.of(collection).properties
    kept = {name: value for name, value in given.items() if not known or name in known}
    return world.insert(collection, address, {**kept, **_keyed(collection, given)}, None).data


def _keyed(collection: Collection, given: Mapping[str, Any]) -> dict[str, Any]:
    field = collection.key_field
    return {field: given[field]} if field in given else {}


def _user_relations(
    world: EmulatorState, account: Account, organization: Mapping[str, Any]
) -> dict[str, Any]:
    """The user's `team`, `organization` and `organizations`, as their schemas have them."""
    properties = world.shapes.of(world.plans.collections[USERS]).properties
    project = {
        "id": account.project_id,
        "uuid": world.uuid(),
        "name": account.project_name,
        "api_token": account.project_token,
        "organization": account.organization_id,
        "project_id": account.project_id,
    }
    around: dict[str, Any] = {}
    for name, values in (("team", project), ("organization", organization)):
        if name in properties:
            around[name] = world.shapes.person(properties[name], values)
    items = world.catalogue.resolve(properties.get("organizations", {})).get("items")
    if is_mapping(items):
        around["organizations"] = [world.shapes.person(items, organization)]
    return around
