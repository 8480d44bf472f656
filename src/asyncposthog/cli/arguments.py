"""Check the command line for keys, and move its global options to the front. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from .error_messages import UsageError

__all__ = ["check_no_secrets", "find_secrets", "move_global_options_first"]

# Prefixes of secret keys. Project tokens (phc_…) are public, and allowed.
_KEY: Final = re.compile(r"(?<![A-Za-z0-9])ph[xsa]_[A-Za-z0-9_-]{12,}")
_KEY_OPTIONS: Final = re.compile(r"--?(?:(?:personal[-_])?api[-_]?key|token|password)(?:=|$)")
_VARIABLES: Final = ("POSTHOG_PERSONAL_API_KEY", "POSTHOG_API_KEY")

COMMON_OPTIONS: Final = {"--project": True, "--region": True, "--host": True, "--debug": False}
"""Options of every command, and whether they take a value."""


def find_secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the keys in the environment, if too long to occur in other text by chance."""
    candidates = (environ.get(name, "") for name in _VARIABLES)
    # A short value, such as a test key "x", would be found in nearly every argument.
    return tuple(value for value in candidates if len(value) >= 12)


def check_no_secrets(arguments: Iterable[str], environ: Mapping[str, str]) -> None:
    """Reject keys among the arguments, which other users of the machine can read.

    Raises:
        UsageError: An argument is a key, contains one, or is an option for one.
    """
    secrets = find_secrets(environ)
    suggestion = "Set POSTHOG_PERSONAL_API_KEY instead, or leave it out to be prompted for it."
    for argument in arguments:
        if _KEY.search(argument) or any(value in argument for value in secrets):
            raise UsageError(
                "There is an API key among the arguments, which other users of this machine and "
                "the shell history can see. Nothing was done.",
                f"{suggestion} Replace a key that was typed in the open by a new one.",
            )
        if _KEY_OPTIONS.match(argument):
            raise UsageError("API keys cannot be given as arguments.", suggestion)


def move_global_options_first(
    arguments: Sequence[str], commands: Mapping[str, frozenset[str]]
) -> list[str]:
    """Return the arguments with the global options at the front, where the parser expects them.

    Args:
        arguments: The command line.
        commands: Commands that have options of the same names, and these names.
    """
    global_options: list[str] = []
    remaining: list[str] = []
    command_options: frozenset[str] = frozenset()
    iterator = iter(arguments)
    for argument in iterator:
        # Everything after it is positional, even if it looks like an option.
        if argument == "--":
            remaining += [argument, *iterator]
            break
        name, has_value, _ = argument.partition("=")
        if name not in COMMON_OPTIONS or name in command_options:
            remaining.append(argument)
            # From the name of such a command on, its options of the same names stay where they are.
            command_options = command_options or commands.get(argument, frozenset())
            continue
        global_options.append(argument)
        if COMMON_OPTIONS[name] and not has_value:
            global_options += [value for value in [next(iterator, None)] if value is not None]
    return [*global_options, *remaining]
