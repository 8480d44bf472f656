"""The method `ph.export.schedule`; what it does is in `schedule`, loaded when it is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal

from asyncposthog.core.executor import Executor
from asyncposthog.types import JSON, RequestOptions

if TYPE_CHECKING:
    from .destinations import Destination
    from .scheduled import Interval, Model, ScheduledExport
    from .scheduled import OnProgress as OnBackfill

__all__ = ["Scheduling"]


class Scheduling:
    """Exports that PostHog runs by itself; a part of `Export`."""

    _executor: Executor

    async def schedule(
        self,
        name: str,
        *,
        destination: Destination | Mapping[str, Any],
        interval: Interval,
        model: Model = "events",
        events: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        filters: Sequence[Mapping[str, JSON]] | None = None,
        timezone: str | None = None,
        offset_hour: int | None = None,
        offset_day: int | None = None,
        backfill_from: date | datetime | None = None,
        wait: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109
        on_progress: OnBackfill | None = None,
        if_exists: Literal["error", "reuse"] = "error",
        options: RequestOptions | None = None,
    ) -> ScheduledExport:
        """Let PostHog export by itself, from now on, and what was before if asked to.

        `POST /api/projects/{project_id}/batch_exports/`; scope `batch_export:write`.

        Args:
            name: A name of its own.
            destination: Where to: `Destination.s3(…)` and the like, or a dict as the API has them.
            interval: How often.
            model: What: `events`, `persons` or `sessions`.
            events: The only events to export, by name; None: all.
            exclude: Events that are not to be exported.
            filters: Property filters, by PostHog's own names; for events.
            timezone: Where days and weeks begin: `Europe/Berlin`; UTC by default.
            offset_hour: The hour days and weeks begin at, 0 to 23.
            offset_day: The day weeks begin with, 0 (Sunday) to 6.
            backfill_from: From when on to export what was before: a date for exports by the day or
                week, for others a datetime with a zone.
            wait: Wait for the backfill.
            timeout: Seconds to wait at most; None: as long as it takes.
            on_progress: Told how far the backfill is; a function or an async function.
            if_exists: What to do if there is a batch export of that name: `error`, or `reuse`, if
                it is the same. A backfill from the same moment is not begun a second time then.
            options: What to do differently from the client.

        Returns:
            A handle to pause it, to see its runs, and to wait for the backfill.

        Raises:
            ExportError: The name is taken, or the backfill failed.
            TimeoutError: The backfill is not complete yet.
            TypeError, ValueError: An argument is wrong.
            PostHogError: A call failed.
        """
        from .scheduled import schedule

        handle = await schedule(
            self._executor,
            name,
            destination=destination,
            interval=interval,
            model=model,
            events=events,
            exclude=exclude,
            filters=filters,
            timezone=timezone,
            offset_hour=offset_hour,
            offset_day=offset_day,
            backfill_from=backfill_from,
            if_exists=if_exists,
            options=options,
        )
        if wait and handle.backfilled is not None:
            await handle.wait(timeout=timeout, on_progress=on_progress)
        return handle
