"""`python -m asyncposthog.emulator`: serve an emulator until interrupted."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from asyncposthog.emulator.core import Emulator
from asyncposthog.emulator.serving import listen, make_server

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The command line without the program; `sys.argv` by default.

    Returns:
        The exit status: 0, or 1 when the port cannot be had.
    """
    parser = argparse.ArgumentParser(
        prog="python -m asyncposthog.emulator", description="A small PostHog on a local port."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=_port, default=8010, help="0 for any free one (%(default)s)")
    parser.add_argument("--project-id", type=int, default=1, help="number of the project")
    parser.add_argument(
        "--lenient", action="store_true", help="overlook what the real server overlooks"
    )
    options = parser.parse_args(arguments)
    emulator = Emulator(strict=not options.lenient, project_id=options.project_id)
    try:
        listener = listen(options.port, options.host)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    port = listener.getsockname()[1]
    sys.stdout.write(
        f"POSTHOG_HOST=http://{options.host}:{port}\n"
        f"POSTHOG_PERSONAL_API_KEY={emulator.key}\n"
        f"POSTHOG_PROJECT_ID={emulator.project_id}\n"
    )
    sys.stdout.flush()
    server = make_server(emulator.app)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        listener.close()
    return 0


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError(f"{port} is no port")
    return port


if __name__ == "__main__":
    sys.exit(main())
