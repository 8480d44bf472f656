"""The entries of the table of operation-specific handlers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .state import ApiCall, Handler

__all__ = ["OperationHandler", "validate_body"]


@dataclass(frozen=True, slots=True)
class OperationHandler:
    """A handler for one operation, used in place of the default handler of its kind."""

    handler: Handler
    validates: bool = True
    """Whether the body is validated by the schema before; if not, the handler has to do it."""


def validate_body(call: ApiCall, body: Any) -> None:
    """Validate a body by the schema of the operation, for handlers with `validates=False`.

    Raises:
        ApiError: 400, the body is invalid.
    """
    spec = call.operation.body
    if spec is not None and spec.schema is not None and spec.schema in call.state.catalogue:
        error = call.state.validators.first_error(spec.schema, body, "request")
        if error is not None:
            raise error
