"""Run a command, and end the program with its exit status or its error."""

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
    """Run the coroutine of a command; see `run_command`."""
    import anyio

    run_command(lambda: anyio.run(command))


def run_command(command: Callable[[], Any]) -> None:
    """Run a command; end the program with the status it returns, or with an error message.

    Raises:
        typer.Exit: The status is not 0.
    """
    import warnings

    from .session import redact, session
    from .terminal import print_status

    try:
        with warnings.catch_warnings():
            _show_warnings()
            code = command()
    # Typer's control flow, not errors.
    except (typer.Exit, typer.Abort, SystemExit):
        raise
    except BrokenPipeError:
        raise typer.Exit(exit_codes.BROKEN_PIPE) from None
    except (Exception, KeyboardInterrupt) as error:
        if session.debug:
            sys.stderr.write(redact("".join(traceback.format_exception(error))))
        code = print_error(describe_error(error, redact))
        # Scripts can tell from the status that running the command again makes sense.
        if session.resume_hint and code != exit_codes.INTERRUPTED:
            code = exit_codes.RESUMABLE
        for line in session.resume_hint:
            print_status(line)
        raise typer.Exit(code) from None
    if code:
        raise typer.Exit(cast("int", code))


def _show_warnings() -> None:
    """Print warnings about lists as messages, without the source line that Python adds."""
    import warnings

    from asyncposthog import PaginationWarning, SchemaDrift

    from .session import redact
    from .terminal import print_status

    default_show = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *location: Any, **extra: Any) -> None:
        if issubclass(category, PaginationWarning):
            print_status(redact(f"Warning: {message}"))
        else:
            default_show(message, category, *location, **extra)

    warnings.showwarning = show
    warnings.simplefilter("always", PaginationWarning)
    # Responses are printed as they are, so differences from the schema do not matter here.
    warnings.simplefilter("ignore", SchemaDrift)


def print_error(failure: ErrorReport) -> int:
    """Print an error; return the exit status."""
    from .terminal import print_status

    print_status(
        failure.message, style="bold red" if failure.code != exit_codes.INTERRUPTED else "bold"
    )
    if failure.suggestion:
        print_status(failure.suggestion)
    return failure.code
