"""Which project, and which organization: looked up once where the user left them out.

`@current` follows whatever the key's owner last opened in a browser. It is asked once, by a GET,
and the number that comes back is kept: no other call ever carries it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, TypeAlias, cast

import anyio

from asyncposthog.config import Secret, check_option
from asyncposthog.errors import ConfigurationError, NotFoundError, PermissionDeniedError
from asyncposthog.operation import Operation, Result

__all__ = ["CURRENT_ORGANIZATION", "CURRENT_PROJECT", "ME", "Roots"]

Ask: TypeAlias = Callable[[Operation], Awaitable[Any]]
"""Makes a call that takes no arguments, and returns its JSON."""


def _get(name: str, path: str, scope: str) -> Operation:
    return Operation(
        id=name,
        method="GET",
        path=path,
        root="instance",
        result=Result(kind="json"),
        scopes=(scope,),
        writes=False,
        idempotent=True,
    )


ME: Final = _get("users.me", "/api/users/@me/", "user:read")
CURRENT_PROJECT: Final = _get("projects.current", "/api/projects/@current/", "project:read")
CURRENT_ORGANIZATION: Final = _get(
    "organizations.current", "/api/organizations/@current/", "organization:read"
)


class Roots:
    """What was looked up, by key: one project and one organization for each."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._projects: dict[Secret, int] = {}
        self._organizations: dict[Secret, str] = {}
        self._lock: anyio.Lock | None = None

    def known_project(self, key: Secret) -> int | None:
        """Return the number that was looked up before, without asking."""
        return self._projects.get(key)

    async def project(self, key: Secret, ask: Ask) -> int:
        """Return the number of the project the key's owner had open when first asked.

        Raises:
            ConfigurationError: The server does not tell.
        """
        if key not in self._projects:
            async with self._single():
                if key not in self._projects:
                    await self._look_up(key, ask, "project")
        return self._projects[key]

    async def organization(self, key: Secret, ask: Ask) -> str:
        """Return the UUID of the organization, likewise.

        Raises:
            ConfigurationError: The server does not tell.
        """
        if key not in self._organizations:
            async with self._single():
                if key not in self._organizations:
                    await self._look_up(key, ask, "organization")
        return self._organizations[key]

    def _single(self) -> anyio.Lock:
        if self._lock is None:
            self._lock = anyio.Lock()
        return self._lock

    async def _look_up(
        self, key: Secret, ask: Ask, wanted: Literal["project", "organization"]
    ) -> None:
        me = await _try(ask, ME)
        project, organization = _project(me.get("team")), _organization(me.get("organization"))
        if wanted == "project" and project is None:
            project = _project(await _try(ask, CURRENT_PROJECT))
        if wanted == "organization" and organization is None:
            organization = _organization(await _try(ask, CURRENT_ORGANIZATION))
        if project is not None:
            self._projects.setdefault(key, project)
        if organization is not None:
            self._organizations.setdefault(key, organization)
        if key in (self._projects if wanted == "project" else self._organizations):
            return
        scope = "project:read" if wanted == "project" else "organization:read"
        raise ConfigurationError(
            f"No {wanted}_id was given, and the server does not tell which {wanted} is meant.",
            suggestion=(
                f"Pass {wanted}_id= or set POSTHOG_{wanted.upper()}_ID; or give the key the scope "
                f"user:read or {scope}."
            ),
        )


async def _try(ask: Ask, operation: Operation) -> dict[str, Any]:
    """Ask, taking a refusal for an empty answer: there is another way, or a better message."""
    try:
        answer = await ask(operation)
    except (PermissionDeniedError, NotFoundError):
        return {}
    return cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}


def _project(value: object) -> int | None:
    """Return the number of a project; None where the answer holds none that a path can take."""
    number = cast("dict[str, object]", value).get("id") if isinstance(value, dict) else None
    # Not isinstance: True is an int as well.
    return number if type(number) is int and 0 < number < 10**18 else None


def _organization(value: object) -> str | None:
    """Return the UUID of an organization; None where the answer holds no UUID."""
    found = cast("dict[str, object]", value).get("id") if isinstance(value, dict) else None
    if not isinstance(found, str):
        return None
    try:
        return check_option("organization_id", found)
    except ConfigurationError:
        return None
