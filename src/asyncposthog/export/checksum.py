"""Checksums of an export: what was exported, in whatever order; and what a file holds."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

__all__ = ["MASK", "key_sum", "show"]

MASK: Final = (1 << 64) - 1


def key_sum(keys: Sequence[str]) -> int:
    """Return the sum of the keys' digests, to 64 bits: the same in any order.

    A row that is lost, doubled or another changes it. A UUID, random as it is, is its own digest.
    """
    if not keys:
        return 0
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


def show(value: int) -> str:
    """Return a checksum as text."""
    return f"{value:016x}"
