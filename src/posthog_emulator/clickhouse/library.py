"""Load the shared library of chdb, without its package and without its side effects."""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol, cast

from .errors import EngineMissingError, EngineUnavailableError

__all__ = ["Connection", "Library", "forked_error", "load_library", "survive_fork"]

_MODULE: Final = "chdb._chdb"
_INSTALL: Final = (
    "events and HogQL of the emulator need ClickHouse: pip install 'asyncposthog[emulator]'"
)


class Answer(Protocol):
    """The result of a query."""

    def bytes(self) -> bytes:
        """Return the formatted result."""
        ...


class Connection(Protocol):
    """A connection with its own settings and current database. It runs one query at a time."""

    def query(self, query: str | bytes, format: str, /) -> Answer:
        """Run a query. The GIL is released meanwhile."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class Library(Protocol):
    """The functions of chdb that the engine uses."""

    def connect(self, path: str) -> Connection:
        """Return a connection to the server of this process, which the first one starts."""
        ...

    def set_signal_handlers_enabled(self, enabled: int) -> None:
        """Tell whether the server may install signal handlers."""
        ...


def load_library() -> Library:
    """Load the library.

    Raises:
        EngineMissingError: chdb is missing, or has no build for this platform.
    """
    if sys.platform == "win32":
        raise EngineMissingError(
            "events and HogQL of the emulator need ClickHouse, which has no build for Windows; "
            "use the Windows Subsystem for Linux. Everything else works."
        )
    loaded = sys.modules.get(_MODULE)
    if loaded is None:
        loaded = _load()
    library = cast("Library", loaded)
    # Otherwise the server replaces the handlers of SIGINT, SIGSEGV and others. They are switched
    # off before the first connection, which is why the package `chdb` is not imported: it opens a
    # connection when it is imported, besides loading pyarrow.
    library.set_signal_handlers_enabled(0)
    return library


def _load() -> ModuleType:
    try:
        package = importlib.util.find_spec("chdb")
    except (ImportError, ValueError):
        package = None
    folders = [] if package is None else package.submodule_search_locations or []
    files = [file for folder in folders for file in Path(folder).glob("_chdb*.so")]
    if not files:
        raise EngineMissingError(_INSTALL)
    loader = importlib.machinery.ExtensionFileLoader(_MODULE, str(files[0]))
    spec = importlib.util.spec_from_loader(_MODULE, loader, origin=str(files[0]))
    if spec is None:  # pragma: no cover - a loader always gives a spec
        raise EngineMissingError(_INSTALL)
    try:
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    except ImportError as error:
        raise EngineMissingError(f"{_INSTALL} ({error})") from error
    # Where the package looks for it if something else imports chdb later.
    sys.modules[_MODULE] = module
    return module


def survive_fork(connections: list[Any]) -> None:
    """Make a forked child able to exit; call it in the child.

    The threads of the server do not exist in the child, so closing a connection, and the exit
    handlers of the library, would wait for them without end.

    Args:
        connections: The open connections, which are never closed in the child.
    """
    for connection in connections:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
    libc = ctypes.CDLL(None)
    # Exit handlers run in reverse order: this one, registered last, ends the process before those
    # of the library. `on_exit` passes the status; only glibc has it.
    if hasattr(libc, "on_exit"):
        libc.on_exit(libc._exit, None)


def forked_error() -> EngineUnavailableError:
    """Return the error for the use of the engine in a forked child."""
    return EngineUnavailableError(
        f"process {os.getpid()} was forked from one in which the emulator's ClickHouse was "
        "running, and cannot use it; start processes with the method 'spawn' or 'forkserver', or "
        "fork before the emulator is used"
    )
