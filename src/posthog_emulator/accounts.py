"""Who may do what: keys, their scopes, projects and organizations."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from asyncposthog.operation import Operation
from posthog_emulator.http.errors import ApiError, not_found, permission_denied, unauthenticated
from posthog_emulator.http.messages import Request

from .json_types import is_object

__all__ = ["DEFAULT_KEY", "Account", "Accounts", "Key", "candidate"]

DEFAULT_KEY: Final = "phx_emulator"
_BEARER = re.compile(r"^Bearer\s+(\S.*)$")
_SECRET_KEYS = frozenset({"feature_flags.local_evaluation", "feature_flags.remote_config"})
"""What a project's secret key may do."""
_PINNED = "API keys with scoped projects are only supported on project-based endpoints."


@dataclass(frozen=True, slots=True)
class Account:
    """The one user of an emulator, and where they are at home."""

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
    """An API key. `None` stands for no pinning."""

    value: str
    scopes: frozenset[str] = frozenset({"*"})
    projects: frozenset[int] | None = None
    organizations: frozenset[str] | None = None

    def holds(self, scope: str) -> bool:
        """Whether the key has a scope; writing includes reading."""
        if "*" in self.scopes or scope in self.scopes:
            return True
        thing, _, access = scope.partition(":")
        return access == "read" and f"{thing}:write" in self.scopes


def candidate(request: Request, body: Any) -> tuple[str, str] | None:
    """The key a request carries and where it was found; the header wins."""
    header = _BEARER.match(request.headers.get("authorization", ""))
    if header is not None:
        return header[1].strip(), "Authorization header"
    if is_object(body):
        found = body.get("personal_api_key")
        if isinstance(found, str) and found:
            return found, "body"
    in_query = request.value("personal_api_key")
    return (in_query, "query string") if in_query else None


@dataclass(slots=True)
class Accounts:
    """Every key an emulator knows."""

    account: Account
    keys: dict[str, Key] = field(default_factory=dict[str, Key], repr=False)
    strange: set[int] = field(default_factory=set[int])
    """Projects the user is no member of."""

    def add(
        self,
        value: str,
        scopes: Collection[str] = ("*",),
        projects: Iterable[int] | None = None,
        organizations: Iterable[str] | None = None,
    ) -> Key:
        """Make a key known."""
        key = Key(
            value,
            frozenset(scopes),
            None if projects is None else frozenset(projects),
            None if organizations is None else frozenset(organizations),
        )
        self.keys[value] = key
        return key

    def authenticate(self, request: Request, body: Any) -> Key:
        """Find the key of a request.

        Raises:
            Problem: 401, there is none or it is not known.
        """
        site = f"{request.scheme}://{request.host}"
        found = candidate(request, body)
        if found is None:
            detail = "Authentication credentials were not provided."
            raise unauthenticated("not_authenticated", detail, site)
        value, place = found
        key = self.keys.get(value)
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
        """Check that a key may call an operation where it wants to.

        Args:
            key: The key.
            operation: The operation.
            project: The project in the path, `@current` resolved; None on other paths.
            organization: The organization in the path, likewise.
            project_exists: Whether there is such a project.
            own_user: Whether the path is the user's own, which pinning leaves open.

        Raises:
            Problem: 403 or 404.
        """
        if not operation.api_key_allowed:
            raise permission_denied("This action does not support personal API key access")
        if key.value.startswith("phs_") and operation.id not in _SECRET_KEYS:
            raise permission_denied("This action does not support project secret API key access")
        if key.value.startswith("pha_") and not key.scopes:
            raise permission_denied("OAuth token has no scopes and cannot access this resource")
        for scope in operation.scopes:
            if not key.holds(scope):
                raise permission_denied(f"API key missing required scope '{scope}'")
        if project is not None:
            self._project(key, project, exists=project_exists)
        elif organization is not None:
            pinned = key.organizations
            if pinned is not None and organization not in pinned:
                raise _wrong_organization(organization)
        if key.projects is not None and project is None and not own_user:
            raise permission_denied(_PINNED)

    def _project(self, key: Key, project: str, *, exists: bool) -> None:
        if not project.isdigit():
            raise not_found()
        if key.projects is not None and int(project) not in key.projects:
            raise permission_denied(
                f"API key does not have access to the requested project: ID {project}."
            )
        if int(project) in self.strange:
            raise permission_denied("You don't have access to the project.")
        if not exists:
            raise not_found("Project not found.")
        home = self.account.organization_id
        if key.organizations is not None and home not in key.organizations:
            raise _wrong_organization(home)


def _wrong_organization(organization: str) -> ApiError:
    return permission_denied(
        f"API key does not have access to the requested organization: ID {organization}."
    )
