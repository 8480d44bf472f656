"""What is wrong with a query, with ClickHouse's or HogQL's own code for it."""

from __future__ import annotations

__all__ = ["HogQLError", "illegal_type", "no_common_type", "untranslated", "wrong_arguments"]


class HogQLError(Exception):
    """A query that is refused.

    Args:
        detail: What is wrong, and what to do.
        code: The envelope's `code`: `invalid_input` when HogQL itself refuses, else ClickHouse's
            name of the error in lower case.
        status: The HTTP status.
    """

    def __init__(self, detail: str, code: str = "invalid_input", status: int = 400) -> None:
        self.detail = detail
        self.code = code
        self.status = status
        super().__init__(detail)


def untranslated(what: str) -> HogQLError:
    """The server may know it, the emulator cannot answer it faithfully."""
    return HogQLError(
        f"The emulator does not translate {what}. "
        "Give the rows of such a query yourself with emulator.on_query()."
    )


def illegal_type(function: str, type: object, wanted: str) -> HogQLError:
    """A function does not take arguments of a type."""
    return HogQLError(
        f"Illegal type {type} of argument of function {function}: expected {wanted}.",
        "illegal_type_of_argument",
    )


def no_common_type(left: object, right: object) -> HogQLError:
    """Two values of different kinds are to be compared, or to stand in one column."""
    return HogQLError(f"There is no supertype for types {left}, {right}.", "no_common_type")


def wrong_arguments(function: str, given: int, least: int, most: int | None) -> HogQLError:
    """A function has too many arguments, or too few."""
    if most == least:
        wanted = f"exactly {least}"
    elif most is None:
        wanted = f"at least {least}"
    else:
        wanted = f"between {least} and {most}"
    plural = "argument" if wanted.endswith(" 1") else "arguments"
    return HogQLError(f"Function '{function}' expects {wanted} {plural}, found {given}")
