"""Tables of Apache Iceberg. Needs pyiceberg."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

__all__ = ["IcebergTable"]

_RECORD: Final = "asyncposthog.record"
_IDENTITY: Final = "asyncposthog.export"


class IcebergTable:
    """A table of a catalog. Each snapshot of an export has its identity and its record."""

    format = "iceberg"

    def __init__(self, name: str, catalog: Any, options: Mapping[str, str] | None) -> None:
        """Store the arguments. Nothing is opened yet.

        Args:
            name: The identifier: `namespace.table`.
            catalog: A `pyiceberg.catalog.Catalog`, or the name of one that is configured.
            options: Properties of a catalog that is given by name.

        Raises:
            ImportError: pyiceberg is not installed.
            ValueError: The identifier has no namespace.
        """
        try:
            self._module: Any = import_module("pyiceberg.catalog")
        except ImportError:
            raise ImportError(
                "Iceberg tables need pyiceberg: pip install 'asyncposthog[iceberg]'"
            ) from None
        if "." not in name.strip("."):
            raise ValueError(f"{name!r} has no namespace: use 'namespace.table'")
        self._identifier = name
        self._catalog = catalog
        self._options = dict(options or {})
        self._table: Any = None
        catalog_name: object = catalog if isinstance(catalog, str) else getattr(catalog, "name", "")
        self.name = f"{catalog_name}.{name}"

    def open(self) -> bool:
        """Open the table as it is now, and return whether it exists."""
        if isinstance(self._catalog, str):
            self._catalog = self._module.load_catalog(self._catalog, **self._options)
        errors: Any = import_module("pyiceberg.exceptions")
        try:
            self._table = self._catalog.load_table(self._identifier)
        except errors.NoSuchTableError:
            self._table = None
        return self._table is not None

    def schema(self) -> Any:
        """Return the Arrow schema of the table."""
        return self._table.schema().as_arrow()

    def record(self, identity: str) -> str | None:
        """Return the record of the last commit of an export; None: it has none."""
        for snapshot in reversed(self._table.metadata.snapshots):
            summary = snapshot.summary
            if summary is not None and summary.additional_properties.get(_IDENTITY) == identity:
                return str(summary.additional_properties[_RECORD])
        return None

    def append(self, rows: Any, identity: str, number: int, record: str) -> None:
        """Append rows in one transaction; see `LakeTable.append`."""
        if self._table is None:
            namespace = self._identifier.rpartition(".")[0]
            self._catalog.create_namespace_if_not_exists(namespace)
            self._table = self._catalog.create_table(self._identifier, schema=rows.schema)
        # Without a refresh: if another process has committed since, the catalog refuses this.
        self._table.append(rows, snapshot_properties={_IDENTITY: identity, _RECORD: record})
