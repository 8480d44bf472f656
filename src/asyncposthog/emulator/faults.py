"""Misbehaviour on demand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

from asyncposthog.emulator.messages import Answer, Headers, Request, json_answer, text_answer
from asyncposthog.emulator.problems import Problem

__all__ = ["ConnectionDropped", "Fault", "FaultKind", "Faults", "html_page"]

FaultKind: TypeAlias = Literal["answer", "drop", "truncate"]


class ConnectionDropped(Exception):
    """The connection is to be lost before the answer is complete."""


@dataclass(slots=True)
class Fault:
    """One way to misbehave, for some requests, some times."""

    kind: FaultKind
    times: int | None = 1
    path: str | None = None
    method: str | None = None
    status: int = 500
    body: Any = None
    headers: Headers = field(default_factory=list[tuple[str, str]])

    def concerns(self, request: Request) -> bool:
        """Whether it is still on and meant for this request."""
        if self.times is not None and self.times <= 0:
            return False
        if self.method is not None and self.method.upper() != request.method:
            return False
        return self.path is None or fnmatchcase(request.path, self.path)

    def answer(self) -> Answer:
        """What is answered instead of the truth."""
        if self.body is None:
            detail = None
            after = dict(self.headers).get("Retry-After")
            if self.status == 429 and after is not None:
                unit = "second" if after == "1" else "seconds"
                detail = f"Request was throttled. Expected available in {after} {unit}."
            return Problem(self.status, detail=detail, headers=self.headers).answer()
        if isinstance(self.body, bytes):
            return Answer(self.status, self.body, "application/octet-stream", self.headers)
        if isinstance(self.body, str):
            media = "text/html" if self.body.lstrip().startswith("<") else "text/plain"
            answer = text_answer(self.status, self.body, f"{media}; charset=utf-8")
            answer.headers = list(self.headers)
            return answer
        return json_answer(self.status, self.body, self.headers)


class Faults:
    """The faults that are on; the first that fits a request is used."""

    def __init__(self) -> None:
        self._on: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Turn one on, after those that are on."""
        self._on.append(fault)

    def clear(self) -> None:
        """Behave again."""
        self._on.clear()

    def take(self, request: Request) -> Fault | None:
        """The fault for a request, counted as used."""
        for fault in self._on:
            if fault.concerns(request):
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None


_REASONS: Mapping[int, str] = {
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Time-out",
}


def html_page(status: int) -> Answer:
    """The page a proxy in front of the server would answer with."""
    reason = _REASONS.get(status, "Error")
    page = (
        f"<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n"
        f"<center><h1>{status} {reason}</h1></center>\r\n</body>\r\n</html>\r\n"
    )
    return text_answer(status, page, "text/html")
