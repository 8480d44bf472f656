"""The base of the generated resources: it hands their calls to an executor."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any

from asyncposthog.operation import Operation
from asyncposthog.types import OMIT, Id, RequestOptions

if TYPE_CHECKING:
    from asyncposthog.pagination import Cursor

    from .executor import Executor

__all__ = ["Resource", "get_executor"]


class Resource:
    """A set of operations. Its methods are generated; each is one call."""

    def __init__(self, executor: Executor) -> None:
        """Bind to what performs the calls."""
        self._executor = executor

    def __repr__(self) -> str:
        """Name the resource."""
        return f"<{type(self).__name__}>"

    def _call(
        self,
        operation: Operation,
        path: tuple[Id, ...] = (),
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, object] | None = None,
        body: object = OMIT,
        options: RequestOptions | None = None,
    ) -> Awaitable[Any]:
        return self._executor.call(
            operation, path, query=query, headers=headers, body=body, options=options
        )

    def _cursor(
        self,
        operation: Operation,
        path: tuple[Id, ...] = (),
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, object] | None = None,
        body: object = OMIT,
        concurrency: int = 1,
        options: RequestOptions | None = None,
    ) -> Cursor[Any]:
        return self._executor.cursor(
            operation,
            path,
            query=query,
            headers=headers,
            body=body,
            concurrency=concurrency,
            options=options,
        )


def get_executor(resource: Resource) -> Executor:
    """Return what performs the calls of a resource."""
    return resource._executor  # pyright: ignore[reportPrivateUsage]
