"""PostHog's hash for rollouts, holdouts and variants."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["hash_fraction", "in_holdout", "in_rollout", "variant_for"]

# PostHog uses the first 15 hexadecimal digits of a SHA-1 hash; all its SDKs have to agree.
_SCALE: Final = float(0xFFFFFFFFFFFFFFF)


def hash_fraction(prefix: str, identifier: str, salt: str = "") -> float:
    """Return a deterministic number from 0 to 1.

    Args:
        prefix: Text before the identifier: a flag's key and a dot.
        identifier: A distinct id, a device id or a group key.
        salt: Text after the identifier.
    """
    digest = hashlib.sha1(f"{prefix}{identifier}{salt}".encode()).hexdigest()  # noqa: S324
    return int(digest[:15], 16) / _SCALE


def in_rollout(key: str, identifier: str, percentage: float) -> bool:
    """Return whether an identifier is in the rollout percentage of a flag."""
    return percentage >= 100 or hash_fraction(f"{key}.", identifier) <= percentage / 100


def in_holdout(identifier: str, percentage: float) -> bool:
    """Return whether an identifier is in a holdout."""
    # Without the flag's key: the same identifiers are held out of all flags.
    bounded = min(max(percentage, 0.0), 100.0)
    return bounded == 100.0 or hash_fraction("holdout-", identifier) <= bounded / 100


def variant_for(key: str, identifier: str, variants: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the variant of an identifier; None if the percentages do not cover it.

    Args:
        key: The flag's key.
        identifier: A distinct id, a device id or a group key.
        variants: Objects with `key` and `rollout_percentage`, in order.
    """
    at = hash_fraction(f"{key}.", identifier, "variant")
    share = 0.0
    for variant in variants:
        share += float(variant.get("rollout_percentage") or 0) / 100
        if at < share:
            return str(variant.get("key"))
    return None
