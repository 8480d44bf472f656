"""After a process is killed at any time, the next run ends in the same bytes."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import anyio
import pytest
from pyarrow import parquet

from tests.helpers.forked_processes import exit_code

from . import worker


def killed(form: str, target: Path, step: str, seed: int) -> bool:
    code = exit_code(worker.main, form, str(target), step, seed)
    assert code in {0, -signal.SIGKILL}
    return code != 0


def digest(target: Path) -> dict[str, str]:
    """Return the content of everything that an export left, by name."""
    paths = [target] if target.is_file() else [p for p in target.rglob("*") if p.is_file()]
    return {
        str(p.relative_to(target.parent)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths
    }


FORMS = {"jsonl": "e.jsonl", "gzip": "e.jsonl.gz", "csv": "e.csv", "parquet": "events"}
MOMENTS = {
    "jsonl": ["fsync:6:after", "replace:2", "fsync:17", "replace:9:after"],
    "gzip": ["fsync:3", "replace:5:after"],
    "csv": ["fsync:1", "replace:5:after"],
    "parquet": ["fsync:4", "replace:2", "replace:5:after"],
}
"""Before and after data, a checkpoint, or the name of a file became durable."""


@pytest.mark.parametrize("form", FORMS)
def test_repeated_kills(form: str, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    anyio.run(worker.export, form, str(whole / FORMS[form]), 0)
    broken = tmp_path / "broken"
    broken.mkdir()
    target = broken / FORMS[form]
    deaths = 0
    for seed, step in enumerate(MOMENTS[form]):
        if not killed(form, target, step, seed + 1):
            break
        deaths += 1
    else:
        anyio.run(worker.export, form, str(target), 9)
    assert deaths >= 2
    assert digest(target) == digest(whole / FORMS[form])
    assert os.listdir(broken) == [FORMS[form]]


@pytest.mark.parametrize(
    ("form", "step"),
    [("jsonl", "replace:last"), ("jsonl", "replace:last:after"), ("parquet", "replace:last:after")],
)
def test_kills_around_the_end(form: str, step: str, tmp_path: Path) -> None:
    target = tmp_path / FORMS[form]
    assert killed(form, target, step, 0)
    anyio.run(worker.export, form, str(target), 1)
    assert os.listdir(tmp_path) == [FORMS[form]]
    rows = (
        target.read_bytes().count(b"\n")
        if form == "jsonl"
        else sum(parquet.read_metadata(p).num_rows for p in target.rglob("*.parquet"))
    )
    assert rows == worker.COUNT
