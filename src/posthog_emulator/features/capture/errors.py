"""Errors of the legacy capture endpoints, in the server's words."""

from __future__ import annotations

from posthog_emulator.http.errors import PlainTextError

__all__ = ["decode_error", "parse_error", "too_large_error"]


def decode_error(why: str) -> PlainTextError:
    """Return the error for a body that cannot be decompressed or decoded."""
    return PlainTextError(400, f"failed to decode request: {why}")


def parse_error(why: object) -> PlainTextError:
    """Return the error for JSON that is malformed or has no valid events."""
    return PlainTextError(400, f"failed to parse request: {why}")


def too_large_error(limit: int) -> PlainTextError:
    """Return the error for a body or event that is too large, compressed or decompressed."""
    return PlainTextError(413, f"maximum event size exceeded: payload is over {limit} bytes")
