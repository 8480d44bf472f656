"""How far an actor gets in a funnel: pure functions of the actor's events."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Attempt", "FunnelEvent", "FunnelSteps"]


class FunnelEvent(NamedTuple):
    """An event of an actor."""

    at: int
    """Microseconds since 1970."""
    mask: int
    """A bit for each step and, above these, for each exclusion."""
    part: Any = ""
    """The value of the breakdown."""


@dataclass(slots=True, eq=False)
class Attempt:
    """A way through the funnel."""

    times: tuple[int | None, ...]
    """The times of the steps; None for an optional step that was left out."""
    start: int
    events: tuple[int, ...] = ()
    """Places of the events."""
    is_excluded: bool = False

    @property
    def reached(self) -> int:
        """Return the number of the last step reached, from 1."""
        return len(self.times)


@dataclass(frozen=True, slots=True)
class FunnelSteps:
    """The steps of a funnel."""

    count: int
    window: int
    """Microseconds that the last step may come after the first."""
    order: str = "ordered"
    """`ordered`, `strict` or `unordered`."""
    exclusions: Sequence[tuple[int, int]] = ()
    """Ranges of steps, from 0, between which an event must not happen."""
    optional: Collection[int] = field(default_factory=frozenset[int])
    """Numbers of optional steps, from 0."""

    def attempt(
        self,
        events: Sequence[FunnelEvent],
        part: Any = None,
        part_step: int | None = None,
        entry_end: int | None = None,
    ) -> Attempt | None:
        """Return the attempt that got furthest; None if there is none, or if it was excluded.

        Args:
            events: The events of an actor, in order.
            part: The value of the breakdown that the event of `part_step` must have.
            part_step: A step, from 0; None for no such condition.
            entry_end: The time before which an ordered attempt must begin, in microseconds.
        """
        if self.order == "unordered":
            return self._unordered(events, part, part_step)
        best = _Ordered(self, part, part_step, entry_end).run(events)
        return None if best is None or best.is_excluded else best

    def first_steps(self, event: FunnelEvent) -> bool:
        """Return whether an event may begin an attempt."""
        steps = event.mask & ((1 << self.count) - 1)
        return bool(steps if self.order == "unordered" else steps & 1)

    def _unordered(
        self, events: Sequence[FunnelEvent], part: Any, part_step: int | None
    ) -> Attempt | None:
        times_by_step: list[deque[int]] = [deque() for _ in range(self.count)]
        best: Attempt | None = None
        for event in events:
            for times in times_by_step:
                while times and event.at - times[0] > self.window:
                    times.popleft()
            if event.mask >> self.count:
                reached = sum(map(bool, times_by_step))
                if best is not None and reached and reached == best.reached:
                    best.is_excluded = True
                for times in times_by_step:
                    times.clear()
            for step in range(self.count):
                if event.mask >> step & 1 and (step != part_step or event.part == part):
                    times_by_step[step].append(event.at)
            firsts = sorted(times[0] for times in times_by_step if times)
            if firsts and (
                best is None
                or len(firsts) > best.reached
                or (best.is_excluded and len(firsts) == best.reached)
            ):
                best = Attempt(tuple(firsts), firsts[0])
                if best.reached == self.count:
                    break
        return None if best is None or best.is_excluded else best


class _Ordered:
    """The attempts of an actor in a funnel whose steps come in order."""

    def __init__(
        self, steps: FunnelSteps, part: Any, part_step: int | None, entry_end: int | None
    ) -> None:
        self._steps = steps
        self._entry_end = entry_end
        self._part = part
        self._part_step = part_step
        self._attempts: list[Attempt | None] = [None] * (steps.count + 1)
        """For each step, from 1, the latest attempt that reached it."""
        self._best: Attempt | None = None

    def run(self, events: Sequence[FunnelEvent]) -> Attempt | None:
        """Return the attempt that got furthest."""
        place, count = 0, self._steps.count
        while place < len(events):
            at, mask, _ = events[place]
            after = place + 1
            while after < len(events) and events[after].at == at:
                after += 1
            together = range(place, after)
            if all(events[index].mask == mask for index in together):
                for index in together:
                    if mask >> count:
                        self._excluding(at, events[index])
                    for step in _bits(mask, count):
                        self._step(step, at, index, events[index].part, ())
                    if self._steps.order == "strict":
                        self._clear(mask)
            else:
                # Different events of one time are taken in the order of the steps.
                steps = sorted(
                    (step, index) for index in together for step in _bits(events[index].mask, count)
                )
                for step, index in steps:
                    self._step(step, at, index, events[index].part, (index,))
            place = after
            if self._best is not None and self._best.reached == self._steps.count:
                break
        return self._best

    def _clear(self, mask: int) -> None:
        for step in range(self._steps.count):
            if not mask >> step & 1:
                self._attempts[step + 1] = None

    def _excluding(self, at: int, event: FunnelEvent) -> None:
        """Mark the attempts that an event excludes."""
        for place, (first, last) in enumerate(self._steps.exclusions):
            if not event.mask >> (self._steps.count + place) & 1:
                continue
            for step in range(first + 1, last + 1):
                attempt, after = self._attempts[step], self._attempts[step + 1]
                if attempt is None or attempt.is_excluded or self._is_late(attempt, at):
                    continue
                if after is not None and after.start == attempt.start:
                    continue
                attempt.is_excluded = True
                best = self._best
                if best is not None and best.reached == step and not self._is_late(best, at):
                    self._best = attempt

    def _is_late(self, attempt: Attempt, at: int) -> bool:
        return at - attempt.start > self._steps.window

    def _step(self, step: int, at: int, place: int, part: Any, used: tuple[int, ...]) -> None:
        """Let an event be a step, from 0; `used` are the events that may be used only once."""
        attempts = self._attempts
        if step == 0:
            if self._entry_end is not None and at >= self._entry_end:
                return
            before = Attempt((), at)
        else:
            attempt, before_step = attempts[step], step
            while (before_step - 1) in self._steps.optional and not self._is_open(attempt, at):
                before_step -= 1
                attempt = attempts[before_step]
            if attempt is None or not self._is_open(attempt, at):
                return
            before = attempt
        now = attempts[step + 1]
        if now is not None and now.start == before.start:
            return
        if step == self._part_step and part != self._part:
            return
        if any(index in before.events for index in used):
            return
        skipped: tuple[None, ...] = (None,) * (step - before.reached)
        new = Attempt((*before.times, *skipped, at), before.start, (*before.events, place))
        attempts[step + 1] = new
        best = self._best
        if (
            best is None
            or new.reached > best.reached
            or (new.reached == best.reached and best.is_excluded)
        ):
            self._best = new

    def _is_open(self, attempt: Attempt | None, at: int) -> bool:
        return attempt is not None and not attempt.is_excluded and not self._is_late(attempt, at)


def _bits(mask: int, count: int) -> Iterator[int]:
    """Yield the numbers of the steps that an event matches, the highest first."""
    # One event must not be two steps of the same attempt.
    return (step for step in range(count - 1, -1, -1) if mask >> step & 1)
