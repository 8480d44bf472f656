"""Where a person or a group falls: PostHog's hash, and what is decided by it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["hash_fraction", "in_holdout", "in_rollout", "variant_for"]

_SCALE: Final = float(0xFFFFFFFFFFFFFFF)


def hash_fraction(prefix: str, identifier: str, salt: str = "") -> float:
    """A number from 0 to 1, always the same for the same texts.

    Args:
        prefix: What stands before the identifier: a flag's key and a dot.
        identifier: Who it is about: a distinct id, a device id, or a group's key.
        salt: What stands behind it.
    """
    digest = hashlib.sha1(f"{prefix}{identifier}{salt}".encode()).hexdigest()  # noqa: S324
    return int(digest[:15], 16) / _SCALE


def in_rollout(key: str, identifier: str, percentage: float) -> bool:
    """Whether an identifier is among the percentage a flag is rolled out to."""
    return percentage >= 100 or hash_fraction(f"{key}.", identifier) <= percentage / 100


def in_holdout(identifier: str, percentage: float) -> bool:
    """Whether an identifier is held out; the same for every flag."""
    bounded = min(max(percentage, 0.0), 100.0)
    return bounded == 100.0 or hash_fraction("holdout-", identifier) <= bounded / 100


def variant_for(key: str, identifier: str, variants: Iterable[Mapping[str, Any]]) -> str | None:
    """The variant an identifier gets; None where the shares leave it out.

    Args:
        key: The flag's key.
        identifier: Who it is about.
        variants: Objects of `key` and `rollout_percentage`, in order.
    """
    at = hash_fraction(f"{key}.", identifier, "variant")
    share = 0.0
    for variant in variants:
        share += float(variant.get("rollout_percentage") or 0) / 100
        if at < share:
            return str(variant.get("key"))
    return None
