"""The ways of telling an emulator to misbehave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from threading import RLock
from typing import Any

from asyncposthog.emulator.faults import (
    MISBEHAVIOURS,
    Fault,
    FaultKind,
    Faults,
    Misbehaviour,
    Plan,
)
from asyncposthog.emulator.messages import Headers
from asyncposthog.emulator.world import Settings

__all__ = ["Trouble"]


class Trouble:
    """What goes wrong on purpose; a part of `Emulator`."""

    settings: Settings

    def __init__(self, lock: RLock, faults: Faults) -> None:
        self._lock = lock
        self._faults = faults

    def fail(
        self,
        status: int,
        *,
        retry_after: float | None = None,
        times: int | None = 1,
        path: str | None = None,
        method: str | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer the next requests with an error, without looking at them.

        Args:
            status: The status to answer with.
            retry_after: Seconds for a `Retry-After` header; none by default.
            times: How many requests; None until `behave`.
            path: A shell-style pattern the path has to match: `*/cohorts/*`.
            method: The method it is for.
            body: The body: text, bytes, or anything JSON; the envelope by default.
            headers: More headers.
        """
        sent: Headers = list((headers or {}).items())
        if retry_after is not None:
            whole = float(retry_after).is_integer()
            sent.append(("Retry-After", str(int(retry_after) if whole else retry_after)))
        self._fault("answer", times, path, method, status=status, body=body, headers=sent)

    def drop(
        self, *, times: int | None = 1, path: str | None = None, method: str | None = None
    ) -> None:
        """Lose the connection in place of the next answers; see `fail` for the arguments."""
        self._fault("drop", times, path, method)

    def truncate(
        self, *, times: int | None = 1, path: str | None = None, method: str | None = None
    ) -> None:
        """Send half of the next answers as if that were all; see `fail` for the arguments."""
        self._fault("truncate", times, path, method)

    def misbehave(
        self,
        rate: float = 0.2,
        kinds: Iterable[Misbehaviour] = MISBEHAVIOURS,
        seed: int = 1,
    ) -> Plan:
        """Let requests go wrong by chance, the same ones for the same seed, until `behave`.

        Answers of 429 and 503 mean that nothing was done. With the others, and when a connection
        is lost or hangs (for `settings.stall` seconds), the request may have been carried out.
        `reset` and `drop` lose the connection, `truncate` part of the answer.

        Args:
            rate: The part of the requests, from 0 to 1.
            kinds: What may happen: a status, `html` (an error page), `reset`, `drop`,
                `truncate`, `stall`.
            seed: Makes another series.

        Returns:
            The plan; its `counts` tell how often each kind was used.

        Raises:
            ValueError: The rate is out of range, or there is no such kind.
        """
        plan = Plan(rate, kinds, seed)
        with self._lock:
            self._faults.follow(plan)
        return plan

    def behave(self) -> None:
        """Turn all misbehaviour off."""
        with self._lock:
            self._faults.clear()
            self.settings.html_errors = False
            self.settings.next_host = None

    def _fault(
        self,
        kind: FaultKind,
        times: int | None,
        path: str | None,
        method: str | None,
        **more: Any,
    ) -> None:
        if times is not None and times < 1:
            raise ValueError(f"times must be at least 1, not {times}")
        with self._lock:
            self._faults.add(Fault(kind, times=times, path=path, method=method, **more))
