"""The command line of the emulator: serve one until it is interrupted."""

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


def _add_demo_data(emulator: Emulator, events: int) -> None:
    emulator.add_demo_data(events)


SEEDS: Final[dict[str, Callable[[Emulator, int], None]]] = {"demo": _add_demo_data}
"""The data that an emulator may be filled with at the start, by name."""

_DEFAULT_EVENTS: Final = 10_000


def run(
    port: int = 8010,
    *,
    host: str = "127.0.0.1",
    seed: str | None = None,
    events: int | None = None,
    data: str | Path | None = None,
    rate_limits: bool = False,
    strict: bool = False,
    project_id: int = 1,
    write: Callable[[str], object] = sys.stdout.write,
) -> None:
    """Serve an emulator until it is interrupted.

    The environment variables for its clients are written as soon as it accepts connections. Call
    this in the main thread, because only that can handle signals.

    Args:
        port: The port; 0 for any free port.
        host: The address to listen on.
        seed: The data to start with: `demo`; none by default. A directory that already contains a
            state is not filled again.
        events: The number of events of the seed; 10,000 by default.
        data: A directory to keep the state in; memory by default.
        rate_limits: Apply the server's rate limits.
        strict: Reject incorrect requests that the real server accepts.
        project_id: The id of the project.
        write: Writes the environment variables.

    Raises:
        OSError: The port is in use, or the directory cannot be used.
        ValueError: The seed does not exist, or the directory contains something else.
        ImportError: The extra is missing; install `asyncposthog[emulator]`.
    """
    if seed is not None and seed not in SEEDS:
        raise ValueError(f"there is no seed {seed!r}; use one of: {', '.join(SEEDS)}")
    if events is not None and (seed is None or events < 1):
        raise ValueError("the number of events must be at least 1, and needs a seed: --seed demo")
    listener = listen(port, host)
    # Container runtimes stop a process with SIGTERM: save the state then, too, as after Ctrl-C.
    previous_handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Emulator(
            strict=strict, project_id=project_id, rate_limits=rate_limits, path=data
        ) as emulator:
            server = make_server(emulator.app)
            if seed is not None and not emulator.was_restored:
                SEEDS[seed](emulator, _DEFAULT_EVENTS if events is None else events)
                emulator.save()
            url_host = f"[{host}]" if ":" in host else host
            write(
                f"POSTHOG_HOST=http://{url_host}:{listener.getsockname()[1]}\n"
                f"POSTHOG_PERSONAL_API_KEY={emulator.key}\n"
                f"POSTHOG_PROJECT_ID={emulator.project_id}\n"
            )
            # Without a terminal, stdout is buffered, and a parent process may wait for the lines.
            sys.stdout.flush()
            server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, previous_handler)
        listener.close()


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The arguments, without the program; those of `sys.argv` by default.
        prog: The name of the program in its help.

    Returns:
        The exit status: 0, or 1 if the emulator cannot start. argparse exits with 2 if the
        arguments are invalid.
    """
    options = _parser(prog or "python -m posthog_emulator").parse_args(arguments)
    try:
        run(**vars(options))
    except (OSError, ValueError, ImportError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, description="Serve an emulator of PostHog on a local port."
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=_port, default=8010, help="port, 0 for any free port (%(default)s)")
    add("--project-id", type=_project_id, default=1, help="id of the project (%(default)s)")
    add("--seed", choices=sorted(SEEDS), help="data to start with")
    add("--events", type=_event_count, help=f"number of events of the seed ({_DEFAULT_EVENTS})")
    add("--data", metavar="DIR", type=Path, help="directory to keep the state in (memory)")
    add("--rate-limits", action="store_true", help="apply the rate limits of the server")
    add("--strict", action="store_true", help="reject incorrect requests that PostHog accepts")
    return parser


def _integer(text: str, minimum: int, maximum: int | None, name: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = None
    if number is None or number < minimum or (maximum is not None and number > maximum):
        bounds = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise argparse.ArgumentTypeError(f"{name} must be an integer {bounds}, not {text!r}")
    return number


def _port(text: str) -> int:
    return _integer(text, 0, 65535, "the port")


def _event_count(text: str) -> int:
    return _integer(text, 1, None, "the number of events")


def _project_id(text: str) -> int:
    return _integer(text, 1, None, "the project id")
