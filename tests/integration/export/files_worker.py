"""A process that exports by files from a served emulator, to be killed: URL, target, start, end."""

from __future__ import annotations

import sys
from datetime import datetime

import anyio

from asyncposthog import AsyncPostHog


async def main(url: str, target: str, start: str, end: str) -> None:
    async with AsyncPostHog("phx_emulator", project_id=1, host=url, limits=False) as ph:
        job = ph.export.events(
            datetime.fromisoformat(start),
            datetime.fromisoformat(end),
            columns=["uuid", "event", "properties"],
            engine="files",
            page_size=100,
        )
        await job.to_jsonl(target, on_progress=lambda progress: print(progress.rows, flush=True))


if __name__ == "__main__":
    _, url, target, start, end = sys.argv
    anyio.run(main, url, target, start, end)
