"""Runs inside a sandbox, before the script: drops rights, sets limits, and relays connections.

A program of its own, which imports nothing but the standard library. Its argument is JSON:

- `uid`: the user and group to become; null: none.
- `limits`: `memory`, `seconds`, `storage`, `processes` (null: no limit of its own).
- `ports`: listeners, as pairs of a port and the path of a Unix socket.
- `proxy`: the port of an HTTP proxy that answers only CONNECT; null: none.
- `names`: the Unix sockets of the proxy, by `host:port`.
- `command`: the command to run.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import sys
import threading
from typing import Any

_HEAD = 8192
_CHUNK = 65536


def main() -> int:
    """Run the command, and return its exit code."""
    config: dict[str, Any] = json.loads(sys.argv[1])
    uid = config["uid"]
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    listeners = [_listen(port) for port, _ in config["ports"]]
    proxy = None if config["proxy"] is None else _listen(config["proxy"])
    if proxy is None and not listeners:
        _execute(config)
    pid = os.fork()
    if pid == 0:
        for listener in (*listeners, *([proxy] if proxy else [])):
            listener.close()
        try:
            _execute(config)
        finally:
            os._exit(126)
    # The relay holds nothing that the script cannot use anyway.
    status: list[int] = []
    return asyncio.run(_relay(config, listeners, proxy, pid, status))


def _execute(config: dict[str, Any]) -> None:
    limits = config["limits"]
    for name, value in (
        ("RLIMIT_AS", limits["memory"]),
        ("RLIMIT_CPU", limits["seconds"]),
        ("RLIMIT_FSIZE", limits["storage"]),
        ("RLIMIT_NPROC", limits["processes"]),
        ("RLIMIT_NOFILE", 1024),
        ("RLIMIT_CORE", 0),
    ):
        if value is not None:
            kind = getattr(resource, name)
            hard = resource.getrlimit(kind)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, value))
    os.execv(config["command"][0], config["command"])  # noqa: S606 - no shell is wanted


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener


async def _relay(
    config: dict[str, Any],
    listeners: list[socket.socket],
    proxy: socket.socket | None,
    pid: int,
    status: list[int],
) -> int:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def wait() -> None:
        status.append(os.waitpid(pid, 0)[1])
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait, daemon=True).start()
    servers = [
        await asyncio.start_server(_to(path), sock=listener)
        for listener, (_, path) in zip(listeners, config["ports"], strict=True)
    ]
    if proxy is not None:
        servers.append(await asyncio.start_server(_connect(config["names"]), sock=proxy))
    await ended.wait()
    code = os.waitstatus_to_exitcode(status[0])
    # At once: what the script has left running ends with this process.
    os._exit(code if code >= 0 else 128 - code)


def _to(path: str) -> Any:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _join(reader, writer, path)

    return serve


def _connect(names: dict[str, str]) -> Any:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            writer.close()
            return
        words = head[:_HEAD].split(b"\r\n", 1)[0].decode("ascii", "replace").split(" ")
        path = names.get(words[1].lower()) if len(words) > 1 and words[0] == "CONNECT" else None
        if path is None:
            writer.write(
                b"HTTP/1.1 403 Not allowed in this sandbox\r\nContent-Length: 0\r\n"
                b"Connection: close\r\n\r\n"
            )
            writer.close()
            return
        await _join(reader, writer, path, b"HTTP/1.1 200 Connected\r\n\r\n")

    return serve


async def _join(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, greeting: bytes = b""
) -> None:
    try:
        there, back = await asyncio.open_unix_connection(path)
    except OSError:
        writer.close()
        return
    writer.write(greeting)
    await asyncio.gather(_pump(reader, back), _pump(there, writer), return_exceptions=True)
    back.close()
    writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


if __name__ == "__main__":
    sys.exit(main())
