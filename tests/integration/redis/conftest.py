"""One Redis server for all tests of this directory."""

from __future__ import annotations

from .redis_server import private_redis, redis_server

__all__ = ["private_redis", "redis_server"]
