"""Destinations of batch exports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from asyncposthog.types import JSON

__all__ = ["Destination", "parse_destination"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Type of a destination and its settings.

    Credentials are stored in an integration of the project, which is made in PostHog; a destination
    contains only its id. `Destination(type="BigQuery", integration_id=3, config={…})` works for any
    type, and the methods below return the common ones.
    """

    type: str
    """`AwsS3`, `S3Compatible`, `BigQuery`, `Snowflake`, `Postgres`, `Redshift`, `Databricks`,
    `AzureBlob`, `HTTP`, or another type that PostHog adds."""
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Settings by their names in PostHog's API."""
    integration_id: int | None = None
    """Id of the integration that holds the credentials."""

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
        **extra: Any,
    ) -> Destination:
        """Return a destination for a bucket on Amazon S3.

        Args:
            bucket: The name of the bucket.
            region: Its region: `eu-central-1`.
            prefix: The prefix of the names of all objects; may contain PostHog's placeholders:
                `events/{year}/{month}`.
            integration_id: The integration with the credentials.
            format: The format of the files.
            compression: `zstd`, `gzip`, `brotli`, `lz4` or `snappy`; for JSONLines `gzip` or
                `brotli`.
            max_file_size_mb: The approximate maximum size of a file, in MB; None: one file per run.
            extra: Other settings, by their names in PostHog's API.
        """
        config = {
            "bucket_name": bucket,
            "region": region,
            "prefix": prefix,
            "file_format": format,
            "compression": compression,
            "max_file_size_mb": max_file_size_mb,
            **extra,
        }
        return cls(type="AwsS3", config=_without_none(config), integration_id=integration_id)

    @classmethod
    def bigquery(
        cls, dataset: str, table: str, *, integration_id: int, **extra: Any
    ) -> Destination:
        """Return a destination for a table of BigQuery.

        Args:
            dataset: The id of the dataset.
            table: The id of the table.
            integration_id: The integration with the credentials.
            extra: Other settings, by their names in PostHog's API.
        """
        config = {"dataset_id": dataset, "table_id": table, **extra}
        return cls(type="BigQuery", config=_without_none(config), integration_id=integration_id)

    @classmethod
    def snowflake(
        cls,
        database: str,
        schema: str,
        table: str,
        *,
        warehouse: str,
        integration_id: int,
        **extra: Any,
    ) -> Destination:
        """Return a destination for a table of Snowflake.

        Args:
            database: The name of the database.
            schema: The name of the schema.
            table: The name of the table.
            warehouse: The name of the warehouse that loads the data.
            integration_id: The integration with the credentials.
            extra: Other settings, by their names in PostHog's API.
        """
        config = {
            "database": database,
            "schema": schema,
            "table_name": table,
            "warehouse": warehouse,
            **extra,
        }
        return cls(type="Snowflake", config=_without_none(config), integration_id=integration_id)

    @classmethod
    def postgres(
        cls, database: str, schema: str, table: str, *, integration_id: int, **extra: Any
    ) -> Destination:
        """Return a destination for a table of PostgreSQL.

        Args:
            database: The name of the database.
            schema: The name of the schema.
            table: The name of the table.
            integration_id: The integration with the credentials.
            extra: Other settings, by their names in PostHog's API.
        """
        config = {"database": database, "schema": schema, "table_name": table, **extra}
        return cls(type="Postgres", config=_without_none(config), integration_id=integration_id)

    def to_body(self, events: list[str] | None, exclude: list[str] | None) -> dict[str, JSON]:
        """Return the destination in the form of the API.

        Args:
            events: Names of the only events to export; None: all.
            exclude: Names of events to leave out.
        """
        config: dict[str, Any] = dict(self.config)
        if events is not None:
            config["include_events"] = events
        if exclude is not None:
            config["exclude_events"] = exclude
        to_body: dict[str, JSON] = {"type": self.type, "config": cast("JSON", config)}
        if self.integration_id is not None:
            to_body["integration_id"] = self.integration_id
        return to_body


def parse_destination(value: object) -> Destination:
    """Return the destination that a user gave.

    Args:
        value: A `Destination`, or a dict in the form of the API: `type`, `config`,
            `integration_id`.

    Raises:
        TypeError: `value` is neither.
        ValueError: The dict has no type, or has other fields.
    """
    if isinstance(value, Destination):
        return value
    if not isinstance(value, Mapping):
        raise TypeError(f"destination must be a Destination or a dict, not {type(value).__name__}")
    fields = dict(cast("Mapping[str, Any]", value))
    integration = fields.pop("integration_id", fields.pop("integration", None))
    type_name, config = fields.pop("type", None), fields.pop("config", None)
    if not isinstance(type_name, str) or not type_name:
        raise ValueError("destination needs a type: {'type': 'AwsS3', 'config': {…}}")
    if fields:
        raise ValueError(
            f"destination has {', '.join(sorted(fields))}, which belongs in its config"
        )
    return Destination(type=type_name, config=config or {}, integration_id=integration)


def _without_none(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if value is not None}
