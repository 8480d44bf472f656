"""Several pages at a time, where it is known beforehand where they begin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from .state import Call, Envelope, PageState

__all__ = ["gather", "plan"]

T = TypeVar("T")


def plan(
    call: Call, state: PageState, page: Envelope, following: PageState, most: int
) -> list[PageState]:
    """Return the states of the pages to fetch side by side, in order, beginning with `following`.

    Only as far as the count reaches, and only while pages come as full as the server's own steps
    are wide: after one that does not, the next page is looked at alone.
    """
    count = page.count
    alone = following.skip or following.beyond
    if most < 2 or count is None or alone or "offset" not in following.query:
        return [following]
    start = call.offset(following)
    step = start - call.offset(state)
    if step < 1 or step != len(page.received):
        return [following]
    offsets = range(start + step, count, step)[: most - 1]
    further = [PageState({**following.query, "offset": offset}) for offset in offsets]
    return [following, *further]


async def gather(
    function: Callable[[PageState], Awaitable[T]], states: Sequence[PageState]
) -> list[T]:
    """Run the function on every state side by side, and return the results in order.

    Raises:
        Exception: What one of them raised first, itself and not in a group. The others are
            cancelled, and all have ended.
    """
    if len(states) == 1:
        return [await function(states[0])]
    from anyio import create_task_group

    results: dict[int, T] = {}
    failures: list[Exception] = []

    async def run(index: int) -> None:
        try:
            results[index] = await function(states[index])
        except Exception as error:  # handed on below, once every task has ended
            failures.append(error)
            group.cancel_scope.cancel()

    async with create_task_group() as group:
        for index in range(len(states)):
            group.start_soon(run, index)
    if failures:
        try:
            raise failures[0]
        finally:
            failures.clear()  # its traceback refers to this frame: no cycle
    return [results[index] for index in range(len(states))]
