"""From an exception to what the program says and the status it ends with. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from asyncposthog.errors import (
    AuthenticationError,
    ConfigurationError,
    PermissionDeniedError,
    PostHogError,
)

from . import exit_codes

__all__ = ["Failure", "UsageProblem", "explain"]


class UsageProblem(Exception):
    """The command line is wrong in a way that the parser cannot see."""

    def __init__(self, message: str, suggestion: str | None = None) -> None:
        """Keep what is wrong and what to do."""
        super().__init__(message)
        self.suggestion = suggestion


@dataclass(frozen=True, slots=True)
class Failure:
    """What to say, and how to end."""

    message: str
    suggestion: str | None
    code: int


def explain(error: BaseException, redact: Callable[[str], str]) -> Failure:
    """Return what to say about an exception, without keys."""
    message, suggestion, code = _classify(_single(error))
    advice = redact(_for_command_line(suggestion)) if suggestion else None
    return Failure(redact(message), advice, code)


_IN_PYTHON: Final = (
    (re.compile(r"`?await ph\.doctor\(\)`?"), "`asyncposthog doctor`"),
    (re.compile(r"Pass api_key= or set"), "Set"),
    (re.compile(r"\bregion='(us|eu)'"), r"--region \1"),
    (re.compile(r"\bhost= or region="), "--host or --region"),
    (re.compile(r"\bproject_id\b"), "--project"),
    (re.compile(r"\boverwrite=True\b"), "--overwrite"),
)

_UNBOUND: Final = re.compile(r"values has no '(\w+)'")


def _for_command_line(suggestion: str) -> str:
    """Say in the program's words what the library says in Python's."""
    for pattern, words in _IN_PYTHON:
        suggestion = pattern.sub(words, suggestion)
    return suggestion


def _single(error: BaseException) -> BaseException:
    """Take an exception out of groups that hold it alone."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        if len(group.exceptions) == 1:
            return _single(group.exceptions[0])
    return cast("BaseException", error)


def _classify(error: BaseException) -> tuple[str, str | None, int]:
    if isinstance(error, UsageProblem):
        return str(error), error.suggestion, exit_codes.USAGE
    if isinstance(error, PostHogError):
        return _about(error), error.suggestion, _status(error)
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted.", None, exit_codes.INTERRUPTED
    if isinstance(error, FileExistsError):
        return _for_command_line(str(error)), None, exit_codes.USAGE
    if isinstance(error, ImportError):
        return str(error), None, exit_codes.ERROR
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}", None, exit_codes.ERROR
    if isinstance(error, TypeError | ValueError):
        unbound = _UNBOUND.search(str(error))
        advice = f"Give it with --value {unbound[1]}=VALUE." if unbound else None
        return str(error), advice, exit_codes.USAGE
    return (
        f"{type(error).__name__}: {error}",
        "This should not happen; --debug shows where it came from.",
        exit_codes.ERROR,
    )


def _status(error: PostHogError) -> int:
    if isinstance(error, AuthenticationError | PermissionDeniedError):
        return exit_codes.AUTH
    if isinstance(error, ConfigurationError):
        return exit_codes.AUTH if "API key" in error.message else exit_codes.USAGE
    return exit_codes.ERROR


def _about(error: PostHogError) -> str:
    """Return the message, on which call, and where the server put the blame."""
    about = [str(part) for part in (error.request,) if part]
    if error.request_id:
        about.append(f"request {error.request_id}")
    if len(error.attempts) > 1:
        about.append(f"{len(error.attempts)} attempts")
    return f"{error.message} [{', '.join(about)}]" if about else error.message
