"""The command line before it is parsed: no keys in it, and the common options at its front."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from .error_messages import UsageProblem

__all__ = ["check_no_secrets", "hoist", "secrets_of"]

_KEY: Final = re.compile(r"(?<![A-Za-z0-9])ph[xsa]_[A-Za-z0-9_-]{12,}")
_KEY_OPTIONS: Final = re.compile(r"--?(?:(?:personal[-_])?api[-_]?key|token|password)(?:=|$)")
_VARIABLES: Final = ("POSTHOG_PERSONAL_API_KEY", "POSTHOG_API_KEY")

COMMON: Final = {"--project": True, "--region": True, "--host": True, "--debug": False}
"""Options of every command, and whether they take a value."""


def secrets_of(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the keys of the environment, long enough not to stand in other text by chance."""
    found = (environ.get(name, "") for name in _VARIABLES)
    return tuple(value for value in found if len(value) >= 12)


def check_no_secrets(arguments: Iterable[str], environ: Mapping[str, str]) -> None:
    """Refuse keys among the arguments: other users of the machine can read those.

    Raises:
        UsageProblem: One of them is a key, holds one, or is an option for one.
    """
    known = secrets_of(environ)
    advice = "Set POSTHOG_PERSONAL_API_KEY instead, or leave it out and be asked for it."
    for argument in arguments:
        if _KEY.search(argument) or any(value in argument for value in known):
            raise UsageProblem(
                "There is a key among the arguments, where other users and the shell's history "
                "can see it. Nothing was done.",
                f"{advice} A key that was typed in the open should be replaced by a new one.",
            )
        if _KEY_OPTIONS.match(argument):
            raise UsageProblem("Keys are not taken from arguments.", advice)


def hoist(arguments: Sequence[str], commands: Mapping[str, frozenset[str]]) -> list[str]:
    """Move the common options to the front, where the parser wants them.

    Args:
        arguments: The command line.
        commands: Commands that have options of their own by the same names, and these names.
    """
    front: list[str] = []
    rest: list[str] = []
    own: frozenset[str] = frozenset()
    waiting = iter(arguments)
    for argument in waiting:
        if argument == "--":
            rest += [argument, *waiting]
            break
        name, equals, _ = argument.partition("=")
        if name not in COMMON or name in own:
            rest.append(argument)
            own = own or commands.get(argument, frozenset())
            continue
        front.append(argument)
        if COMMON[name] and not equals:
            front += [value for value in [next(waiting, None)] if value is not None]
    return [*front, *rest]
