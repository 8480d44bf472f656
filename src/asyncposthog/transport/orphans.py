"""Remove leaked connections from the pool of a user's httpx client.

A call that is cancelled between two steps of httpcore (1.0.9) can leak its connection, which stays
"connecting" or "active" and counts against the limit of the pool. A client that we have built is
replaced instead; one of the user's cannot be.
"""

from __future__ import annotations

from typing import Any, cast

import httpx

from .http_client import HttpClient

__all__ = ["remove_orphans", "transports"]


def transports(client: HttpClient) -> list[httpx.AsyncBaseTransport]:
    """Return all transports of a client, those for certain URLs included."""
    every = (getattr(client, "_transport", None), *getattr(client, "_mounts", {}).values())
    return [transport for transport in every if transport is not None]


def remove_orphans(client: HttpClient) -> list[Any]:
    """Remove connections without a request from the pools of a client, and return them."""
    orphans: list[Any] = []
    for transport in transports(client):
        pool: Any = getattr(transport, "_pool", None)
        connections: Any = getattr(pool, "_connections", None)
        requests: Any = getattr(pool, "_requests", None)
        if not isinstance(connections, list) or not isinstance(requests, list):
            continue  # another transport, or another version of httpcore
        listed = cast("list[Any]", connections)
        every = cast("list[Any]", requests)
        assigned = {id(getattr(request, "connection", None)) for request in every}
        orphans = [
            connection
            for connection in listed
            if id(connection) not in assigned and not _usable(connection)
        ]
        for connection in orphans:
            listed.remove(connection)
        orphans += orphans
    return orphans


def _usable(connection: Any) -> bool:
    """Return whether the pool reuses or removes the connection itself."""
    return connection.is_idle() or connection.is_closed() or connection.is_available()
