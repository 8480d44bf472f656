"""An emulator with demo events in another process, controlled over a pipe."""

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

__all__ = ["DAYS", "END", "KEY", "START", "EmulatorProcess", "digest_of", "run_emulator"]

KEY = "phx_emulator"
DAYS = 30
END = datetime(2026, 3, 1, tzinfo=UTC)
START = END - timedelta(days=DAYS + 1)
"""Demo data starts up to some hours before the first of its days."""


@dataclass
class EmulatorProcess:
    """The parent's handle of the emulator process."""

    url: str
    events: int
    digest: str
    """SHA-256 of the sorted UUIDs of all events."""
    process: subprocess.Popen[str]

    def send_command(self, command: str, **arguments: Any) -> Any:
        """Send `latency`, `randomize_faults`, `clear_faults` or `setting`, and wait for it."""
        pipe, answers = self.process.stdin, self.process.stdout
        assert pipe is not None
        assert answers is not None
        pipe.write(json.dumps([command, arguments]) + "\n")
        pipe.flush()
        return json.loads(answers.readline())


@contextmanager
def run_emulator(events: int, *, ties: float = 0.3, seed: int = 7) -> Generator[EmulatorProcess]:
    """Run an emulator with demo events between `START` and `END`.

    Args:
        events: The number of events.
        ties: The fraction of them that share a timestamp with another.
        seed: The seed of the demo data.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.emulator_process", str(events), str(ties), str(seed)],
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
            yield EmulatorProcess(url, count, digest, process)
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
    rows = emulator.state.events.read("SELECT toString(uuid) FROM events")
    digest = digest_of([row[0] for row in rows])
    del rows
    server = ServerThread(emulator)
    print(json.dumps([server.url, events, digest]), flush=True)
    query = f"/api/projects/{emulator.project_id}/query/"
    for line in sys.stdin:
        command, arguments = json.loads(line)
        if command == "latency":
            emulator.faults.latency(arguments["seconds"], path=query)
        elif command == "randomize_faults":
            emulator.settings.stall_seconds = 0.05
            emulator.faults.randomize(arguments["rate"], seed=arguments["seed"])
            error_rates = {512: arguments["rate"] / 2, 513: arguments["rate"] / 2}
            emulator.faults.error_rates(error_rates, seed=arguments["seed"], path=query)
        elif command == "clear_faults":
            emulator.faults.clear()
        elif command == "setting":
            for name, value in arguments.items():
                setattr(emulator.settings, name, value)
        print(json.dumps("done"), flush=True)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
