"""`mcp`: serve PostHog's API to models over the Model Context Protocol."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .error_messages import UsageError
from .session import session
from .terminal import print_status

if TYPE_CHECKING:
    from asyncposthog.toolkit import Toolkit

__all__ = ["McpOptions", "serve_mcp"]

TOKEN_VARIABLE: Final = "POSTHOG_MCP_TOKEN"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, slots=True, kw_only=True)
class McpOptions:
    """Arguments of the command."""

    http: bool = False
    listen: str = "127.0.0.1"
    port: int = 8808
    origins: Sequence[str] = ()
    read_only: bool = False
    dry_run: bool = False
    tools: Sequence[str] = ()
    features: Sequence[str] = ()
    export_dir: str | None = None
    max_result_tokens: int = 6000


async def serve_mcp(options: McpOptions) -> None:
    """Serve until the client disconnects, or until Ctrl-C."""
    from asyncposthog.contrib.mcp import new_token, serve_http, serve_stdio

    async with session.make_client(read_only=options.read_only) as client:
        kit = make_kit(client, options)
        if not options.http:
            await serve_stdio(kit)
            return
        token = os.environ.get(TOKEN_VARIABLE)
        if not token:
            token = new_token()
            print_status(f"{TOKEN_VARIABLE} is not set. The token of this run: {token}")
        with _listen(options.listen, options.port) as sock:
            port = sock.getsockname()[1]
            print_status(f"MCP server: http://{options.listen}:{port}/mcp ({len(kit)} tools)")
            origins = tuple(options.origins)
            await serve_http(kit, token=token, host=options.listen, origins=origins, sock=sock)


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        UsageError: The address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UsageError(
            f"Cannot listen on {host}:{port}: {error.strerror or error}.",
            "Choose another --port or --listen.",
        ) from None


def make_kit(client: Any, options: McpOptions) -> Toolkit:
    """Return the toolkit that the options ask for.

    Raises:
        UsageError: There is no such tool or feature.
    """
    from asyncposthog.toolkit import Toolkit

    names = _split(options.tools)
    features = _split(options.features)
    try:
        kit = Toolkit(
            client,
            core=not names or "core" in names,
            read_only=options.read_only,
            dry_run=options.dry_run,
            features=features or None,
            export_dir=options.export_dir,
            max_result_tokens=options.max_result_tokens,
        )
        for name in names:
            if "." in name:
                kit.expose(name)
            elif name != "core":
                kit.use(name)
    except ValueError as error:
        raise UsageError(f"{error}.") from None
    return kit


def _split(values: Sequence[str]) -> list[str]:
    return [name.strip() for value in values for name in value.split(",") if name.strip()]
