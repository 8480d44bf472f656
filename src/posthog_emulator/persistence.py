"""The state of an emulator in a folder: written whole, read back the same."""

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
from typing import TYPE_CHECKING, Any, Final, Self

from posthog_emulator.objects.store import Bucket, Row

from .accounts import Accounts
from .json_types import is_object
from .state import EmulatorState, Settings

if TYPE_CHECKING:
    from .state import EmulatorState

__all__ = ["STATE_FILE", "Persistence", "StateDirectory", "dumped", "restore"]

STATE_FILE: Final = "state.json"
_LOCK_FILE: Final = "lock"
_FORMAT: Final = 1


class StateDirectory:
    """Where an emulator keeps its state, for itself alone.

    Args:
        path: The folder, made if need be.
        write: Gives what is to be written, as of now, and a number that grows with each call.

    Raises:
        OSError: It cannot be made or written to, or another emulator is using it.
    """

    def __init__(self, path: str | os.PathLike[str], write: Callable[[], tuple[int, str]]) -> None:
        self.path = Path(path).absolute()
        self._write = write
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        self._written = -1
        self._timer: threading.Timer | None = None
        """What is going to write."""
        self._timers: list[threading.Timer] = []
        """Those, and those that are writing still."""
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"{self.path} is a file; the emulator needs a folder")
        self.path.mkdir(parents=True, exist_ok=True)
        self._held = _held(self.path / _LOCK_FILE)

    def read(self, project_id: int) -> dict[str, Any] | None:
        """What was written last; None in a new folder.

        Args:
            project_id: The project it has to be of.

        Raises:
            ValueError: It is no state of an emulator, or that of another project.
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
                f"{file} is no state this version of the emulator can read; "
                "move it away to start afresh"
            )
        if state["project_id"] != project_id:
            raise ValueError(
                f"{file} was kept for project_id={state['project_id']}, not {project_id}"
            )
        return state

    def touch(self, delay: float) -> None:
        """Have the state written after some seconds, with all that comes in between."""
        with self._lock:
            if self._timer is None and self._held is not None:
                self._timer = threading.Timer(delay, self._save_due)
                self._timer.daemon = True
                self._timer.name = "asyncposthog-emulator-saving"
                self._timers = [*filter(threading.Thread.is_alive, self._timers), self._timer]
                self._timer.start()

    def save(self) -> None:
        """Write the state now, so that there is always a whole one, the old or the new.

        Raises:
            OSError: It cannot be written; the old one stays.
        """
        # Whoever calls may hold the emulator's lock, and writing out takes it: never inside ours.
        number, text = self._write()
        with self._saving:
            if number > self._written:
                _write_whole(self.path / STATE_FILE, text)
                self._written = number

    def close(self) -> None:
        """Let the folder go; nothing is written any more."""
        with self._lock:
            timers, self._timer, self._timers = self._timers, None, []
            held, self._held = self._held, None
        for timer in timers:
            timer.cancel()
            timer.join()
        if held is not None:
            held.close()

    def _save_due(self) -> None:
        with self._lock:
            self._timer = None
        # What cannot be written now is tried again with the next change, and on closing, which
        # says so.
        with suppress(OSError):
            self.save()


def _write_whole(file: Path, text: str) -> None:
    fresh = file.with_suffix(".new")
    # Keys are in it: nobody else needs to read it.
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(file)


def _held(path: Path) -> TextIOWrapper:
    stream = path.open("a", encoding="utf-8")
    try:
        import fcntl
    except ImportError:  # pragma: no cover - Windows, where the database's own lock has to do
        return stream
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        raise BlockingIOError(f"{path.parent} is in use by another emulator") from None
    return stream


def dumped(world: EmulatorState) -> str:
    """Everything of a world that a later emulator is to know, as JSON."""
    store = world.store
    state = {
        "format": _FORMAT,
        "project_id": world.accounts.account.project_id,
        "sequence": store.sequence,
        "numbers": store.numbers,
        "keys": [
            {
                "value": key.value,
                "scopes": sorted(key.scopes),
                "projects": None if key.projects is None else sorted(key.projects),
                "organizations": None if key.organizations is None else sorted(key.organizations),
            }
            for key in world.accounts.keys.values()
        ],
        "buckets": {
            address: [[row.key, row.sequence, row.deleted, row.data] for row in bucket]
            for address, bucket in store.buckets.items()
            if bucket.rows
        },
        "ones": store.singletons,
        "strange": sorted(world.accounts.strange),
    }
    return json.dumps(state, ensure_ascii=False, separators=(",", ":"))


def restore(world: EmulatorState, state: dict[str, Any]) -> None:
    """Put a world into the state another was in."""
    account = world.accounts.account
    store = world.new_store()
    store.sequence, store.singletons = state["sequence"], state["ones"]
    store.numbers.update(state["numbers"])
    for address, rows in state["buckets"].items():
        held = {key: Row(key, data, number, deleted) for key, number, deleted, data in rows}
        store.buckets[address] = Bucket(held)
    world.store = store
    world.accounts = Accounts(account, strange=set(state.get("strange", ())))
    for key in state["keys"]:
        world.accounts.add(key["value"], key["scopes"], key["projects"], key["organizations"])


class Persistence:
    """What opens, saves and closes the state of an emulator; a part of `Emulator`."""

    settings: Settings
    _lock: RLock
    _kept: dict[str, Any] | None = None
    """What was found in the folder."""
    _folder: StateDirectory | None = None
    _world: EmulatorState | None = None
    _saves = 0
    _found = False

    @property
    def world(self) -> EmulatorState:
        """The state."""
        raise NotImplementedError

    @property
    def found(self) -> bool:
        """Whether its folder already held a state when it was opened."""
        return self._found

    def save(self) -> None:
        """Write the state to the folder given as `path` now; nothing without one.

        Raises:
            OSError: It cannot be written; what was written before stays.
        """
        if self._folder is not None:
            self._folder.save()

    def close(self) -> None:
        """Write the state, if it is kept, and close the database of events.

        Raises:
            OSError: The state cannot be written.
        """
        folder, self._folder = self._folder, None
        try:
            if folder is not None and self._world is not None:
                folder.save()
        finally:
            if folder is not None:
                folder.close()
            if self._world is not None:
                self._world.close()

    def __enter__(self) -> Self:
        """Use it while the block runs."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _open_directory(self, path: str | os.PathLike[str], project_id: int) -> None:
        folder = StateDirectory(path, self._state)
        try:
            self._kept = folder.read(project_id)
            self._found = self._kept is not None
        except ValueError:
            folder.close()
            raise
        self._folder = folder

    def _state(self) -> tuple[int, str]:
        with self._lock:
            self._saves += 1
            self.world.flush()
            return self._saves, dumped(self.world)

    def _changed(self) -> None:
        """Have the state written soon."""
        if self._folder is not None:
            self._folder.touch(self.settings.save_delay)
