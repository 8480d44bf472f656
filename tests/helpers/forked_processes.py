"""Processes that are forked from one which has imported what they need.

A new interpreter takes a second of CPU time until it has imported a client with its dependencies.
The first process of a test run starts another one, which does that once, and forks from then on.
It has neither threads nor connections, so a fork of it is like a new interpreter. Its environment
variables are those of its start; a test passes what it changes as an argument.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Generator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final, TypeVarTuple

__all__ = ["exit_code", "running"]

Args = TypeVarTuple("Args")

_MODULES: Final = [
    "pytest",  # every process imports the program that started it
    "anyio._backends._asyncio",
    "anyio._backends._trio",
    "httpcore",
    "pyarrow.parquet",
    "pandas",  # pyarrow imports it
    "redis.asyncio",
    "asyncposthog.errors.from_response",
    "asyncposthog.resources.cohorts",
    "tests.integration.export.files_worker",
    "tests.integration.export.graceful_ends_worker",
    "tests.integration.export.parquet_worker",
    "tests.integration.export.worker",
    "tests.integration.redis.redis_worker",
]
_context: Final = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(_MODULES)


@contextmanager
def running(
    main: Callable[[Connection, *Args], object], *arguments: *Args
) -> Generator[tuple[BaseProcess, Connection]]:
    """Run a function of a module in a process of its own, which is killed at the end of the block.

    Args:
        main: The function. It is given its end of a pipe. Its exit code is that of `sys.exit`, 0
            when it returns, and 1 after any other exception.
        *arguments: Its other arguments, which are pickled.
    """
    ours, theirs = _context.Pipe()
    process = _context.Process(target=main, args=(theirs, *arguments))
    with ours:
        with theirs:
            process.start()
        try:
            yield process, ours
        finally:
            process.kill()
            process.join()
            process.close()


def exit_code(main: Callable[[Connection, *Args], object], *arguments: *Args) -> int:
    """Run a function of a module in a process to its end; return its exit code.

    The code is negative if a signal ended the process.
    """
    with running(main, *arguments) as (process, _):
        process.join()
        assert process.exitcode is not None
        return process.exitcode
