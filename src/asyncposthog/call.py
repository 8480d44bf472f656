"""The arguments of one call, and the settings that it may have of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from .config import RETRY_STATUSES, Settings, validate_option
from .operation import Operation
from .types import OMIT, RequestOptions

__all__ = ["Call", "CallOptions", "Policy", "default_options", "parse_options"]

_OPTION_NAMES: Final = frozenset(RequestOptions.__annotations__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Time limits and retries of one call. All times are in seconds; None means no limit."""

    timeout: float | None = 60.0
    """For one attempt."""
    deadline: float | None = None
    """For the whole call, waits included."""
    max_retries: int = 3
    max_retry_after: float = 120.0
    """The longest `Retry-After` that is waited for."""
    retry_timeouts: bool = True
    """Whether to retry an attempt that ran into its timeout, or that the server ended with 504."""
    retry_statuses: frozenset[int] = RETRY_STATUSES
    """The error statuses that may be retried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """Settings of one call: those of the client, overridden by the call's own."""

    policy: Policy
    strict: bool
    project_id: int | None
    organization_id: str | None
    idempotent: bool | None = None
    """Whether the caller says that the call may be repeated; None: the operation decides."""
    headers: tuple[tuple[str, str], ...] = ()
    query: Mapping[str, object] | None = None
    body: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """An operation and its arguments. Nothing is encoded yet, and nothing was sent."""

    operation: Operation
    path: tuple[object, ...]
    """The positional arguments, in the order of the path."""
    query: Mapping[str, object] | None
    """Query parameters by their names in the API; values that are `OMIT` are left out."""
    headers: Mapping[str, object] | None
    body: object
    """A model, JSON data, or `OMIT`; a mapping by API names where the body is flat."""
    options: CallOptions

    @property
    def retry_safe(self) -> bool:
        """Whether making the call twice has the same effect as making it once."""
        operation, idempotent = self.operation, self.options.idempotent
        if idempotent is not None:
            return idempotent
        # A GET is not enough: some PostHog views write when they are read, and their operations
        # are marked as writes.
        return operation.method in {"PUT", "DELETE"} or operation.idempotent or not operation.writes

    def merged_query(self) -> dict[str, object]:
        """Return the query parameters, overridden by those of the options."""
        return _merge(self.query, self.options.query)

    def merged_body(self) -> object:
        """Return the body, merged with the fields of the options if it is an object."""
        body, extra = self.body, self.options.body
        if isinstance(body, Mapping) or extra:
            return _merge(cast("object", body), extra)
        return body


def _merge(parameters: object, extra: Mapping[str, object] | None) -> dict[str, object]:
    """Return both mappings in one, without what is left out."""
    merged: dict[str, object] = {}
    if isinstance(parameters, Mapping):
        merged.update(cast("Mapping[str, object]", parameters))
    merged.update(extra or {})
    return {name: value for name, value in merged.items() if value is not OMIT}


def default_options(settings: Settings) -> CallOptions:
    """Return the options of a call that has none of its own."""
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
    """Validate `options={...}` and return them on top of the client's options.

    Raises:
        TypeError: An option does not exist, or its value is of the wrong type.
        ConfigurationError: A value is out of range.
    """
    if not isinstance(options, Mapping):
        raise TypeError(f"options must be a dict, not {type(options).__name__}")
    values = dict(cast("Mapping[str, Any]", options))
    unknown = [str(name) for name in values if name not in _OPTION_NAMES]
    if unknown:
        raise TypeError(
            f"options has no {', '.join(sorted(unknown))}; "
            f"it takes {', '.join(sorted(_OPTION_NAMES))}"
        )
    query, body = _mapping("query", values), _mapping("body", values)
    checked = {name: validate_option(name, value) for name, value in values.items()}
    policy = base.policy
    return CallOptions(
        policy=Policy(
            # `get` with a default, not `or`: None is a value here, and means no limit.
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


def _mapping(name: str, options: dict[str, Any]) -> Mapping[str, object] | None:
    value = options.pop(name, None)
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise TypeError(f"options[{name!r}] must be a mapping, not {type(value).__name__}")
    return cast("Mapping[str, object]", value)
