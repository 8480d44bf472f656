"""Count the files and functions of ours that one call walks through.

`python scripts/call_path.py` prints the figures for `ph.feature_flags.get(1)` of the client, with
its rate limits, and for `GET …/cohorts/` of the emulator. Both run in this process, without a
network, and are measured when everything that is cached is in its cache.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType

import anyio
import httpx

SRC = Path(__file__).resolve().parent.parent / "src"
WARM_UP = 5

Walked = tuple[int, int]
"""Numbers of files, and of functions, in which a call was."""


async def client_get() -> Walked:
    """Return what a `get` of the client walks through."""
    from asyncposthog import AsyncPostHog

    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"id": 1, "key": "flag"}))
    async with AsyncPostHog("phx_not_a_real_key", project_id=1, transport=transport) as ph:
        return await _count("asyncposthog", lambda: ph.feature_flags.get(1))


async def emulator_list() -> Walked:
    """Return what a request for a collection of the emulator walks through."""
    from posthog_emulator import Emulator

    emulator = Emulator()
    async with httpx.AsyncClient(
        transport=emulator.transport(),
        base_url="http://emulator.localhost",
        headers={"Authorization": f"Bearer {emulator.key}"},
    ) as http:
        path = f"/api/projects/{emulator.project_id}/cohorts/"

        async def request() -> None:
            (await http.get(path)).raise_for_status()

        return await _count("posthog_emulator", request)


async def _count(package: str, call: Callable[[], Awaitable[object]]) -> Walked:
    prefix = str(SRC / package)
    functions: set[tuple[str, str]] = set()

    def profile(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(prefix):
            functions.add((code.co_filename, code.co_qualname))

    for _ in range(WARM_UP):
        await call()
    sys.setprofile(profile)
    try:
        await call()
    finally:
        sys.setprofile(None)
    return len({file for file, _ in functions}), len(functions)


def main() -> None:
    """Print both figures."""
    for name, measure in (
        ("get of the client", client_get),
        ("list of the emulator", emulator_list),
    ):
        files, functions = anyio.run(measure)
        print(f"{name}: {files} files, {functions} functions")


if __name__ == "__main__":
    main()
