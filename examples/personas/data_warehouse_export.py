"""Data analyst: export data for warehouse sync."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

import polars

from asyncposthog import AsyncPostHog, recipes
from examples.personas.demo_project import NOW, run


async def main(ph: AsyncPostHog) -> None:
    """Sync twice, as two nights would, and read the files."""
    start = NOW - timedelta(days=7)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "warehouse"
        for end in (NOW - timedelta(days=1), NOW):
            sync = await recipes.warehouse_sync(ph, folder, start=start, end=end)
            for table in sync:
                print(f"{end:%d %b}: {table.rows} rows of {table.table}")
        events = polars.read_parquet(folder / "events" / "*" / "**" / "*.parquet")
        assert events["uuid"].n_unique() == len(events)
        print(f"the warehouse has {len(events)} events, each once")


if __name__ == "__main__":
    run(main)
