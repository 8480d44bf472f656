"""The emulator's whole state, and what a handler gets to see of one request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from collections.abc import Collection as AnyOf
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

from asyncposthog.operation import Operation
from posthog_emulator.http.errors import not_found
from posthog_emulator.http.messages import Answer, Request
from posthog_emulator.objects.object_schema import Shape, seeded_uuid
from posthog_emulator.objects.plans import Collection, Plan
from posthog_emulator.objects.store import Bucket, Row, Store
from posthog_emulator.rate_limits.rate_limits import QueryPlan
from posthog_emulator.schema.catalogue import Schema
from posthog_emulator.schema.forms import Form
from posthog_emulator.schema.parameters import split
from posthog_emulator.timestamps import format_utc

from .accounts import Account, Accounts, Key
from .api_schema import ApiSchema

if TYPE_CHECKING:
    from posthog_emulator.event_store.store import EventStore

__all__ = [
    "KEYS",
    "ORGANIZATIONS",
    "PROJECTS",
    "USERS",
    "Call",
    "EmulatorState",
    "Handler",
    "Settings",
    "fill",
]

Handler: TypeAlias = "Callable[[Call], Answer]"
PROJECTS = "/api/projects/"
ORGANIZATIONS = "/api/organizations/"
USERS = "/api/users/"
KEYS = "/api/personal_api_keys/"


@dataclass(slots=True)
class Settings:
    """What a user of the emulator may turn."""

    strict: bool = True
    next_host: str | None = None
    environments_redirect: bool = False
    """Whether `/api/environments/` answers 307, as it did for a time."""
    html_errors: bool = False
    person_lag: int = 1
    seed: int = 0
    rate_limits: bool = False
    """Whether requests and running queries are limited as the server limits them."""
    query_plan: QueryPlan = "current"
    """What `/query/` is charged to: `current`, or `legacy` as for teams of old."""
    query_seconds: float = 0.0
    """How long a query runs, in its slot."""
    quota_limited: AnyOf[str] = frozenset()
    """What the month's allowance is used up of: `events`, `exceptions`, `surveys`,
    `llm_events`, `recordings`, `feature_flags`."""
    events_limit: int | None = None
    """The most events a list gives at once, whatever is asked for."""
    losing: int = 0
    """How many of the next events that come by capture v1 are not kept, and to be sent again."""
    export_seconds: float = 0.5
    """How long a run of a batch export takes."""
    export_error: str | None = None
    """What runs that end from now on fail with."""
    hogql_exports: bool = False
    """Whether HogQL may be exported to files; on the server a beta not open to everybody."""
    export_slots: int = 3
    """How many file downloads of a project may run at a time, and how many backfills."""
    download_url_seconds: float = 3600.0
    """How long the address of an exported file is good for."""
    offset_allowed: bool = False
    """Whether HogQL of a personal API key may say OFFSET."""
    max_rows_scanned: int | None = None
    """Events in a query's range of time beyond which it is too slow (512); no limit by default."""
    max_result_bytes: int | None = None
    """Bytes of an answer beyond which it is too large (513); no limit by default."""
    stall: float = 0.2
    """How long a request hangs that was made to."""
    save_delay: float = 1.0
    """Seconds from a change until it is written to the folder, with all that comes in between."""
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], Awaitable[object]] = anyio.sleep
    """Waits, for everything above that takes time."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse what would be noticed late."""
        if name == "query_plan" and value not in {"current", "legacy"}:
            raise ValueError(f"query_plan must be 'current' or 'legacy', not {value!r}")
        object.__setattr__(self, name, value)


class EmulatorState:
    """What is known of operations and schemas, and the objects that live there."""

    def __init__(
        self,
        knowledge: ApiSchema,
        settings: Settings,
        account: Account,
        keep: int = 10_000,
        *,
        open_events: Callable[[EmulatorState], EventStore],
        find_events: Callable[[EmulatorState, str], Bucket | None],
    ) -> None:
        self.settings = settings
        self.catalogue = knowledge.catalogue
        self.validators = knowledge.validators
        self.plans = knowledge.plans
        self.operations = knowledge.operations
        self.router = knowledge.router
        self.plain = knowledge.plain
        self.rich = knowledge.rich
        self.shapes = knowledge.shapes
        self.accounts = Accounts(account)
        self._open_events = open_events
        self._find_events = find_events
        self.store = self.new_store()
        self.notes: dict[str, Any] = {}
        """What special handlers keep, by their own names."""
        self.keep = keep
        """How many captured events to remember."""
        self.folder: Path | None = None
        """Where the database of events is kept; in memory when None."""
        self._events: EventStore | None = None

    @property
    def events(self) -> EventStore:
        """Captured events, persons and groups, in a database made when first asked for.

        Raises:
            ImportError: DuckDB is missing; install `asyncposthog[emulator]`.
        """
        if self._events is None:
            self._events = self._open_events(self)
        return self._events

    def new_store(self) -> Store:
        """A store of objects without any but those that the event store has."""
        return Store(elsewhere=self._event_collection)

    def _event_collection(self, address: str) -> Bucket | None:
        if not address.endswith(("/events/", "/persons/", "/groups/")):
            return None
        return self._find_events(self, address)

    def clear(self) -> None:
        """Forget every object and event."""
        self.store = self.new_store()
        self.notes.clear()
        if self._events is not None:
            self._events.clear()

    def flush(self) -> None:
        """Write what was captured to the database of events, if it was opened."""
        if self._events is not None:
            self._events.flush()

    def close(self) -> None:
        """Close the database of events, if it was opened."""
        if self._events is not None:
            self._events.close()

    @property
    def organization_id(self) -> str:
        """The organization's UUID."""
        return self.accounts.account.organization_id

    def now(self) -> str:
        """The moment, as the server writes it."""
        return format_utc(self.settings.clock())

    def number(self, template: str) -> int:
        """The next number of a collection."""
        return self.store.next_number(template)

    def uuid(self) -> str:
        """A new UUID, the same in every run."""
        return seeded_uuid(self.settings.seed, self.store.next_number("uuid"))

    def person(self) -> Mapping[str, Any]:
        """The user, by field name."""
        account = self.accounts.account
        return {
            "id": account.user_id,
            "uuid": account.user_uuid,
            "distinct_id": account.user_uuid,
            "first_name": account.first_name,
            "email": account.email,
        }

    def project_exists(self, project: str) -> bool:
        """Whether there is a project of that number."""
        row = self.store.bucket(PROJECTS).find(project)
        return row is not None and not row.deleted

    def project_id_for_token(self, token: str) -> int | None:
        """Return the project with a project token; None if there is none."""
        for row in self.store.bucket(PROJECTS):
            if not row.deleted and row.data.get("api_token") == token:
                return int(row.data["id"])
        return None

    def insert(
        self,
        collection: Collection,
        address: str,
        given: Mapping[str, Any],
        project_id: int | None,
    ) -> Row:
        """Put a new object into a collection."""
        shape = self.shapes.of(collection)
        data = shape.new(self, given, project_id)
        key = shape.key(data, self)
        if key.isdigit():
            template = collection.template
            self.store.numbers[template] = max(self.store.numbers[template], int(key))
        row = self.store.put(address, key, data)
        row.deleted = collection.soft and data.get("deleted") is True
        return row


@dataclass(slots=True)
class Call:
    """One request, routed, allowed and read."""

    world: EmulatorState
    request: Request
    operation: Operation
    plan: Plan
    values: tuple[str, ...]
    """What stands at each placeholder, `@current` and `@me` resolved."""
    key: Key
    form: Form
    body: Any = None
    """The body with the types its schema gives."""
    project_id: int | None = None
    deprecated: bool = False
    """Whether it came by the old root."""
    fidelity: str = "stateful"
    parents: tuple[str, ...] = field(default=())
    """The keys of the objects above, found by `locate`."""

    @property
    def collection(self) -> Collection:
        """The collection the operation is about."""
        if self.plan.collection is None:
            raise TypeError(f"{self.operation.id} is about no collection")
        return self.plan.collection

    @property
    def shape(self) -> Shape:
        """The shape of that collection's objects."""
        return self.world.shapes.of(self.collection)

    @property
    def answer_schema(self) -> Schema | None:
        """The schema of what the operation answers with, or lists."""
        return self.world.catalogue.item(self.operation)

    def locate(self, upto: int | None = None) -> None:
        """Find the objects above the one in question.

        Raises:
            Problem: 404, one of them does not exist.
        """
        parents: list[str] = []
        for step, value in zip(self.plan.steps[:upto], self.values, strict=False):
            collection = self.world.plans.collections.get(step.template)
            if collection is None:
                parents.append(value)
                continue
            bucket = self.world.store.bucket(fill(step.template, parents))
            row = bucket.find(value, step.key_field)
            if row is None:
                raise not_found()
            parents.append(row.key)
        self.parents = tuple(parents)

    @property
    def bucket(self) -> Bucket:
        """The objects of the collection, below the parents of this call."""
        return self.world.store.bucket(fill(self.collection.template, self.parents))

    @property
    def address(self) -> str:
        """The concrete path of that bucket."""
        return fill(self.collection.template, self.parents)

    @property
    def singleton_path(self) -> str:
        """The concrete path of the call itself."""
        return fill(self.plan.template, self.parents)

    def row(self) -> Row:
        """The item the path names.

        Raises:
            Problem: 404, it or something above it does not exist.
        """
        self.locate(len(self.plan.steps) - 1)
        row = self.bucket.find(self.values[-1], self.plan.steps[-1].key_field)
        if row is None:
            raise not_found()
        return row

    def query(self, name: str) -> list[str]:
        """The values of a query parameter, its array split as declared."""
        values = self.request.values(name)
        for parameter in self.operation.query_parameters:
            if parameter.name == name:
                return split(parameter, values)
        return values


def fill(template: str, keys: Iterable[str]) -> str:
    """A concrete path: the placeholders of a template filled in order."""
    first, *pieces = template.split("{}")
    return first + "".join(key + piece for key, piece in zip(keys, pieces, strict=False))
