"""The emulator as users have it: its core, and its own pages."""

from __future__ import annotations

from . import admin
from .core import EmulatorCore
from .http.messages import Answer, Request

__all__ = ["Emulator"]


class Emulator(EmulatorCore):
    """A small PostHog in this process: an ASGI application with state.

    It answers every operation it is given, and knows one account: the key `phx_emulator`, which
    may do everything, a project and an organization.

    Args:
        operations: The operations to answer; those of the generated registry by default, loaded
            with the first request.
        schemas: Component schemas by name; those of the registry by default.
        strict: Refuse (400) what the real server would overlook but no correct client sends:
            query parameters the schema does not have or with values of another type, another
            media type. When false they are only noted in `complaints`.
        next_host: Scheme and host to claim in `next` and `previous`, as a server behind a
            careless proxy would: `http://internal:8000`. Those of the request by default.
        html_errors: Answer every refusal with a proxy's HTML page in place of the envelope.
        person_lag: How many reads of persons after a change still show the old state.
        seed: Makes another, but always the same, series of ids.
        project_id: The number of the account's project.
        keep: How many requests and complaints to remember, the latest of them; fewer requests
            where their bodies are large.
        rate_limits: Limit requests, and queries that run at a time, as the server does.
        clock: Gives the moment; the system's by default.
        sleep: Waits for so many seconds; `anyio.sleep` by default.
        path: A folder to keep the state in, and to find it again; memory alone by default. It is
            written about a second after a change, and by `close`.

    Raises:
        ImportError: `jsonschema` is missing; install `asyncposthog[emulator]`.
        OSError: The folder cannot be used, or another emulator is using it.
        ValueError: `keep` is less than 1.
    """

    def _own_page(self, request: Request) -> Answer | None:
        page = admin.find(request.path)
        if page is None:
            return None
        with self._lock:
            return page(self, request)
