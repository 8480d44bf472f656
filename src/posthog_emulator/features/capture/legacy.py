"""Events that are dropped because the month's allowance is used up."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING

from pydantic_core import to_json

from posthog_emulator.http.messages import Request, Response, text_response

from .errors import Refusal, oversize
from .parsing import Batch, project_of, read_batch, shape_problem
from .payload import payload

if TYPE_CHECKING:
    from collections.abc import Callable

    from posthog_emulator.state import EmulatorState

__all__ = ["ROUTES", "exceeds_quota"]

_SURVEYS = frozenset({"survey sent", "survey shown", "survey dismissed"})


def exceeds_quota(event: str, limited: Collection[str]) -> bool:
    """Whether an event counts against something that is used up.

    Args:
        event: Its name.
        limited: What is used up: `events`, `exceptions`, `surveys`, `llm_events`.
    """
    if event == "$exception":
        return "exceptions" in limited
    if event.startswith("$ai_"):
        return "llm_events" in limited
    return event in _SURVEYS and "surveys" in limited


_MEBIBYTE = 1 << 20
_SINGLE, _BATCH, _REPLAY = 2 * _MEBIBYTE, 20 * _MEBIBYTE, 25 * _MEBIBYTE
_MESSAGE = 1_000_000
_OK = b'{"status":"Ok"}'
_OVER = b'{"status":"Ok","quota_limited":["recordings"]}'


def _capture(state: EmulatorState, request: Request, *, limit: int) -> Response:
    if request.method not in {"GET", "POST"}:
        return Response(405, headers=[("Allow", "GET,HEAD,POST")])
    try:
        _take(state, request, limit)
    except Refusal as refusal:
        return text_response(refusal.status, refusal.text)
    if request.query_value("beacon") == "1":
        return Response(204)
    return Response(200, _OK)


def _replay(state: EmulatorState, request: Request) -> Response:
    """Take in a piece of a session recording, which is not kept."""
    if request.method not in {"GET", "POST"}:
        return Response(405, headers=[("Allow", "GET,HEAD,POST")])
    try:
        _read(state, request, _REPLAY)
    except Refusal as refusal:
        return text_response(refusal.status, refusal.text)
    if request.query_value("beacon") == "1":
        return Response(204)
    over = "recordings" in state.settings.exhausted_quotas
    return Response(200, _OVER if over else _OK)


def _read(state: EmulatorState, request: Request, limit: int) -> tuple[Batch, int]:
    sent = request.query_value("_") or ""
    value, size = payload(request, limit)
    batch = read_batch(
        value,
        now=state.events.now(),
        uuid=state.events.uuid,
        sent_at=int(sent) * 1000 if sent.isascii() and sent.isdigit() else None,
        engage=request.path.rstrip("/") == "/engage",
    )
    problem = shape_problem(batch.token)
    if problem is not None:
        raise Refusal(401, f"API key is not valid: {problem}")
    return batch, size


def _take(state: EmulatorState, request: Request, limit: int) -> None:
    batch, size = _read(state, request, limit)
    if size > _MESSAGE:
        _check_sizes(batch)
    limited = state.settings.exhausted_quotas
    project = project_of(state, batch.token)
    if project is None or "events" in limited:
        # Nobody is told: the answer to events that go nowhere is the same.
        return
    events = (
        [e for e in batch.events if not exceeds_quota(e.event, limited)]
        if limited
        else batch.events
    )
    state.events.ingest(project, events, captured=True)


def _check_sizes(batch: Batch) -> None:
    """An event has to fit into one message of the queue behind."""
    for event in batch.events:
        if len(to_json(event.properties)) > _MESSAGE:
            raise oversize(_MESSAGE)


_single = partial(_capture, limit=_SINGLE)
_batch = partial(_capture, limit=_BATCH)

ROUTES: Mapping[str, Callable[[EmulatorState, Request], Response]] = {
    "/batch": _batch,
    "/capture": _single,
    "/e": _single,
    "/engage": _single,
    "/i/v0/ai/batch": _batch,
    "/i/v0/e": _single,
    "/s": _replay,
    "/track": _single,
}
"""By path, without the slash at its end."""
