"""A server written by hand: it notes what arrives and gives the answers it was told to."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import respx

from asyncposthog import AsyncPostHog

__all__ = ["ORGANIZATION", "Seen", "Server", "connect"]

ORGANIZATION = "0195f2a0-0000-7000-8000-00000000002a"


@dataclass(frozen=True)
class Seen:
    """One request, as it was on the wire."""

    line: str
    """Method and target: `GET /api/…?limit=1`."""
    content: bytes
    headers: httpx.Headers


class Server:
    """Stands where us.posthog.com would."""

    def __init__(self, router: respx.MockRouter) -> None:
        self.seen: list[Seen] = []
        self._answers: deque[httpx.Response] = deque()
        self._by_line: dict[str, Any] = {}
        router.route(host="us.posthog.com").mock(side_effect=self._handle)

    def answers(self, *bodies: Any, status: int = 200) -> None:
        """Answer the next requests with JSON."""
        self._answers.extend(httpx.Response(status, json=body) for body in bodies)

    def answers_with(self, *answers: httpx.Response) -> None:
        """Answer the next requests with something else."""
        self._answers.extend(answers)

    def answers_by_line(self, bodies: Mapping[str, Any]) -> None:
        """Answer each of these requests with JSON, in whatever order they come."""
        self._by_line.update(bodies)

    @property
    def lines(self) -> list[str]:
        """Method and target of every request."""
        return [seen.line for seen in self.seen]

    @property
    def only(self) -> Seen:
        """The one request there was."""
        (seen,) = self.seen
        return seen

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        line = f"{request.method} {request.url.raw_path.decode('ascii')}"
        self.seen.append(Seen(line, await request.aread(), httpx.Headers(request.headers)))
        if line in self._by_line:
            return httpx.Response(200, json=self._by_line[line])
        return self._answers.popleft()


def connect() -> AsyncPostHog:
    """Return a client of project 7."""
    return AsyncPostHog(
        "phx_secret",
        host="https://us.posthog.com",
        project_id=7,
        organization_id=ORGANIZATION,
        max_retries=0,
    )
