"""What a 429 teaches. Pure: no I/O, no clock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from .limits import Limit, Usage

__all__ = ["attribute", "backoff", "bounded", "max_probes", "pace", "seconds_until_share", "share"]

DROP: Final = 0.04
"""After a 429: the part of what we held that is left free at first."""
RISE: Final = 0.08
"""One `pace` past the return to what we held: the part of the limit that is tried on top."""
LEAST: Final = 20
"""The part of a limit, as a divisor, that we never let others keep us from asking for."""
CAUTIOUS: Final = 4
"""Requests in flight at a time where others use the key and nothing else holds us back."""
_GRACE: Final = 2.0
"""Seconds by which `Retry-After` may exceed the truth: it is rounded up, and travels."""
_DOUBT: Final = 0.05
"""Parts of a limit that say nothing about which window is full."""
_BASE: Final = 0.5
_CAP: Final = 30.0


def pace(seconds: float, cycles: int) -> float:
    """Return the seconds in which a share returns to what it was before a 429.

    A longer window takes longer, but not in proportion: what counts is how many requests there
    are to each 429, and a share of an hour's window must not take a day to recover.

    Args:
        seconds: The length of the window.
        cycles: How often it has come back and been refused again: the others stay, it seems.
    """
    return 32.0 * max(1.0, seconds / 60.0) ** 0.75 * (1.0 + min(cycles, 4) / 4.0)


def share(limit: int, peak: int, elapsed: float, full: float) -> int:
    """Return how many requests to allow ourselves in a window that others use too.

    A cubic: it starts a little below what we held when the server refused us, comes back to
    that within one `pace`, stays about there, and then tries for more, faster and faster.

    Args:
        limit: What the server grants.
        peak: Requests of ours in the window when it was full.
        elapsed: Seconds since then.
        full: The `pace`.
    """
    past = elapsed / full - 1.0
    grown = peak + past**3 * (max(1.0, DROP * peak) if past < 0 else max(1.0, RISE * limit))
    return max(limit // LEAST, 1, min(limit, math.floor(grown)))


def max_probes(limit: int) -> int:
    """Return how many requests may be in flight where a shared window is nearly full.

    Each of them may be refused, and the first refusal comes too late to hold the others back.
    """
    return max(1, limit // 600)


def seconds_until_share(limit: int, peak: int, full: float, wanted: int) -> float:
    """Return the seconds after a 429 at which `share` reaches `wanted`."""
    gap = wanted - peak
    scale = max(1.0, DROP * peak) if gap < 0 else max(1.0, RISE * limit)
    return full * (1.0 + math.copysign((abs(gap) / scale) ** (1.0 / 3.0), gap))


def attribute(rules: Sequence[Limit], usages: Sequence[Usage], retry_after: float) -> int:
    """Return the index of the window that most likely refused a request.

    The server says only when the oldest request leaves the full window. A window cannot ask for
    longer than its own length, nor for longer than our oldest request in it has left. Of those
    that fit, it is the one of which others have to be supposed to use the smallest part; the
    shorter one, where there is not much between them.
    """
    order = sorted(range(len(rules)), key=lambda index: rules[index].seconds)
    best, least = order[-1], math.inf
    for index in order:
        usage = usages[index]
        oldest = usage.reset if usage.used else rules[index].seconds
        if retry_after > oldest + _GRACE:
            continue
        supposed = (usage.limit - usage.used) / usage.limit
        if supposed < least - _DOUBT:
            best, least = index, supposed
    return best


def bounded(retry_after: float | None, longest: float) -> float | None:
    """Return the wait to keep to, or None where the server names none that makes sense.

    Args:
        retry_after: What the server asks for.
        longest: The length of the longest window: no request stays in it for longer.
    """
    if retry_after is None or not math.isfinite(retry_after) or retry_after <= 0:
        return None
    return min(retry_after, longest)


def backoff(failures: int, chance: float) -> float:
    """Return the seconds to wait after a 429 that names none.

    Args:
        failures: How many came in a row, 1 or more.
        chance: A random number from 0 up to 1.
    """
    return min(_CAP, _BASE * 2.0 ** min(failures - 1, 16)) * (0.5 + chance / 2.0)
