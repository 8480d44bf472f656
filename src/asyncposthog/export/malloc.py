"""Return free heap memory to the operating system (glibc's `malloc_trim`)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

__all__ = ["heap_trimmed", "trim_heap"]


def trim_heap() -> None:
    """Return free heap memory to the system, if the C library can.

    glibc keeps an arena per thread, and each keeps the largest amount of memory it ever used. An
    export parses large pages in changing threads, so several arenas would stay that large.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@contextmanager
def heap_trimmed() -> Generator[None]:
    """Return free heap memory to the system before and after the block."""
    trim_heap()
    try:
        yield
    finally:
        trim_heap()


@cache
def _malloc_trim() -> Callable[[int], Any] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library
        return None
