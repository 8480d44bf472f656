"""Programs that are interrupted by signals and by asyncio at random times."""

from __future__ import annotations

from benchmarks import interruptions

FORMS = ["parquet", "jsonl", "csv"]


def test_random_interruptions_end_in_the_same_bytes() -> None:
    runs = len(interruptions.METHODS)
    found = interruptions.interrupt_exports(runs, seed=1, processes=1, formats=FORMS)
    assert found.crashed == []
    assert found.stuck == []
    assert found.different == []
    assert found.interrupted
