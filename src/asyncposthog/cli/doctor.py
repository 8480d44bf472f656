"""`doctor`: what is right, what is wrong, and how to put it right."""

from __future__ import annotations

from typing import Final

from asyncposthog import Check, Diagnosis

from . import exit_codes
from .output import Format, form_of
from .session import session
from .terminal import to_text, write

__all__ = ["examine"]

_OF_KEY: Final = frozenset({"key", "region", "access", "scopes"})
_SIGNS: Final = {True: ("ok", "green"), False: ("WRONG", "bold red"), None: ("?", "yellow")}


async def examine(operations: list[str] | None, format: Format) -> int:
    """Print what `ph.doctor()` finds, and the rate limits; return the exit status."""
    async with session.client() as client:
        diagnosis = await client.doctor(operations)
        limits = client.rate_limits
    form = form_of(format, "json")
    if form == "table":
        for check in diagnosis.checks:
            _show(check)
        write(f"\n{limits}\n")
    else:
        answer = {
            "ok": diagnosis.ok,
            "checks": [_as_data(check) for check in diagnosis.checks],
            "limits": {
                name: {
                    "limit": bucket.limit,
                    "seconds": bucket.seconds,
                    "used": bucket.used,
                    "remaining": bucket.remaining,
                }
                for name, bucket in limits.buckets.items()
            },
        }
        write(to_text(answer, indent=2 if form == "json" else None) + "\n")
    return _status(diagnosis)


def _status(diagnosis: Diagnosis) -> int:
    wrong = {check.name for check in diagnosis.checks if check.ok is False}
    if wrong & _OF_KEY:
        return exit_codes.AUTH
    return exit_codes.ERROR if wrong else exit_codes.OK


def _as_data(check: Check) -> dict[str, object]:
    return {"name": check.name, "ok": check.ok, "detail": check.detail, "fix": check.fix}


def _show(check: Check) -> None:
    from rich.text import Text

    from .terminal import plain, stdout_console

    sign, style = _SIGNS[check.ok]
    line = Text.assemble((f"{sign:<6}", style), (f"{check.name}: ", "bold"), plain(check.detail))
    if check.fix:
        line.append(f"\n      {plain(check.fix)}")
    stdout_console().print(line, soft_wrap=True)
