"""A stand-in of E2B's API, which the real SDK talks to: sandboxes are folders, commands processes.

It isolates nothing. What the SDK sends is recorded.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import struct
import sys
import zipfile
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import asyncposthog
from posthog_emulator.http.server import ServerThread

__all__ = ["FakeE2B"]

_FOLDER = "/var/tmp/asyncposthog"


class FakeE2B:
    """The API, its sandboxes, and the requests that it got."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.created: list[dict[str, Any]] = []
        """The bodies of requests for a sandbox."""
        self.keys: list[str | None] = []
        self.alive: list[str] = []
        """The ids of sandboxes that were not killed."""
        self.networks: list[dict[str, Any]] = []
        self.commands: list[dict[str, Any]] = []
        """The processes that were started: `cmd`, `envs`, `cwd`."""
        self.refuse: int | None = None
        """The status with which requests for a sandbox are answered."""
        self.install_fails = False
        self.installed: list[str] = []
        """The files of the wheels that were installed."""
        self.running: set[asyncio.subprocess.Process] = set()
        self.ended = 0
        """How many processes were running when their sandbox was killed."""
        self.create_started = 0
        self.hold: list[bool] = []
        """While it is not empty, a request for a sandbox is not answered."""
        self.path(_FOLDER).mkdir(parents=True)
        binaries = folder / "bin"
        binaries.mkdir()
        python = binaries / "python3"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)

    @property
    def app(self) -> Any:
        from starlette.applications import Starlette
        from starlette.routing import Route

        app: Any = Starlette(
            routes=[
                Route("/v2/sandboxes", self._create, methods=["POST"]),
                Route("/sandboxes", self._create, methods=["POST"]),
                Route("/sandboxes/{id}", self._kill, methods=["DELETE"]),
                Route("/sandboxes/{id}/network", self._network, methods=["PUT"]),
                Route("/files", self._files, methods=["POST"]),
                Route("/process.Process/Start", self._start, methods=["POST"]),
            ]
        )
        app.connections = {}  # of the server, which the emulator's code fills
        return app

    @contextmanager
    def serve(self, monkeypatch: Any) -> Generator[str]:
        """Serve it, and point the SDK to it."""
        server = ServerThread(self)
        try:
            for name, value in {
                "E2B_API_URL": server.url,
                "E2B_SANDBOX_URL": server.url,
                "E2B_HTTP_VERSION": "1.1",
                "E2B_API_KEY": "e2b_0123456789abcdef",
            }.items():
                monkeypatch.setenv(name, value)
            monkeypatch.delenv("E2B_DEBUG", raising=False)
            yield server.url
        finally:
            server.stop()

    def path(self, path: str) -> Path:
        """Return where a file of the sandbox is."""
        return self.folder / path.lstrip("/")

    async def _create(self, request: Any) -> Any:
        from starlette.responses import JSONResponse

        body = await request.json()
        self.create_started += 1
        while self.hold:  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.01)
        if self.refuse is not None:
            return JSONResponse({"code": self.refuse, "message": "refused"}, self.refuse)
        identifier = f"sbx{len(self.created)}"
        self.created.append(body)
        self.keys.append(request.headers.get("x-api-key"))
        self.alive.append(identifier)
        return JSONResponse(
            {
                "sandboxID": identifier,
                "templateID": body.get("templateID"),
                "clientID": "c",
                "envdVersion": "0.5.0",
                "envdAccessToken": "token",
                "domain": None,
            },
            201,
        )

    async def _kill(self, request: Any) -> Any:
        from starlette.responses import Response

        self.alive.remove(request.path_params["id"])
        await self._end_processes()
        return Response(status_code=204)

    async def _end_processes(self) -> None:
        while self.running:
            process = self.running.pop()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            # A pipe that nobody reads would keep it from being closed.
            cast("Any", process)._transport.close()
            await process.wait()
            self.ended += 1

    async def _network(self, request: Any) -> Any:
        from starlette.responses import Response

        self.networks.append(await request.json())
        return Response(status_code=204)

    async def _files(self, request: Any) -> Any:
        from starlette.responses import JSONResponse

        path = request.query_params.get("path")
        if request.headers["content-type"].startswith("multipart"):
            async with request.form() as form:
                contents = [await part.read() for part in form.getlist("file")]
        else:
            contents = [await request.body()]
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(contents[0])
        return JSONResponse([{"name": target.name, "path": path, "type": "file"}])

    async def _start(self, request: Any) -> Any:
        from starlette.responses import StreamingResponse

        raw = await request.body()
        length = struct.unpack(">BI", raw[:5])[1]
        process = json.loads(raw[5 : 5 + length])["process"]
        command = {"cmd": process["args"][-1], "envs": process.get("envs", {}), **process}
        self.commands.append(command)
        return StreamingResponse(self._execute(command), media_type="application/connect+json")

    async def _execute(self, command: dict[str, Any]) -> AsyncIterator[bytes]:
        line = command["args"][-1]
        if line.startswith("python3 -m pip install"):
            line = self._install(line)
        env = {
            name: str(self.path(value)) if value.startswith(_FOLDER) else value
            for name, value in command["envs"].items()
        }
        env["PATH"] = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        if self.installed:
            # The same code as in the wheel, compiled already.
            env["PYTHONPATH"] = str(Path(asyncposthog.__file__).parents[1])
        process = await asyncio.create_subprocess_exec(
            "/bin/bash", "-c", line, stdout=-1, stderr=-1, env=env,
            cwd=self.path(command["cwd"]), start_new_session=True,
        )  # fmt: skip
        self.running.add(process)
        yield _frame({"event": {"start": {"pid": process.pid}}})
        queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(1)

        async def read(name: str, stream: Any) -> None:
            while data := await stream.read(4096):
                await queue.put((name, data))
            await queue.put((name, b""))

        tasks = [
            asyncio.ensure_future(read("stdout", process.stdout)),
            asyncio.ensure_future(read("stderr", process.stderr)),
        ]
        try:
            ended = 0
            while ended < 2:
                name, data = await queue.get()
                ended += not data
                if data:
                    text = base64.b64encode(data).decode()
                    yield _frame({"event": {"data": {name: text}}})
            code = await process.wait()
            self.running.discard(process)
            yield _frame({"event": {"end": {"exitCode": code, "exited": True, "status": "exit"}}})
            yield _frame({}, 2)
        finally:
            for task in tasks:
                task.cancel()

    def _install(self, line: str) -> str:
        """Return a command instead of pip, which would need a network."""
        if self.install_fails:
            return "echo 'no matching distribution' >&2; exit 97"
        name = line.split("./")[1].split(" ")[0]
        with zipfile.ZipFile(self.path(_FOLDER) / name) as wheel:
            self.installed += wheel.namelist()
        return "true"


def _frame(message: dict[str, Any], flag: int = 0) -> bytes:
    body = json.dumps(message).encode()
    return struct.pack(">BI", flag, len(body)) + body
