"""`SandboxExecutor`: runs scripts and templates in a sandbox, with the key of a client."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, cast
from urllib.parse import urlsplit

import anyio
from pydantic_core import from_json, to_json

from asyncposthog.config import Secret, Settings, resolve_settings
from asyncposthog.core.resource import get_executor
from asyncposthog.errors import ConfigurationError, shorten
from asyncposthog.redact import Redactor
from asyncposthog.types import Region

from .backend import Backend, Completed, Ending, Job, Origin, ScriptLimits
from .errors import SandboxError
from .templates import SCRIPT, get_template

if TYPE_CHECKING:
    from asyncposthog.client import AsyncPostHog

__all__ = ["BackendName", "SandboxExecutor", "ScriptResult"]

BackendName: TypeAlias = Literal["bubblewrap", "e2b", "subprocess"]

_BACKENDS: Final[Mapping[str, tuple[str, str]]] = {
    "bubblewrap": ("bubblewrap", "Bubblewrap"),
    "e2b": ("e2b_backend", "E2B"),
    "subprocess": ("subprocess_backend", "Subprocess"),
}
_CLOSE_SECONDS: Final = 30.0
_MAX_KEY_CHARS: Final = 400
_REASONS: Final[Mapping[Ending, str]] = {
    "finished": "",
    "timeout": "The script did not end within {limits.seconds:g} s, and was killed.",
    "output": "The script wrote more than {limits.output:,} bytes, and was killed.",
    "memory": "The script used more than {limits.memory:,} bytes of memory, and was killed.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptResult:
    """What a script has done. API keys in its output are masked."""

    success: bool
    """Whether it ended by itself, with exit code 0."""
    output: str
    """What it wrote to stdout."""
    error: str
    """Why it did not succeed: the limit that it reached, or what it wrote to stderr."""
    exit_code: int | None
    """None if it was killed."""
    ending: Ending
    """`finished`, or the limit that it reached: `timeout`, `output`, `memory`."""
    description: str
    """What the script was for, as given."""
    seconds: float = field(compare=False)
    """How long it took."""

    def json(self) -> Any:
        """Return the output as data. The output of every template is JSON.

        Raises:
            SandboxError: The script failed, or its output is not JSON.
        """
        self.raise_for_failure()
        try:
            return from_json(self.output)
        except ValueError:
            raise SandboxError(
                f"The output of the script is not JSON: {shorten(self.output, 80)!r}."
            ) from None

    def raise_for_failure(self) -> None:
        """Raise an error if the script did not succeed.

        Raises:
            SandboxError: It failed, or reached a limit.
        """
        if not self.success:
            what = f" ({shorten(self.description, 80)})" if self.description else ""
            lines = self.error.strip().splitlines()
            raise SandboxError(
                f"The script{what} failed: {lines[-1] if lines else f'exit code {self.exit_code}'}"
            )


class SandboxExecutor:
    """Runs Python scripts in a sandbox, in which they can reach PostHog and nothing else.

    ```python
    async with SandboxExecutor("bubblewrap") as sandbox:
        result = await sandbox.execute_script("print(6 * 7)", "Multiply")
        print(result.output)
    ```

    The scripts find `asyncposthog` installed, and the key and the project in their environment:
    `AsyncPostHog()` works there. There is no default backend, and none replaces another.
    """

    def __init__(
        self,
        backend: BackendName | Backend,
        *,
        client: AsyncPostHog | None = None,
        api_key: str | Secret | None = None,
        project_id: int | str | None = None,
        project_api_key: str | Secret | None = None,
        region: Region | None = None,
        host: str | None = None,
        allow_http: bool = False,
        limits: ScriptLimits | None = None,
    ) -> None:
        """Validate the settings. Nothing is started.

        Args:
            backend: `bubblewrap`, `e2b`, `subprocess` (which is no boundary), or a backend object.
            client: A client whose key, project and host the scripts get, instead of the settings
                below.
            api_key: A personal API key; None: from the environment, as for `AsyncPostHog`. A script
                can do what this key can do: give it one with few scopes.
            project_id: The project id; None: from the environment, or looked up by the scripts.
            project_api_key: The project token, for events and flags.
            region: The PostHog Cloud region.
            host: The URL of a self-hosted PostHog.
            allow_http: Allow plain `http://` to a host other than this machine.
            limits: What a script may use.

        Raises:
            ConfigurationError: A setting is missing or invalid, there is no such backend, or the
                client has a gateway.
        """
        self._backend = _make_backend(backend)
        self.limits = limits or ScriptLimits()
        """What a script may use."""
        if client is not None:
            executor = get_executor(client.query)
            if executor.gateway is not None:
                raise ConfigurationError(
                    "Scripts cannot use a gateway.", suggestion="Give the executor an api_key=."
                )
            settings = executor.settings
        else:
            arguments: dict[str, object] = {
                "api_key": api_key,
                "project_id": project_id,
                "project_api_key": project_api_key,
                "organization_id": None,
                "region": region,
                "host": host,
                "allow_http": allow_http,
            }
            settings = resolve_settings(arguments, os.environ)
        self._settings = settings
        self._secrets = _secrets(settings)
        keys = [settings.api_key, *([settings.project_api_key] if settings.project_api_key else [])]
        self._redactor = Redactor([key.reveal() for key in keys])
        self._is_open = False

    def __repr__(self) -> str:
        """Return the backend and the host."""
        name = type(self._backend).__name__
        return f"SandboxExecutor({name}, host={self._settings.host!r})"

    async def __aenter__(self) -> Self:
        """Start the sandbox, or check that it can be started.

        Raises:
            SandboxUnavailableError: It cannot.
        """
        try:
            await self._backend.open()
        except BaseException:
            await self._close()
            raise
        self._is_open = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the sandbox."""
        await self._close()

    async def _close(self) -> None:
        self._is_open = False
        # Shielded: this often runs in a task that is being cancelled.
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await self._backend.aclose()

    async def execute_script(
        self,
        script: str,
        description: str = "",
        *,
        parameters: Mapping[str, object] | None = None,
        limits: ScriptLimits | None = None,
    ) -> ScriptResult:
        """Run a Python script and return what it has done. A script that fails raises nothing.

        Args:
            script: Python source.
            description: What it is for, in words.
            parameters: Data for the script, as JSON in the file that the environment variable
                `ASYNCPOSTHOG_PARAMETERS` names. Do not paste values into the source.
            limits: What it may use; None: the limits of the executor.

        Raises:
            SandboxError: The sandbox failed, or is not open.
            ValueError: The parameters are not JSON data.
        """
        return await self._run(
            script, to_json({} if parameters is None else dict(parameters)), description, limits
        )

    async def execute_template(
        self,
        template_name: str,
        template_vars: Mapping[str, object] | None = None,
        *,
        limits: ScriptLimits | None = None,
    ) -> ScriptResult:
        """Run a template and return what it has done; `.json()` gives its result.

        Args:
            template_name: A name in `TEMPLATES`.
            template_vars: Its variables. A number may be given as text.
            limits: What it may use; None: the limits of the executor.

        Raises:
            ConfigurationError: There is no such template, or a variable is missing, unknown or of
                the wrong type. Nothing was started.
            SandboxError: The sandbox failed, or is not open.
        """
        template = get_template(template_name)
        parameters = template.prepare(template_vars or {})
        if template.needs_token and self._settings.project_api_key is None:
            raise ConfigurationError(
                f"Template {template.name!r} was not started: it needs the project token.",
                suggestion="Pass project_api_key= or set POSTHOG_PROJECT_API_KEY.",
            )
        return await self._run(SCRIPT, parameters, template.description, limits)

    async def _run(
        self, script: str, parameters: bytes, description: str, limits: ScriptLimits | None
    ) -> ScriptResult:
        if not self._is_open:
            raise SandboxError(
                "The sandbox is not open, and nothing was run.",
                suggestion="Use it in `async with SandboxExecutor(…) as sandbox:`.",
            )
        job = Job(
            script=script,
            parameters=parameters,
            secrets=self._secrets,
            origins=_origins(self._settings),
            limits=limits or self.limits,
            description=description,
        )
        started_at = time.perf_counter()
        completed = await self._backend.run(job)
        return self._result(completed, job, time.perf_counter() - started_at)

    def _result(self, completed: Completed, job: Job, seconds: float) -> ScriptResult:
        stderr = self._text(completed.stderr, completed.ending)
        reason = _REASONS[completed.ending].format(limits=job.limits)
        success = completed.ending == "finished" and completed.exit_code == 0
        return ScriptResult(
            success=success,
            output=self._text(completed.stdout, completed.ending),
            error="\n".join(part for part in (stderr, reason) if part),
            exit_code=completed.exit_code,
            ending=completed.ending,
            description=job.description,
            seconds=seconds,
        )

    def _text(self, content: bytes, ending: Ending) -> str:
        text = self._redactor.mask_bytes(content).decode("utf-8", "replace")
        # What was cut may end within a key, which is not recognized.
        return text[:-_MAX_KEY_CHARS] if ending == "output" else text


def _make_backend(backend: object) -> Backend:
    if isinstance(backend, str):
        if backend not in _BACKENDS:
            raise ConfigurationError(
                f"There is no sandbox backend {backend!r}.",
                suggestion="Use 'bubblewrap' or 'e2b'; 'subprocess' is no boundary.",
            )
        module, name = _BACKENDS[backend]
        package = __name__.rpartition(".")[0]
        return cast("Backend", getattr(import_module(f"{package}.{module}"), name)())
    if not all(callable(getattr(backend, name, None)) for name in ("open", "run", "aclose")):
        raise TypeError(
            f"backend must be a name or have open, run and aclose, not {type(backend).__name__}"
        )
    return cast("Backend", backend)


def _secrets(settings: Settings) -> dict[str, str]:
    """Return the environment variables that `AsyncPostHog()` reads in the sandbox."""
    found = {"POSTHOG_HOST": settings.host}
    if not settings.token_only:
        found["POSTHOG_PERSONAL_API_KEY"] = settings.api_key.reveal()
    if settings.project_api_key is not None:
        found["POSTHOG_PROJECT_API_KEY"] = settings.project_api_key.reveal()
    if settings.project_id is not None:
        found["POSTHOG_PROJECT_ID"] = str(settings.project_id)
    if settings.organization_id is not None:
        found["POSTHOG_ORGANIZATION_ID"] = settings.organization_id
    return found


def _origins(settings: Settings) -> tuple[Origin, ...]:
    origins: list[Origin] = []
    for url in (settings.hosts.app, settings.hosts.ingest):
        parts = urlsplit(url)
        scheme: Literal["https", "http"] = "http" if parts.scheme == "http" else "https"
        port = parts.port or (80 if scheme == "http" else 443)
        origin = Origin(scheme, parts.hostname or "", port)
        if origin not in origins:
            origins.append(origin)
    return tuple(origins)
