"""The base class of the generated resources."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any

from asyncposthog.call import Call, parse_options
from asyncposthog.operation import Operation
from asyncposthog.types import OMIT, RequestOptions

if TYPE_CHECKING:
    from asyncposthog.pagination import Cursor

    from .executor import Executor

__all__ = ["Resource", "get_executor"]


class Resource:
    """A group of operations, such as `feature_flags`. Its methods are generated."""

    def __init__(self, executor: Executor) -> None:
        """Bind the resource to the executor that makes its calls."""
        self._executor = executor

    def __repr__(self) -> str:
        """Return the name of the resource."""
        return f"<{type(self).__name__}>"

    if not TYPE_CHECKING:  # for type checkers it has the generated attributes alone

        def __getattr__(self, name: str) -> Any:
            """Raise an error that suggests what may have been meant."""
            from .missing_attribute import MissingAttributeError

            raise MissingAttributeError(self, name)

    def _call(
        self,
        operation: Operation,
        path: tuple[object, ...] = (),
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, object] | None = None,
        body: object = OMIT,
        options: RequestOptions | None = None,
    ) -> Awaitable[Any]:
        executor, call_options = self._executor, self._executor.default_options
        if options is not None:
            call_options = parse_options(options, call_options)
        return executor.call(Call(operation, path, query, headers, body, call_options))

    def _cursor(
        self,
        operation: Operation,
        path: tuple[object, ...] = (),
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, object] | None = None,
        body: object = OMIT,
        concurrency: int = 1,
        options: RequestOptions | None = None,
    ) -> Cursor[Any]:
        executor, call_options = self._executor, self._executor.default_options
        if options is not None:
            call_options = parse_options(options, call_options)
        return executor.cursor(
            Call(operation, path, query, headers, body, call_options), concurrency
        )


def get_executor(resource: Resource) -> Executor:
    """Return the executor of a resource."""
    return resource._executor  # pyright: ignore[reportPrivateUsage]
