"""The entry of the table of special handlers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .state import Call, Handler

__all__ = ["OperationHandler", "validate_body"]


@dataclass(frozen=True, slots=True)
class OperationHandler:
    """A handler of its own for one operation."""

    handler: Handler
    validates: bool = True
    """Whether the body is checked against the schema first; if not, the handler does it."""


def validate_body(call: Call, body: Any) -> None:
    """Hold a body against the operation's schema, for handlers that do it themselves.

    Raises:
        Problem: 400, it does not fit.
    """
    spec = call.operation.body
    if spec is not None and spec.schema is not None and spec.schema in call.world.catalogue:
        problem = call.world.validators.problem(spec.schema, body, "request")
        if problem is not None:
            raise problem
