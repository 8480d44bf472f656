"""`await ph.doctor()`: check the API key, the host, the project and the scopes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.util import find_spec
from typing import Any, Final, cast

from asyncposthog.core.executor import Executor
from asyncposthog.core.instance_schema import GET_SCHEMA, compare_schema
from asyncposthog.core.owner import ME

from .errors import (
    AuthenticationError,
    ClosedError,
    EventLoopError,
    NotFoundError,
    PermissionDeniedError,
    PostHogError,
)
from .hosts import CLOUD
from .operation import Operation, Parameter, Result
from .types import KeyKind, Region

__all__ = ["Check", "Diagnosis", "diagnose"]


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check."""

    name: str
    ok: bool | None
    """None: unknown."""
    detail: str
    fix: str | None = None
    """How to fix a failed check."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The results of `doctor()`. Its text has a line for each check."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return all(check.ok is not False for check in self.checks)

    def __str__(self) -> str:
        """Return a line for each check, and one for each fix."""
        lines: list[str] = []
        for check in self.checks:
            status = {True: "ok", False: "WRONG", None: "?"}[check.ok]
            lines.append(f"{status:<6}{check.name}: {check.detail}")
            if check.fix:
                lines.append(f"      {check.fix}")
        return "\n".join(lines)


_GET_KEY: Final = Operation(
    id="personal_api_keys.current",
    method="GET",
    path="/api/personal_api_keys/@current/",
    owner=None,
    result=Result(kind="json"),
    writes=False,
    idempotent=True,
)
_GET_PROJECT: Final = Operation(
    id="projects.get",
    method="GET",
    path="/api/projects/{id}/",
    owner=None,
    parameters=(Parameter(name="id", python_name="id", location="path", type="integer"),),
    result=Result(kind="json"),
    scopes=("project:read",),
    writes=False,
    idempotent=True,
)

_KEY_CHECKS: Final[dict[KeyKind, tuple[bool | None, str, str | None]]] = {
    "personal": (True, "a personal API key", None),
    "oauth": (True, "an OAuth access token", None),
    "unprefixed": (None, "a key without a prefix, as old personal API keys are", None),
    "project_secret": (
        None,
        "a project secret key, which few endpoints take",
        "Use a personal API key (phx_) for the private API.",
    ),
    "project": (False, "a project token", "Use a personal API key (phx_)."),
}


async def diagnose(executor: Executor, operations: Iterable[str] | None = None) -> Diagnosis:
    """Run all checks, one after the other.

    Raises:
        ClosedError: The client is closed.
        TypeError: `operations` is not a list of ids.
        ValueError: An id or pattern matches no operation.
    """
    selected = _find_operations(operations)
    executor.transport.check_open()
    checks = [_check_key(executor)]
    me, reachable = await _check_host(executor)
    checks += reachable
    if me is not None:
        checks.append(await _check_project(executor))
        # PostHog Cloud has one version, which is newer than any release of this package.
        if executor.settings.hosts.region is None:
            checks.append(await _check_version(executor))
        checks += await _check_scopes(executor, selected)
        checks.append(check_transport(executor))
    return Diagnosis(tuple(checks))


def _check_key(executor: Executor) -> Check:
    key = executor.settings.api_key
    if executor.gateway is not None:
        return Check("key", True, f"that of the gateway at {executor.gateway.url}", None)
    ok, text, fix = _KEY_CHECKS[key.kind]
    return Check("key", ok, f"{key}, {text}", fix)


def check_transport(executor: Executor) -> Check:
    """Say what sends the requests, and what would send them faster."""
    library = executor.transport.http_library
    if library == "own":
        return Check("transport", True, "requests are sent with an http_client or transport given")
    if library == "aiohttp":
        return Check("transport", True, "requests are sent over aiohttp")
    fix = 'For a service with many calls, transport="aiohttp" takes less than half the CPU time.'
    if find_spec("aiohttp") is None:
        fix += " Run: pip install 'asyncposthog[aiohttp]'."
    return Check("transport", True, "requests are sent over httpx", fix)


async def _get_object(executor: Executor, operation: Operation, *path: Any) -> dict[str, Any]:
    body = await executor.request_json(operation, *path)
    return cast("dict[str, Any]", body) if isinstance(body, dict) else {}


async def _check_host(executor: Executor) -> tuple[dict[str, Any] | None, list[Check]]:
    """Get the owner of the key; None if the request failed or the key is invalid."""
    hosts = executor.settings.hosts
    try:
        me = await _get_object(executor, ME)
    except (ClosedError, EventLoopError):
        raise
    except AuthenticationError as error:
        reachable = Check("host", True, f"{hosts.app} answers")
        return None, [reachable, await _check_region(executor, error)]
    except PermissionDeniedError as error:
        # A 403 proves that the key is valid; only its scopes do not include this endpoint.
        reachable = Check("host", True, f"{hosts.app} answers")
        return {}, [reachable, Check("region", True, f"the key is known ({error.detail})")]
    except PostHogError as error:
        return None, [Check("host", False, error.message, error.suggestion)]
    region = hosts.region.upper() if hosts.region else "this instance"
    email = me.get("email")
    owner = f" and belongs to {email}" if isinstance(email, str) else ""
    return me, [
        Check("host", True, f"{hosts.app} answers"),
        Check("region", True, f"the key is known to {region}{owner}"),
    ]


async def _check_region(executor: Executor, error: AuthenticationError) -> Check:
    """Try the other region, to tell a key of that region from an invalid one."""
    hosts = executor.settings.hosts
    if executor.gateway is not None:
        return Check("region", False, error.message, error.suggestion)
    if hosts.region is None:
        return Check(
            "region",
            False,
            "this instance does not know the key",
            "It was deleted or mistyped, or belongs to another instance or to PostHog Cloud: make "
            f"one at {hosts.app}/settings/user-api-keys.",
        )
    other: Region = "eu" if hosts.region == "us" else "us"
    try:
        await _get_object(executor.with_hosts(CLOUD[other]), ME)
    except (AuthenticationError, NotFoundError):
        return Check(
            "region",
            False,
            "neither region knows the key",
            f"It was deleted or mistyped: make a new one at {hosts.app}/settings/user-api-keys.",
        )
    except PermissionDeniedError:
        pass
    except PostHogError as other_error:
        return Check("region", False, f"{error.message}; the other region: {other_error.message}")
    return Check(
        "region",
        False,
        f"this key belongs to {other.upper()}, and the client talks to {hosts.region.upper()}",
        f"Use region={other!r}, or set POSTHOG_HOST={CLOUD[other].app}.",
    )


async def _check_project(executor: Executor) -> Check:
    number = executor.settings.project_id
    given = number is not None
    try:
        if number is None:
            number = await executor.project_id()
        project = await _get_object(executor, _GET_PROJECT, number)
    except PermissionDeniedError as error:
        if error.missing_scope:
            origin = "" if given else ", looked up and kept"
            return Check("project", None, f"{number}{origin}; {error.detail}")
        return Check("project", False, error.message, error.suggestion)
    except NotFoundError:
        return Check(
            "project",
            False,
            f"project {number} does not exist, or the key's owner is not a member",
            "Check project_id: it is part of the URL of every page.",
        )
    except PostHogError as error:
        return Check("project", False, error.message, error.suggestion)
    name = project.get("name")
    description = f"{number} ({name})" if isinstance(name, str) else str(number)
    return Check("project", True, description if given else f"{description}, looked up and kept")


async def _check_version(executor: Executor) -> Check:
    """Compare the schema that the instance serves with the operations of this package."""
    from .registry import operations

    try:
        document = await executor.request_json(GET_SCHEMA)
    except PostHogError as error:
        return Check("version", None, f"the instance does not serve its schema ({error.message})")
    difference = compare_schema(document, operations())
    if difference is None:
        return Check("version", None, "/api/schema/ of the instance is not an OpenAPI document")
    missing, unknown = difference.missing, difference.unknown
    shared = f"the instance and this package share {_pluralize(difference.shared)}"
    if not missing and not unknown:
        return Check("version", True, f"{shared}, and have no others")
    parts = [shared]
    fixes: list[str] = []
    if missing:
        parts.append(f"the instance lacks {_join_names([*missing])}")
        fixes.append("Calls of operations that the instance lacks raise NotFoundError.")
    if unknown:
        parts.append(f"this package does not know {_join_names([*unknown])}")
        fixes.append("Update asyncposthog, or use `ph.request(method, path)`.")
    age = "older" if len(missing) > len(unknown) else "newer"
    detail = f"{age} than this package: {'; '.join(parts)}"
    fixes.append("`python -m codegen generate --schema URL` makes a package for this instance.")
    return Check("version", None, detail, " ".join(fixes))


async def _check_scopes(executor: Executor, selected: list[Operation]) -> list[Check]:
    browser_only = [operation.id for operation in selected if not operation.api_key_allowed]
    checks: list[Check] = []
    if browser_only:
        detail = f"no API key may call {_join_names(browser_only)}"
        checks.append(Check("access", False, detail, "They work in the browser only."))
    try:
        key = await _get_object(executor, _GET_KEY)
    except PostHogError as error:
        checks.append(Check("scopes", None, f"cannot be asked with this key ({error.message})"))
        return checks
    granted = key.get("scopes")
    if not isinstance(granted, list):
        checks.append(Check("scopes", None, "the server does not tell"))
        return checks
    scopes = {str(scope) for scope in cast("list[object]", granted)}
    needed: dict[str, list[str]] = {}
    for operation in selected:
        for scope in operation.scopes:
            if not scope_granted(scopes, scope):
                needed.setdefault(scope, []).append(operation.id)
    if needed:
        detail = "; ".join(
            f"{scope} (for {_join_names(ids)})" for scope, ids in sorted(needed.items())
        )
        fix = f"Add to the key at {executor.settings.host}/settings/user-api-keys: "
        checks.append(Check("scopes", False, f"missing {detail}", fix + ", ".join(sorted(needed))))
        return checks
    if not selected:
        checks.append(Check("scopes", True, ", ".join(sorted(scopes)) or "none"))
        return checks
    without_scope = (
        [] if "*" in scopes else [op.id for op in selected if not op.scopes and op.api_key_allowed]
    )
    if len(without_scope) < len(selected):
        checks.append(
            Check("scopes", True, f"enough for {_pluralize(len(selected) - len(without_scope))}")
        )
    if without_scope:
        detail = f"PostHog's schema names no scope for {_join_names(without_scope)}"
        checks.append(Check("scopes", None, detail))
    return checks


def scope_granted(granted: set[str], required: str) -> bool:
    """Return whether scopes include one. `*` includes all, and `write` includes `read`."""
    if "*" in granted or required in granted:
        return True
    subject, _, action = required.partition(":")
    return action == "read" and f"{subject}:write" in granted


def _pluralize(number: int) -> str:
    return f"{number:,} operation{'s' * (number != 1)}"


def _join_names(ids: list[str]) -> str:
    names = ", ".join(ids[:3])
    return names if len(ids) <= 3 else f"{names} and {len(ids) - 3} more"


def _find_operations(patterns: Iterable[str] | None) -> list[Operation]:
    """Return the operations that match ids or patterns."""
    if patterns is None:
        return []
    listed = isinstance(cast("object", patterns), Iterable) and not isinstance(patterns, str)
    given = list(patterns) if listed else []
    if not listed or not all(isinstance(pattern, str) for pattern in cast("list[object]", given)):
        raise TypeError("operations must be a list of ids such as ['feature_flags.create']")
    from .registry import operations

    all_operations = list(operations())
    matched: dict[str, Operation] = {}
    for pattern in given:
        matches = [op for op in all_operations if fnmatchcase(op.id, pattern)]
        if not matches:
            raise ValueError(f"no operation matches {pattern!r}")
        matched.update((op.id, op) for op in matches)
    return list(matched.values())
