"""Memory that is free, given back to the system."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

__all__ = ["give_back", "heap_trimmed"]


def give_back() -> None:
    """Have the C library return what is free, where it can be asked to.

    glibc keeps an arena for each thread, and in each what was the most that it ever held: an
    export that reads pages in turns would hold several of them for ever.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@contextmanager
def heap_trimmed() -> Generator[None]:
    """Give back what is free, before and after."""
    give_back()
    try:
        yield
    finally:
        give_back()


@cache
def _trim() -> Callable[[int], Any] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library
        return None
