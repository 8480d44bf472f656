"""The emulator as a command: it serves until it is interrupted."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from posthog_emulator.http.server import listen, make_server

from .emulator import Emulator

__all__ = ["SEEDS", "main", "run"]


def _demo(emulator: Emulator, events: int) -> None:
    emulator.populate(events)


SEEDS: Final[dict[str, Callable[[Emulator, int], None]]] = {"demo": _demo}
"""What an emulator may be filled with at the start, by name."""

EVENTS: Final = 10_000
"""Events of a seed unless told otherwise."""


def run(
    port: int = 8010,
    *,
    host: str = "127.0.0.1",
    seed: str | None = None,
    events: int | None = None,
    data: str | Path | None = None,
    rate_limits: bool = False,
    lenient: bool = False,
    project_id: int = 1,
    say: Callable[[str], object] = sys.stdout.write,
) -> None:
    """Serve an emulator until it is interrupted.

    It says what to set in the environment of its clients, as soon as they may come. To be called
    in the main thread, which owns the signals.

    Args:
        port: The port; 0 for any that is free.
        host: The address to listen on.
        seed: What to fill it with first: `demo`; nothing by default. A folder that has been
            filled is left as it is.
        events: How many events of the seed; 10,000 by default.
        data: A folder to keep the state in; memory by default.
        rate_limits: Limit requests as the server does.
        lenient: Overlook what the real server overlooks.
        project_id: The number of the project.
        say: Where to say it.

    Raises:
        OSError: The port is taken, or the folder cannot be used.
        ValueError: There is no such seed, or the folder holds something else.
        ImportError: The extra is missing; install `asyncposthog[emulator]`.
    """
    if seed is not None and seed not in SEEDS:
        raise ValueError(f"there is no seed {seed!r}; there are: {', '.join(SEEDS)}")
    if events is not None and (seed is None or events < 1):
        raise ValueError("the number of events must be at least 1, and needs a seed: --seed demo")
    listener = listen(port, host)
    # To be told to end is as good as Ctrl-C: either way what there is is kept.
    usual = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Emulator(
            strict=not lenient, project_id=project_id, rate_limits=rate_limits, path=data
        ) as emulator:
            server = make_server(emulator.app)
            if seed is not None and not emulator.found:
                SEEDS[seed](emulator, EVENTS if events is None else events)
                emulator.save()
            shown = f"[{host}]" if ":" in host else host
            say(
                f"POSTHOG_HOST=http://{shown}:{listener.getsockname()[1]}\n"
                f"POSTHOG_PERSONAL_API_KEY={emulator.key}\n"
                f"POSTHOG_PROJECT_ID={emulator.project_id}\n"
            )
            sys.stdout.flush()
            server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, usual)
        listener.close()


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command.

    Args:
        arguments: The command line without the program; `sys.argv` by default.
        prog: What the program is called in its help.

    Returns:
        The exit status: 0, 1 when it cannot start, 2 when it does not understand.
    """
    options = _parser(prog or "python -m posthog_emulator").parse_args(arguments)
    try:
        run(**vars(options))
    except (OSError, ValueError, ImportError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description="A small PostHog on a local port.")
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=_port, default=8010, help="0 for any free one (%(default)s)")
    add("--project-id", type=_project, default=1, help="number of the project (%(default)s)")
    add("--seed", choices=sorted(SEEDS), help="what to fill it with")
    add("--events", type=_count, help=f"events of the seed ({EVENTS})")
    add("--data", metavar="DIR", type=Path, help="folder to keep the state in; memory otherwise")
    add("--rate-limits", action="store_true", help="limit requests as the server does")
    add("--lenient", action="store_true", help="overlook what the real server overlooks")
    return parser


def _number(text: str, least: int, most: int | None, what: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise argparse.ArgumentTypeError(f"{what} is a whole number {bounds}, not {text!r}")
    return number


def _port(text: str) -> int:
    return _number(text, 0, 65535, "a port")


def _count(text: str) -> int:
    return _number(text, 1, None, "a number of events")


def _project(text: str) -> int:
    return _number(text, 1, None, "the number of a project")
