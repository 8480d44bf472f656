"""A sandbox in the cloud of E2B: a small virtual machine for each executor."""

from __future__ import annotations

import os
import shlex
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio

from asyncposthog.config import Secret
from asyncposthog.errors import shorten
from asyncposthog.redact import Redactor, Unpicklable, mask
from asyncposthog.threads import run_in_thread
from asyncposthog.transport.native_cancellation import (
    on_asyncio,
    shield_from_native_cancellation,
)

from .backend import Completed, Ending, Job, Origin
from .errors import SandboxError, SandboxUnavailableError
from .wheel import pack_wheel

if TYPE_CHECKING:
    from e2b import AsyncSandbox

__all__ = ["E2B"]

T = TypeVar("T")

_FOLDER: Final = "/var/tmp/asyncposthog"  # noqa: S108 - of the sandbox, which has one user
_ALL_TRAFFIC: Final = "0.0.0.0/0"
_INSTALL_SECONDS: Final = 180.0
_REQUEST_SECONDS: Final = 30.0
_KILL_SECONDS: Final = 20.0
_PIP: Final = "python3 -m pip install --quiet --no-input --disable-pip-version-check"


class E2B(Unpicklable):
    """The backend `e2b`: needs `asyncposthog[e2b]`, an E2B API key, and asyncio.

    The sandbox is started with the executor and always killed with it. A script that was cut off
    (by a limit, or because its task was cancelled) takes the sandbox with it, as it may run on
    there; the next script gets a new one.
    """

    def __init__(
        self,
        *,
        api_key: str | Secret | None = None,
        template: str = "base",
        install: bool = True,
        package: str | None = None,
        lifetime: int = 600,
    ) -> None:
        """Keep the settings. Nothing is started.

        Args:
            api_key: An E2B API key; by default `E2B_API_KEY` in the environment.
            template: The E2B template; it needs Python 3.11 or newer.
            install: Whether to install this package; False if the template has it.
            package: What to install instead of this very package: a requirement such as
                `asyncposthog==1.0`, or the path of a wheel.
            lifetime: Seconds after which E2B ends the sandbox, whatever happens here.
        """
        key = api_key if api_key is not None else os.environ.get("E2B_API_KEY")
        self._key = key if isinstance(key, Secret) or key is None else Secret(key)
        # Masks the key in all texts as long as it exists.
        self._redactor = Redactor([self._key.reveal()] if self._key is not None else [])
        self._template = template
        self._install = install
        self._package = package
        self._lifetime = lifetime
        self._sandbox: AsyncSandbox | None = None
        self._lock = anyio.Lock()
        """One script at a time: what ends one ends the sandbox, and a new one must not be lost."""
        self._runs = 0
        self._reachable: list[str] | None = None
        """The hosts that scripts can reach; None: all, for the installation."""

    def __repr__(self) -> str:
        """Return the template, without the key."""
        return f"E2B(template={self._template!r})"

    async def open(self) -> None:
        """Start a sandbox and install this package in it.

        Raises:
            SandboxUnavailableError: The extra or the key is missing, E2B refuses, or the package
                cannot be installed.
        """
        if self._sandbox is not None:
            return
        await self._start(self._sdk())
        try:
            if self._install:
                await self._call(self._install_package)
        except SandboxError as error:
            await self.aclose()
            raise SandboxUnavailableError(error.message, suggestion=error.suggestion) from None
        except BaseException:
            await self.aclose()
            raise

    def _sdk(self) -> Any:
        try:
            sdk = import_module("e2b")
        except ImportError:
            raise SandboxUnavailableError(
                "The backend 'e2b' needs a package that is not installed.",
                suggestion="Run: pip install 'asyncposthog[e2b]'.",
            ) from None
        if self._key is None:
            raise SandboxUnavailableError(
                "No E2B API key was given.",
                suggestion="Pass E2B(api_key=…) or set E2B_API_KEY. Keys are at "
                "https://e2b.dev/dashboard.",
            )
        if os.environ.get("E2B_DEBUG", "").lower() == "true":
            raise SandboxUnavailableError(
                "E2B_DEBUG is set: the SDK would use a local server instead of a sandbox.",
                suggestion="Unset E2B_DEBUG.",
            )
        if not on_asyncio():
            raise SandboxUnavailableError(
                "The backend 'e2b' needs asyncio.", suggestion="Use 'bubblewrap' with trio."
            )
        return sdk

    async def _start(self, sdk: Any) -> None:
        key = self._key
        assert key is not None

        async def create() -> None:
            # A request that is cancelled may have started a sandbox, whose id is not known.
            with anyio.CancelScope(shield=True):
                self._sandbox = await sdk.AsyncSandbox.create(
                    self._template,
                    timeout=self._lifetime,
                    metadata={"created-by": "asyncposthog"},
                    api_key=key.reveal(),
                    request_timeout=_REQUEST_SECONDS,
                )

        try:
            await self._call(lambda: shield_from_native_cancellation(create))
        except SandboxError as error:
            raise SandboxUnavailableError(
                f"E2B started no sandbox: {error.message}",
                suggestion="Check the E2B API key and the template.",
            ) from None
        except BaseException:
            await self.aclose()
            raise

    async def _install_package(self) -> None:
        sandbox = self._open_sandbox()
        what = self._package
        if what is None or what.endswith(".whl"):
            name, content = await run_in_thread(_wheel, what)
            await sandbox.files.write(f"{_FOLDER}/{name}", content)
            what = f"./{name}"
        result = await sandbox.commands.run(
            f"{_PIP} {shlex.quote(what)} || {{ echo installation failed >&2; exit 97; }}",
            cwd=_FOLDER,
            timeout=_INSTALL_SECONDS,
        )
        del result  # a failure raises

    async def run(self, job: Job) -> Completed:
        """Run a script in the sandbox, when the script before it has ended.

        Raises:
            SandboxError: E2B failed, or the sandbox is not open.
        """
        async with self._lock:
            if self._sandbox is None:
                await self.open()
            done = False
            try:
                completed = await self._call(lambda: self._execute(job))
                done = completed.ending == "finished"
                return completed
            finally:
                if not done:
                    await self.aclose()

    async def _execute(self, job: Job) -> Completed:
        sandbox = self._open_sandbox()
        self._runs += 1
        folder = f"{_FOLDER}/run-{self._runs}"
        if self._reachable != (hosts := _hosts(job.origins)):
            # The installation is done: from here on, scripts reach PostHog alone.
            await sandbox.update_network({"allow_out": hosts, "deny_out": [_ALL_TRAFFIC]})
            self._reachable = hosts
        await sandbox.files.write(f"{folder}/script.py", job.script)
        await sandbox.files.write(f"{folder}/parameters.json", job.parameters)
        output = {"stdout": bytearray(), "stderr": bytearray()}
        endings: list[Ending] = []
        codes: list[int] = []

        async def command(scope: anyio.CancelScope) -> None:
            def keep(name: str) -> Callable[[str], None]:
                def add(text: str) -> None:
                    room = job.limits.output - sum(map(len, output.values()))
                    chunk = text.encode()
                    output[name] += chunk[:room]
                    if len(chunk) > room:
                        endings.append("output")
                        scope.cancel()

                return add

            try:
                result = await sandbox.commands.run(
                    "exec python3 -P script.py",
                    envs={
                        "ASYNCPOSTHOG_PARAMETERS": f"{folder}/parameters.json",
                        "PYTHONUNBUFFERED": "1",
                        **job.secrets,
                    },
                    cwd=folder,
                    timeout=0,
                    on_stdout=keep("stdout"),
                    on_stderr=keep("stderr"),
                    retain_output=False,
                )
                codes.append(result.exit_code)
            except Exception as error:
                code = getattr(error, "exit_code", None)
                if type(error).__name__ != "CommandExitException" or not isinstance(code, int):
                    raise
                codes.append(code)

        with anyio.move_on_after(job.limits.seconds) as scope:
            await command(scope)
        if not codes and not endings:
            endings.append("timeout")
        return Completed(
            ending=endings[0] if endings else "finished",
            exit_code=None if endings else codes[0],
            stdout=bytes(output["stdout"]),
            stderr=bytes(output["stderr"]),
        )

    def _open_sandbox(self) -> Any:  # the types of the SDK are incomplete
        assert self._sandbox is not None
        return self._sandbox

    async def _call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Call the SDK, whose exceptions have no common base class, and may show keys."""
        try:
            return await work()
        except SandboxError:
            raise
        except Exception as error:
            output = getattr(error, "stderr", "")
            text = f"{type(error).__name__}: {output or error}"
        raise SandboxError(f"E2B failed: {shorten(mask(text), 300)}")

    async def aclose(self) -> None:
        """Kill the sandbox, whatever cancels this task meanwhile.

        Raises:
            SandboxError: It was not killed; it ends at the end of its lifetime.
        """
        sandbox, self._sandbox, self._reachable = self._sandbox, None, None
        if sandbox is None:
            return
        failures: list[str] = []

        async def kill() -> None:
            with anyio.move_on_after(_KILL_SECONDS, shield=True) as scope:
                try:
                    await sandbox.kill(request_timeout=_KILL_SECONDS)
                except Exception as error:
                    failures.append(f"{type(error).__name__}: {shorten(mask(str(error)), 200)}")
            if scope.cancelled_caught:
                failures.append("no answer")

        await shield_from_native_cancellation(kill)
        if failures:
            raise SandboxError(
                f"The E2B sandbox {sandbox.sandbox_id} was not killed: {failures[0]}",
                suggestion=f"It ends by itself {self._lifetime} s after its start.",
            )


def _wheel(path: str | None) -> tuple[str, bytes]:
    if path is None:
        return pack_wheel()
    return Path(path).name, Path(path).read_bytes()


def _hosts(origins: tuple[Origin, ...]) -> list[str]:
    return sorted({origin.host for origin in origins})
