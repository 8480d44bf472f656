"""Validate the request bodies of batch exports."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final

from posthog_emulator.http.errors import ApiError, invalid, permission_denied, required
from posthog_emulator.json_types import as_object

from .schedule import INTERVALS, WEEKDAYS, ExportInterval

__all__ = ["SECRET_FIELDS", "deep_merge", "parse_boundary", "validate_new", "validate_update"]

SECRET_FIELDS: Final = frozenset(
    {"aws_access_key_id", "aws_secret_access_key", "password", "private_key", "private_key_id",
     "private_key_passphrase", "token", "token_uri", "client_email", "user"}
)  # fmt: skip
"""Fields of a destination's configuration that are stored and never returned."""

_INTEGRATION_TYPES: Final = frozenset(
    {"AwsS3", "S3Compatible", "Snowflake", "Postgres", "Redshift", "BigQuery", "Databricks",
     "AzureBlob"}
)  # fmt: skip
_OTHER_TYPES: Final = frozenset({"HTTP", "NoOp", "Workflows"})
_HTTP_URLS: Final = frozenset(
    {"https://us.i.posthog.com/batch/", "https://eu.i.posthog.com/batch/"}
)
_REQUIRED_CONFIG: Final[Mapping[str, tuple[str, ...]]] = {
    "AwsS3": ("bucket_name", "region", "prefix"),
    "S3Compatible": ("bucket_name", "prefix"),
    "BigQuery": ("dataset_id", "table_id"),
    "Postgres": ("database", "schema", "table_name"),
    "Redshift": ("database", "schema", "table_name"),
    "Snowflake": ("database", "warehouse", "schema", "table_name"),
    "Databricks": ("http_path", "catalog", "schema", "table_name"),
    "AzureBlob": ("container_name", "prefix"),
    "HTTP": ("url",),
}
_MODELS: Final = ("events", "persons", "sessions", "hogql")


def validate_new(body: Mapping[str, Any]) -> None:
    """Validate the body of a new batch export.

    Raises:
        ApiError: The body is invalid.
    """
    for name in ("name", "destination", "interval"):
        if body.get(name) in (None, ""):
            raise required(name)
    destination = as_object(body["destination"])
    kind = destination.get("type")
    if kind == "S3":
        raise invalid(
            "Destination type 'S3' can no longer be created. Use 'AwsS3' or 'S3Compatible'.",
            "destination__type",
        )
    if kind not in _INTEGRATION_TYPES | _OTHER_TYPES:
        raise invalid(f'"{kind}" is not a valid choice.', "destination__type", "invalid_choice")
    config = as_object(destination.get("config"))
    _check_destination(str(kind), destination, config)
    _check_schedule(body)
    model = body.get("model") or "events"
    _check_model(str(model), body)
    if kind == "HTTP" and model != "events":
        raise invalid("HTTP batch exports only support the events model")


def validate_update(current: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    """Validate a change of a batch export.

    Raises:
        ApiError: The change is invalid.
    """
    model = current.get("model") or "events"
    if body.get("model") not in (None, "", model):
        raise invalid(
            "Changing models is not supported. Create a new batch export instead.", "model"
        )
    if "destination" in body:
        destination = as_object(body["destination"])
        current_destination = as_object(current.get("destination"))
        kind = current_destination.get("type")
        if destination.get("type", kind) != kind:
            raise invalid(
                f"Cannot change destination type from '{kind}' to '{destination['type']}'. "
                "Delete this batch export and create a new one with the new destination type.",
                "destination",
            )
        # Removing the integration has to fail like creating the export without one.
        if "integration_id" in destination and destination["integration_id"] is None:
            _check_destination(str(kind), destination, as_object(current_destination.get("config")))
    _check_schedule({**current, **body}, body)
    _check_model(str(model), {**body})


def _check_destination(
    kind: str, destination: Mapping[str, Any], config: Mapping[str, Any]
) -> None:
    if kind in _INTEGRATION_TYPES:
        integration = destination.get("integration_id", destination.get("integration"))
        if integration is None:
            raise invalid(f"Integration is required for {kind} batch exports", "destination")
    missing = [name for name in _REQUIRED_CONFIG.get(kind, ()) if name not in config]
    if missing:
        raise invalid(
            f"Configuration missing required field: '{missing[0]}'", "destination__config"
        )
    empty = [
        name
        for name in _REQUIRED_CONFIG.get(kind, ())
        if isinstance(config[name], str) and not config[name].strip()
    ]
    if empty:
        raise invalid(f"The following inputs are empty: {empty}", "destination")
    if kind == "HTTP" and config.get("url") not in _HTTP_URLS:
        raise invalid(f"Invalid destination URL: {config.get('url')}", "destination")


def _check_schedule(export: Mapping[str, Any], sent: Mapping[str, Any] | None = None) -> None:
    fields, interval = (export if sent is None else sent), export["interval"]
    if interval not in INTERVALS:
        raise invalid(f'"{interval}" is not a valid choice.', "interval", "invalid_choice")
    day, hour = fields.get("offset_day"), fields.get("offset_hour")
    if day is not None and interval != "week":
        raise invalid("offset_day is not applicable for non-weekly intervals", "offset_day")
    if hour is not None and interval not in {"day", "week"}:
        raise invalid("offset_hour is not applicable for non-daily/weekly intervals", "offset_hour")
    for name, value, maximum in (("offset_day", day, 6), ("offset_hour", hour, 23)):
        if value is not None and not 0 <= value <= maximum:
            side = "greater than or equal to 0" if value < 0 else f"less than or equal to {maximum}"
            raise invalid(f"Ensure this value is {side}.", name, "max_value")


def _check_model(model: str, body: Mapping[str, Any]) -> None:
    if model not in _MODELS:
        raise invalid(f'"{model}" is not a valid choice.', "model", "invalid_choice")
    if model == "hogql":
        raise permission_denied("HogQL batch exports are not enabled for this team.")
    for name, only in (("filters", "events"), ("hogql_query", "hogql")):
        if body.get(name) is not None and model != only:
            raise invalid(f"'{name}' is only supported for '{only}' not '{model}' model", name)


def deep_merge(current: Any, changes: Any) -> Any:
    """Merge changes into a configuration, recursively."""
    if not isinstance(current, Mapping) or not isinstance(changes, Mapping):
        return changes
    out = dict(as_object(current))
    for name, value in as_object(changes).items():
        out[name] = deep_merge(out.get(name), value)
    return out


def parse_boundary(text: Any, export_interval: ExportInterval) -> datetime:
    """Parse the start or end of a backfill, in the format that its interval requires.

    Raises:
        ApiError: The format is wrong.
    """
    # Daily and weekly exports take dates, interpreted in the export's time zone; others take
    # timestamps with an offset.
    if not export_interval.is_calendar_based:
        try:
            timestamp = datetime.fromisoformat(str(text))
        except ValueError:
            raise invalid(f"Input {text} is not a valid ISO formatted datetime.") from None
        if timestamp.tzinfo is None:
            raise invalid(f"Input {text} is naive.")
        return timestamp
    day = _day(str(text))
    weekday = day.isoweekday() % 7
    if export_interval.interval == "week" and weekday != export_interval.offset_day:
        raise invalid(
            f"Input {text} is not on the correct day of the week for this batch export. "
            f"{text} is a {WEEKDAYS[weekday]} but this batch export is configured to run "
            f"weekly on {WEEKDAYS[export_interval.offset_day]}."
        )
    return export_interval.start_of(day)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        pass
    # A timestamp gets a message of its own, which names the mistake.
    error: ApiError = invalid(f"Input '{text}' is not a valid ISO formatted date.")
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise error from None
    raise invalid(
        f"{error.detail} Daily or weekly batch export backfills expect only the date component, "
        "but a time was included."
    )
