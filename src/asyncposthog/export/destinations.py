"""Where scheduled exports go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from asyncposthog.types import JSON

__all__ = ["Destination", "as_destination"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A kind of destination and its settings.

    Credentials live in an integration of the project, made in PostHog; here is only its number.
    `Destination(type="BigQuery", integration_id=3, config={…})` is any there is, and the methods
    below make the usual ones.
    """

    type: str
    """`AwsS3`, `S3Compatible`, `BigQuery`, `Snowflake`, `Postgres`, `Redshift`, `Databricks`,
    `AzureBlob`, `HTTP`, and what PostHog adds."""
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Its settings, by PostHog's names."""
    integration_id: int | None = None
    """The integration that holds the credentials."""

    @classmethod
    def s3(
        cls,
        bucket: str,
        *,
        region: str,
        prefix: str,
        integration_id: int,
        format: Literal["Parquet", "JSONLines"] = "Parquet",
        compression: str | None = "zstd",
        max_file_size_mb: int | None = None,
        **more: Any,
    ) -> Destination:
        """Return a bucket on Amazon S3.

        Args:
            bucket: Its name.
            region: Where it is: `eu-central-1`.
            prefix: What the names of all objects begin with; may hold PostHog's placeholders:
                `events/{year}/{month}`.
            integration_id: The integration with the credentials.
            format: Of the files.
            compression: `zstd`, `gzip`, `brotli`, `lz4`, `snappy`; for JSONLines gzip or brotli.
            max_file_size_mb: About how large a file may become; None: one a run.
            more: Other settings, by PostHog's names.
        """
        config = {
            "bucket_name": bucket,
            "region": region,
            "prefix": prefix,
            "file_format": format,
            "compression": compression,
            "max_file_size_mb": max_file_size_mb,
            **more,
        }
        return cls(type="AwsS3", config=_given(config), integration_id=integration_id)

    @classmethod
    def bigquery(cls, dataset: str, table: str, *, integration_id: int, **more: Any) -> Destination:
        """Return a table of BigQuery.

        Args:
            dataset: The id of the dataset.
            table: The id of the table.
            integration_id: The integration with the credentials.
            more: Other settings, by PostHog's names.
        """
        config = {"dataset_id": dataset, "table_id": table, **more}
        return cls(type="BigQuery", config=_given(config), integration_id=integration_id)

    @classmethod
    def snowflake(
        cls,
        database: str,
        schema: str,
        table: str,
        *,
        warehouse: str,
        integration_id: int,
        **more: Any,
    ) -> Destination:
        """Return a table of Snowflake.

        Args:
            database: The database.
            schema: The schema.
            table: The table's name.
            warehouse: What does the work.
            integration_id: The integration with the credentials.
            more: Other settings, by PostHog's names.
        """
        config = {
            "database": database,
            "schema": schema,
            "table_name": table,
            "warehouse": warehouse,
            **more,
        }
        return cls(type="Snowflake", config=_given(config), integration_id=integration_id)

    @classmethod
    def postgres(
        cls, database: str, schema: str, table: str, *, integration_id: int, **more: Any
    ) -> Destination:
        """Return a table of PostgreSQL.

        Args:
            database: The database.
            schema: The schema.
            table: The table's name.
            integration_id: The integration with the credentials.
            more: Other settings, by PostHog's names.
        """
        config = {"database": database, "schema": schema, "table_name": table, **more}
        return cls(type="Postgres", config=_given(config), integration_id=integration_id)

    def body(self, events: list[str] | None, exclude: list[str] | None) -> dict[str, JSON]:
        """Return it as the API wants it.

        Args:
            events: The only events to export; None: all.
            exclude: Events that are not to be exported.
        """
        config: dict[str, Any] = dict(self.config)
        if events is not None:
            config["include_events"] = events
        if exclude is not None:
            config["exclude_events"] = exclude
        body: dict[str, JSON] = {"type": self.type, "config": cast("JSON", config)}
        if self.integration_id is not None:
            body["integration_id"] = self.integration_id
        return body


def as_destination(given: object) -> Destination:
    """Return a destination given by a user.

    Args:
        given: A `Destination`, or a dict as the API has them: `type`, `config`, `integration_id`.

    Raises:
        TypeError: It is neither.
        ValueError: The dict has no type, or something else in it.
    """
    if isinstance(given, Destination):
        return given
    if not isinstance(given, Mapping):
        raise TypeError(f"destination must be a Destination or a dict, not {type(given).__name__}")
    fields = dict(cast("Mapping[str, Any]", given))
    integration = fields.pop("integration_id", fields.pop("integration", None))
    kind, config = fields.pop("type", None), fields.pop("config", None)
    if not isinstance(kind, str) or not kind:
        raise ValueError("destination needs a type: {'type': 'AwsS3', 'config': {…}}")
    if fields:
        raise ValueError(
            f"destination has {', '.join(sorted(fields))}, which belongs into its config"
        )
    return Destination(type=kind, config=config or {}, integration_id=integration)


def _given(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if value is not None}
