"""An emulator with demo events in a process of its own, told what to do over a pipe."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["DAYS", "END", "KEY", "START", "Box", "box", "digest_of"]

KEY = "phx_emulator"
DAYS = 30
END = datetime(2026, 3, 1, tzinfo=UTC)
START = END - timedelta(days=DAYS + 1)
"""Demo data begins up to some hours before its days do."""


@dataclass
class Box:
    """The emulator, as its parent sees it."""

    url: str
    events: int
    digest: str
    """SHA-256 over the UUIDs of all events, sorted."""
    process: subprocess.Popen[str]

    def tell(self, what: str, **arguments: Any) -> Any:
        """Have something done there: `latency`, `misbehave`, `behave`, `cpu`, `setting`."""
        pipe, answers = self.process.stdin, self.process.stdout
        assert pipe is not None
        assert answers is not None
        pipe.write(json.dumps([what, arguments]) + "\n")
        pipe.flush()
        return json.loads(answers.readline())


@contextmanager
def box(events: int, *, ties: float = 0.3, seed: int = 7) -> Generator[Box]:
    """Run an emulator with so many demo events between `START` and `END`.

    Args:
        events: How many.
        ties: The part of them that share a timestamp with another.
        seed: Makes other data.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.export_box", str(events), str(ties), str(seed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("the emulator did not start")
            url, count, digest = json.loads(line)
            yield Box(url, count, digest, process)
        finally:
            process.terminate()


def digest_of(uuids: list[str]) -> str:
    """Return the digest of a multiset of UUIDs."""
    return hashlib.sha256("\n".join(sorted(uuids)).encode()).hexdigest()


def _serve(events: int, ties: float, seed: int) -> None:
    from posthog_emulator import Emulator
    from posthog_emulator.http.server import ServerThread

    emulator = Emulator()
    emulator.add_demo_events(
        events=events, days=DAYS, until=END, duplicate_timestamps=ties, seed=seed
    )
    rows = emulator.state.events.read("SELECT CAST(uuid AS VARCHAR) FROM events")
    digest = digest_of([row[0] for row in rows])
    del rows
    server = ServerThread(emulator)
    print(json.dumps([server.url, events, digest]), flush=True)
    query = f"/api/projects/{emulator.project_id}/query/"
    for line in sys.stdin:
        what, arguments = json.loads(line)
        if what == "latency":
            emulator.faults.latency(arguments["seconds"], path=query)
        elif what == "misbehave":
            emulator.settings.stall_seconds = 0.05
            emulator.faults.randomize(arguments["rate"], seed=arguments["seed"])
            strange = {512: arguments["rate"] / 2, 513: arguments["rate"] / 2}
            emulator.faults.error_rates(strange, seed=arguments["seed"], path=query)
        elif what == "behave":
            emulator.faults.clear()
        elif what == "setting":
            for name, value in arguments.items():
                setattr(emulator.settings, name, value)
        print(json.dumps("done"), flush=True)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
