"""`python -m benchmarks [area …]`: measure, print a table, write `benchmarks/out/results.json`.

The exit code is 0 only if every target is met.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from benchmarks import (
    agents,
    capture,
    client,
    connections,
    emulator,
    export,
    export_comparison,
    export_doors,
    export_memory,
    export_stores,
    faults,
    flags,
    fleet,
    hogql,
    ingestion,
    interruptions,
    limits,
    transport,
)
from benchmarks.measure import Row

AREAS: dict[str, Callable[[], Iterator[Row]]] = {
    "agents": agents.rows,
    "capture": capture.rows,
    "client": lambda: chain(client.rows(), transport.rows(), connections.rows()),
    "emulator": lambda: chain(emulator.rows(), ingestion.rows(), hogql.rows()),
    "export": lambda: chain(
        export.rows(),
        export_comparison.rows(),
        export_doors.rows(),
        export_memory.rows(),
        export_stores.rows(),
        interruptions.rows(),
    ),
    "flags": flags.rows,
    "limits": lambda: chain(limits.rows(), fleet.rows(), faults.rows()),
}
OUT = Path(__file__).resolve().parent / "out" / "results.json"


def main() -> int:
    """Run the areas named on the command line, or all; return the exit code."""
    areas = sys.argv[1:] or list(AREAS)
    unknown = sorted(set(areas) - set(AREAS))
    if unknown:
        print(f"unknown areas {unknown}; the areas are {sorted(AREAS)}", file=sys.stderr)
        return 2
    print(f"{'area':<8} {'what':<58} {'ours':>10} {'rival':>10} {'ratio':>7} {'target':>7}")
    results: list[Row] = []
    for area in areas:
        for row in AREAS[area]():
            results.append(row)
            print(_line(row), flush=True)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(
        json.dumps([row.as_json() for row in results], indent=1) + "\n", encoding="utf-8"
    )
    missed = [row.name for row in results if not row.met]
    print(f"\n{len(results)} rows, {len(missed)} targets missed")
    print("".join(f"  {name}\n" for name in missed), end="")
    return 1 if missed else 0


def _line(row: Row) -> str:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:,.2f}" if value < 1000 else f"{value:,.0f}"

    verdict = "" if row.target is None else "  met" if row.met else "  MISSED"
    return (
        f"{row.area:<8} {row.name:<58} {number(row.ours):>10} {number(row.rival):>10} "
        f"{number(row.ratio):>7} {number(row.target):>7} {row.unit}{verdict}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
