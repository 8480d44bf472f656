"""One run of the program, from the arguments to the exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from . import exit_codes
from .app import COMMAND_OPTIONS, app
from .arguments import check_no_secrets, move_global_options_first
from .error_messages import ErrorReport, UsageError
from .runner import print_error
from .session import session

__all__ = ["execute"]


def execute(arguments: Sequence[str]) -> int:
    """Run the program; return the exit status."""
    try:
        check_no_secrets(arguments, os.environ)
    except UsageError as error:
        return print_error(ErrorReport(str(error), error.suggestion, exit_codes.USAGE))
    session.arguments, session.resume_hint = tuple(arguments), ()
    try:
        app(args=move_global_options_first(arguments, COMMAND_OPTIONS), prog_name="asyncposthog")
    except SystemExit as ended:
        code = ended.code
        status = (
            code if isinstance(code, int) else exit_codes.OK if code is None else exit_codes.ERROR
        )
    else:
        status = exit_codes.OK
    return _flush(status)


def _flush(status: int) -> int:
    """Flush stdout; return the exit status. No error is printed if the reader closed the pipe."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Otherwise Python prints an error when it flushes stdout on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_codes.BROKEN_PIPE
    return status
