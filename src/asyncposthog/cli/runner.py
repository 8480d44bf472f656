"""A command on its way: from what it does to how the program ends."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, cast

import typer

from . import exit_codes
from .error_messages import ErrorReport, describe_error

__all__ = ["print_error", "run_async", "run_command"]


def run_async(command: Callable[[], Awaitable[Any]]) -> None:
    """Run the coroutine of a command, and end the program as it went."""
    import anyio

    run_command(lambda: anyio.run(command))


def run_command(command: Callable[[], Any]) -> None:
    """Run a command; end the program with what it returns as its status, or as it failed.

    Raises:
        typer.Exit: With the status, unless it is 0.
    """
    import warnings

    from .session import redact, session
    from .terminal import print_status

    try:
        with warnings.catch_warnings():
            _show_warnings()
            code = command()
    except (typer.Exit, typer.Abort, SystemExit):
        raise
    except BrokenPipeError:
        raise typer.Exit(exit_codes.BROKEN_PIPE) from None
    except (Exception, KeyboardInterrupt) as error:
        if session.debug:
            sys.stderr.write(redact("".join(traceback.format_exception(error))))
        code = print_error(describe_error(error, redact))
        if session.resume_hint and code != exit_codes.INTERRUPTED:
            code = exit_codes.RESUMABLE
        for line in session.resume_hint:
            print_status(line)
        raise typer.Exit(code) from None
    if code:
        raise typer.Exit(cast("int", code))


def _show_warnings() -> None:
    """Print warnings about lists as notes, without the source line Python adds to them."""
    import warnings

    from asyncposthog import PaginationWarning, SchemaDrift

    from .session import redact
    from .terminal import print_status

    strip_control = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, PaginationWarning):
            print_status(redact(f"Warning: {message}"))
        else:
            strip_control(message, category, *place, **more)

    warnings.showwarning = show
    warnings.simplefilter("always", PaginationWarning)
    # What the server sent is shown as it came: how it departs from the schema is no matter here.
    warnings.simplefilter("ignore", SchemaDrift)


def print_error(failure: ErrorReport) -> int:
    """Say what went wrong; return the status to end with."""
    from .terminal import print_status

    print_status(
        failure.message, style="bold red" if failure.code != exit_codes.INTERRUPTED else "bold"
    )
    if failure.suggestion:
        print_status(failure.suggestion)
    return failure.code
