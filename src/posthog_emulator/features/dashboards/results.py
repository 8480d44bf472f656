"""The results of the insights on a dashboard: from the cache, or computed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from posthog_emulator.http.errors import ApiError
from posthog_emulator.json_types import as_object
from posthog_emulator.state import ApiCall

if TYPE_CHECKING:
    from posthog_emulator.features.query.endpoint import QueryRequest
    from posthog_emulator.features.query.state import CachedResult

__all__ = ["InsightResults", "cached_fields", "insight_results"]

_RESULT_FIELDS: Final = ("columns", "types", "hasMore", "hogql", "resolved_date_range", "timezone")
_TRUE: Final = frozenset({"true", "1"})


def _request(call: ApiCall, insight: Mapping[str, Any], mode: str) -> QueryRequest | None:
    """Return the request for the result of an insight; None if it cannot be computed."""
    # Imported here because it loads the query engine.
    from posthog_emulator.features.query.endpoint import QueryRequest

    query = as_object(insight.get("query"))
    if not query:
        return None
    try:
        return QueryRequest(call, query, mode)
    except ApiError:
        return None


def _fields(cached: CachedResult, *, is_cached: bool) -> dict[str, Any]:
    head = cached.result.head
    return {
        **cached.cache_fields(cached=is_cached),
        "result": json.loads(cached.result.rows),
        **{name: head[name] for name in _RESULT_FIELDS if name in head},
    }


def cached_fields(call: ApiCall, insight: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an insight that show its result, if the result is cached.

    Args:
        call: The call.
        insight: The stored insight.
    """
    if not call.state.has_events:
        return {}
    request = _request(call, insight, "blocking")
    cached = None if request is None else request.lookup()[0]
    return {} if cached is None else _fields(cached, is_cached=True)


class InsightResults:
    """A deferred response with the results of several insights.

    Args:
        requests: The request for the result of each insight; None if it cannot be computed.
        make: Returns status and body, given the results in the same order.
    """

    def __init__(
        self,
        requests: Sequence[QueryRequest | None],
        make: Callable[[list[dict[str, Any]]], tuple[int, bytes]],
    ) -> None:
        self._requests = requests
        self._make = make

    def run(self) -> tuple[int, bytes]:
        """Compute the results that are not cached, and return status and body."""
        return self._make([_result(request) for request in self._requests])

    def interrupt(self) -> None:
        """Interrupt the queries; `run` raises soon."""
        for request in self._requests:
            if request is not None:
                request.session.interrupt()


def _result(request: QueryRequest | None) -> dict[str, Any]:
    if request is None:
        return {}
    cached = request.lookup()[0]
    if cached is not None:
        return _fields(cached, is_cached=True)
    try:
        return _fields(request.compute(), is_cached=False)
    except ApiError:
        # One insight that fails must not hide the others.
        return {}


def insight_results(
    call: ApiCall,
    insights: Sequence[Mapping[str, Any]],
    make: Callable[[list[dict[str, Any]]], tuple[int, bytes]],
) -> InsightResults:
    """Return the deferred results of insights, computed as `refresh` says.

    Args:
        call: The call. Results are computed anew if `refresh` is true or begins with `force_`.
        insights: The stored insights.
        make: As for `InsightResults`.
    """
    refresh = (call.request.query_value("refresh") or "").lower()
    forced = refresh in _TRUE or refresh in {"force_blocking", "force_async"}
    mode = "force_blocking" if forced else "blocking"
    return InsightResults([_request(call, insight, mode) for insight in insights], make)
