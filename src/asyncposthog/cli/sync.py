"""`sync`: run the exports of a configuration, and print a line for every round."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_core import to_json

from . import exit_codes
from .error_messages import UsageError
from .session import redact, session
from .terminal import print_status, write

if TYPE_CHECKING:
    from asyncposthog.sync import Round

__all__ = ["run_sync"]


async def run_sync(config_path: Path, *, once: bool) -> int:
    """Run a sync; return the exit status.

    Args:
        config_path: The TOML file.
        once: Run every export once.

    Raises:
        UsageError: The file cannot be read, or is wrong.
    """
    from asyncposthog.sync import Sync, parse_config
    from asyncposthog.threads import run_in_thread
    from asyncposthog.transport.clock import SystemClock

    try:
        text = await run_in_thread(config_path.read_text, "utf-8")
        config = parse_config(text)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read {config_path}: {error}") from None
    except ValueError as error:
        raise UsageError(f"{config_path}: {error}.") from None
    async with session.make_client() as client:
        complete = await Sync(client, config, clock=SystemClock()).run(_print_round, once=once)
    return exit_codes.OK if complete else exit_codes.RESUMABLE


def _print_round(result: Round) -> None:
    """Print the numbers as JSON to stdout, and a line on the health to stderr."""
    fields = {name: value for name, value in asdict(result).items() if value is not None}
    write(redact(to_json(fields).decode()) + "\n")
    print_status(redact(_health(result)))


def _health(result: Round) -> str:
    if result.status == "failed":
        return f"{result.export}: failed {result.failures} times in a row: {result.error}"
    lag = "" if result.lag_seconds is None else f", {result.lag_seconds:,.0f} s behind"
    return f"{result.export}: ok, {result.rows:,} rows in {result.seconds:,.1f} s{lag}"
