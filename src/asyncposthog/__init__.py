"""Typed async client of PostHog's private REST API.

Public names are imported on first use, so that importing the package is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from ._version import __version__

if TYPE_CHECKING:
    from asyncposthog.capture import CaptureSettings, CaptureStats, EventResult, LostEvents
    from asyncposthog.core.raw_response import RawResponse, RequestPreview, StreamedResponse
    from asyncposthog.history import ImportReport
    from asyncposthog.query.execution import QueryProgress
    from asyncposthog.query.result import QueryResult, TruncatedResultWarning
    from asyncposthog.query.stream import QueryStream
    from asyncposthog.rate_limits.limiter import RateLimiter
    from asyncposthog.rate_limits.status import BucketStatus, RateLimits
    from asyncposthog.rate_limits.stores.redis import RedisStore
    from asyncposthog.transport.clock import Clock, testing
    from asyncposthog.transport.limiter import Limiter
    from asyncposthog.transport.middleware import CallNext, Middleware, observe
    from asyncposthog.transport.retry import OnRetry, RetryDetails

    from . import models
    from .client import AsyncPostHog
    from .config import Secret, Settings
    from .doctor import Check, Diagnosis
    from .errors import (
        Attempt,
        AuthenticationError,
        CaptureError,
        ClosedError,
        ConfigurationError,
        ConflictError,
        ConnectionError,  # noqa: A004
        DecodeError,
        EventLoopError,
        ExportError,
        FlagUnavailableError,
        MethodNotAllowedError,
        NotFoundError,
        PaginationError,
        PaginationWarning,
        PermissionDeniedError,
        PostHogError,
        QueryError,
        QueryTooLargeError,
        QuotaError,
        RateLimitError,
        ReadOnlyError,
        RedirectError,
        RequestInfo,
        ResponseTooLargeError,
        SchemaDrift,
        ServerError,
        StatusError,
        TimeoutError,  # noqa: A004
        ValidationError,
    )
    from .export import Export, ExportJob, ExportPlan, Partition, Progress, Report
    from .flags.snapshot import FlagReason, FlagSnapshot
    from .operation import Operation
    from .pagination import Cursor, Page
    from .types import JSON, OMIT, FileInput, Id, Omit, RequestOptions, Timestamp

__all__ = [
    "JSON",
    "OMIT",
    "AsyncPostHog",
    "Attempt",
    "AuthenticationError",
    "BucketStatus",
    "CallNext",
    "CaptureError",
    "CaptureSettings",
    "CaptureStats",
    "Check",
    "Clock",
    "ClosedError",
    "ConfigurationError",
    "ConflictError",
    "ConnectionError",
    "Cursor",
    "DecodeError",
    "Diagnosis",
    "EventLoopError",
    "EventResult",
    "Export",
    "ExportError",
    "ExportJob",
    "ExportPlan",
    "FileInput",
    "FlagReason",
    "FlagSnapshot",
    "FlagUnavailableError",
    "Id",
    "ImportReport",
    "Limiter",
    "LostEvents",
    "MethodNotAllowedError",
    "Middleware",
    "NotFoundError",
    "Omit",
    "OnRetry",
    "Operation",
    "Page",
    "PaginationError",
    "PaginationWarning",
    "Partition",
    "PermissionDeniedError",
    "PostHogError",
    "Progress",
    "QueryError",
    "QueryProgress",
    "QueryResult",
    "QueryStream",
    "QueryTooLargeError",
    "QuotaError",
    "RateLimitError",
    "RateLimiter",
    "RateLimits",
    "RawResponse",
    "ReadOnlyError",
    "RedirectError",
    "RedisStore",
    "Report",
    "RequestInfo",
    "RequestOptions",
    "RequestPreview",
    "ResponseTooLargeError",
    "RetryDetails",
    "SchemaDrift",
    "Secret",
    "ServerError",
    "Settings",
    "StatusError",
    "StreamedResponse",
    "TimeoutError",
    "Timestamp",
    "TruncatedResultWarning",
    "ValidationError",
    "__version__",
    "models",
    "observe",
    "testing",
]

_NAMES_BY_MODULE: Final[dict[str, tuple[str, ...]]] = {
    ".capture": ("CaptureSettings", "CaptureStats", "EventResult", "LostEvents"),
    ".client": ("AsyncPostHog",),
    ".config": ("Secret", "Settings"),
    ".doctor": ("Check", "Diagnosis"),
    ".errors": (
        "Attempt",
        "AuthenticationError",
        "CaptureError",
        "ClosedError",
        "ConfigurationError",
        "ConflictError",
        "ConnectionError",
        "DecodeError",
        "EventLoopError",
        "ExportError",
        "FlagUnavailableError",
        "MethodNotAllowedError",
        "NotFoundError",
        "PaginationError",
        "PaginationWarning",
        "PermissionDeniedError",
        "PostHogError",
        "QueryError",
        "QueryTooLargeError",
        "QuotaError",
        "RateLimitError",
        "ReadOnlyError",
        "RedirectError",
        "RequestInfo",
        "ResponseTooLargeError",
        "SchemaDrift",
        "ServerError",
        "StatusError",
        "TimeoutError",
        "ValidationError",
    ),
    ".export": ("Export", "ExportJob", "ExportPlan", "Partition", "Progress", "Report"),
    ".flags.snapshot": ("FlagReason", "FlagSnapshot"),
    ".history": ("ImportReport",),
    ".rate_limits.limiter": ("RateLimiter",),
    ".rate_limits.stores.redis": ("RedisStore",),
    ".rate_limits.status": ("BucketStatus", "RateLimits"),
    ".operation": ("Operation",),
    ".pagination": ("Cursor", "Page"),
    ".query.execution": ("QueryProgress",),
    ".query.result": ("QueryResult", "TruncatedResultWarning"),
    ".query.stream": ("QueryStream",),
    ".core.raw_response": ("RequestPreview", "RawResponse", "StreamedResponse"),
    ".transport.clock": ("Clock", "testing"),
    ".transport.limiter": ("Limiter",),
    ".transport.middleware": ("CallNext", "Middleware", "observe"),
    ".transport.retry": ("OnRetry", "RetryDetails"),
    ".types": ("JSON", "OMIT", "FileInput", "Id", "Omit", "RequestOptions", "Timestamp"),
}
_MODULE_BY_NAME: Final = {
    name: module for module, names in _NAMES_BY_MODULE.items() for name in names
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name == "models":
        return import_module(".models", __name__)
    module = _MODULE_BY_NAME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(module, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
