"""Exit statuses of the program."""

from __future__ import annotations

from typing import Final

__all__ = ["AUTH", "BROKEN_PIPE", "ERROR", "INTERRUPTED", "OK", "RESUMABLE", "USAGE"]

OK: Final = 0
ERROR: Final = 1
"""A request failed, or another error occurred."""
USAGE: Final = 2
"""The command line is wrong. Nothing was sent."""
RESUMABLE: Final = 3
"""An export was interrupted. What is written is valid; the same command resumes it."""
AUTH: Final = 4
"""There is no API key, or the key has no permission."""
INTERRUPTED: Final = 130
"""Ctrl-C (128 + SIGINT). An export that was interrupted can be resumed."""
BROKEN_PIPE: Final = 141
"""EPIPE: the reader closed the pipe (128 + SIGPIPE)."""
