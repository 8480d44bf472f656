"""Tables of Delta Lake. Needs deltalake."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from asyncposthog.errors import ExportError
from asyncposthog.export.object_store import is_url
from asyncposthog.query.arrow import pyarrow_module

__all__ = ["DeltaTable"]

_RECORD: Final = "asyncposthog.record"
_IDENTITY: Final = "asyncposthog.export"


class DeltaTable:
    """A table of Delta Lake. The commits of an export have its identity as transaction id."""

    format = "delta"

    def __init__(self, name: str, storage_options: Mapping[str, str] | None) -> None:
        """Store the arguments. Nothing is opened yet.

        Args:
            name: A path or URL.
            storage_options: Options of the store, as deltalake names them.

        Raises:
            ImportError: deltalake or pyarrow is not installed.
        """
        pyarrow_module()
        try:
            self._module: Any = import_module("deltalake")
        except ImportError:
            raise ImportError(
                "Delta tables need deltalake: pip install 'asyncposthog[delta]'"
            ) from None
        self.name = name if is_url(name) else str(Path(name).absolute())
        self._options = dict(storage_options) if storage_options is not None else None
        self._table: Any = None

    def open(self) -> bool:
        """Open the table as it is now, and return whether it exists."""
        try:
            self._table = self._module.DeltaTable(self.name, storage_options=self._options)
        except self._module.exceptions.TableNotFoundError:
            self._table = None
        return self._table is not None

    def schema(self) -> Any:
        """Return the Arrow schema of the table."""
        return pyarrow_module().schema(self._table.schema().to_arrow())

    def record(self, identity: str) -> str | None:
        """Return the record of the last commit of an export; None: it has none.

        Raises:
            ExportError: The log of the table no longer has that commit.
        """
        if self._table.transaction_version(identity) is None:
            return None
        for commit in self._table.history():  # the newest first
            if commit.get(_IDENTITY) == identity:
                return str(commit[_RECORD])
        raise ExportError(
            f"{self.name} has rows of this export, but its log was cleaned up since.",
            suggestion="Remove these rows and export to another table.",
        )

    def append(self, rows: Any, identity: str, number: int, record: str) -> None:
        """Append rows in one transaction; see `LakeTable.append`."""
        module = self._module
        if self._table is not None:
            self._table.update_incremental()
            done = self._table.transaction_version(identity)
            if done is not None and done >= number:
                raise ExportError(
                    f"Another process writes the same export to {self.name}.",
                    suggestion="Run it once at a time.",
                )
        module.write_deltalake(
            self.name if self._table is None else self._table,
            rows,
            mode="append",
            storage_options=self._options,
            commit_properties=module.CommitProperties(
                custom_metadata={_IDENTITY: identity, _RECORD: record},
                app_transactions=[module.Transaction(identity, number)],
            ),
        )
        self.open()
