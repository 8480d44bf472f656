"""The command line before it is parsed: no keys in it, and the common options at its front."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from .error_messages import UsageError

__all__ = ["check_no_secrets", "find_secrets", "move_global_options_first"]

_KEY: Final = re.compile(r"(?<![A-Za-z0-9])ph[xsa]_[A-Za-z0-9_-]{12,}")
_KEY_OPTIONS: Final = re.compile(r"--?(?:(?:personal[-_])?api[-_]?key|token|password)(?:=|$)")
_VARIABLES: Final = ("POSTHOG_PERSONAL_API_KEY", "POSTHOG_API_KEY")

COMMON_OPTIONS: Final = {"--project": True, "--region": True, "--host": True, "--debug": False}
"""Options of every command, and whether they take a value."""


def find_secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the keys of the environment, long enough not to stand in other text by chance."""
    candidates = (environ.get(name, "") for name in _VARIABLES)
    return tuple(value for value in candidates if len(value) >= 12)


def check_no_secrets(arguments: Iterable[str], environ: Mapping[str, str]) -> None:
    """Refuse keys among the arguments: other users of the machine can read those.

    Raises:
        UsageProblem: One of them is a key, holds one, or is an option for one.
    """
    secrets = find_secrets(environ)
    suggestion = "Set POSTHOG_PERSONAL_API_KEY instead, or leave it out and be asked for it."
    for argument in arguments:
        if _KEY.search(argument) or any(value in argument for value in secrets):
            raise UsageError(
                "There is a key among the arguments, where other users and the shell's history "
                "can see it. Nothing was done.",
                f"{suggestion} A key that was typed in the open should be replaced by a new one.",
            )
        if _KEY_OPTIONS.match(argument):
            raise UsageError("Keys are not taken from arguments.", suggestion)


def move_global_options_first(
    arguments: Sequence[str], commands: Mapping[str, frozenset[str]]
) -> list[str]:
    """Move the common options to the front, where the parser wants them.

    Args:
        arguments: The command line.
        commands: Commands that have options of their own by the same names, and these names.
    """
    global_options: list[str] = []
    remaining: list[str] = []
    command_options: frozenset[str] = frozenset()
    iterator = iter(arguments)
    for argument in iterator:
        if argument == "--":
            remaining += [argument, *iterator]
            break
        name, has_value, _ = argument.partition("=")
        if name not in COMMON_OPTIONS or name in command_options:
            remaining.append(argument)
            command_options = command_options or commands.get(argument, frozenset())
            continue
        global_options.append(argument)
        if COMMON_OPTIONS[name] and not has_value:
            global_options += [value for value in [next(iterator, None)] if value is not None]
    return [*global_options, *remaining]
