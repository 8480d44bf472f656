"""What the common options say, and the client that is made of them."""

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
"""Keys typed at a prompt, so that nothing shows them."""


@dataclass(slots=True)
class Session:
    """The common options."""

    project: int | None = None
    region: str | None = None
    host: str | None = None
    debug: bool = False
    arguments: tuple[str, ...] = ()
    """The command line, without the program."""
    resume_hint: tuple[str, ...] = ()
    """How to go on after an interruption; empty where there is nothing to go on with."""

    def make_client(self, **changes: Any) -> AsyncPostHog:
        """Build a client: from the environment, the common options, and a prompt if need be.

        Raises:
            ConfigurationError: There is no key and nobody to ask, or a setting is wrong.
        """
        from asyncposthog import AsyncPostHog

        settings: dict[str, Any] = {
            "api_key": _key(),
            "project_id": self.project,
            "region": self.region,
            "host": self.host,
            "limits": None,
            "debug": self.debug,
        }
        return AsyncPostHog(**{**settings, **changes})


session: Final = Session()
"""Those of this run of the program."""


def redact(text: str) -> str:
    """Mask the keys in use, and whatever looks like one."""
    from asyncposthog.redact import Redactor

    return Redactor([*find_secrets(os.environ), *_prompted_keys])(text)


def _key() -> str | Secret | None:
    """Ask for a key where the environment has none and somebody is there to type it."""
    if os.environ.get("POSTHOG_PERSONAL_API_KEY") or os.environ.get("POSTHOG_API_KEY"):
        return None
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    from getpass import getpass

    print_status("POSTHOG_PERSONAL_API_KEY is not set.")
    try:
        key = getpass("Personal API key (phx_…, not shown): ", stream=sys.stderr).strip()
    except EOFError:
        key = ""
    if not key:
        raise UsageError("No key was given.", "Set POSTHOG_PERSONAL_API_KEY.")
    _prompted_keys.append(key)
    return key
