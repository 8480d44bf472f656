"""What is to go wrong with one request."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from posthog_emulator.http.messages import Answer, Request
from posthog_emulator.schema.catalogue import Catalogue

from .faults import Fault
from .mutations import Pages, ResponseMutation

__all__ = ["RequestFaults"]


@dataclass(slots=True)
class RequestFaults:
    """All that is to go wrong with one request."""

    delay: float = 0.0
    """Seconds before anything is done."""
    fault: Fault | None = None
    distortions: list[ResponseMutation] = field(default_factory=list[ResponseMutation])
    shuffle: int | None = None
    """See `Request.shuffle`."""

    def __bool__(self) -> bool:
        """Whether anything is."""
        distorted = bool(self.distortions) or self.shuffle is not None
        return self.delay > 0 or self.fault is not None or distorted

    def add(self, distortion: ResponseMutation) -> None:
        """Let an answer be distorted."""
        if isinstance(distortion, Pages) and "reorder" in distortion.kinds:
            self.shuffle = distortion.when.chance.randrange(1 << 30)
        self.distortions.append(distortion)

    def told(self, request: Request) -> Request:
        """The request as it is to be carried out."""
        return request if self.shuffle is None else replace(request, shuffle=self.shuffle)

    def distort(self, answer: Answer, request: Request, catalogue: Catalogue | None) -> None:
        """Distort an answer in every way asked for, one after the other."""
        whole = answer.content
        for distortion in self.distortions:
            distortion.apply(answer, request, catalogue)
        listed = answer.operation is not None and answer.operation.pagination is not None
        if answer.content != whole or (self.shuffle is not None and listed):
            answer.mark("fault")
