"""Errors of queries."""

from __future__ import annotations

__all__ = ["HogQLError", "unsupported"]


class HogQLError(Exception):
    """A query is invalid or not supported.

    Args:
        detail: What is wrong, and what to do.
        code: The `code` of the error: `invalid_input` for errors of HogQL itself, else
            ClickHouse's name of the error in lower case.
        status: The HTTP status.
        start: Where the error begins in the text of the query, in characters.
        end: Where it ends.
    """

    def __init__(
        self,
        detail: str,
        code: str = "invalid_input",
        status: int = 400,
        *,
        start: int | None = None,
        end: int | None = None,
    ) -> None:
        self.detail = detail
        self.code = code
        self.status = status
        self.start = start
        self.end = end
        super().__init__(detail)


def unsupported(what: str) -> HogQLError:
    """Return the error for valid HogQL that the emulator does not run."""
    return HogQLError(
        f"The emulator does not support {what}. "
        "Give the rows of such a query with emulator.stub_query()."
    )
