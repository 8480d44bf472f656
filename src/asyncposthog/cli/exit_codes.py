"""What the program's exit statuses mean."""

from __future__ import annotations

from typing import Final

__all__ = ["AUTH", "BROKEN_PIPE", "ERROR", "INTERRUPTED", "OK", "RESUMABLE", "USAGE"]

OK: Final = 0
ERROR: Final = 1
"""The call failed, or something else went wrong."""
USAGE: Final = 2
"""The command line is wrong. Nothing was sent."""
RESUMABLE: Final = 3
"""An export stopped part-way. What is written is valid; the same command goes on with it."""
AUTH: Final = 4
"""There is no key, or the server does not let it do this."""
INTERRUPTED: Final = 130
"""Ctrl-C, as shells have it. An export that was interrupted can be resumed."""
BROKEN_PIPE: Final = 141
"""Whoever read the output went away, as shells have it."""
