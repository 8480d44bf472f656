"""`$feature_flag_called` and `$experiment_exposure`: events about reads of flags."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from threading import get_ident
from typing import Any, Final, Protocol
from uuid import UUID

from asyncposthog.capture.background import loop_caller
from asyncposthog.transport.native_cancellation import on_asyncio

from .snapshot import FlagResult, FlagSnapshot, Unavailable

__all__ = ["CalledEvents", "EventSink", "called_properties"]

logger = logging.getLogger("asyncposthog")

CALLED: Final = "$feature_flag_called"
EXPOSURE: Final = "$experiment_exposure"

_MINIMAL: Final = frozenset(
    {
        "$feature_flag", "$feature_flag_response", "$feature_flag_has_experiment",
        "$feature_flag_id", "$feature_flag_version", "$feature_flag_reason",
        "$feature_flag_request_id", "$feature_flag_evaluated_at", "$feature_flag_error",
        "locally_evaluated", "$feature_flag_config_version", "$feature_flag_reason_code",
        "$feature_flag_rule_id", "$feature_flag_rule_type", "$feature_flag_variant_key",
    }
)  # fmt: skip
"""The properties of a small event, which a project can ask for."""


class EventSink(Protocol):
    """Where events go."""

    def nowait(
        self,
        event: str,
        distinct_id: str,
        *,
        properties: Mapping[str, Any] | None = None,
        groups: Mapping[str, Any] | None = None,
    ) -> object:
        """Queue an event without waiting; return something false if it was dropped."""
        ...


class CalledEvents:
    """Sends an event when a flag is read: once for each person, flag, value and groups."""

    def __init__(self, sink: Callable[[], EventSink | None], max_remembered: int = 50_000) -> None:
        """Keep how to find the sink.

        Args:
            sink: Returns where events go; None: nowhere.
            max_remembered: How many of the latest reads are remembered. A read that was forgotten
                is reported again.
        """
        self._sink = sink
        self._max_remembered = max_remembered
        self._reported: OrderedDict[Hashable, None] = OrderedDict()
        self._loop_thread: int | None = None
        self._on_asyncio = False
        self._has_warned = False
        self._tasks: set[object] = set()
        self._call_in_loop: Callable[[Callable[[], object]], None] | None = None

    def bind(self) -> None:
        """Remember the running event loop, where events are queued."""
        if self._loop_thread is None:
            self._loop_thread = get_ident()
            self._call_in_loop = loop_caller()
            self._on_asyncio = on_asyncio()

    def __call__(self, snapshot: FlagSnapshot, key: str) -> None:
        """Report a read. Never raises: an event must not break what reads a flag."""
        if self._call_in_loop is not None and get_ident() != self._loop_thread:
            # A sync function of a web framework, for example, which runs in a thread.
            self._call_in_loop(partial(self._report_in_loop, snapshot, key))
        else:
            self._try_report(snapshot, key)

    def _report_in_loop(self, snapshot: FlagSnapshot, key: str) -> None:
        """Report a read of another thread. Called by the event loop."""
        if not self._on_asyncio:
            self._try_report(snapshot, key)
            return
        import asyncio

        async def report() -> None:
            self._try_report(snapshot, key)

        # A task, because anyio does not know the event loop in a callback of asyncio.
        task = asyncio.get_running_loop().create_task(report())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _try_report(self, snapshot: FlagSnapshot, key: str) -> None:
        try:
            self._report(snapshot, key)
        except Exception as error:
            # Once: a program reads flags all the time.
            level = logging.DEBUG if self._has_warned else logging.WARNING
            self._has_warned = True
            logger.log(level, "the event about a read of a feature flag was not sent: %s", error)

    def _report(self, snapshot: FlagSnapshot, key: str) -> None:
        if not snapshot.distinct_id:
            return
        result = snapshot.find(key)
        decided = result if isinstance(result, FlagResult) else None
        value = None if decided is None else decided.value
        assignment = None if decided is None else (decided.config_version, decided.rule_id,
                                                 decided.variant_key)  # fmt: skip
        groups = tuple(sorted(snapshot.groups.items()))
        # True and 1 are equal in Python, so the type is part of what is remembered.
        about = (snapshot.distinct_id, key, type(value), value, groups, assignment)
        if about in self._reported:
            self._reported.move_to_end(about)
            return
        sink = self._sink()
        if sink is None:
            return
        properties = called_properties(snapshot, key, result)
        self._send(sink, CALLED, about, snapshot, properties)
        if decided is not None and _is_exposure(decided):
            exposure = ("exposure", snapshot.distinct_id, key, groups, assignment)
            if exposure not in self._reported:
                names = ("$feature_flag", "$feature_flag_response", "locally_evaluated",
                         "$feature_flag_rule_id", "$feature_flag_variant_key")  # fmt: skip
                self._send(
                    sink, EXPOSURE, exposure, snapshot, {name: properties[name] for name in names}
                )

    def _send(
        self,
        sink: EventSink,
        event: str,
        about: Hashable,
        snapshot: FlagSnapshot,
        properties: Mapping[str, Any],
    ) -> None:
        # Only what was accepted is remembered, so that a dropped event is sent by the next read.
        if sink.nowait(
            event,
            snapshot.distinct_id,
            properties=properties,
            groups=snapshot.groups or None,
        ):
            self._reported[about] = None
            while len(self._reported) > self._max_remembered:
                self._reported.popitem(last=False)


def called_properties(
    snapshot: FlagSnapshot, key: str, result: FlagResult | Unavailable | None
) -> dict[str, Any]:
    """Return the properties of `$feature_flag_called` for a read."""
    decided = result if isinstance(result, FlagResult) else None
    value = None if decided is None else decided.value
    local = decided is not None and decided.local
    properties: dict[str, Any] = {
        "$feature_flag": key,
        "$feature_flag_response": value,
        "locally_evaluated": local,
        f"$feature/{key}": value,
    }
    if decided is not None:
        properties |= _about(decided)
    if snapshot.request_id is not None and not local:
        properties["$feature_flag_request_id"] = snapshot.request_id
    if snapshot.evaluated_at is not None and not local:
        properties["$feature_flag_evaluated_at"] = int(snapshot.evaluated_at.timestamp() * 1000)
    errors = _errors(snapshot, result)
    if errors:
        properties["$feature_flag_error"] = ",".join(errors)
    if snapshot.minimal_events and decided is not None and decided.has_experiment is False:
        return {name: value for name, value in properties.items() if name in _MINIMAL}
    return properties


def _about(result: FlagResult) -> dict[str, Any]:
    reason = result.reason
    values: dict[str, Any] = {
        "$feature_flag_id": result.id,
        "$feature_flag_version": result.version,
        "$feature_flag_has_experiment": result.has_experiment,
        "$feature_flag_payload": result.payload,
    }
    if result.config_version == 2:
        values["$feature_flag_config_version"] = 2
        values["$feature_flag_reason_code"] = None if reason is None else reason.code
        values["$feature_flag_rule_id"] = result.rule_id
        values["$feature_flag_rule_type"] = result.rule_type
        values["$feature_flag_variant_key"] = result.variant_key
    elif reason is not None:
        values["$feature_flag_reason"] = reason.description or reason.code
    return {name: value for name, value in values.items() if value is not None}


def _errors(snapshot: FlagSnapshot, result: FlagResult | Unavailable | None) -> list[str]:
    errors: list[str] = []
    if snapshot.incomplete is not None and not (isinstance(result, FlagResult) and result.local):
        errors.append(snapshot.incomplete.code)
    if isinstance(result, Unavailable) and result.code not in errors:
        errors.append(result.code)
    if result is None:
        errors.append("flag_missing")
    return errors


def _is_exposure(result: FlagResult) -> bool:
    """Return whether a result assigns the person to a variant of an experiment."""
    if result.config_version != 2 or result.reason is None:
        return False
    if result.reason.code != "experiment_split":
        return False
    complete = result.rule_id is not None and result.variant_key is not None
    return complete and result.rule_type == "experiment" and _is_uuid(result.rule_id or "")


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
