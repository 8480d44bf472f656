"""Global options of a run of the program, and the client that they configure."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .arguments import find_secrets
from .error_messages import UsageError
from .terminal import print_status

if TYPE_CHECKING:
    from asyncposthog import AsyncPostHog, Secret

__all__ = ["Session", "redact", "session"]

_prompted_keys: list[str] = []
"""Keys that were typed at a prompt, so that they are redacted."""


@dataclass(slots=True)
class Session:
    """Global options."""

    project: int | None = None
    region: str | None = None
    host: str | None = None
    debug: bool = False
    arguments: tuple[str, ...] = ()
    """The command line, without the name of the program."""
    resume_hint: tuple[str, ...] = ()
    """Lines that say how to resume after an interruption; empty if nothing can be resumed."""

    def make_client(self, *, needs_key: bool = True, **changes: Any) -> AsyncPostHog:
        """Return a client for the environment, the global options, and a prompted key.

        Args:
            needs_key: Whether to prompt for a key; False where the project token is enough.
            changes: Arguments of the client.

        Raises:
            ConfigurationError: There is no key and no terminal to prompt for it, or a setting is
                invalid.
        """
        from asyncposthog import AsyncPostHog

        settings: dict[str, Any] = {
            "api_key": _key() if needs_key else None,
            "project_id": self.project,
            "region": self.region,
            "host": self.host,
            "limits": None,
            "debug": self.debug,
        }
        return AsyncPostHog(**{**settings, **changes})


session: Final = Session()
"""The global options of this run of the program."""


def redact(text: str) -> str:
    """Mask the keys in use, and anything that looks like a key."""
    from asyncposthog.redact import Redactor

    return Redactor([*find_secrets(os.environ), *_prompted_keys])(text)


def _key() -> str | Secret | None:
    """Return a key from a prompt if the environment has none and a terminal is attached."""
    # None: the client reads the environment itself.
    if os.environ.get("POSTHOG_PERSONAL_API_KEY") or os.environ.get("POSTHOG_API_KEY"):
        return None
    # The prompt is written to stderr. A script or a pipe cannot answer it.
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    from getpass import getpass

    print_status("POSTHOG_PERSONAL_API_KEY is not set.")
    try:
        key = getpass("Personal API key (phx_…, not shown): ", stream=sys.stderr).strip()
    except EOFError:
        key = ""
    if not key:
        raise UsageError("No API key was entered.", "Set POSTHOG_PERSONAL_API_KEY.")
    # It is not in the environment, where `redact` finds other keys.
    _prompted_keys.append(key)
    return key
