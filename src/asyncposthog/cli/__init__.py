"""The command line program `asyncposthog`. Needs `asyncposthog[cli]`.

Only the definitions of the commands are imported before a command runs, so that `--help` is fast.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: The command line without the name of the program; None: `sys.argv`.

    Returns:
        The exit status, one of `asyncposthog.cli.exit_codes`.
    """
    command_line = list(sys.argv[1:] if arguments is None else arguments)
    missing = [name for name in ("typer", "rich") if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"The command line needs {' and '.join(missing)}: pip install 'asyncposthog[cli]'\n"
        )
        return 1
    from .program import execute

    return execute(command_line)
