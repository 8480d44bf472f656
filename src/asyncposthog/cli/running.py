"""One run of the program: from the arguments to the exit status."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import typer

from . import codes
from .arguments import check_no_secrets, hoist
from .failures import Failure, UsageProblem, explain

__all__ = ["execute", "perform", "run"]


def execute(arguments: Sequence[str]) -> int:
    """Run the program; return the exit status."""
    try:
        check_no_secrets(arguments, os.environ)
    except UsageProblem as error:
        return tell(Failure(str(error), error.suggestion, codes.USAGE))
    from .app import OWN_OPTIONS, app
    from .session import session

    session.arguments, session.parting = tuple(arguments), ()
    try:
        app(args=hoist(arguments, OWN_OPTIONS), prog_name="asyncposthog")
    except SystemExit as ended:
        code = ended.code
        status = code if isinstance(code, int) else codes.OK if code is None else codes.ERROR
    else:
        status = codes.OK
    return _flush(status)


def run(command: Callable[[], Awaitable[Any]]) -> None:
    """Run the coroutine of a command, and end the program as it went."""
    import anyio

    perform(lambda: anyio.run(command))


def perform(command: Callable[[], Any]) -> None:
    """Run a command; end the program with what it returns as its status, or as it failed.

    Raises:
        typer.Exit: With the status, unless it is 0.
    """
    import warnings

    from asyncposthog import SchemaDrift

    from .session import redact, session
    from .terminal import note

    # What the server sent is shown as it came: how it departs from the schema is no matter here.
    warnings.simplefilter("ignore", SchemaDrift)
    try:
        code = command()
    except (typer.Exit, typer.Abort, SystemExit):
        raise
    except BrokenPipeError:
        raise typer.Exit(codes.BROKEN_PIPE) from None
    except (Exception, KeyboardInterrupt) as error:
        if session.debug:
            sys.stderr.write(redact("".join(traceback.format_exception(error))))
        code = tell(explain(error, redact))
        if session.parting and code != codes.INTERRUPTED:
            code = codes.RESUMABLE
        for line in session.parting:
            note(line)
        raise typer.Exit(code) from None
    if code:
        raise typer.Exit(cast("int", code))


def tell(failure: Failure) -> int:
    """Say what went wrong; return the status to end with."""
    from .terminal import note

    note(failure.message, style="bold red" if failure.code != codes.INTERRUPTED else "bold")
    if failure.suggestion:
        note(failure.suggestion)
    return failure.code


def _flush(status: int) -> int:
    """Write what is left; a reader that went away is no error to shout about."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would complain when it closes stdout itself.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return codes.BROKEN_PIPE
    return status
