"""`ph.persons`: the generated methods, and safer versions of some of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from asyncposthog.errors import NotFoundError, PostHogError, TimeoutError  # noqa: A004
from asyncposthog.resources.persons import Persons
from asyncposthog.types import JSON, OMIT, Id, Omit, RequestOptions

if TYPE_CHECKING:
    from asyncposthog import models as m
    from asyncposthog.transport.clock import Clock

__all__ = ["PendingUpdate", "PersonsService"]

MAX_BULK_IDS: Final = 1000
"""Persons that one request can delete."""
_FIRST_DELAY: Final = 0.5
_MAX_DELAY: Final = 8.0


@dataclass(frozen=True, slots=True, eq=False)
class PendingUpdate:
    """A change of properties that the server has accepted and applies later, like an event.

    Reads show the old properties until then. `wait` waits until they show the new ones.
    """

    _persons: PersonsService
    _clock: Clock
    person_id: Id
    properties: Mapping[str, JSON]
    """The properties that were set."""

    async def wait(self, timeout: float = 60.0) -> m.Person:  # noqa: ASYNC109
        """Read the person until it has the new properties, and return it.

        Args:
            timeout: Seconds to wait.

        Raises:
            TimeoutError: The person does not have them in time. They may have been overwritten.
            PostHogError: A read failed.
        """
        clock = self._clock
        deadline, delay = clock.monotonic() + timeout, _FIRST_DELAY
        while True:
            person = await self._persons.get(self.person_id)
            current: Mapping[str, Any] = person.properties or {}
            if all(name in current and current[name] == v for name, v in self.properties.items()):
                return person
            if clock.monotonic() + delay > deadline:
                names = ", ".join(sorted(self.properties))
                raise TimeoutError(
                    f"The person does not have the new values of {names} after {timeout:g} s.",
                    operation="persons.update",
                    suggestion="The change may still be applied, or an event may have overwritten "
                    "it. Read the person again later.",
                )
            await clock.sleep(delay)
            delay = min(2 * delay, _MAX_DELAY)


class PersonsService(Persons):
    """Operations on `persons`, lookups by distinct id, and deletions of many."""

    async def get_by_distinct_id(
        self, distinct_id: str, *, options: RequestOptions | None = None
    ) -> m.Person:
        """Return the person with a distinct id.

        `GET /api/projects/{project_id}/persons/?distinct_id=…`; scope `person:read`; limits
        `clickhouse_burst`.

        Args:
            distinct_id: One of the person's distinct ids, exactly.
            options: Options of the call that differ from those of the client.

        Raises:
            NotFoundError: No person has the distinct id.
            PostHogError: The call failed otherwise.
            ValueError: The distinct id is empty, which the server takes for no filter.
        """
        if not distinct_id:
            raise ValueError("distinct_id is empty: the server would return any person")
        async for person in self.list(distinct_id=distinct_id, options=options):
            return person
        raise NotFoundError(
            "No person has this distinct id.",
            operation="persons.list",
            suggestion="Persons are created by events, some seconds later. Events without person "
            "profiles create none.",
        )

    async def update(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        id: Id,
        /,
        *,
        properties: Mapping[str, JSON],
        format: Literal["csv", "json"] | Omit = OMIT,
        options: RequestOptions | None = None,
    ) -> PendingUpdate:
        """Set properties of a person. **The change is applied later**, as if by an event.

        A read directly afterwards returns the old properties; `await update.wait()` waits for the
        new ones. Other properties stay: none is removed, whatever `properties` leaves out.

        `PATCH /api/projects/{project_id}/persons/{id}/`; scope `person:write`; limits
        `clickhouse_burst`.

        Args:
            id: The number or uuid of the person.
            properties: The properties to set.
            format: The format of the response, which has no content.
            options: Options of the call that differ from those of the client.

        Returns:
            The accepted change.
        """
        await super().update(id, properties=properties, format=format, options=options)
        return PendingUpdate(self, self._executor.transport.clock, id, dict(properties))

    async def update_property(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        id: Id,
        /,
        *,
        key: str,
        value: JSON,
        format: Literal["csv", "json"] | Omit = OMIT,
        options: RequestOptions | None = None,
    ) -> PendingUpdate:
        """Set one property of a person. **The change is applied later**, as if by an event.

        `POST /api/projects/{project_id}/persons/{id}/update_property/`; scope `person:write`;
        limits `clickhouse_burst`.

        Args:
            id: The number or uuid of the person.
            key: The name of the property.
            value: Its value.
            format: The format of the response, which has no content.
            options: Options of the call that differ from those of the client.

        Returns:
            The accepted change.
        """
        await super().update_property(id, key=key, value=value, format=format, options=options)
        return PendingUpdate(self, self._executor.transport.clock, id, {key: value})

    async def bulk_delete(
        self,
        *,
        format: Literal["csv", "json"] | Omit = OMIT,
        delete_events: bool | Omit = OMIT,
        delete_recordings: bool | Omit = OMIT,
        distinct_ids: Sequence[str] | Omit = OMIT,
        ids: Sequence[str] | Omit = OMIT,
        keep_person: bool | Omit = OMIT,
        options: RequestOptions | None = None,
    ) -> m.PersonBulkDeleteResponse:
        """Delete any number of persons, by ids or distinct ids, in requests of 1,000 each.

        Only events from before the call are deleted, in batches, days later.

        `POST /api/projects/{project_id}/persons/bulk_delete/`; scope `person:write`; limits
        `persons_delete_burst` and `persons_delete_sustained`.

        Args:
            format: The format of the response; this reads JSON.
            delete_events: Whether to delete the events as well. Default: False.
            delete_recordings: Whether to delete the session recordings as well. Default: False.
            distinct_ids: Distinct ids of persons.
            ids: Uuids of persons.
            keep_person: Whether to keep the persons, and delete only their data. Default: False.
            options: Options of the calls that differ from those of the client.

        Returns:
            The counts and errors of all requests together.

        Raises:
            PostHogError: A request failed. The suggestion says how many ids were done before.
        """
        selections = {
            name: values
            for name, values in (("ids", ids), ("distinct_ids", distinct_ids))
            if not isinstance(values, Omit)
        }
        if len(selections) != 1 or len(next(iter(selections.values()))) <= MAX_BULK_IDS:
            return await super().bulk_delete(
                format=format,
                delete_events=delete_events,
                delete_recordings=delete_recordings,
                distinct_ids=distinct_ids,
                ids=ids,
                keep_person=keep_person,
                options=options,
            )
        [(name, values)] = selections.items()
        if isinstance(values, str):
            raise TypeError(f"{name} must be a list, not a str")
        unique = list(dict.fromkeys(values))
        total: m.PersonBulkDeleteResponse | None = None
        done = 0
        for chunk in _chunks(unique):
            try:
                response = await super().bulk_delete(
                    format=format,
                    delete_events=delete_events,
                    delete_recordings=delete_recordings,
                    distinct_ids=chunk if name == "distinct_ids" else OMIT,
                    ids=chunk if name == "ids" else OMIT,
                    keep_person=keep_person,
                    options=options,
                )
            except PostHogError as error:
                if done:
                    note = f"{done:,} of {len(unique):,} {name} were done by earlier requests."
                    error.suggestion = f"{note} {error.suggestion}" if error.suggestion else note
                raise
            done += len(chunk)
            total = response if total is None else _sum(total, response)
        # None only while `ph.raw` looks what would be sent.
        return cast("m.PersonBulkDeleteResponse", total)


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), MAX_BULK_IDS):
        yield ids[start : start + MAX_BULK_IDS]


def _sum(
    first: m.PersonBulkDeleteResponse, second: m.PersonBulkDeleteResponse
) -> m.PersonBulkDeleteResponse:
    """Return the counts and errors of two responses together."""
    from asyncposthog.models import PersonBulkDeleteResponse

    errors: Iterable[dict[str, Any]] = [
        *(first.deletion_errors or ()),
        *(second.deletion_errors or ()),
    ]
    return PersonBulkDeleteResponse(
        persons_found=first.persons_found + second.persons_found,
        persons_deleted=first.persons_deleted + second.persons_deleted,
        events_queued_for_deletion=(
            first.events_queued_for_deletion or second.events_queued_for_deletion
        ),
        recordings_queued_for_deletion=(
            first.recordings_queued_for_deletion or second.recordings_queued_for_deletion
        ),
        deletion_errors=list(errors),
    )
