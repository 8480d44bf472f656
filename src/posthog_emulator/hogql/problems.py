"""Errors of queries, with the error codes of HogQL and ClickHouse."""

from __future__ import annotations

__all__ = ["HogQLError", "illegal_type", "no_common_type", "untranslated", "wrong_arguments"]


class HogQLError(Exception):
    """A query is invalid or not supported.

    Args:
        detail: What is wrong, and what to do.
        code: The `code` of the error: `invalid_input` for errors of HogQL itself, else
            ClickHouse's name of the error in lower case.
        status: The HTTP status.
    """

    def __init__(self, detail: str, code: str = "invalid_input", status: int = 400) -> None:
        self.detail = detail
        self.code = code
        self.status = status
        super().__init__(detail)


def untranslated(what: str) -> HogQLError:
    """Return the error for something that the emulator does not translate faithfully."""
    return HogQLError(
        f"The emulator does not translate {what}. "
        "Give the rows of such a query with emulator.stub_query()."
    )


def illegal_type(function: str, type: object, wanted: str) -> HogQLError:
    """Return the error for an argument of the wrong type."""
    return HogQLError(
        f"Illegal type {type} of argument of function {function}: expected {wanted}.",
        "illegal_type_of_argument",
    )


def no_common_type(left: object, right: object) -> HogQLError:
    """Return the error for values whose types cannot be compared or combined in one column."""
    return HogQLError(f"There is no supertype for types {left}, {right}.", "no_common_type")


def wrong_arguments(function: str, given: int, least: int, most: int | None) -> HogQLError:
    """Return the error for a wrong number of arguments."""
    if most == least:
        wanted = f"exactly {least}"
    elif most is None:
        wanted = f"at least {least}"
    else:
        wanted = f"between {least} and {most}"
    plural = "argument" if wanted.endswith(" 1") else "arguments"
    return HogQLError(f"Function '{function}' expects {wanted} {plural}, found {given}")
