"""What the capture service of old refuses with: plain text."""

from __future__ import annotations

__all__ = ["Refusal", "oversize", "undecodable", "unparsable"]


class Refusal(Exception):
    """A request that is turned away.

    Attributes:
        status: The status.
        text: The whole body.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def undecodable(why: str) -> Refusal:
    """The bytes are not what they should be."""
    return Refusal(400, f"failed to decode request: {why}")


def unparsable(why: object) -> Refusal:
    """The text is no event."""
    return Refusal(400, f"failed to parse request: {why}")


def oversize(limit: int) -> Refusal:
    """The body is too long, as sent or unpacked."""
    return Refusal(413, f"maximum event size exceeded: payload is over {limit} bytes")
