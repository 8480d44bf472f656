"""Sink for a table of a lake: rows are appended in commits, each of which records the progress.

A commit and its record are written in one transaction. A run that resumes reads the record, and
continues after it: each row is in the table once, whenever an earlier run was killed.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol, cast

from pydantic_core import from_json, to_json

from asyncposthog.errors import ExportError, PostHogError
from asyncposthog.export.batch import Batch
from asyncposthog.export.checkpoint_schema import lake_state
from asyncposthog.export.checksum import MASK, key_sum
from asyncposthog.export.engines.base import PreparedBatch
from asyncposthog.export.object_store import work_folder
from asyncposthog.export.report import FileReport
from asyncposthog.query.arrow import pyarrow_module

from .base import SafePoint
from .parquet import release_memory

__all__ = ["LakeSink", "LakeTable"]

_CONVERT_ROWS: Final = 5_000


class LakeTable(Protocol):
    """A table of a lake."""

    @property
    def name(self) -> str:
        """URL or identifier, without credentials."""
        ...

    @property
    def format(self) -> str:
        """Name of the format: `delta`."""
        ...

    def open(self) -> bool:
        """Open the table as it is now, and return whether it exists."""
        ...

    def schema(self) -> Any:
        """Return the Arrow schema of the table."""
        ...

    def record(self, identity: str) -> str | None:
        """Return the record of the last commit of an export; None: it has none."""
        ...

    def append(self, rows: Any, identity: str, number: int, record: str) -> None:
        """Append a `pyarrow.Table` in one transaction, and create the table if it is missing.

        Args:
            rows: The rows.
            identity: Identifies the export.
            number: The number of the commit within the export, from 1.
            record: Stored with the commit.
        """
        ...


class LakeSink:
    """Writer of commits of a number of rows."""

    is_folder = False
    replaces = False

    def __init__(self, table: LakeTable, *, rows_per_commit: int, append: bool) -> None:
        """Store the arguments. Nothing is opened yet.

        Args:
            table: The table.
            rows_per_commit: Rows after which a commit is made. This many are buffered in memory.
            append: Whether the table may have rows of something else.
        """
        self.target = work_folder(table.name)
        self.state_validator = lake_state
        self.rows: int = 0
        self.checksum: int = 0
        self._table = table
        self._rows_per_commit = rows_per_commit
        self._append = append
        self._identity = ""
        self._commits: int = 0
        self._pending: list[Any] = []
        self._pending_rows = 0
        self._pending_checksum: int = 0
        self._empty: Any = None
        self._schema: Any = None

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """The format and the table."""
        return {"format": self._table.format, "path": self._table.name}

    def recover(self, identity: str) -> SafePoint | None:
        """Return the safe point that the table records; see `RecordingSink.recover`."""
        self._identity = identity
        with self._translate_errors("read"):
            record = self._table.record(identity) if self._table.open() else None
        if record is None:
            return None
        try:
            fields = cast("dict[str, Any]", from_json(record))
            position, state = fields["position"], fields["state"]
        except (ValueError, KeyError, TypeError):
            raise self._record_error() from None
        if not lake_state(state):
            raise self._record_error()
        return SafePoint(position, state)

    def _record_error(self) -> ExportError:
        return ExportError(
            f"The record of the export in {self._table.name} is damaged.",
            suggestion="Restore an earlier version of the table, or export to another one.",
        )

    def check(self, state: Mapping[str, Any] | None, owns_output: bool) -> None:
        """Check that the sink can begin; see `Sink.check`."""
        with self._translate_errors("read"):
            exists = self._table.open()
        if state is None and exists and not self._append and not owns_output:
            raise FileExistsError(
                f"{self._table.name} already exists and has no rows of this export. Choose another "
                "table, or add the rows to it with append=True."
            )

    def begin(self, state: Mapping[str, Any] | None) -> None:
        """Continue with the counts of an earlier run."""
        if state is not None:
            self._commits, self.rows, self.checksum = state["commits"], state["rows"], state["sum"]

    def prepare(self, batch: Batch) -> tuple[list[Any], Batch]:
        """Convert rows to Arrow tables of types that lake tables have."""
        starts = range(0, len(batch), _CONVERT_ROWS) or (0,)
        tables = [
            _with_lake_types(batch.slice(start, start + _CONVERT_ROWS).to_arrow())
            for start in starts
        ]
        release_memory()
        return tables, batch

    def write(
        self, batch: PreparedBatch[tuple[list[Any], Batch]], *, durable: bool
    ) -> SafePoint | None:
        """Buffer rows, and commit them if there are enough."""
        tables, rows = batch.content
        self._check_schema(tables[0].schema)
        self._empty = tables[0].slice(0, 0)
        self._pending += tables
        self._pending_rows += len(rows)
        self._pending_checksum += key_sum(rows.keys)
        if self._pending_rows < self._rows_per_commit or batch.position is None:
            return None
        return SafePoint(batch.position, self._commit(batch.position))

    def _check_schema(self, schema: Any) -> None:
        """Compare the columns with those of the table, or of the first batch.

        Raises:
            ExportError: A column differs.
        """
        if self._schema is None:
            with self._translate_errors("read"):
                self._schema = self._table.schema() if self._table.open() else schema
            for expected in self._schema:
                if expected.name not in schema.names and not expected.nullable:
                    raise self._schema_error(f"has the column {expected.name}, which is required")
        for column in schema:
            index = self._schema.get_field_index(column.name)
            if index < 0:
                raise self._schema_error(f"has no column {column.name}")
            expected = self._schema.field(index).type
            if _comparable(expected) != _comparable(column.type):
                raise self._schema_error(
                    f"has the column {column.name} of type {expected}, and the export has "
                    f"{column.type}"
                )

    def _schema_error(self, what: str) -> ExportError:
        return ExportError(
            f"{self._table.name} {what}.",
            suggestion="Export other columns with columns=, or to another table.",
        )

    def _commit(self, position: Any) -> dict[str, Any]:
        """Append the buffered rows, and return the new state."""
        state: dict[str, Any] = {
            "commits": self._commits + 1,
            "rows": self.rows + self._pending_rows,
            "sum": (self.checksum + self._pending_checksum) & MASK,
        }
        record = to_json({"position": position, "state": state}).decode()
        rows = pyarrow_module().concat_tables(self._pending)
        with self._translate_errors("write"):
            self._table.append(rows, self._identity, state["commits"], record)
        self._commits, self.rows, self.checksum = state["commits"], state["rows"], state["sum"]
        self._pending, self._pending_rows, self._pending_checksum = [], 0, 0
        del rows
        release_memory()
        return state

    def finish(self) -> Mapping[str, Any]:
        """Commit the last rows, and that the export is complete."""
        if not self._pending and self._empty is not None:
            self._pending = [self._empty]
        if not self._pending:
            return {"commits": self._commits, "rows": self.rows, "sum": self.checksum}
        return self._commit(None)

    def commit(self, state: Mapping[str, Any], *, verify: bool) -> tuple[FileReport, ...]:
        """Return no files: they are those of the table."""
        return ()

    def close(self, *, keep: bool) -> None:
        """Drop what is buffered. Commits stay: the next run continues after them."""
        self._pending, self._empty = [], None

    @contextmanager
    def _translate_errors(self, verb: str) -> Generator[None]:
        try:
            yield
        except PostHogError:
            raise
        except ImportError:
            raise
        except Exception as error:
            raise ExportError(
                f"Cannot {verb} the {self._table.format} table {self._table.name}: "
                f"{type(error).__name__}: {error!s:.300}",
                suggestion="Check the credentials and the name. Run the export again: it continues "
                "after the last commit.",
            ) from error


def _with_lake_types(table: Any) -> Any:
    """Return a table whose columns have types of Delta and Iceberg, which have no unsigned ones."""
    schema = pyarrow_module().schema(
        [field.with_type(_lake_type(field.type)) for field in table.schema]
    )
    return table if schema.equals(table.schema) else table.cast(schema)


def _lake_type(type_: Any) -> Any:
    pa = pyarrow_module()
    types: Any = pa.types
    if types.is_uint64(type_):
        return pa.decimal128(20, 0)
    if types.is_unsigned_integer(type_):
        return pa.int64() if types.is_uint32(type_) else pa.int32()
    if types.is_int8(type_) or types.is_int16(type_):
        return pa.int32()
    if types.is_timestamp(type_) and type_.unit != "us":
        return pa.timestamp("us", type_.tz)
    if types.is_null(type_):
        return pa.string()
    if types.is_list(type_):
        return pa.list_(_lake_type(type_.value_type))
    return type_


def _comparable(type_: Any) -> str:
    """Return the type as text, without what formats and their libraries name differently."""
    text = str(type_).replace("large_", "").replace("string_view", "string")
    for name in ("element", "item"):
        text = text.replace(f"<{name}: ", "<").replace(" not null", "")
    return text.replace("tz=+00:00", "tz=UTC").replace("tz=Etc/UTC", "tz=UTC")
