"""OpenTelemetry: a span and a duration for each attempt, and metrics of the rate limits.

Needs `asyncposthog[otel]`, and is not active by default:

    ph = AsyncPostHog(middleware=[opentelemetry.tracing_middleware()])
    opentelemetry.instrument_rate_limits(ph)

Names and attributes follow the semantic conventions for HTTP clients. Spans have no headers,
queries, bodies and ids, and nothing is sent to PostHog.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import httpx

from asyncposthog.errors import ConfigurationError
from asyncposthog.transport.middleware import CallNext, Middleware

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.trace import TracerProvider

    from asyncposthog.client import BaseClient

__all__ = ["instrument_rate_limits", "tracing_middleware"]

_SCOPE = "asyncposthog"


def tracing_middleware(
    tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> Middleware:
    """Return middleware that creates a span for each attempt and records its duration.

    The name of the span is method and path template. Retries are siblings, numbered by
    `http.request.resend_count`. The metric is `http.client.request.duration`, in seconds.

    Args:
        tracer_provider: The tracer provider; None: the global one.
        meter_provider: The meter provider; None: the global one.

    Raises:
        ConfigurationError: OpenTelemetry is not installed.
    """
    _require_opentelemetry()
    from opentelemetry import metrics
    from opentelemetry import trace as tracing
    from opentelemetry.trace import SpanKind, Status, StatusCode

    tracer = tracing.get_tracer(_SCOPE, tracer_provider=tracer_provider)
    meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
    duration = meter.create_histogram(
        "http.client.request.duration", "s", "How long attempts take."
    )

    async def handle(request: httpx.Request, call_next: CallNext) -> httpx.Response:
        call: dict[str, Any] = request.extensions.get("asyncposthog", {})
        attributes = _attributes(request, call)
        name = f"{request.method} {attributes['url.template']}"
        started_at = time.perf_counter()
        with tracer.start_as_current_span(
            name, kind=SpanKind.CLIENT, attributes=attributes, record_exception=False,
            set_status_on_exception=False,
        ) as span:  # fmt: skip
            if call.get("attempt", 1) > 1:
                span.set_attribute("http.request.resend_count", call["attempt"] - 1)
            try:
                response = await call_next(request)
            except BaseException as error:
                # Only the type: the message may contain a host or a path.
                attributes["error.type"] = type(error).__qualname__
                raise
            else:
                attributes["http.response.status_code"] = response.status_code
                if response.status_code >= 400:
                    attributes["error.type"] = str(response.status_code)
                return response
            finally:
                span.set_attributes(attributes)
                if "error.type" in attributes:
                    span.set_status(Status(StatusCode.ERROR))
                duration.record(time.perf_counter() - started_at, attributes)

    return handle


def instrument_rate_limits(client: BaseClient, meter_provider: MeterProvider | None = None) -> None:
    """Register metrics of the client's rate limits, which are read when metrics are collected.

    Gauges, by `bucket`: `posthog.client.rate_limit.remaining`, `.waiting` and `.blocked_for`
    (seconds). Counters: `posthog.client.rate_limit.requests`, `.retries`, `.waits` and `.throttled`
    (429s). The client is not kept alive by this.

    Args:
        client: The client whose `rate_limits` are read.
        meter_provider: The meter provider; None: the global one.

    Raises:
        ConfigurationError: OpenTelemetry is not installed.
    """
    _require_opentelemetry()
    from opentelemetry import metrics
    from opentelemetry.metrics import Observation

    meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
    # Instruments cannot be removed: a strong reference would keep every client alive.
    client_reference = weakref.ref(client)

    def gauge(name: str, unit: str, text: str) -> None:
        def read(options: CallbackOptions) -> Iterable[Observation]:
            current = client_reference()
            if current is None:
                return []
            buckets = current.rate_limits.buckets.items()
            return [Observation(getattr(b, name), {"bucket": label}) for label, b in buckets]

        meter.create_observable_gauge(f"posthog.client.rate_limit.{name}", [read], unit, text)

    def counter(name: str, text: str) -> None:
        def read(options: CallbackOptions) -> Iterable[Observation]:
            current = client_reference()
            return [] if current is None else [Observation(getattr(current.rate_limits, name))]

        label = f"posthog.client.rate_limit.{name}"
        meter.create_observable_counter(label, [read], "{request}", text)

    counter("requests", "Requests that were admitted.")
    counter("retries", "Admitted requests that were retries.")
    counter("waits", "Requests that had to wait.")
    counter("throttled", "Requests that the server answered with 429.")
    gauge("remaining", "{request}", "Requests that can be sent at once.")
    gauge("waiting", "{request}", "Requests that wait for the limit.")
    gauge("blocked_for", "s", "Seconds for which no request is sent, after a 429.")


def _attributes(request: httpx.Request, call: dict[str, Any]) -> dict[str, str | int]:
    url = request.url
    attributes: dict[str, str | int] = {
        "http.request.method": request.method,
        "server.address": url.host,
        "server.port": url.port or (443 if url.scheme == "https" else 80),
        "url.scheme": url.scheme,
        "url.template": "(ad hoc)",
    }
    operation = call.get("operation")
    if operation and operation != "request":
        attributes["url.template"] = call["path"]
        attributes["posthog.operation"] = operation
    return attributes


def _require_opentelemetry() -> None:
    if find_spec("opentelemetry") is None:
        raise ConfigurationError(
            "OpenTelemetry is not installed.",
            suggestion="Run: pip install 'asyncposthog[otel]'.",
        )
