"""What one call may do differently from its client, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from asyncposthog.transport.retry import Policy

from .config import Settings, validate_option
from .types import RequestOptions

__all__ = ["CallOptions", "default_options", "parse_options"]

_OPTION_NAMES: Final = frozenset(RequestOptions.__annotations__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """The client's settings with those of one call put over them."""

    policy: Policy
    strict: bool
    project_id: int | None
    organization_id: str | None
    idempotent: bool | None = None
    headers: tuple[tuple[str, str], ...] = ()
    query: Mapping[str, object] | None = None
    body: Mapping[str, object] | None = None


def default_options(settings: Settings) -> CallOptions:
    """Return the options of a call that gives none."""
    return CallOptions(
        policy=Policy(
            timeout=settings.timeout,
            deadline=settings.deadline,
            max_retries=settings.max_retries,
            max_retry_after=settings.max_retry_after,
        ),
        strict=settings.strict,
        project_id=settings.project_id,
        organization_id=settings.organization_id,
    )


def parse_options(options: object, base: CallOptions) -> CallOptions:
    """Check `options={...}` and put it over the client's settings.

    Raises:
        TypeError: A key is not known, or a value of the wrong type.
        ConfigurationError: A value is out of range.
    """
    if not isinstance(options, Mapping):
        raise TypeError(f"options must be a dict, not {type(options).__name__}")
    given = dict(cast("Mapping[str, Any]", options))
    unknown = [str(name) for name in given if name not in _OPTION_NAMES]
    if unknown:
        raise TypeError(
            f"options has no {', '.join(sorted(unknown))}; "
            f"it takes {', '.join(sorted(_OPTION_NAMES))}"
        )
    query, body = _mapping("query", given), _mapping("body", given)
    checked = {name: validate_option(name, value) for name, value in given.items()}
    policy = base.policy
    return CallOptions(
        policy=Policy(
            timeout=checked.get("timeout", policy.timeout),
            deadline=checked.get("deadline", policy.deadline),
            max_retries=checked.get("max_retries", policy.max_retries),
            max_retry_after=policy.max_retry_after,
        ),
        strict=checked.get("strict", base.strict),
        project_id=checked.get("project_id") or base.project_id,
        organization_id=checked.get("organization_id") or base.organization_id,
        idempotent=checked.get("idempotent"),
        headers=checked.get("headers", ()),
        query=query,
        body=body,
    )


def _mapping(name: str, given: dict[str, Any]) -> Mapping[str, object] | None:
    value = given.pop(name, None)
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise TypeError(f"options[{name!r}] must be a mapping, not {type(value).__name__}")
    return cast("Mapping[str, object]", value)
