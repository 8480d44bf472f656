"""Error messages and exit statuses for exceptions. Pure."""

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

__all__ = ["ErrorReport", "UsageError", "describe_error"]


class UsageError(Exception):
    """Error in the command line that the parser cannot find."""

    def __init__(self, message: str, suggestion: str | None = None) -> None:
        """Store the message, and what to do."""
        super().__init__(message)
        self.suggestion = suggestion


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """Message to print for an error, and the exit status."""

    message: str
    suggestion: str | None
    code: int


def describe_error(error: BaseException, redact: Callable[[str], str]) -> ErrorReport:
    """Return the message and the exit status for an exception, without keys."""
    message, suggestion, code = _classify(_unwrap(error))
    hint = redact(_for_command_line(suggestion)) if suggestion else None
    return ErrorReport(redact(message), hint, code)


# The library's messages name Python arguments. Only those that the program can cause are replaced.
_REPLACEMENTS: Final = (
    (re.compile(r"`?await ph\.doctor\(\)`?"), "`asyncposthog doctor`"),
    (re.compile(r"Pass api_key= or set"), "Set"),
    (re.compile(r"\bregion='(us|eu)'"), r"--region \1"),
    (re.compile(r"\bhost= or region="), "--host or --region"),
    (re.compile(r"\bproject_id\b"), "--project"),
    (re.compile(r"\boverwrite=True\b"), "--overwrite"),
)

_MISSING_VALUE: Final = re.compile(r"values has no '(\w+)'")


def _for_command_line(suggestion: str) -> str:
    """Replace Python arguments in a message by options of the program."""
    for pattern, replacement in _REPLACEMENTS:
        suggestion = pattern.sub(replacement, suggestion)
    return suggestion


def _unwrap(error: BaseException) -> BaseException:
    """Return the exception that a group contains, if it is the only one."""
    # anyio wraps the exception of a command in a group if it was raised in a task group.
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        if len(group.exceptions) == 1:
            return _unwrap(group.exceptions[0])
    return cast("BaseException", error)


def _classify(error: BaseException) -> tuple[str, str | None, int]:
    if isinstance(error, UsageError):
        return str(error), error.suggestion, exit_codes.USAGE
    if isinstance(error, PostHogError):
        return _describe_call(error), error.suggestion, _status(error)
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted.", None, exit_codes.INTERRUPTED
    # Before OSError, of which it is a subclass: here the command line is wrong, not the system.
    if isinstance(error, FileExistsError):
        return _for_command_line(str(error)), None, exit_codes.USAGE
    if isinstance(error, ImportError):
        return str(error), None, exit_codes.ERROR
    if isinstance(error, OSError):
        location = f"{error.filename}: " if error.filename else ""
        return f"{location}{error.strerror or error}", None, exit_codes.ERROR
    if isinstance(error, TypeError | ValueError):
        missing = _MISSING_VALUE.search(str(error))
        hint = f"Add --value {missing[1]}=VALUE." if missing else None
        return str(error), hint, exit_codes.USAGE
    return (
        f"{type(error).__name__}: {error}",
        "This is a bug; --debug shows the traceback.",
        exit_codes.ERROR,
    )


def _status(error: PostHogError) -> int:
    if isinstance(error, AuthenticationError | PermissionDeniedError):
        return exit_codes.AUTH
    if isinstance(error, ConfigurationError):
        # A missing key and a wrong setting raise the same class.
        return exit_codes.AUTH if "API key" in error.message else exit_codes.USAGE
    return exit_codes.ERROR


def _describe_call(error: PostHogError) -> str:
    """Return the message with the request, the request's id, and the number of attempts."""
    details = [str(part) for part in (error.request,) if part]
    if error.request_id:
        details.append(f"request {error.request_id}")
    if len(error.attempts) > 1:
        details.append(f"{len(error.attempts)} attempts")
    return f"{error.message} [{', '.join(details)}]" if details else error.message
