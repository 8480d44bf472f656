"""API keys: authentication, and authorization by scopes, projects and organizations."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from asyncposthog.operation import Operation
from posthog_emulator.http.errors import ApiError, not_found, permission_denied, unauthenticated
from posthog_emulator.http.messages import Request

from .json_types import is_object

__all__ = ["DEFAULT_KEY", "Account", "Accounts", "Key", "extract_key"]

DEFAULT_KEY: Final = "phx_emulator"
_BEARER = re.compile(r"^Bearer\s+(\S.*)$")
_SECRET_KEY_OPERATIONS = frozenset(
    {"feature_flags.local_evaluation", "feature_flags.remote_config"}
)
"""The operations that a project secret key (`phs_…`) may call."""
_PROJECT_SCOPED = "API keys with scoped projects are only supported on project-based endpoints."


@dataclass(frozen=True, slots=True)
class Account:
    """The only user of an emulator, with their organization and project."""

    user_id: int = 1
    user_uuid: str = "018f0000-0000-7000-8000-00000000000a"
    email: str = "someone@example.com"
    first_name: str = "Someone"
    organization_id: str = "018f0000-0000-7000-8000-00000000000b"
    organization_name: str = "Emulated organization"
    project_id: int = 1
    project_name: str = "Emulated project"
    project_token: str = "phc_emulator"  # noqa: S105


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """An API key."""

    value: str
    scopes: frozenset[str] = frozenset({"*"})
    projects: frozenset[int] | None = None
    """The only projects it may be used on; None for any."""
    organizations: frozenset[str] | None = None
    """The only organizations it may be used on; None for any."""

    def has_scope(self, scope: str) -> bool:
        """Return whether the key has a scope. `X:write` includes `X:read`."""
        if "*" in self.scopes or scope in self.scopes:
            return True
        resource, _, access = scope.partition(":")
        return access == "read" and f"{resource}:write" in self.scopes


def extract_key(request: Request, body: Any) -> tuple[str, str] | None:
    """Return the API key of a request, and where it is, as error messages call the place.

    The server looks into the header first, then into the body, then into the query string.
    """
    header = _BEARER.match(request.headers.get("authorization", ""))
    if header is not None:
        return header[1].strip(), "Authorization header"
    if is_object(body):
        value = body.get("personal_api_key")
        if isinstance(value, str) and value:
            return value, "body"
    in_query = request.query_value("personal_api_key")
    return (in_query, "query string") if in_query else None


@dataclass(slots=True)
class Accounts:
    """The API keys that an emulator accepts."""

    account: Account
    keys: dict[str, Key] = field(default_factory=dict[str, Key], repr=False)
    foreign_projects: set[int] = field(default_factory=set[int])
    """Projects that exist, but of which the user is not a member."""

    def add(
        self,
        value: str,
        scopes: Collection[str] = ("*",),
        projects: Iterable[int] | None = None,
        organizations: Iterable[str] | None = None,
    ) -> Key:
        """Add an API key, or replace the one with the same value."""
        key = Key(
            value,
            frozenset(scopes),
            None if projects is None else frozenset(projects),
            None if organizations is None else frozenset(organizations),
        )
        self.keys[value] = key
        return key

    def authenticate(self, request: Request, body: Any) -> Key:
        """Return the key of a request.

        Raises:
            ApiError: 401; the request has no key, or it is not one of `keys`.
        """
        site = f"{request.scheme}://{request.host}"
        extracted = extract_key(request, body)
        if extracted is None:
            detail = "Authentication credentials were not provided."
            raise unauthenticated("not_authenticated", detail, site)
        value, place = extracted
        key = self.keys.get(value)
        # A project token is public, and never an API key, even if it was added as one.
        if key is None or value.startswith("phc_"):
            detail = f"Personal API key found in request {place} is invalid."
            raise unauthenticated("authentication_failed", detail, site)
        return key

    def authorize(
        self,
        key: Key,
        operation: Operation,
        project: str | None,
        organization: str | None,
        *,
        project_exists: bool = True,
        own_user: bool = False,
    ) -> None:
        """Check that a key may call an operation on a project or an organization.

        Args:
            key: The key.
            operation: The operation.
            project: The project in the path, with `@current` resolved; None on other paths.
            organization: The organization in the path, `@current` resolved; None on other paths.
            project_exists: Whether the project exists.
            own_user: Whether the path is about the user or the key itself. A key that is
                restricted to projects may still call it.

        Raises:
            ApiError: 403, the key may not call it; 404, the project does not exist.
        """
        if not operation.api_key_allowed:
            raise permission_denied("This action does not support personal API key access")
        if key.value.startswith("phs_") and operation.id not in _SECRET_KEY_OPERATIONS:
            raise permission_denied("This action does not support project secret API key access")
        if key.value.startswith("pha_") and not key.scopes:
            raise permission_denied("OAuth token has no scopes and cannot access this resource")
        for scope in operation.scopes:
            if not key.has_scope(scope):
                raise permission_denied(f"API key missing required scope '{scope}'")
        if project is not None:
            self._authorize_project(key, project, exists=project_exists)
        elif organization is not None:
            allowed = key.organizations
            if allowed is not None and organization not in allowed:
                raise _wrong_organization(organization)
        if key.projects is not None and project is None and not own_user:
            raise permission_denied(_PROJECT_SCOPED)

    def _authorize_project(self, key: Key, project: str, *, exists: bool) -> None:
        if not project.isdigit():
            raise not_found()
        # The order of the checks decides between 403 and 404, and is the server's: the projects of
        # the key, membership of the user, existence.
        if key.projects is not None and int(project) not in key.projects:
            raise permission_denied(
                f"API key does not have access to the requested project: ID {project}."
            )
        if int(project) in self.foreign_projects:
            raise permission_denied("You don't have access to the project.")
        if not exists:
            raise not_found("Project not found.")
        owner = self.account.organization_id
        if key.organizations is not None and owner not in key.organizations:
            raise _wrong_organization(owner)


def _wrong_organization(organization: str) -> ApiError:
    return permission_denied(
        f"API key does not have access to the requested organization: ID {organization}."
    )
