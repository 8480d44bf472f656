"""What tools share: the client, its operations, plans, approval, and the folder for exports."""

from __future__ import annotations

import inspect
import logging
import tempfile
from contextvars import ContextVar
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from asyncposthog.catalog.arguments import ArgumentError

from .operations import Operations, Refused
from .safety import Approve, Plans, WriteRequest

if TYPE_CHECKING:
    from asyncposthog.client import AsyncPostHog
    from asyncposthog.driver import Driver

__all__ = ["Context", "answers"]

logger = logging.getLogger("asyncposthog")

answers: Final[ContextVar[list[bool]]] = ContextVar("approvals of a tool call")
"""What the approval hook has answered during the call."""


class Context:
    """What the tools of one toolkit share."""

    def __init__(
        self,
        client: AsyncPostHog,
        operations: Operations,
        plans: Plans,
        *,
        read_only: bool,
        dry_run: bool,
        approve: Approve | None,
        query_timeout: float | None,
        export_dir: Path | None,
    ) -> None:
        """Keep the settings of the toolkit."""
        self.client = client
        self.operations = operations
        self.plans = plans
        self.read_only = read_only
        self.dry_run = dry_run
        self.approve = approve
        self.query_timeout = query_timeout
        self._export_dir = export_dir
        self._made_export_dir: Path | None = None

    @cached_property
    def driver(self) -> Driver:
        """A driver over the same client."""
        from asyncposthog.driver import Driver

        return Driver(self.client)

    async def approve_write(self, request: WriteRequest) -> None:
        """Ask the approval hook about a write.

        Raises:
            Refused: It was denied, or the hook has failed.
        """
        if self.approve is None:
            return
        try:
            answer = self.approve(request)
            if inspect.isawaitable(answer):
                answer = await answer
        except Exception as error:
            # Not an error of the arguments, whatever its type: the model must not try others.
            logger.exception("the approval hook of a toolkit failed")
            raise Refused(
                f"The approval hook failed with {type(error).__name__}, and nothing was sent.",
                "internal_error",
                "Tell the user: it is an error of the program, not of the arguments.",
            ) from error
        answers.get().append(answer is True)
        if answer is not True:
            what = request.operation or request.tool
            raise Refused(
                f"{what} was not approved, and nothing was sent.",
                "denied",
                "Ask the user what to do instead.",
            )

    def parse_time(self, name: str, value: str) -> datetime:
        """Return a time with a time zone. A date as `end` or `before` is its end.

        Raises:
            ArgumentError: It is none.
        """
        from asyncposthog.driver.values import parse_time

        try:
            return parse_time(value, end=name in {"end", "before"})
        except ValueError as error:
            raise ArgumentError(
                f"{name}: {error}.", field=name, expected="2026-01-31 or 2026-01-31T12:00:00Z"
            ) from None

    async def export_folder(self) -> Path:
        """Return the folder for exported files, which is made if there is none."""
        if self._export_dir is not None:
            await anyio.Path(self._export_dir).mkdir(parents=True, exist_ok=True)
            return self._export_dir
        if self._made_export_dir is None:
            self._made_export_dir = await anyio.to_thread.run_sync(_make_folder)
        return self._made_export_dir


def _make_folder() -> Path:
    """Return a new folder that only this user can read."""
    return Path(tempfile.mkdtemp(prefix="asyncposthog-exports-"))
