"""A command on its way: from what it does to how the program ends."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, cast

import typer

from . import exit_codes
from .error_messages import Failure, explain

__all__ = ["perform", "run", "tell"]


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

    from .session import redact, session
    from .terminal import note

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
        code = tell(explain(error, redact))
        if session.resume_hint and code != exit_codes.INTERRUPTED:
            code = exit_codes.RESUMABLE
        for line in session.resume_hint:
            note(line)
        raise typer.Exit(code) from None
    if code:
        raise typer.Exit(cast("int", code))


def _show_warnings() -> None:
    """Print warnings about lists as notes, without the source line Python adds to them."""
    import warnings

    from asyncposthog import PaginationWarning, SchemaDrift

    from .session import redact
    from .terminal import note

    plain = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, PaginationWarning):
            note(redact(f"Warning: {message}"))
        else:
            plain(message, category, *place, **more)

    warnings.showwarning = show
    warnings.simplefilter("always", PaginationWarning)
    # What the server sent is shown as it came: how it departs from the schema is no matter here.
    warnings.simplefilter("ignore", SchemaDrift)


def tell(failure: Failure) -> int:
    """Say what went wrong; return the status to end with."""
    from .terminal import note

    note(failure.message, style="bold red" if failure.code != exit_codes.INTERRUPTED else "bold")
    if failure.suggestion:
        note(failure.suggestion)
    return failure.code
