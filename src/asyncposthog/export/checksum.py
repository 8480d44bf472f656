"""Checksum of the keys of exported rows, independent of their order."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

__all__ = ["MASK", "format_checksum", "key_sum"]

MASK: Final = (1 << 64) - 1


def key_sum(keys: Sequence[str]) -> int:
    """Return the sum of the digests of keys, modulo 2**64.

    It changes if a row is lost, duplicated or replaced. A UUID is its own digest.
    """
    if not keys:
        return 0
    # The fast path: keys are usually UUIDs, which are random enough to be summed as they are. All
    # of them are decoded in one call.
    if set(map(len, keys)) == {36}:
        try:
            halves = bytes.fromhex("".join(keys).replace("-", ""))
        except ValueError:
            halves = b""
        if len(halves) == 16 * len(keys):
            return sum(array("Q", halves)) & MASK
    return sum(map(_digest, keys)) & MASK


def _digest(key: str) -> int:
    if len(key) == 36:
        try:
            halves = bytes.fromhex(key.replace("-", ""))
        except ValueError:
            halves = b""
        if len(halves) == 16:
            return sum(array("Q", halves)) & MASK
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "little")


def format_checksum(value: int) -> str:
    """Return a checksum in hexadecimal."""
    return f"{value:016x}"
