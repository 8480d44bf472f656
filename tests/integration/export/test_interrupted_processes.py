"""Programs that are interrupted by signals and by asyncio, at random moments, against a server."""

from __future__ import annotations

from benchmarks import interruptions

FORMS = ["parquet", "jsonl", "csv"]


def test_an_interrupted_export_does_not_crash_and_ends_in_the_same_bytes() -> None:
    runs = len(FORMS) * len(interruptions.METHODS)
    found = interruptions.interrupt_exports(runs, seed=1, processes=1, formats=FORMS)
    assert found.crashed == []
    assert found.stuck == []
    assert found.different == []
    assert found.interrupted
