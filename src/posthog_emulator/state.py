"""The state of an emulator, its settings, and the context of one API call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

from asyncposthog.operation import Operation
from posthog_emulator.clickhouse.errors import EngineMissingError
from posthog_emulator.http.errors import not_found
from posthog_emulator.http.messages import Request, Response
from posthog_emulator.objects.object_schema import ObjectSchema, seeded_uuid
from posthog_emulator.objects.routing import CollectionSpec, OperationPlan
from posthog_emulator.objects.store import ObjectCollection, Store, StoredObject
from posthog_emulator.rate_limits.rate_limits import QueryPlan
from posthog_emulator.schema.catalogue import Schema
from posthog_emulator.schema.parameters import split_array
from posthog_emulator.schema.request_body import RequestBody
from posthog_emulator.timestamps import format_utc

from .accounts import Account, Accounts, Key
from .api_schema import ApiSchema

if TYPE_CHECKING:
    from posthog_emulator.event_store.store import EventStore

__all__ = [
    "KEYS",
    "NO_LIFECYCLE",
    "ORGANIZATIONS",
    "PROJECTS",
    "USERS",
    "ApiCall",
    "Change",
    "EmulatorState",
    "Handler",
    "Lifecycle",
    "Settings",
    "fill_path",
]

Handler: TypeAlias = "Callable[[ApiCall], Response]"
PROJECTS = "/api/projects/"
ORGANIZATIONS = "/api/organizations/"
USERS = "/api/users/"
KEYS = "/api/personal_api_keys/"


@dataclass(slots=True)
class Settings:
    """The settings of an emulator, which may be changed while it runs.

    Those that are also arguments of `Emulator` are described there.
    """

    strict: bool | None = None
    next_host: str | None = None
    redirect_environments: bool = False
    """Whether `/api/environments/` responds with 307, as the server did for some time."""
    html_errors: bool = False
    stale_person_reads: int = 1
    seed: int = 0
    rate_limits: bool = False
    strict_fidelity: bool = False
    query_plan: QueryPlan = "current"
    """The rate limits of `/query/`: `current`, or `legacy` as for organizations on older plans."""
    query_seconds: float = 0.0
    """Seconds that a query runs, during which it occupies a query slot."""
    exhausted_quotas: Collection[str] = frozenset()
    """The products whose monthly quota is used up: `events`, `exceptions`, `surveys`,
    `llm_events`, `recordings`, `feature_flags`."""
    max_events_per_page: int | None = 1_000
    """The maximum number of events in a page of the events list, whatever `limit` says."""
    capture_retries: int = 0
    """The number of events for which capture v1 will respond with `retry` next."""
    export_seconds: float = 0.5
    """Seconds that a run of a batch export takes."""
    export_error: str | None = None
    """The error with which runs of batch exports fail from now on; None lets them succeed."""
    allow_hogql_exports: bool = False
    """Whether file downloads may export HogQL; on the server this is a closed beta."""
    export_slots: int = 3
    """The number of file downloads, and of backfills, that a project may run at a time."""
    download_url_seconds: float = 3600.0
    """Seconds until the URL of an exported file expires."""
    allow_offset: bool = False
    """Whether a HogQL query with a personal API key may use OFFSET."""
    max_rows_scanned: int | None = None
    """Events in the time range of a query above which it fails as too slow (512)."""
    max_result_bytes: int | None = None
    """Bytes of a query result above which it fails for lack of memory (513)."""
    stall_seconds: float = 0.2
    """Seconds that a request with the fault `stall` pauses."""
    save_delay: float = 1.0
    """Seconds from a change until the state is written; changes in between share the write."""
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    """Returns the current time, as an aware datetime."""
    sleep: Callable[[float], Awaitable[object]] = anyio.sleep
    """Waits for some seconds. Every delay of the emulator uses it."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a setting; validate `query_plan` on assignment, not with a later request."""
        if name == "query_plan" and value not in {"current", "legacy"}:
            raise ValueError(f"query_plan must be 'current' or 'legacy', not {value!r}")
        object.__setattr__(self, name, value)


class EmulatorState:
    """The API schema, and everything that requests create: objects, events, keys.

    Args:
        schema: The operations and schemas of the API.
        settings: The settings of the emulator.
        account: The default account.
        history_size: The number of captured events to remember.
        open_events: Opens the event store on first use. Passed in, and not imported, because
            features depend on this module.
        find_events: Returns the collection of events, persons or groups at a path.
        lifecycles: What happens to other objects when one changes, by template of the collection.
    """

    def __init__(
        self,
        schema: ApiSchema,
        settings: Settings,
        account: Account,
        history_size: int = 10_000,
        *,
        open_events: Callable[[EmulatorState], EventStore],
        find_events: Callable[[EmulatorState, str], ObjectCollection | None],
        lifecycles: Mapping[str, Lifecycle],
    ) -> None:
        self.settings = settings
        self.catalogue = schema.catalogue
        self.validators = schema.validators
        self.plans = schema.plans
        self.operations = schema.operations
        self.router = schema.router
        self.plain_samples = schema.plain_samples
        self.rich_samples = schema.rich_samples
        self.object_schemas = schema.object_schemas
        self.accounts = Accounts(account)
        self._open_events = open_events
        self._find_events = find_events
        self.lifecycles = lifecycles
        self.store = self.new_store()
        self.extensions: dict[str, Any] = {}
        """The state of features that do not store it as objects, by a name of their own."""
        self.history_size = history_size
        self.directory: Path | None = None
        """The directory of the event database; None keeps it in a temporary one."""
        self._events: EventStore | None = None

    @property
    def events(self) -> EventStore:
        """The store of captured events, persons and groups, opened on first use.

        Raises:
            EngineMissingError: ClickHouse is missing (install `asyncposthog[emulator]`), or has no
                build for this platform.
            EngineUnavailableError: ClickHouse cannot be used in this process.
        """
        if self._events is None:
            self._events = self._open_events(self)
        return self._events

    @property
    def events_if_available(self) -> EventStore | None:
        """The event store; None if ClickHouse is missing or has no build for this platform."""
        try:
            return self.events
        except EngineMissingError:
            return None

    @property
    def has_events(self) -> bool:
        """Whether the event store is open: only then can there be events."""
        return self._events is not None

    def new_store(self) -> Store:
        """Return an empty object store that is connected to the event store."""
        return Store(external_collection=self._event_collection)

    def _event_collection(self, path: str) -> ObjectCollection | None:
        # Other paths must not open the event database: that starts ClickHouse and creates tables.
        if not path.endswith(("/events/", "/persons/", "/groups/")):
            return None
        return self._find_events(self, path)

    def clear(self) -> None:
        """Delete all objects and events."""
        self.store = self.new_store()
        self.extensions.clear()
        if self._events is not None:
            self._events.clear()

    def flush(self) -> None:
        """Write pending events to the event database, if it is open."""
        if self._events is not None:
            self._events.flush()

    def close(self) -> None:
        """Close the event database, if it is open."""
        if self._events is not None:
            self._events.close()

    @property
    def organization_id(self) -> str:
        """The UUID of the account's organization."""
        return self.accounts.account.organization_id

    def now(self) -> str:
        """Return the current time as the server formats it: ISO 8601 in UTC, with `Z`."""
        return format_utc(self.settings.clock())

    def next_id(self, template: str) -> int:
        """Return the next integer id of the collections with a path template."""
        return self.store.next_id(template)

    def uuid(self) -> str:
        """Return a new UUID. The series is the same in every run with the same seed."""
        return seeded_uuid(self.settings.seed, self.store.next_id("uuid"))

    def current_user(self) -> Mapping[str, Any]:
        """Return the fields of the account's user."""
        account = self.accounts.account
        return {
            "id": account.user_id,
            "uuid": account.user_uuid,
            "distinct_id": account.user_uuid,
            "first_name": account.first_name,
            "email": account.email,
        }

    def project_exists(self, project: str) -> bool:
        """Return whether a project with this id exists and is not deleted."""
        row = self.store.collection(PROJECTS).find(project)
        return row is not None and not row.deleted

    def project_id_for_token(self, token: str) -> int | None:
        """Return the project with a project token; None if there is none."""
        for row in self.store.collection(PROJECTS):
            if not row.deleted and row.data.get("api_token") == token:
                return int(row.data["id"])
        return None

    def insert(
        self,
        collection: CollectionSpec,
        path: str,
        fields: Mapping[str, Any],
        project_id: int | None,
    ) -> StoredObject:
        """Create an object and store it.

        Args:
            collection: The description of the collection.
            path: The concrete path of the collection.
            fields: The fields that are given; the others are filled in.
            project_id: The project of the object, if it has one.
        """
        schema = self.object_schemas.get(collection)
        data = schema.create(self, fields, project_id)
        key = schema.key_of(data, self)
        if key.isdigit():
            # Ids that are given by a fixture must not be assigned again.
            template = collection.template
            self.store.last_ids[template] = max(self.store.last_ids[template], int(key))
        row = self.store.put(path, key, data)
        row.deleted = collection.soft_delete and data.get("deleted") is True
        return row


@dataclass(frozen=True, slots=True)
class Change:
    """An object that is being created, changed or deleted."""

    state: EmulatorState
    project: str
    """The key of the project; empty if the object is in none."""
    sent: Mapping[str, Any]
    """The fields of the request, write-only ones included."""
    row: StoredObject | None = None
    """The object; None before it is created."""
    before: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """A copy of the object's fields before the change, for `Lifecycle.updated`."""

    @property
    def stored(self) -> StoredObject:
        """The object, which exists.

        Raises:
            TypeError: The object is not created yet.
        """
        if self.row is None:
            raise TypeError("the object is not created yet")
        return self.row


def _do_nothing(_: Change) -> None:
    pass


def _derive_nothing(_: EmulatorState, __: str, ___: Sequence[StoredObject]) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """What happens beside the default handlers when the objects of a collection change."""

    scope: str = ""
    """The name of the objects in the activity log; they are not logged if it is empty."""
    check: Callable[[Change], None] = _do_nothing
    """Raises `ApiError` for a request that the server rejects. The object is not changed yet."""
    created: Callable[[Change], None] = _do_nothing
    """Called with a new object."""
    updated: Callable[[Change], None] = _do_nothing
    """Called with a changed, soft-deleted or restored object."""
    deleted: Callable[[Change], None] = _do_nothing
    """Called with an object that was removed from its collection."""
    derive: Callable[[EmulatorState, str, Sequence[StoredObject]], None] = _derive_nothing
    """Sets the fields of a project's objects that follow from other objects. Called before the
    objects are filtered or shown."""


NO_LIFECYCLE = Lifecycle()


@dataclass(slots=True)
class ApiCall:
    """One call of the private API: routed, authorized, and with a parsed body."""

    state: EmulatorState
    request: Request
    operation: Operation
    plan: OperationPlan
    path_values: tuple[str, ...]
    """The value of each path placeholder, with `@current` and `@me` resolved."""
    key: Key
    request_body: RequestBody
    body: Any = None
    """The data of the request body, with form fields converted to the types of the schema."""
    project_id: int | None = None
    deprecated: bool = False
    """Whether the path begins with the deprecated `/api/environments/`."""
    fidelity: str = "stateful"
    """The value of the fidelity header; see `FIDELITY_HEADER`."""
    parents: tuple[str, ...] = field(default=())
    """The keys of the parent objects in the path, set by `resolve_parents`."""

    @property
    def strict(self) -> bool:
        """Whether to reject what the server would ignore; see `Emulator`."""
        setting = self.state.settings.strict
        return self.request.in_process if setting is None else setting

    @property
    def collection(self) -> CollectionSpec:
        """The description of the collection that the operation is about.

        Raises:
            TypeError: The operation is not about a collection.
        """
        if self.plan.collection is None:
            raise TypeError(f"{self.operation.id} is not about a collection")
        return self.plan.collection

    @property
    def lifecycle(self) -> Lifecycle:
        """What happens beside the default handlers when objects of the collection change."""
        return self.state.lifecycles.get(self.collection.template, NO_LIFECYCLE)

    @property
    def project(self) -> str:
        """The key of the project; empty if the call is about none."""
        return "" if self.project_id is None else str(self.project_id)

    def derive(self, rows: Sequence[StoredObject]) -> None:
        """Set the fields of stored objects that follow from other objects."""
        self.lifecycle.derive(self.state, self.project, rows)

    @property
    def object_schema(self) -> ObjectSchema:
        """The schema of the collection's objects."""
        return self.state.object_schemas.get(self.collection)

    @property
    def response_schema(self) -> Schema | None:
        """The schema of the object that the operation returns, or of the items it lists."""
        return self.state.catalogue.item_schema(self.operation)

    def resolve_parents(self, count: int | None = None) -> None:
        """Find the parent objects in the path and set `parents`.

        Args:
            count: The number of placeholders that stand for parents; all by default.

        Raises:
            ApiError: 404, one of them does not exist.
        """
        parents: list[str] = []
        for placeholder, value in zip(
            self.plan.placeholders[:count], self.path_values, strict=False
        ):
            collection = self.state.plans.collections.get(placeholder.template)
            if collection is None:
                parents.append(value)
                continue
            path = fill_path(placeholder.template, parents)
            row = self.state.store.collection(path).find(value, placeholder.key_field)
            if row is None:
                raise not_found()
            # The key of the object, not the value in the path: `@current` or a UUID in the path
            # must lead to the collection that is stored under the key.
            parents.append(row.key)
        self.parents = tuple(parents)

    @property
    def objects(self) -> ObjectCollection:
        """The stored objects of the collection, below the parents of this call."""
        return self.state.store.collection(self.collection_path)

    @property
    def collection_path(self) -> str:
        """The concrete path of the collection."""
        return fill_path(self.collection.template, self.parents)

    @property
    def singleton_path(self) -> str:
        """The concrete path of the call itself, under which a singleton is stored."""
        return fill_path(self.plan.template, self.parents)

    def get_object(self) -> StoredObject:
        """Return the object that the last placeholder of the path names.

        Raises:
            ApiError: 404, it or one of its parents does not exist.
        """
        self.resolve_parents(len(self.plan.placeholders) - 1)
        row = self.objects.find(self.path_values[-1], self.plan.placeholders[-1].key_field)
        if row is None:
            raise not_found()
        return row

    def query(self, name: str) -> list[str]:
        """Return the values of a query parameter; array parameters are split as declared."""
        values = self.request.query_values(name)
        for parameter in self.operation.query_parameters:
            if parameter.name == name:
                return split_array(parameter, values)
        return values


def fill_path(template: str, keys: Iterable[str]) -> str:
    """Return a path template with its placeholders replaced by keys, in order."""
    first, *pieces = template.split("{}")
    return first + "".join(key + piece for key, piece in zip(keys, pieces, strict=False))
