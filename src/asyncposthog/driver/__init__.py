"""The driver contract over any client: objects, fields, queries, reads and writes as plain data.

For programs that do not know PostHog's methods when they are written: agents, connectors, tools
that move data. See docs/driver.md.
"""

from asyncposthog.errors import (
    AuthenticationError,
    ConnectionError,  # noqa: A004
    PostHogError,
    QueryError,
    RateLimitError,
    ValidationError,
)

from .capabilities import DriverCapabilities, PaginationStyle
from .driver import Driver
from .errors import MissingKeyError, ObjectNotFoundError

__all__ = [
    "AuthenticationError",
    "ConnectionError",
    "Driver",
    "DriverCapabilities",
    "MissingKeyError",
    "ObjectNotFoundError",
    "PaginationStyle",
    "PostHogClient",
    "PostHogDriver",
    "PostHogError",
    "QueryError",
    "RateLimitError",
    "ValidationError",
]

PostHogClient = PostHogDriver = Driver
"""The names that other drivers give to the same class."""
