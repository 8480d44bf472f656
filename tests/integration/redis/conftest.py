"""One Redis for the whole folder."""

from __future__ import annotations

from .redis_server import private_redis, redis_server

__all__ = ["private_redis", "redis_server"]
