"""Connections that httpcore's pool counts although no request has them.

A call that is cancelled between two steps of httpcore (1.0.9) can leave one behind: it stays
"connecting" or "active" and takes a place of the pool. In a client of the user's own, which
cannot be replaced, it is taken out of the pool.
"""

from __future__ import annotations

from typing import Any, cast

import httpx

__all__ = ["remove_orphans", "transports"]


def transports(client: httpx.AsyncClient) -> list[httpx.AsyncBaseTransport]:
    """Return the transports of a client, those for some URLs only among them."""
    every = (getattr(client, "_transport", None), *getattr(client, "_mounts", {}).values())
    return [transport for transport in every if transport is not None]


def remove_orphans(client: httpx.AsyncClient) -> list[Any]:
    """Take connections without a request out of the pools of a client, and return them."""
    orphans: list[Any] = []
    for transport in transports(client):
        pool: Any = getattr(transport, "_pool", None)
        connections: Any = getattr(pool, "_connections", None)
        requests: Any = getattr(pool, "_requests", None)
        if not isinstance(connections, list) or not isinstance(requests, list):
            continue  # another transport, or another httpcore
        listed = cast("list[Any]", connections)
        every = cast("list[Any]", requests)
        assigned = {id(getattr(request, "connection", None)) for request in every}
        orphans = [one for one in listed if id(one) not in assigned and not _usable(one)]
        for one in orphans:
            listed.remove(one)
        orphans += orphans
    return orphans


def _usable(connection: Any) -> bool:
    """Return whether the pool itself uses the connection again, or drops it."""
    return connection.is_idle() or connection.is_closed() or connection.is_available()
