"""An emulator that outlives its process."""

from __future__ import annotations

import os
from threading import RLock
from types import TracebackType
from typing import Any, Self

from asyncposthog.emulator.state.saving import Folder, dumped
from asyncposthog.emulator.state.world import Settings, World

__all__ = ["Keeping"]


class Keeping:
    """What opens, saves and closes the state of an emulator; a part of `Emulator`."""

    settings: Settings
    _lock: RLock
    _kept: dict[str, Any] | None = None
    """What was found in the folder."""
    _folder: Folder | None = None
    _world: World | None = None
    _saves = 0
    _found = False

    @property
    def world(self) -> World:
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

    def _keep_in(self, path: str | os.PathLike[str], project_id: int) -> None:
        folder = Folder(path, self._state)
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
