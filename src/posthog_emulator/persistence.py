"""Save the state of an emulator to a directory and restore it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any, Final, Self

from posthog_emulator.objects.store import ObjectCollection, StoredObject

from .accounts import Accounts
from .json_types import is_object
from .state import EmulatorState, Settings

__all__ = ["STATE_FILE", "Persistence", "StateDirectory", "restore", "serialize"]

STATE_FILE: Final = "state.json"
_LOCK_FILE: Final = "lock"
_FORMAT: Final = 2
"""Version of the saved state. Version 1 had the events in a file of DuckDB."""


class StateDirectory:
    """A directory with the state of an emulator, locked against other emulators.

    Args:
        path: The directory; created if it does not exist.
        snapshot: Returns a number that grows with each call, and the current state as text.

    Raises:
        OSError: The directory cannot be created or written to, or another emulator uses it.
    """

    def __init__(
        self, path: str | os.PathLike[str], snapshot: Callable[[], tuple[int, str]]
    ) -> None:
        self.path = Path(path).absolute()
        self._snapshot = snapshot
        self._lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._last_written = -1
        self._timer: threading.Timer | None = None
        """The timer of the next save; None if no save is scheduled."""
        self._timers: list[threading.Timer] = []
        """All timers whose threads may still run, for `close` to wait for."""
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"{self.path} is a file; the emulator needs a directory")
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock_file = _acquire_lock(self.path / _LOCK_FILE)

    def read(self, project_id: int) -> dict[str, Any] | None:
        """Return the saved state; None if nothing was saved.

        Args:
            project_id: The project that the state has to be of.

        Raises:
            ValueError: The file is not the state of an emulator, or of another project.
        """
        file = self.path / STATE_FILE
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            state = json.loads(text)
        except ValueError:
            state = None
        if not is_object(state) or state.get("format") != _FORMAT:
            raise ValueError(
                f"{file} cannot be read by this version of the emulator; "
                "move it away to start with an empty state"
            )
        if state["project_id"] != project_id:
            raise ValueError(
                f"{file} was saved with project_id={state['project_id']}, not {project_id}; "
                "use that project id or another directory"
            )
        return state

    def schedule_save(self, delay: float) -> None:
        """Save the state after some seconds, unless a save is scheduled already."""
        with self._lock:
            if self._timer is None and self._lock_file is not None:
                self._timer = threading.Timer(delay, self._save_due)
                # A daemon, so that a forgotten emulator does not keep the interpreter alive.
                self._timer.daemon = True
                self._timer.name = "asyncposthog-emulator-saving"
                self._timers = [*filter(threading.Thread.is_alive, self._timers), self._timer]
                self._timer.start()

    def save(self) -> None:
        """Save the state now.

        Raises:
            OSError: The state cannot be written; the one saved before is unchanged.
        """
        # `_snapshot` takes the emulator's lock, which the caller may hold. Taking ours first, and
        # then that one, would deadlock with a thread that does it in the opposite order.
        number, text = self._snapshot()
        with self._write_lock:
            # A snapshot that was taken earlier may get here later.
            if number > self._last_written:
                _replace_file(self.path / STATE_FILE, text)
                self._last_written = number

    def close(self) -> None:
        """Cancel scheduled saves, wait for running ones and release the lock."""
        with self._lock:
            timers, self._timer, self._timers = self._timers, None, []
            lock_file, self._lock_file = self._lock_file, None
        for timer in timers:
            timer.cancel()
            timer.join()
        if lock_file is not None:
            lock_file.close()

    def _save_due(self) -> None:
        with self._lock:
            self._timer = None
        # An error has no caller to go to in this thread. The next change tries again, and so does
        # closing, which raises it.
        with suppress(OSError):
            self.save()


def _replace_file(file: Path, text: str) -> None:
    """Write a file so that it has either its old or its new content, even after a crash."""
    temporary = file.with_suffix(".new")
    # Readable by the owner only, because the file contains API keys.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)


def _acquire_lock(path: Path) -> TextIOWrapper:
    stream = path.open("a", encoding="utf-8")
    try:
        import fcntl
    except ImportError:  # pragma: no cover - Windows: there is no lock
        return stream
    try:
        # The kernel releases it when the process ends, so that no stale lock is left by a crash.
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        raise BlockingIOError(f"{path.parent} is in use by another emulator") from None
    return stream


def serialize(state: EmulatorState) -> str:
    """Return the objects, counters and keys of a state as JSON. Events are in the database."""
    store = state.store
    document = {
        "format": _FORMAT,
        "project_id": state.accounts.account.project_id,
        "sequence": store.sequence,
        "numbers": store.last_ids,
        "keys": [
            {
                "value": key.value,
                "scopes": sorted(key.scopes),
                "projects": None if key.projects is None else sorted(key.projects),
                "organizations": None if key.organizations is None else sorted(key.organizations),
            }
            for key in state.accounts.keys.values()
        ],
        "buckets": {
            path: [[row.key, row.sequence, row.deleted, row.data] for row in collection]
            for path, collection in store.collections.items()
            if collection.rows
        },
        "ones": store.singletons,
        "strange": sorted(state.accounts.foreign_projects),
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def restore(state: EmulatorState, document: dict[str, Any]) -> None:
    """Replace the objects, counters and keys of a state by those of a saved document."""
    store = state.new_store()
    store.sequence, store.singletons = document["sequence"], document["ones"]
    store.last_ids.update(document["numbers"])
    for path, entries in document["buckets"].items():
        rows = {
            key: StoredObject(key, data, sequence, deleted)
            for key, sequence, deleted, data in entries
        }
        store.collections[path] = ObjectCollection(rows)
    state.store = store
    # Absent in files of earlier versions.
    foreign_projects = set[int](document.get("strange", ()))
    state.accounts = Accounts(state.accounts.account, foreign_projects=foreign_projects)
    for key in document["keys"]:
        state.accounts.add(key["value"], key["scopes"], key["projects"], key["organizations"])


class Persistence:
    """The methods of `Emulator` that open, save and close its state."""

    settings: Settings
    _lock: RLock
    _saved_state: dict[str, Any] | None = None
    """The state read from the directory, until `state` is created from it."""
    _directory: StateDirectory | None = None
    _state: EmulatorState | None = None
    _snapshots = 0
    _was_restored = False

    @property
    def state(self) -> EmulatorState:
        """The state of the emulator."""
        raise NotImplementedError

    @property
    def was_restored(self) -> bool:
        """Whether the directory `path` already contained a state when it was opened."""
        return self._was_restored

    def save(self) -> None:
        """Save the state to the directory `path` now. Without one, this does nothing.

        Raises:
            OSError: The state cannot be written; the one saved before is unchanged.
        """
        if self._directory is not None:
            self._directory.save()

    def close(self) -> None:
        """Save the state, if the emulator has a directory, and close the event database.

        Raises:
            OSError: The state cannot be written.
        """
        directory, self._directory = self._directory, None
        try:
            if directory is not None and self._state is not None:
                directory.save()
        finally:
            if directory is not None:
                directory.close()
            if self._state is not None:
                self._state.close()

    def __enter__(self) -> Self:
        """Return the emulator itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the emulator."""
        self.close()

    def _open_directory(self, path: str | os.PathLike[str], project_id: int) -> None:
        directory = StateDirectory(path, self._take_snapshot)
        try:
            self._saved_state = directory.read(project_id)
            self._was_restored = self._saved_state is not None
        except ValueError:
            directory.close()
            raise
        self._directory = directory

    def _take_snapshot(self) -> tuple[int, str]:
        with self._lock:
            self._snapshots += 1
            # Events and objects are saved together, or a crash could leave one without the other.
            self.state.flush()
            return self._snapshots, serialize(self.state)

    def _changed(self) -> None:
        """Schedule a save after a change of the state."""
        if self._directory is not None:
            self._directory.schedule_save(self.settings.save_delay)
