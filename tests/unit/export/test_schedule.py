"""`ph.export.schedule`: batch exports that PostHog runs, and their backfills."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from asyncposthog import AsyncPostHog, ExportError, ValidationError, errors
from asyncposthog.export import Destination
from asyncposthog.export.scheduled import BackfillProgress
from posthog_emulator import Emulator
from tests.helpers.manual_clock import EmulatorClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop: every wait is that of `test_wait_for_a_backfill`, which uses both."""
    return "asyncio"


NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
LAKE = Destination.s3("lake", region="eu-central-1", prefix="events", integration_id=3)


@pytest.fixture
def emulator() -> Emulator:
    emulator = Emulator()
    emulator.freeze(NOON)
    emulator.settings.export_seconds = 10
    return emulator


@asynccontextmanager
async def connected(emulator: Emulator) -> AsyncGenerator[AsyncPostHog]:
    async with AsyncPostHog.emulated(emulator, clock=EmulatorClock(emulator), limits=False) as ph:
        yield ph


async def test_create_and_run(emulator: Emulator) -> None:
    async with connected(emulator) as ph:
        handle = await ph.export.schedule(
            "lake", destination=LAKE, interval="hour", events=["a"], exclude=["b"]
        )
        assert (handle.name, handle.created) == ("lake", True)
        emulator.state.events.append(1, [{"event": "a", "distinct_id": "x"}] * 3)
        emulator.state.events.append(1, [{"event": "b", "distinct_id": "x"}])
        emulator.advance(timedelta(hours=2, minutes=1))
        runs = [run async for run in handle.runs()]
        assert [run.records_completed for run in runs] == [0, 3]
        assert len((await handle.get()).latest_runs) == 2
        assert await handle.runs(after=NOON + timedelta(hours=1, minutes=30)).collect() == runs[:1]
    (kept,) = emulator.items("batch_exports")
    assert kept["destination"] == {
        "type": "AwsS3",
        "config": {
            "bucket_name": "lake",
            "region": "eu-central-1",
            "prefix": "events",
            "file_format": "Parquet",
            "compression": "zstd",
            "include_events": ["a"],
            "exclude_events": ["b"],
        },
        "integration": 3,
    }


@pytest.mark.parametrize(
    "destination",
    [
        Destination.bigquery("d", "t", integration_id=1),
        Destination.snowflake("d", "s", "t", warehouse="w", integration_id=1),
        Destination.postgres("d", "s", "t", integration_id=1, has_self_signed_cert=True),
        Destination(type="NoOp"),
        {"type": "HTTP", "config": {"url": "https://eu.i.posthog.com/batch/"}},
        {"type": "AwsS3", "config": dict(LAKE.config), "integration": 3},
    ],
)
async def test_every_destination(emulator: Emulator, destination: Any) -> None:
    async with connected(emulator) as ph:
        await ph.export.schedule("x", destination=destination, interval="day", offset_hour=3)
    (kept,) = emulator.items("batch_exports")
    assert kept["offset_hour"] == 3


async def test_pause_and_delete(emulator: Emulator) -> None:
    async with connected(emulator) as ph:
        handle = await ph.export.schedule("lake", destination=LAKE, interval="hour")
        await handle.pause()
        assert (await handle.get()).paused
        emulator.advance(timedelta(hours=2))
        await handle.unpause(backfill=True)
        assert not (await handle.get()).paused
        emulator.advance(60)
        assert len(await handle.runs().collect()) == 2
        await handle.delete()
    assert emulator.items("batch_exports") == []


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_wait_for_a_backfill(emulator: Emulator) -> None:
    told: list[BackfillProgress] = []
    async with connected(emulator) as ph:
        handle = await ph.export.schedule(
            "lake",
            destination=LAKE,
            interval="hour",
            backfill_from=NOON - timedelta(hours=6),
            wait=True,
            on_progress=told.append,
        )
        assert handle.initial_backfill is not None
        assert (await handle.initial_backfill.get()).status == "Completed"
        assert len(await handle.runs().collect()) == 6
    assert (told[0].status, told[-1].status) == ("Starting", "Completed")
    assert (told[-1].total_runs, told[-1].finished_runs) == (6, 6)
    finished = [one.finished_runs or 0 for one in told]
    assert finished == sorted(finished)


async def test_wait_times_out(emulator: Emulator) -> None:
    async with connected(emulator) as ph:
        start = NOON - timedelta(days=3)
        handle = await ph.export.schedule(
            "lake", destination=LAKE, interval="hour", backfill_from=start
        )
        with pytest.raises(errors.TimeoutError, match="not complete after 30 s"):
            await handle.wait(timeout=30)
        await handle.wait()
        plain = await ph.export.schedule("other", destination=LAKE, interval="hour")
        with pytest.raises(ValueError, match="no backfill to wait for"):
            await plain.wait()


async def test_a_cancelled_backfill(emulator: Emulator) -> None:
    async with connected(emulator) as ph:
        handle = await ph.export.schedule("lake", destination=LAKE, interval="hour")
        backfill = await handle.backfill(NOON - timedelta(days=1), NOON)
        await backfill.cancel()
        with pytest.raises(ExportError, match="ended as Cancelled"):
            await backfill.wait()


async def test_too_many_backfills_are_retried(emulator: Emulator) -> None:
    async with connected(emulator) as ph:
        handle = await ph.export.schedule("lake", destination=LAKE, interval="hour")
        for _ in range(5):
            await handle.backfill(NOON - timedelta(hours=3), NOON)
        assert len(await ph.batch_exports.backfills.list(handle.id).collect()) == 5


async def test_an_existing_name(emulator: Emulator) -> None:
    arguments: dict[str, Any] = {"destination": LAKE, "interval": "hour"}
    async with connected(emulator) as ph:
        first = await ph.export.schedule("lake", **arguments)
        with pytest.raises(ExportError, match="named 'lake' already exists"):
            await ph.export.schedule("lake", **arguments)
        again = await ph.export.schedule("lake", **arguments, if_exists="reuse")
        assert (again.id, again.created) == (first.id, False)
        others: list[tuple[dict[str, Any], str]] = [
            ({"interval": "day"}, "interval is 'hour', not 'day'"),
            ({"model": "persons"}, "model is 'events', not 'persons'"),
            ({"destination": Destination(type="NoOp")}, "type is 'AwsS3', not 'NoOp'"),
            (
                {"destination": Destination.s3("x", region="r", prefix="p", integration_id=3)},
                "destination bucket_name is 'lake', not 'x'",
            ),
        ]
        for changes, words in others:
            with pytest.raises(ExportError, match="has other settings") as caught:
                await ph.export.schedule("lake", **{**arguments, **changes}, if_exists="reuse")
            assert words in str(caught.value)
    assert len(emulator.items("batch_exports")) == 1


async def test_a_backfill_is_not_repeated(emulator: Emulator) -> None:
    async with connected(emulator) as ph:

        async def query() -> Any:
            return await ph.export.schedule(
                "lake",
                destination=LAKE,
                interval="day",
                backfill_from=date(2026, 3, 1),
                if_exists="reuse",
                wait=True,
            )

        first, again = await query(), await query()
        assert first.initial_backfill.id == again.initial_backfill.id
        assert len(await ph.batch_exports.backfills.list(first.id).collect()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"interval": "hour", "backfill_from": date(2026, 3, 1)}, "datetime with a time zone"),
        ({"interval": "hour", "backfill_from": datetime(2026, 3, 1)}, "no time zone"),
        (
            {"interval": "week", "backfill_from": date(2026, 3, 2)},
            "2026-03-02 is 2026-03-01",
        ),
        ({"interval": "day", "backfill_from": "2026-03-01"}, "must be a date"),
        ({"destination": {"config": {}}}, "needs a type"),
        ({"destination": {"type": "NoOp", "bucket": "x"}}, "bucket, which belongs in"),
        ({"destination": "s3://lake"}, "Destination or a dict"),
        ({"events": "a"}, "list of event names"),
        ({"if_exists": "replace"}, "'error' or 'reuse'"),
        ({"name": " "}, "needs a name"),
    ],
)
async def test_invalid_arguments_of_schedule(
    emulator: Emulator, arguments: dict[str, Any], words: str
) -> None:
    given: dict[str, Any] = {"name": "x", "destination": LAKE, "interval": "hour", **arguments}
    async with connected(emulator) as ph:
        with pytest.raises((TypeError, ValueError), match=words):
            await ph.export.schedule(given.pop("name"), **given)
    assert emulator.requests == []


async def test_errors_of_the_server(emulator: Emulator) -> None:
    async with connected(emulator) as ph:
        with pytest.raises(ValidationError, match="can no longer be created"):
            await ph.export.schedule("x", destination={"type": "S3"}, interval="hour")


async def test_days_use_the_time_zone_of_the_export(emulator: Emulator) -> None:
    east = timezone(timedelta(hours=5))
    async with connected(emulator) as ph:
        handle = await ph.export.schedule(
            "lake",
            destination=LAKE,
            interval="day",
            timezone="Asia/Karachi",
            backfill_from=datetime(2026, 3, 1, tzinfo=east),
        )
        assert handle.initial_backfill is not None
        state = await handle.initial_backfill.get()
    assert state.raw()["start_at"] == "2026-02-28T19:00:00Z"
