"""What a backend is: three methods, what they get, and what they return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from asyncposthog.errors import ConfigurationError

__all__ = ["Backend", "Completed", "Ending", "Job", "Origin", "ScriptLimits"]

Ending: TypeAlias = Literal["finished", "timeout", "output", "memory"]
"""Why a script has ended: by itself, or because it reached a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptLimits:
    """What a script may use. It is ended when it reaches a limit."""

    seconds: float = 60.0
    """Time, the start of Python included."""
    memory: int = 2 << 30
    """Bytes of memory, of all processes together; of each one, its address space."""
    processes: int = 64
    """Processes and threads."""
    output: int = 1 << 20
    """Bytes that it may write to stdout and stderr together."""
    storage: int = 256 << 20
    """Bytes that it may write to its working folder."""

    def __post_init__(self) -> None:
        """Raise an error for a limit that is no positive number.

        Raises:
            ConfigurationError: A limit is 0 or less.
        """
        for name in ("seconds", "memory", "processes", "output", "storage"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} of a script must be more than 0.")


@dataclass(frozen=True, slots=True)
class Origin:
    """A server that a script may reach."""

    scheme: Literal["https", "http"]
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of a script. The `repr` shows no secret."""

    script: str = field(repr=False)
    """Python source."""
    parameters: bytes = field(default=b"{}", repr=False)
    """JSON that the script finds in the file that `ASYNCPOSTHOG_PARAMETERS` names."""
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Environment variables with keys. They are given to the script as its environment alone, and
    are written to no file and no command line."""
    origins: tuple[Origin, ...] = ()
    """The only servers that the script may reach."""
    limits: ScriptLimits = field(default_factory=ScriptLimits)
    description: str = ""
    """What the script is for, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """How a script has ended."""

    ending: Ending
    exit_code: int | None
    """Its exit code; None if it was ended."""
    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)


class Backend(Protocol):
    """A kind of sandbox."""

    async def open(self) -> None:
        """Start the sandbox, or check that it can be started.

        Raises:
            SandboxUnavailableError: It cannot be started. Nothing less isolated is used instead.
        """
        ...

    async def run(self, job: Job) -> Completed:
        """Run a script, and end all that it has started.

        Raises:
            SandboxError: The sandbox failed.
        """
        ...

    async def aclose(self) -> None:
        """End the sandbox. Also called if `open` failed or was cancelled."""
        ...
