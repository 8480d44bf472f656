"""Run PostHog's public SDK test harness against this client: `make compliance HARNESS=checkout`.

The harness is not a part of this repository. Its own dependencies (flask, aiohttp, click, pyyaml)
must be installed for the interpreter that `--python` names. Without a checkout, or without those,
it is skipped, with the reason. Everything listens on loopback only.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
from pathlib import Path

__all__ = ["main"]

# The harness binds its mock of PostHog to all addresses of the machine.
_LAUNCH = """
import flask, sys
run = flask.Flask.run
flask.Flask.run = lambda self, host=None, **given: run(self, host="127.0.0.1", **given)
sys.path.insert(0, sys.argv.pop(1))
from posthog_test_harness.cli import cli
cli()
"""
_IMPORTS = "import aiohttp, click, flask, yaml"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(source: Path, python: str, protocol: str, concurrency: int) -> tuple[int, int]:
    """Run the suites of one protocol; return how many tests passed, and how many there were."""
    adapter = subprocess.Popen(
        [sys.executable, "-m", "tests.compliance.adapter", "--protocol", protocol],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert adapter.stdout is not None
        url = f"http://127.0.0.1:{int(adapter.stdout.readline())}"
        port = _free_port()
        done = subprocess.run(
            [
                *(python, "-c", _LAUNCH, str(source), "run", "--adapter-url", url),
                *("--mock-port", str(port), "--mock-url", f"http://127.0.0.1:{port}"),
                *("--output", "json", "--concurrency", str(concurrency)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    finally:
        adapter.terminate()
        adapter.wait()
    summary = json.loads(done.stdout[done.stdout.index("\n{") :])
    for suite in summary["suites"]:
        failed = [result for result in suite["results"] if not result["passed"]]
        print(f"{protocol} {suite['name']}: {suite['passed']} of {suite['total']}")
        for result in failed:
            print(f"  {result['name']}: {result['message']}")
    return summary["passed"], summary["total"]


def main() -> int:
    """Run both protocols; return 1 if a test failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("harness", nargs="?", default="", help="a checkout of the harness")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that can run it")
    parser.add_argument("--concurrency", type=int, default=10)
    options = parser.parse_args()
    source = Path(options.harness) / "src"
    if not options.harness or not (source / "posthog_test_harness").is_dir():
        print("compliance: skipped: HARNESS= is not a checkout of PostHog's sdk test harness")
        return 0
    if subprocess.run([options.python, "-c", _IMPORTS], stderr=subprocess.DEVNULL).returncode:
        print(f"compliance: skipped: {options.python} lacks flask, aiohttp, click or pyyaml")
        return 0
    failed = 0
    for protocol in ("v0", "v1"):
        passed, total = _run(source, options.python, protocol, options.concurrency)
        print(f"{protocol}: {passed} of {total} passed")
        failed += total - passed
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
