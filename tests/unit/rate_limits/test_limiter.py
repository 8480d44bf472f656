"""Limits of one API key on one host."""

from __future__ import annotations

import anyio
import pytest

from asyncposthog import RateLimitError
from asyncposthog.rate_limits.limiter import _MAX_QUEUES, KeyLimiter
from asyncposthog.rate_limits.stores.memory import CLOCK_SKEW
from asyncposthog.registry import find

from .helpers import (
    BASE,
    KEY,
    anyio_backend,
    call,
    key_limiter,
    limiter,
    new_admission,
    operation,
    rate_limit_error,
)

__all__ = ["anyio_backend"]

pytestmark = pytest.mark.anyio
STAY = 60.0 + CLOCK_SKEW
ONE = {"burst": (1, 60), "sustained": (100, 3600)}


async def failing(limits: KeyLimiter, error: Exception, after: float = 0.0) -> None:
    """Make a request that fails after it was sent."""

    async def attempt() -> None:
        async with new_admission(limits, operation("burst")) as attempt:
            attempt.was_sent = True
            await anyio.sleep(after)
            raise error

    with pytest.raises(type(error)) as caught:
        await attempt()
    assert caught.value is error


async def test_limits_are_separate_for_each_key_and_host() -> None:
    limits = limiter(limits=ONE)
    own = limits.for_key(BASE, KEY)
    assert limits.for_key(BASE, KEY) is own
    called = operation("burst")
    assert await call(own, called) == 0.0
    assert await call(limits.for_key(BASE, "phx_other"), called) == 0.0
    assert await call(limits.for_key("https://eu.posthog.com", KEY), called) == 0.0
    assert await call(limits.for_key(BASE, KEY), called) == STAY


async def test_the_api_key_is_not_stored() -> None:
    limits = limiter()
    own = limits.for_key(BASE, KEY)
    await call(own, operation("burst"))
    assert KEY not in repr(vars(limits)) + repr(own.status()) + repr([
        rule for rules in limits.queues for rule in rules
    ])  # fmt: skip


async def test_windows_are_acquired_together_or_not_at_all() -> None:
    limits = key_limiter(limits={"burst": (2, 60), "sustained": (3, 3600)})
    both, burst = operation("burst", "sustained"), operation("burst")
    for _ in range(3):
        await call(limits, both)
    assert anyio.current_time() == STAY
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call, limits, both)
        await anyio.sleep(1)
        # A request that waits for the hour uses nothing of the minute.
        assert await call(limits, burst) == STAY + 1
        assert limits.status()["burst"].used == 2
    assert anyio.current_time() == 3600 + CLOCK_SKEW


async def test_an_attempt_that_was_not_sent_does_not_count() -> None:
    limits = key_limiter(limits=ONE)
    for _ in range(5):
        async with new_admission(limits, operation("burst")):
            await anyio.sleep(1)
    assert limits.status()["burst"].used == 0
    assert anyio.current_time() == 5.0


async def test_released_capacity_admits_a_waiter() -> None:
    limits = key_limiter(limits=ONE)
    async with anyio.create_task_group() as tasks:
        async with new_admission(limits, operation("burst")):
            tasks.start_soon(call, limits, operation("burst"))
            await anyio.sleep(3)
            assert limits.status()["burst"].waiting == 1
        await anyio.sleep(1)
        assert limits.status()["burst"].waiting == 0
        assert limits.status()["burst"].used == 1


async def test_an_attempt_that_failed_after_sending_counts() -> None:
    limits = key_limiter(limits=ONE)
    await failing(limits, ConnectionError(), after=2.0)
    assert await call(limits, operation("burst")) == 2 + STAY


async def test_an_attempt_that_was_cancelled_after_sending_counts() -> None:
    limits = key_limiter(limits=ONE)
    with anyio.move_on_after(2):
        async with new_admission(limits, operation("burst")) as attempt:
            attempt.was_sent = True
            await anyio.sleep_forever()
    assert limits.status()["burst"].used == 1
    assert await call(limits, operation("burst")) == 2 + STAY


async def test_a_long_body_does_not_stay_in_flight() -> None:
    limits = key_limiter(limits=ONE)
    async with anyio.create_task_group() as tasks:

        async def download() -> None:
            async with new_admission(limits, operation("burst")) as attempt:
                attempt.was_sent = True
                await anyio.sleep(1)
                await attempt.on_response(200)
                await anyio.sleep(1000)

        tasks.start_soon(download)
        await anyio.sleep(0.5)
        assert await call(limits, operation("burst")) == 1 + STAY


async def test_paths_outside_of_the_api_are_not_limited() -> None:
    limits = key_limiter(limits=ONE)
    for _ in range(100):
        await call(limits, operation("burst", path="/batch/"))
    assert anyio.current_time() == 0
    assert not limits.status().buckets


@pytest.mark.parametrize(
    ("id", "same", "other", "label"),
    [
        ("warehouse_saved_queries.run", 5, 6, "saved_query of object projects 1 "),
        ("subscriptions.test_delivery", 5, None, "subscription_test_delivery of project 1"),
        ("organizations.invites.create", None, None, "organization_invite_burst of organization o"),
    ],
)
async def test_the_owner_of_a_limit(id: str, same: int, other: int | None, label: str) -> None:
    called = find(id)
    bucket = called.buckets[0]
    limits = key_limiter(limits={bucket: (1, 60)})
    path = called.path.replace("{organization_id}", "o-7")
    first = path.replace("{project_id}", "1").replace("{id}", str(same))
    await call(limits, called, target=first)
    if other is not None:
        # Another object has a limit of its own.
        await call(limits, called, target=first.replace(f"/{same}/", f"/{other}/"))
    else:
        elsewhere = first.replace("/projects/1/", "/projects/2/").replace("o-7", "o-8")
        await call(limits, called, target=elsewhere)
    assert anyio.current_time() == 0
    assert await call(limits, called, target=first) == STAY
    assert any(name.startswith(label) for name in limits.status())


async def test_two_actions_on_one_object_share_its_limit() -> None:
    limits = key_limiter(limits={"materialization": (1, 60)})
    base = "/api/projects/1/warehouse_saved_queries/9"
    await call(limits, find("warehouse_saved_queries.materialize"), target=f"{base}/materialize/")
    revert = find("warehouse_saved_queries.revert_materialization")
    assert await call(limits, revert, target=f"{base}/revert_materialization/") == STAY


async def test_keys_of_one_project_share_the_limits_of_the_project() -> None:
    limits = limiter(limits={"subscription_test_delivery": (1, 60)})
    called = find("subscriptions.test_delivery")
    await call(limits.for_key(BASE, KEY), called, target="/api/projects/1/subscriptions/1/x/")
    other = limits.for_key(BASE, "phx_other")
    assert await call(other, called, target="/api/projects/1/subscriptions/2/x/") == STAY


async def test_queues_of_single_objects_do_not_pile_up() -> None:
    shared = limiter(limits={"saved_query": (1, 60)})
    limits = shared.for_key(BASE, KEY)
    called = find("warehouse_saved_queries.run")
    target = ""
    for number in range(4 * _MAX_QUEUES):
        target = f"/api/projects/1/warehouse_saved_queries/{number}/run/"
        await call(limits, called, target=target)
        await anyio.sleep(1)
        assert len(shared.queues) <= _MAX_QUEUES
    # A queue with requests that still count is kept.
    went = await call(limits, called, target=target)
    assert went == pytest.approx(4 * _MAX_QUEUES - 1 + STAY)


async def test_waits_in_dropped_queues_still_count() -> None:
    limits = key_limiter(limits={"saved_query": (1, 60)})
    called = find("warehouse_saved_queries.run")
    for number in range(2 * _MAX_QUEUES):
        target = f"/api/projects/1/warehouse_saved_queries/{number}/run/"
        await call(limits, called, target=target)
        if number < 5:
            await call(limits, called, target=target)
        assert limits.status().waits == min(number + 1, 5)
        await anyio.sleep(61)


async def test_untyped_calls_count_against_the_limits_of_their_operation() -> None:
    limits = key_limiter(limits={"clickhouse_burst": (1, 60)})
    await call(limits, find("persons.list"), target="/api/projects/1/persons/")
    adhoc = operation(id="request", path="/api/projects/1/persons/", buckets=("burst",))
    assert await call(limits, adhoc) == STAY
    unknown = operation(id="request", path="/api/projects/1/unheard_of/", buckets=("burst",))
    assert await call(limits, unknown) == STAY
    assert set(limits.status()) == {"burst", "clickhouse_burst"}


async def test_a_deadline_that_cannot_be_met() -> None:
    limits = key_limiter(limits=ONE)
    await call(limits, operation("burst"))
    with pytest.raises(RateLimitError) as caught:
        await call(limits, operation("burst"), timeout=10.0)
    error = caught.value
    assert anyio.current_time() == 0.0
    assert str(error) == (
        "Rate limit 'burst' (1 per 60 s) has no capacity before the deadline; retry in 60.0 s. "
        "[x.y, GET /api/projects/1/burst/]\n"
        "Give the call a longer deadline, or retry later."
    )
    assert error.retry_after == pytest.approx(STAY)
    assert error.status is None


async def test_retries_keep_their_priority() -> None:
    limits = key_limiter(limits=ONE)
    called = operation("burst")
    order: list[str] = []

    async def one(name: str, delay: float) -> None:
        await anyio.sleep(delay)
        await call(limits, called)
        order.append(name)

    async with anyio.create_task_group() as tasks:
        twice = new_admission(limits, called)
        async with twice as attempt:
            attempt.was_sent = True
        tasks.start_soon(one, "first", 1)
        tasks.start_soon(one, "second", 2)
        await anyio.sleep(5)
        async with twice:
            order.append("again")
    assert order == ["again", "first", "second"]
    assert limits.status().retries == 1


async def test_status() -> None:
    limits = key_limiter(limits={"burst": (3, 60), "sustained": (100, 3600)})
    assert not limits.status().buckets
    called = operation("burst", "sustained")
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            await call(limits, called)
        tasks.start_soon(lambda: call(limits, called, latency=5.0))
        for _ in range(4):
            tasks.start_soon(call, limits, called)
        await anyio.sleep(2)
        status = limits.status()
        assert set(status) == {"burst", "sustained"}
        assert len(status) == 2
        burst = status["burst"]
        assert (burst.limit, burst.seconds, burst.share) == (3, 60, 3)
        assert (burst.used, burst.remaining, burst.waiting) == (3, 0, 4)
        assert burst.reset == pytest.approx(STAY - 2)
        assert status["sustained"].remaining == 97
        assert (status.requests, status.retries, status.waits, status.throttled) == (3, 0, 4, 0)
        table = str(status).splitlines()
        assert table[0].startswith("bucket      used  limit  share  waiting   reset  blocked")
        assert table[1].split() == ["burst", "3", "3", "3", "4", "58s", "0s"]
        assert table[-1] == "3 requests, 0 of them retries; 4 waited; 0 throttled (429)"


async def test_long_waits_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    limits = key_limiter(limits={"burst": (1, 60), "sustained": (2, 3600)})
    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(call, limits, operation("burst", "sustained"))
    assert [record.getMessage() for record in caplog.records] == [
        "rate limits (burst, sustained): calls wait for 3540 s",
        "rate limits (burst, sustained): calls wait for 3540 s",
    ]


async def test_a_user_error_in_the_block_is_passed_on() -> None:
    limits = key_limiter()
    await failing(limits, ZeroDivisionError())
    assert limits.status()["burst"].used == 1
    await failing(limits, rate_limit_error(5.0))
    assert limits.status().throttled == 1
