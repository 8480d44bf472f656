"""Adaptive share of a rate limit after a 429: multiplicative decrease, gradual recovery.

Pure functions: no I/O, no clock. `stores/redis/script.lua` repeats the same arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from .limits import Limit, Usage

__all__ = [
    "allowed_requests",
    "backoff",
    "likely_window",
    "max_probes",
    "recovery_seconds",
    "seconds_until_share",
    "valid_retry_after",
]

BACKOFF_FRACTION: Final = 0.04
"""Fraction of the observed capacity that is left unused right after a 429."""
PROBE_FRACTION: Final = 0.08
"""Fraction of the limit that is tried above the observed capacity, one recovery time later."""
MIN_SHARE_DIVISOR: Final = 20
"""The share never falls below the limit divided by this, however much other clients use."""
MAX_CONTENDED_IN_FLIGHT: Final = 4
"""Maximum of requests in flight while other clients are known to use the same limit."""
_RETRY_AFTER_TOLERANCE: Final = 2.0
"""Seconds by which `Retry-After` may exceed the real wait: it is rounded up, and takes time to
arrive."""
_MIN_DIFFERENCE: Final = 0.05
"""Two windows whose unexplained usage differs by less than this fraction are equally likely."""
_BACKOFF_BASE: Final = 0.5
_BACKOFF_MAX: Final = 30.0


def recovery_seconds(seconds: float, cycles: int) -> float:
    """Return the seconds in which a share returns to the capacity observed at a 429.

    Args:
        seconds: The length of the window in seconds.
        cycles: How many times the share recovered and was then answered with another 429.
    """
    # Sublinear in the window: what matters is the number of requests per 429, and a linear
    # recovery of an hourly window would take a day.
    # A cycle is a sign that the other clients stay, so the next attempt to grow comes later.
    return 32.0 * max(1.0, seconds / 60.0) ** 0.75 * (1.0 + min(cycles, 4) / 4.0)


def allowed_requests(limit: int, capacity: int, elapsed: float, recovery: float) -> int:
    """Return how many requests to use of a window that other clients use too.

    Args:
        limit: Requests that the server grants in the window.
        capacity: Requests of this client in the window when the server answered with a 429.
        elapsed: Seconds since recovery began.
        recovery: The result of `recovery_seconds`.
    """
    # The cubic of TCP CUBIC: it starts slightly below the observed capacity, is flat around it
    # (most of the time is spent where the window is full but not refused), then probes for more
    # at a growing rate, so that the whole limit is used again once the other clients stop.
    progress = elapsed / recovery - 1.0
    scale = (
        max(1.0, BACKOFF_FRACTION * capacity) if progress < 0 else max(1.0, PROBE_FRACTION * limit)
    )
    grown = capacity + progress**3 * scale
    return max(limit // MIN_SHARE_DIVISOR, 1, min(limit, math.floor(grown)))


def max_probes(limit: int) -> int:
    """Return how many requests may be in flight while a contended window is nearly full."""
    # Each of them may be refused, and the first refusal arrives too late to stop the others.
    return max(1, limit // 600)


def seconds_until_share(limit: int, capacity: int, recovery: float, target: int) -> float:
    """Return the seconds after a 429 at which `allowed_requests` reaches `target`."""
    gap = target - capacity
    scale = max(1.0, BACKOFF_FRACTION * capacity) if gap < 0 else max(1.0, PROBE_FRACTION * limit)
    return recovery * (1.0 + math.copysign((abs(gap) / scale) ** (1.0 / 3.0), gap))


def likely_window(limits: Sequence[Limit], usages: Sequence[Usage], retry_after: float) -> int:
    """Return the index of the window that most likely caused a 429.

    Args:
        limits: The limits that the request counted against.
        usages: Their usage, in the same order.
        retry_after: The seconds of the `Retry-After` header.
    """
    # The response does not name the window; it only says when the oldest request leaves it. So
    # a window that is shorter than the wait, or that our own oldest request leaves earlier, is
    # ruled out. Of the rest, choose the one for which other clients must be assumed to use the
    # smallest fraction; if two differ little, the shorter, because blocking it costs less.
    order = sorted(range(len(limits)), key=lambda index: limits[index].seconds)
    best, smallest = order[-1], math.inf
    for index in order:
        usage = usages[index]
        oldest = usage.reset if usage.used else limits[index].seconds
        if retry_after > oldest + _RETRY_AFTER_TOLERANCE:
            continue
        unexplained = (usage.limit - usage.used) / usage.limit
        if unexplained < smallest - _MIN_DIFFERENCE:
            best, smallest = index, unexplained
    return best


def valid_retry_after(retry_after: float | None, max_seconds: float) -> float | None:
    """Return the wait to apply, or None if the header is missing or not a positive number.

    Args:
        retry_after: The seconds of the `Retry-After` header.
        max_seconds: The length of the longest window: no request stays in it for longer, so a
            longer wait cannot come from a rate limit.
    """
    if retry_after is None or not math.isfinite(retry_after) or retry_after <= 0:
        return None
    return min(retry_after, max_seconds)


def backoff(failures: int, jitter: float) -> float:
    """Return the seconds to wait after a 429 without a usable `Retry-After`.

    Args:
        failures: How many such responses came in a row, 1 or more.
        jitter: A random number from 0 up to 1.
    """
    return min(_BACKOFF_MAX, _BACKOFF_BASE * 2.0 ** min(failures - 1, 16)) * (0.5 + jitter / 2.0)
