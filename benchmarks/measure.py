"""Measurement helpers: alternating runs, fresh processes where it matters, medians."""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

__all__ = ["Row", "alternate", "fresh_process", "median_of"]

_PROBE = """
import time, json
started = time.perf_counter()
{code}
elapsed = time.perf_counter() - started
with open("/proc/self/status") as status:
    rss = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
print(json.dumps([elapsed * 1000, rss / 1024]))
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, and of `results.json`."""

    area: str
    name: str
    ours: float | None
    rival: float | None
    ratio: float | None
    target: float | None
    met: bool
    unit: str = ""

    @classmethod
    def ratio_of(
        cls, area: str, name: str, ours: float, rival: float, target: float, unit: str
    ) -> Row:
        """Compare with a competitor: our value may be at most `target` times theirs."""
        ratio = ours / rival
        return cls(area, name, ours, rival, ratio, target, ratio <= target, unit)

    @classmethod
    def information(cls, area: str, name: str, ours: float, unit: str) -> Row:
        """Report a value without a target."""
        return cls(area, name, ours, None, None, None, True, unit)

    def as_json(self) -> dict[str, object]:
        """Return the fields of `results.json`."""
        return {key: value for key, value in asdict(self).items() if key != "unit"}


def fresh_process(code: str) -> tuple[float, float]:
    """Run code in a new interpreter; return its milliseconds and resident MiB."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE.format(code=code)],
        check=True, capture_output=True, text=True, env=_environment(),
    )  # fmt: skip
    milliseconds, mebibytes = json.loads(done.stdout.splitlines()[-1])
    return milliseconds, mebibytes


def _environment() -> dict[str, str]:
    """Let interpreters write bytecode, as they do on a user's machine."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def alternate(codes: dict[str, str], runs: int) -> dict[str, tuple[float, float]]:
    """Run each snippet `runs` times in turn; return the median milliseconds and MiB of each.

    The first round only fills the bytecode cache and is discarded.
    """
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in codes}
    for round_ in range(runs + 1):
        for name, code in codes.items():
            sample = fresh_process(code)
            if round_:
                samples[name].append(sample)
    return {
        name: (
            statistics.median(ms for ms, _ in samples),
            statistics.median(mib for _, mib in samples),
        )
        for name, samples in samples.items()
    }


async def median_of(
    jobs: dict[str, Callable[[], Awaitable[None]]], rounds: int
) -> dict[str, float]:
    """Time each job in turn, `rounds` times; return the median seconds of CPU time of each.

    For jobs that never wait: CPU time is then the time on an otherwise idle machine. Each starts
    after a garbage collection, because it would otherwise pay for the objects of the other.
    """
    samples: dict[str, list[float]] = {name: [] for name in jobs}
    for round_ in range(rounds + 1):
        for name, job in jobs.items():
            gc.collect()
            started = time.process_time()
            await job()
            if round_:
                samples[name].append(time.process_time() - started)
    return {name: statistics.median(samples) for name, samples in samples.items()}
