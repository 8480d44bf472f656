"""`doctor`: print the checks of `ph.doctor()` and the rate limits."""

from __future__ import annotations

from typing import Final

from asyncposthog import Check, Diagnosis

from . import exit_codes
from .output import Format, resolve_format
from .session import session
from .terminal import to_text, write

__all__ = ["run_doctor"]

_KEY_CHECKS: Final = frozenset({"key", "region", "access", "scopes"})
_MARKS: Final = {True: ("ok", "green"), False: ("WRONG", "bold red"), None: ("?", "yellow")}


async def run_doctor(operations: list[str] | None, format: Format) -> int:
    """Print the checks and the rate limits; return the exit status."""
    async with session.make_client() as client:
        diagnosis = await client.doctor(operations)
        limits = client.rate_limits
    output_format = resolve_format(format, "json")
    if output_format == "table":
        for check in diagnosis.checks:
            _print_check(check)
        write(f"\n{limits}\n")
    else:
        report = {
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
        write(to_text(report, indent=2 if output_format == "json" else None) + "\n")
    return _status(diagnosis)


def _status(diagnosis: Diagnosis) -> int:
    failed = {check.name for check in diagnosis.checks if check.ok is False}
    if failed & _KEY_CHECKS:
        return exit_codes.AUTH
    return exit_codes.ERROR if failed else exit_codes.OK


def _as_data(check: Check) -> dict[str, object]:
    return {"name": check.name, "ok": check.ok, "detail": check.detail, "fix": check.fix}


def _print_check(check: Check) -> None:
    from rich.text import Text

    from .terminal import stdout_console, strip_control

    mark, style = _MARKS[check.ok]
    line = Text.assemble(
        (f"{mark:<6}", style), (f"{check.name}: ", "bold"), strip_control(check.detail)
    )
    if check.fix:
        line.append(f"\n      {strip_control(check.fix)}")
    stdout_console().print(line, soft_wrap=True)
