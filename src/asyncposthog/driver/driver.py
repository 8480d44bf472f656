"""`Driver`: PostHog as named objects with fields, queries, reads and writes of plain data."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, cast
from uuid import UUID

from asyncposthog.catalog import objects
from asyncposthog.catalog.arguments import ArgumentError
from asyncposthog.client import AsyncPostHog
from asyncposthog.core.json_calls import call_json, list_json, page_json, prepare_call
from asyncposthog.core.resource import get_executor
from asyncposthog.errors import (
    MethodNotAllowedError,
    PostHogError,
    ValidationError,
)
from asyncposthog.operation import Operation
from asyncposthog.query.sql_scan import MAX_LIMIT

from .batches import Batches, Later
from .capabilities import DriverCapabilities
from .errors import MissingKeyError, ObjectNotFoundError, invalid_arguments, unknown_object
from .values import cohort_filters, insight_kind, insight_query, parse_time

if TYPE_CHECKING:
    from asyncposthog.capture.results import EventResult
    from asyncposthog.core.executor import Executor

__all__ = ["Driver"]

_EVENT_COLUMNS: Final = "uuid, event, timestamp, distinct_id, person_id, properties"
_PAGE_SIZE: Final = 100
_MAX_LIMIT: Final = 10_000
_MAX_PROPERTIES: Final = 1000
"""Property definitions that `get_fields` adds to the fields of events and persons."""


class Driver:
    """PostHog as named objects, over any client.

    ```python
    async with Driver.from_env() as driver:
        print(await driver.list_objects())
        rows = await driver.query("SELECT event, count() AS n FROM events GROUP BY event LIMIT 10")
    ```

    Records are dicts as the server sends them. Errors are `PostHogError`, with `.message`,
    `.details` and `.suggestion`.
    """

    def __init__(
        self,
        client: AsyncPostHog | None = None,
        *,
        api_key: str | None = None,
        project_id: int | str | None = None,
        project_api_key: str | None = None,
        api_url: str | None = None,
        timeout: float = 30.0,
        max_retries: int = 3,
        debug: bool = False,
        **settings: Any,
    ) -> None:
        """Use a client, or build one. Nothing is sent.

        Args:
            client: An open client; it is not closed with the driver.
            api_key: A personal API key (`phx_…`); None: from the environment.
            project_id: The project id; None: from the environment, or looked up.
            project_api_key: The project token (`phc_…`), for events and flags.
            api_url: The URL of the instance, with or without `/api`; None: from the environment, or
                PostHog Cloud US.
            timeout: Seconds for one attempt.
            max_retries: Retries after a failed attempt, where a retry is safe.
            debug: Log each attempt to stderr.
            settings: Other arguments of `AsyncPostHog`.

        Raises:
            MissingKeyError: There is no API key. It is an `AuthenticationError`.
            ConfigurationError: A setting is invalid.
        """
        self._owned = client is None
        if client is None:
            _require_key(api_key)
            client = AsyncPostHog(
                api_key,
                project_id=project_id,
                project_api_key=project_api_key,
                host=api_url,
                timeout=timeout,
                max_retries=max_retries,
                debug=debug,
                **settings,
            )
        self.client = client
        """The client. Its typed methods can be used as well."""

    @classmethod
    def from_env(cls, **settings: Any) -> Self:
        """Return a driver with the key, the project and the URL of the environment.

        `POSTHOG_API_KEY` or `POSTHOG_PERSONAL_API_KEY` is required; `POSTHOG_API_URL`,
        `POSTHOG_PROJECT_ID` and `POSTHOG_PROJECT_API_KEY` are optional.

        Raises:
            MissingKeyError: There is no API key. It is an `AuthenticationError`.
        """
        return cls(**settings)

    @property
    def _executor(self) -> Executor:
        return get_executor(self.client.query)

    async def close(self) -> None:
        """Close the client, if the driver has built it."""
        if self._owned:
            await self.client.aclose()

    async def __aenter__(self) -> Self:
        """Return the driver. Nothing is sent."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the driver; after an exception, running calls are cancelled."""
        if self._owned:
            await self.client.aclose(cancel=exc_type is not None)

    # What there is.

    async def list_objects(self) -> list[str]:
        """Return the names of all objects: every resource of the API, nested ones with a dot."""
        return list(objects.object_names())

    async def get_fields(self, object_name: str) -> dict[str, dict[str, Any]]:
        """Return the fields of an object.

        Each has `type` (`string`, `datetime`, `integer`, `object`, …), `required` (when it is
        created), `read_only` and `description`; some have `enum`. Events and persons also have
        the properties that the project has received, as `properties.NAME`.

        Raises:
            ObjectNotFoundError: There is no such object; `.details` has near matches.
        """
        name = self._object(object_name)
        fields = objects.fields(name)
        kind = {"events": "event", "persons": "person", "sessions": "session"}.get(name)
        if kind is not None:
            for definition in await self._property_definitions(kind):
                fields[f"properties.{definition['name']}"] = {
                    "type": str(definition.get("property_type") or "any").lower(),
                    "required": False,
                    "read_only": True,
                    "description": definition.get("description") or "",
                }
        return fields

    async def _property_definitions(self, kind: str) -> list[dict[str, Any]]:
        call = prepare_call(
            self._executor,
            cast("Operation", objects.operation_of("property_definitions", "list")),
            {"type": kind, "limit": _PAGE_SIZE},
        )
        return await list_json(self._executor, call).collect(_MAX_PROPERTIES)

    async def get_capabilities(self) -> DriverCapabilities:
        """Return what the driver can do. A read-only client cannot write."""
        writes = not self.client.settings.read_only
        return DriverCapabilities(
            write=writes, update=writes, delete=writes, max_page_size=_PAGE_SIZE
        )

    async def get_rate_limit_status(self) -> dict[str, Any]:
        """Return the state of the key's rate limits, as counted by this client.

        `remaining`, `limit` and `reset_seconds` are those of the limit that is used up most;
        `buckets` has all limits that were used so far. Without any request, `remaining` is None.
        """
        limits = self.client.rate_limits
        buckets = {
            name: {
                "used": status.used,
                "limit": status.limit,
                "remaining": status.remaining,
                "reset_seconds": status.reset,
            }
            for name in limits
            for status in (limits[name],)
        }
        tightest = min(buckets.values(), key=lambda b: b["remaining"] or 0, default=None)
        first: dict[str, Any] = tightest or {
            "limit": None,
            "remaining": None,
            "reset_seconds": None,
        }
        return {
            "remaining": first["remaining"],
            "limit": first["limit"],
            "reset_seconds": first["reset_seconds"],
            "buckets": buckets,
        }

    async def health_check(self) -> bool:
        """Return whether the instance answers and accepts the key. Errors are not raised."""
        try:
            await self.client.users.me()
        except PostHogError:
            return False
        return True

    async def get_project_info(self) -> dict[str, Any]:
        """Return the project: name, time zone, settings.

        Raises:
            PostHogError: The call failed.
        """
        project_id = await self._executor.project_id()
        return cast("dict[str, Any]", await self._get("projects", str(project_id)))

    # Reads.

    async def query(
        self, hogql: str, values: Mapping[str, object] | None = None
    ) -> list[dict[str, Any]]:
        """Run a HogQL query and return its rows as dicts.

        Without a LIMIT, PostHog returns 100 rows; a result that was cut causes a
        `TruncatedResultWarning`.

        Args:
            hogql: The query.
            values: The values of `{name}` in the query. They are never inserted into its text.

        Raises:
            QueryError: The query is invalid or failed.
            PostHogError: The call failed otherwise.
        """
        result = await self.client.query(hogql, values)
        return [dict(zip(result.columns, row, strict=True)) for row in result.rows]

    async def read(
        self, path: str, limit: int | None = None, offset: int | None = None
    ) -> list[dict[str, Any]]:
        """Return records of an endpoint: of a list up to `limit`, of an object the object alone.

        Events are the newest ones of the whole history, not of the last day as at the endpoint.

        Args:
            path: An endpoint such as `/dashboards` or `/dashboards/5`, or the name of an object.
            limit: The number of records, 1 to 10,000; None: 50.
            offset: Records to skip.

        Raises:
            ObjectNotFoundError: There is no such endpoint or object.
            ValidationError: `limit` or `offset` is out of range.
            PostHogError: The call failed.
        """
        count = _checked("limit", 50 if limit is None else limit, 1, _MAX_LIMIT)
        skipped = _checked("offset", 0 if offset is None else offset, 0, None)
        operation, arguments = self._endpoint(path)
        if operation.id == "events.list":
            return await self._events({}, count, skipped)
        if operation.pagination is None:
            record = await call_json(self._executor, self._call(operation, arguments))
            return [record] if isinstance(record, dict) else list(record or ())
        parameters = {parameter.name for parameter in operation.query_parameters}
        if "limit" in parameters:
            arguments["limit"] = min(count, _PAGE_SIZE)
        if skipped and "offset" in parameters:
            arguments["offset"], skipped = skipped, 0
        cursor = list_json(self._executor, self._call(operation, arguments))
        return (await cursor.collect(skipped + count))[skipped:]

    def read_batched(self, path: str, batch_size: int = 1000) -> Batches:
        """Return an iterator over all records of an endpoint in batches, in constant memory.

        `async for batch in driver.read_batched("/persons"): …`. Nothing is sent before the first
        batch is requested.

        Args:
            path: An endpoint such as `/events`, or the name of an object.
            batch_size: Records in a batch, 1 to 50,000. The last one may have fewer.

        Raises:
            ObjectNotFoundError: There is no such endpoint or object.
            ValidationError: `batch_size` is out of range.
        """
        size = _checked("batch_size", batch_size, 1, MAX_LIMIT)
        operation, arguments = self._endpoint(path)
        if operation.id == "events.list":
            # The endpoint covers a day by default, and its pages lose events of one timestamp.
            stream = self.client.query.stream(
                f"SELECT {_EVENT_COLUMNS} FROM events",  # noqa: S608 - constant columns
                key="uuid",
                page_size=max(size, 2),
            )
            return Batches(stream.dicts(), size, _event)
        if operation.pagination is None:
            return Batches(Later(partial(self.read, path)), size, None)
        if any(parameter.name == "limit" for parameter in operation.query_parameters):
            arguments["limit"] = min(size, _PAGE_SIZE)
        records = list_json(self._executor, self._call(operation, arguments))
        return Batches(aiter(records), size, None)

    async def get_events(
        self,
        event_name: str | None = None,
        after: str | date | datetime | None = None,
        before: str | date | datetime | None = None,
        distinct_id: str | None = None,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """Return events, the newest first.

        Args:
            event_name: Only events of this name.
            after: Only events from this time on; a date is its start, in UTC.
            before: Only events before this time.
            distinct_id: Only events of this user.
            limit: How many at most, 1 to 50,000.

        Raises:
            ValidationError: An argument is invalid.
            PostHogError: The call failed.
        """
        conditions: dict[str, tuple[str, object]] = {}
        if event_name is not None:
            conditions["event_name"] = "event = {event_name}", event_name
        if distinct_id is not None:
            conditions["distinct_id"] = "distinct_id = {distinct_id}", distinct_id
        if after is not None:
            conditions["after"] = "timestamp >= {after}", _time("after", after)
        if before is not None:
            conditions["before"] = "timestamp < {before}", _time("before", before)
        return await self._events(conditions, _checked("limit", limit, 1, MAX_LIMIT), 0)

    async def _events(
        self, conditions: Mapping[str, tuple[str, object]], limit: int, offset: int
    ) -> list[dict[str, Any]]:
        where = " AND ".join(text for text, _ in conditions.values())
        sql = (
            f"SELECT {_EVENT_COLUMNS} FROM events {f'WHERE {where}' if where else ''} "  # noqa: S608
            f"ORDER BY timestamp DESC, uuid LIMIT {min(limit + offset, MAX_LIMIT)}"
        )
        values = {name: value for name, (_, value) in conditions.items()}
        # The server refuses OFFSET in queries made with a personal API key.
        return [_event(row) for row in (await self.query(sql, values))[offset:]]

    async def export_events(
        self,
        start_date: str | date | datetime,
        end_date: str | date | datetime,
        event_names: Sequence[str] | None = None,
        properties_filter: Mapping[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """Return every event of a period, in the order of time.

        For more events than fit into memory, use `driver.client.export.events(…)`.

        Args:
            start_date: The start; a date is its start, in UTC.
            end_date: The end, exclusive; a date is included as a whole.
            event_names: Only events of these names.
            properties_filter: Only events with these values of properties.

        Raises:
            ValidationError: An argument is invalid.
            PostHogError: The export failed.
        """
        values: dict[str, Any] = {}
        conditions: list[str] = []
        for number, (name, value) in enumerate((properties_filter or {}).items()):
            values[f"name{number}"], values[f"value{number}"] = name, str(value)
            conditions.append(
                f"toString(JSONExtractString(properties, {{name{number}}})) = {{value{number}}}"
                if isinstance(value, str)
                else f"JSONExtractRaw(properties, {{name{number}}}) = {{value{number}}}"
            )
            if isinstance(value, bool):
                values[f"value{number}"] = "true" if value else "false"
        job = self.client.export.events(
            _time("start_date", start_date),
            _time("end_date", end_date, end=True),
            event=list(event_names) if event_names else None,
            where=" AND ".join(conditions) or None,
            values=values or None,
        )
        return [_event(dict(row)) async for row in job]

    async def get_insights(
        self, insight_type: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[dict[str, Any]]:
        """Return saved insights.

        Args:
            insight_type: Only insights of this type: TRENDS, FUNNELS, RETENTION, PATHS, STICKINESS,
                LIFECYCLE or SQL.
            limit: How many at most.
            offset: Insights to skip.

        Raises:
            ValidationError: There is no such type.
            PostHogError: The call failed.
        """
        arguments: dict[str, Any] = {}
        if insight_type is not None:
            _insight_kind(insight_type)
            arguments["insight"] = insight_type.strip().upper()
        return await self._list("insights", arguments, limit, offset)

    async def get_cohorts(self, search: str | None = None) -> list[dict[str, Any]]:
        """Return all cohorts, or those whose name contains a text."""
        return await self._list("cohorts", {} if search is None else {"search": search}, None)

    async def get_persons(
        self,
        search: str | None = None,
        cohort_id: int | None = None,
        properties: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """Return persons.

        Args:
            search: Only persons whose e-mail, name or distinct id contains this text.
            cohort_id: Only persons of this cohort.
            properties: Only persons with these values of properties, or PostHog's filters as a list
                of `{"key": …, "value": …, "operator": …}`. Not together with a cohort.
            limit: How many at most.

        Raises:
            ValidationError: An argument is invalid.
            PostHogError: The call failed.
        """
        if cohort_id is not None:
            if properties is not None or search is not None:
                raise ValidationError(
                    "get_persons(cohort_id=…) takes neither search nor properties.",
                    suggestion="Filter the persons of the cohort, or query them with HogQL.",
                )
            arguments: dict[str, Any] = {"id": cohort_id}
            operation = cast("Operation", objects.operation_of("cohorts", "persons"))
        else:
            arguments = {} if search is None else {"search": search}
            if isinstance(properties, Mapping):
                filters = properties
                properties = [
                    {"key": name, "value": value, "operator": "exact", "type": "person"}
                    for name, value in filters.items()
                ]
            if properties:
                arguments["properties"] = [dict(p) for p in properties]
            operation = cast("Operation", objects.operation_of("persons", "list"))
        count = _checked("limit", limit, 1, _MAX_LIMIT)
        arguments["limit"] = min(count, _PAGE_SIZE)
        return await list_json(self._executor, self._call(operation, arguments)).collect(count)

    async def get_feature_flags(self) -> list[dict[str, Any]]:
        """Return all feature flags."""
        return await self._list("feature_flags", {}, None)

    async def get_experiments(self) -> list[dict[str, Any]]:
        """Return all experiments."""
        return await self._list("experiments", {}, None)

    # Writes.

    async def create(self, object_name: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object and return it.

        Args:
            object_name: The object. The identifiers of those it is nested in belong into `data`.
            data: Its fields. Fields that the schema does not have are sent as well.

        Raises:
            ObjectNotFoundError: There is no such object.
            ValidationError: A field is missing or invalid.
            MethodNotAllowedError: It cannot be created.
            PostHogError: The call failed.
        """
        operation = self._method(object_name, "create")
        return await call_json(self._executor, self._call(operation, data, unknown_fields=True))

    async def update(
        self, object_name: str, record_id: str | int, data: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Change fields of an object and return it.

        Raises:
            ObjectNotFoundError: There is no such object.
            ValidationError: A field is invalid.
            MethodNotAllowedError: It cannot be changed.
            PostHogError: The call failed.
        """
        operation = self._method(object_name, "update")
        arguments = {**data, **_record(operation, record_id)}
        return await call_json(
            self._executor, self._call(operation, arguments, unknown_fields=True)
        )

    async def delete(self, object_name: str, record_id: str | int, **parents: str | int) -> bool:
        """Delete an object, softly where PostHog has no other way; return True.

        Args:
            object_name: The object.
            record_id: Its id.
            parents: The identifiers of the objects it is nested in.

        Raises:
            ObjectNotFoundError: There is no such object.
            MethodNotAllowedError: It cannot be deleted.
            PostHogError: The call failed.
        """
        operation = self._method(object_name, "delete")
        arguments = {**parents, **_record(operation, record_id)}
        await call_json(self._executor, self._call(operation, arguments))
        return True

    async def call_endpoint(
        self,
        endpoint: str,
        method: str = "GET",
        params: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Call an endpoint directly.

        Args:
            endpoint: A path of the project such as `/dashboards`, or one that begins with `/api/`.
            method: GET, POST, PATCH, PUT or DELETE.
            params: Query parameters.
            data: The JSON body.
            options: Further arguments of `AsyncPostHog.request`.

        Raises:
            ValidationError: The endpoint or the method is invalid.
            PostHogError: The call failed.
        """
        path, _, query = endpoint.partition("?")
        if not path.startswith("/api/"):
            path = "/api/projects/{project_id}/" + path.strip("/")
        path = path.rstrip("/") + "/" + (f"?{query}" if query else "")
        if data is not None:
            options["body"] = data
        try:
            return await self.client.request(method, path, query=params, **options)
        except (TypeError, ValueError) as error:
            if isinstance(error, PostHogError):
                raise
            raise ValidationError(str(error), suggestion="Check the path and the method.") from None

    async def create_insight(
        self, name: str, insight_type: str, filters: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Save an insight and return it.

        Args:
            name: Its name.
            insight_type: TRENDS, FUNNELS, RETENTION, PATHS, STICKINESS, LIFECYCLE or SQL.
            filters: A query with a `kind`; the fields of its source; or older filters, with
                `events`, `actions`, `date_from` and `date_to`.

        Raises:
            ValidationError: There is no such type, or the query is invalid.
            PostHogError: The call failed.
        """
        query = insight_query(_insight_kind(insight_type), filters)
        return await self.create("insights", {"name": name, "query": query, "saved": True})

    async def create_cohort(
        self, name: str, description: str = "", filters: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Create a cohort and return it.

        Args:
            name: Its name.
            description: What it is for.
            filters: PostHog's groups of conditions, or one condition, or a list of them.
                `{"type": "behavioral", "key": "$pageview", "event_count_operator": "gte",
                "event_count_value": 100}` counts an event in the last 30 days.

        Raises:
            ValidationError: The filters are invalid.
            PostHogError: The call failed.
        """
        data: dict[str, Any] = {"name": name, "description": description}
        if filters is not None:
            try:
                data["filters"] = cohort_filters(filters)
            except ValueError as error:
                raise ValidationError(
                    f"filters: {error}.", attr="filters", suggestion='Add "key": "$pageview".'
                ) from None
        return await self.create("cohorts", data)

    async def capture_event(
        self,
        event: str,
        distinct_id: str,
        properties: Mapping[str, Any] | None = None,
        timestamp: datetime | str | None = None,
    ) -> dict[str, Any]:
        """Send an event and return what became of it: `uuid`, `status` and `detail`.

        Raises:
            ValidationError: The event cannot be sent.
            PostHogError: There was no answer, after all retries.
        """
        try:
            result = await self.client.capture.immediate(
                event, distinct_id, properties=properties, timestamp=timestamp
            )
        except (TypeError, ValueError) as error:
            if isinstance(error, PostHogError):
                raise
            raise ValidationError(f"The event was not sent: {error}.") from None
        return _event_result(result)

    async def capture_batch(self, events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Send events and return what became of each, in order. An invalid one is not sent.

        Args:
            events: Each has `event` and `distinct_id`, and may have `properties` and `timestamp`.

        Raises:
            PostHogError: The client is closed, or has no project token.
        """
        results = await self.client.capture.batch(events)
        return [_event_result(result) for result in results]

    async def evaluate_flag(
        self,
        key: str,
        distinct_id: str,
        person_properties: Mapping[str, Any] | None = None,
    ) -> bool | str:
        """Return the value of a feature flag for a user: its variant, or whether it is on.

        Raises:
            ObjectNotFoundError: There is no such flag.
            FlagUnavailableError: The value is not known.
            PostHogError: The call failed.
        """
        snapshot = await self.client.flags.evaluate(
            distinct_id, person_properties=person_properties, keys=[key]
        )
        if snapshot.find(key) is None:
            raise unknown_object(key, (), ())
        return snapshot.value(key)

    # Internals.

    def _object(self, name: str) -> str:
        canonical_name = objects.canonical(name)
        if canonical_name is None:
            raise unknown_object(name, objects.near_objects(name), objects.object_names())
        return canonical_name

    def _method(self, object_name: str, method: str) -> Operation:
        name = self._object(object_name)
        operation = objects.operation_of(name, method)
        if operation is None:
            available = objects.methods_of(name)
            raise MethodNotAllowedError(
                f"{name} has no method {method!r}.",
                suggestion=f"It has: {', '.join(available)}." if available else None,
                details={"object": name, "available": available},
            )
        return operation

    def _endpoint(self, path: str) -> tuple[Operation, dict[str, Any]]:
        match = objects.find_read(path)
        if match is None:
            name = path.strip("/")
            raise unknown_object(name, objects.near_objects(name), objects.object_names())
        operation, values = match
        for parameter in operation.path_parameters:
            value = values.get(parameter.python_name, "")
            if parameter.type == "integer" and not value.isdecimal():
                raise ObjectNotFoundError(
                    f"{operation.resource} has no record {value!r}.",
                    operation=operation.id,
                    suggestion=f"Its ids are numbers; read('/{operation.resource}') lists them.",
                )
        return operation, {**values}

    def _call(
        self, operation: Operation, arguments: Mapping[str, Any], *, unknown_fields: bool = False
    ) -> Any:
        try:
            return prepare_call(self._executor, operation, arguments, unknown_fields=unknown_fields)
        except ArgumentError as error:
            raise invalid_arguments(error, operation.id) from None

    async def _get(self, object_name: str, record_id: str) -> Any:
        operation = self._method(object_name, "get")
        return await call_json(self._executor, self._call(operation, _record(operation, record_id)))

    async def _list(
        self, object_name: str, arguments: dict[str, Any], limit: int | None, offset: int = 0
    ) -> list[dict[str, Any]]:
        count = None if limit is None else _checked("limit", limit, 1, _MAX_LIMIT)
        arguments = {**arguments, "limit": _PAGE_SIZE if count is None else min(count, _PAGE_SIZE)}
        if offset:
            arguments["offset"] = _checked("offset", offset, 0, None)
        call = self._call(self._method(object_name, "list"), arguments)
        if count is not None and count <= _PAGE_SIZE:
            return (await page_json(self._executor, call)).items[:count]
        return await list_json(self._executor, call).collect(count)


def _require_key(api_key: str | None) -> None:
    names = ("POSTHOG_PERSONAL_API_KEY", "POSTHOG_API_KEY")
    if not api_key and not any(os.environ.get(name) for name in names):
        raise MissingKeyError(
            "Missing PostHog API key.",
            suggestion="Set POSTHOG_API_KEY to a personal API key (phx_…), or pass api_key=.",
        )


def _record(operation: Operation, record_id: str | int) -> dict[str, Any]:
    """Return the argument for the id of a record: the last one of the path."""
    return {operation.path_parameters[-1].python_name: record_id}


def _checked(name: str, value: int, minimum: int, maximum: int | None) -> int:
    if type(value) is not int or value < minimum or (maximum is not None and value > maximum):
        bounds = f"{minimum:,} or more" if maximum is None else f"{minimum:,} to {maximum:,}"
        hint = " Use read_batched() for more." if name == "limit" else ""
        raise ValidationError(
            f"{name} must be {bounds}, not {value!r}.",
            attr=name,
            suggestion=f"Give a whole number, {bounds}.{hint}",
        )
    return value


def _time(name: str, value: str | date | datetime, *, end: bool = False) -> datetime:
    try:
        return parse_time(value, end=end)
    except ValueError as error:
        raise ValidationError(
            f"{name}: {error}.", attr=name, suggestion="Use ISO 8601: 2026-01-31."
        ) from None


def _insight_kind(name: str) -> str:
    try:
        return insight_kind(name)
    except ValueError as error:
        raise ValidationError(
            f"{error}.", attr="insight_type", suggestion="Use TRENDS or FUNNELS, for example."
        ) from None


def _event(row: dict[str, Any]) -> dict[str, Any]:
    """Return an event as JSON data, with parsed properties and an `id` as the endpoint has it."""
    properties = row.get("properties")
    if isinstance(properties, str):
        row["properties"] = json.loads(properties or "{}")
    for name, value in row.items():
        if isinstance(value, datetime):
            row[name] = value.astimezone(UTC).isoformat()
        elif isinstance(value, UUID):
            row[name] = str(value)
    return {"id": row.get("uuid"), **row}


def _event_result(result: EventResult) -> dict[str, Any]:
    return {"uuid": result.uuid, "status": result.status, "detail": result.detail}
