"""What the capture service of old refuses with: plain text."""

from __future__ import annotations

__all__ = ["CaptureError", "decode_error", "parse_error", "too_large_error"]


class CaptureError(Exception):
    """A request that is turned away.

    Attributes:
        status: The status.
        text: The whole body.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def decode_error(why: str) -> CaptureError:
    """The bytes are not what they should be."""
    return CaptureError(400, f"failed to decode request: {why}")


def parse_error(why: object) -> CaptureError:
    """The text is no event."""
    return CaptureError(400, f"failed to parse request: {why}")


def too_large_error(limit: int) -> CaptureError:
    """The body is too long, as sent or unpacked."""
    return CaptureError(413, f"maximum event size exceeded: payload is over {limit} bytes")
