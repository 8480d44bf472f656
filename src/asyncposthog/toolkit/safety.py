"""Plans of writes, approval, scopes, and the audit log."""

from __future__ import annotations

import inspect
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from pydantic_core import from_json

from asyncposthog.call import Call
from asyncposthog.operation import Operation
from asyncposthog.redact import mask

from .results import dumps, json_safe

__all__ = [
    "Approve",
    "AuditRecord",
    "Plan",
    "PlanError",
    "Plans",
    "WriteRequest",
    "check_hook",
    "is_destructive",
    "masked",
    "masked_arguments",
    "missing_scopes",
]

_DESTRUCTIVE_NAMES: Final = re.compile(
    r"delete|remove|reset|rotate|revoke|discard|clear|replace|deprovision|cancel|split|merge"
)
_SECRET_WORDS: Final = (
    "token", "secret", "password", "signature", "credential", "api_key", "apikey", "private",
)  # fmt: skip
_SECRET_FIELD: Final = re.compile("|".join(_SECRET_WORDS), re.IGNORECASE)
_MAX_PLANS: Final = 200
_MAX_PLAIN: Final = 500
"""Characters of arguments that are recorded as they are, if they have no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRequest:
    """A write that is about to be made, for approval."""

    tool: str
    """The name of the tool."""
    operation: str | None
    """The id of the operation; None for a tool of the user's own."""
    arguments: Mapping[str, Any]
    """The arguments, with secrets masked."""
    destructive: bool
    """Whether it deletes or overwrites something."""
    method: str | None = None
    """The HTTP method."""
    url: str | None = None
    """The URL, with the project's id."""
    body: Any = None
    """The JSON body, with secrets masked."""
    plan_id: str | None = None


Approve: TypeAlias = Callable[[WriteRequest], bool | Awaitable[bool]]
"""Decides about a write: True to carry it out. A function or an async function."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One tool call."""

    tool: str
    arguments: Mapping[str, Any]
    """The arguments, with secrets masked and long values shortened."""
    operation: str | None
    """The id of the operation that was performed or planned."""
    writes: bool
    """Whether the call was to change something."""
    approved: bool | None
    """What the approval hook said; None if it was not asked."""
    successful: bool
    error: str | None
    seconds: float
    """How long the call took."""


class Plan:
    """A write that was planned, with everything that it will send."""

    __slots__ = ("call", "expires_at", "id", "operation", "request")

    def __init__(
        self, id: str, operation: Operation, call: Call, request: WriteRequest, expires_at: float
    ) -> None:
        """Keep a write; `expires_at` is on the client's clock."""
        self.id = id
        self.operation = operation
        self.call = call
        self.request = request
        self.expires_at = expires_at


class PlanError(Exception):
    """There is no such plan, or not any more."""

    def __init__(self, message: str, code: str) -> None:
        """Say what is wrong with the plan."""
        super().__init__(message)
        self.code = code


class Plans:
    """Plans by id. Each can be carried out once, until it expires."""

    def __init__(self, seconds: float) -> None:
        """Start without plans; each is valid for so many seconds."""
        self.seconds = seconds
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._done: OrderedDict[str, None] = OrderedDict()

    def add(self, operation: Operation, call: Call, request: WriteRequest, now: float) -> Plan:
        """Keep a write and return its plan. The oldest of very many plans is dropped."""
        plan_id = cast("str", request.plan_id)
        plan = Plan(plan_id, operation, call, request, now + self.seconds)
        self._plans[plan_id] = plan
        while len(self._plans) > _MAX_PLANS:
            self._plans.popitem(last=False)
        return plan

    def take(self, plan_id: str, now: float) -> Plan:
        """Return a plan and forget it, so that it cannot be carried out twice.

        Raises:
            PlanError: There is no such plan, it expired, or it was carried out.
        """
        plan = self._plans.pop(plan_id, None)
        if plan is None:
            if plan_id in self._done:
                raise PlanError(f"The plan {plan_id!r} was already used.", "plan_used")
            raise PlanError(f"There is no plan {plan_id[:40]!r}.", "plan_unknown")
        if now >= plan.expires_at:
            raise PlanError(f"The plan {plan_id!r} has expired.", "plan_expired")
        self._done[plan_id] = None
        while len(self._done) > _MAX_PLANS:
            self._done.popitem(last=False)
        return plan


def check_hook(name: str, hook: object, argument: str) -> None:
    """Raise an error unless a hook can be called with one argument; None is no hook.

    Raises:
        TypeError: It cannot.
    """
    if hook is None:
        return
    if not callable(hook):
        raise TypeError(
            f"{name} must be a function or an async function, not {type(hook).__name__}"
        )
    try:
        signature = inspect.signature(hook)
    except (TypeError, ValueError):
        return  # some functions that are written in C have no signature
    try:
        signature.bind(None)
    except TypeError as error:
        called = getattr(hook, "__qualname__", type(hook).__name__)
        raise TypeError(
            f"{name} is called with one argument, {argument}, which {called}{signature} does not "
            f"take: {error}"
        ) from None


def new_plan_id() -> str:
    """Return an id that cannot be guessed."""
    from secrets import token_hex

    return token_hex(8)


def is_destructive(operation: Operation) -> bool:
    """Return whether an operation deletes or overwrites something, by its method and name."""
    if not operation.writes:
        return False
    if operation.method in {"DELETE", "PUT"} or (operation.fixed_body or {}).get("deleted"):
        return True
    return bool(_DESTRUCTIVE_NAMES.search(operation.name))


def missing_scopes(required: Sequence[str], granted: frozenset[str] | None) -> list[str]:
    """Return the scopes that are needed and not granted; None as `granted`: unknown, so none."""
    if granted is None or "*" in granted:
        return []
    return [
        scope
        for scope in required
        # Who may write may read as well.
        if scope not in granted and scope.replace(":read", ":write") not in granted
    ]


def masked(value: Any, max_chars: int = 500) -> Any:
    """Return JSON data with secrets masked and long texts shortened."""
    if isinstance(value, str):
        text = mask(value)
        return text if len(text) <= max_chars else f"{text[:max_chars]}…"
    if isinstance(value, Mapping):
        return {
            str(name): "***"
            if _SECRET_FIELD.search(str(name)) and inner
            else masked(inner, max_chars)
            for name, inner in cast("Mapping[Any, Any]", value).items()
        }
    if isinstance(value, list | tuple):
        return [masked(inner, max_chars) for inner in cast("Sequence[Any]", value)]
    return value


def masked_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a tool's arguments for the audit log, with secrets masked."""
    text = dumps(given)
    if len(text) <= _MAX_PLAIN:
        lower = text.lower()
        if not any(word in lower for word in _SECRET_WORDS) and mask(text) == text:
            return from_json(text)
    return masked(json_safe(given))
