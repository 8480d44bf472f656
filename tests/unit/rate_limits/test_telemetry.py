"""OpenTelemetry spans and metrics, and hooks for requests and responses."""

from __future__ import annotations

import gc
import subprocess
import sys
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from asyncposthog import AsyncPostHog, ConfigurationError, NotFoundError, observe
from asyncposthog.contrib import opentelemetry
from asyncposthog.errors import ConnectionError  # noqa: A004

from .helpers import KEY, anyio_backend
from .test_client import Wire, client, throttled

__all__ = ["anyio_backend"]

pytestmark = pytest.mark.anyio
TEMPLATE = "/api/projects/{project_id}/feature_flags/{id}/"


class Collected:
    """Spans and metrics that a process would export."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def points(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def collected() -> Collected:
    return Collected()


def traced(collected: Collected, wire: Wire, **settings: Any) -> AsyncPostHog:
    handle = opentelemetry.tracing_middleware(collected.tracers, collected.meters)
    return client(wire, middleware=[handle], **settings)


async def test_a_span_for_every_attempt(collected: Collected) -> None:
    wire = Wire(httpx.Response(503))
    async with traced(collected, wire) as ph:
        await ph.feature_flags.get(7)
    first, second = collected.spans
    assert first.name == second.name == f"GET {TEMPLATE}"
    assert first.kind is SpanKind.CLIENT
    usual = {
        "http.request.method": "GET",
        "server.address": "us.posthog.com",
        "server.port": 443,
        "url.scheme": "https",
        "url.template": TEMPLATE,
        "posthog.operation": "feature_flags.get",
    }
    assert first.attributes == {
        **usual,
        "http.response.status_code": 503,
        "error.type": "503",
    }
    assert second.attributes == {
        **usual,
        "http.response.status_code": 200,
        "http.request.resend_count": 1,
    }
    assert first.status.status_code is StatusCode.ERROR
    assert second.status.status_code is StatusCode.UNSET
    assert "traceparent" not in wire.requests[0].headers


async def test_a_span_names_the_error_and_nothing_else(collected: Collected) -> None:
    wire = Wire(httpx.ReadError("phx_s3cr3t at /api/projects/1/"))
    async with traced(collected, wire, max_retries=0) as ph:
        with pytest.raises(ConnectionError):
            await ph.feature_flags.get(7)
        wire.answers = [httpx.Response(404, json={"detail": KEY})]
        with pytest.raises(NotFoundError):
            await ph.request("GET", f"/api/projects/1/x/?token={KEY}", query={"q": "secret"})
    failed, missing = collected.spans
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "ReadError"
    assert not failed.events
    assert missing.name == "GET (ad hoc)"
    everything = failed.to_json() + missing.to_json()
    assert KEY not in everything
    assert "secret" not in everything


async def test_how_long_attempts_take(collected: Collected) -> None:
    async with traced(collected, Wire(httpx.Response(500))) as ph:
        await ph.feature_flags.get(7)
    points = collected.points("http.client.request.duration")
    assert {point.attributes["http.response.status_code"] for point in points} == {200, 500}
    assert sum(point.count for point in points) == 2
    assert not any("resend" in key for point in points for key in point.attributes)


async def test_gauges(collected: Collected) -> None:
    async with client(Wire(), limits={"burst": (5, 60)}) as ph:
        opentelemetry.instrument_rate_limits(ph, collected.meters)
        await ph.feature_flags.get(7)
        points = collected.points("posthog.client.rate_limit.remaining")
        assert {p.attributes["bucket"]: p.value for p in points} == {"burst": 4, "sustained": 4799}
        assert [p.value for p in collected.points("posthog.client.rate_limit.waiting")] == [0, 0]
        assert [p.value for p in collected.points("posthog.client.rate_limit.blocked_for")] == [
            0,
            0,
        ]
    del ph
    gc.collect()
    assert collected.points("posthog.client.rate_limit.remaining") == []


async def test_counters(collected: Collected) -> None:
    wire = Wire(throttled(1), httpx.Response(500))
    async with client(wire, limits={"burst": (3, 60)}) as ph:
        opentelemetry.instrument_rate_limits(ph, collected.meters)
        await ph.feature_flags.get(7)
        await ph.feature_flags.get(7)
        counts = {
            name: [point.value for point in collected.points(f"posthog.client.rate_limit.{name}")]
            for name in ("requests", "retries", "waits", "throttled")
        }
    assert counts == {"requests": [4], "retries": [2], "waits": [2], "throttled": [1]}


async def test_without_opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        return None

    monkeypatch.setattr(opentelemetry, "find_spec", absent)
    with pytest.raises(ConfigurationError, match=r"pip install 'asyncposthog\[otel\]'"):
        opentelemetry.tracing_middleware()
    with pytest.raises(ConfigurationError, match="not installed"):
        opentelemetry.instrument_rate_limits(client(Wire()))


def test_it_is_imported_only_when_it_is_used() -> None:
    code = (
        "import sys, asyncposthog; asyncposthog.AsyncPostHog('phx_x', project_id=1); "
        "import asyncposthog.contrib.opentelemetry; "
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_hooks() -> None:
    seen: list[object] = []

    async def answered(response: httpx.Response) -> None:
        seen.append(response.status_code)

    def sends(request: httpx.Request) -> None:
        seen.append((request.extensions["asyncposthog"], "Authorization" in request.headers))

    wire = Wire(httpx.Response(500))
    async with client(wire, middleware=[observe(sends, answered)]) as ph:
        await ph.feature_flags.get(7)
    call = {"operation": "feature_flags.get", "path": TEMPLATE}
    assert seen == [({**call, "attempt": 1}, False), 500, ({**call, "attempt": 2}, False), 200]
    async with client(wire, middleware=[observe(), observe(on_request=sends)]) as ph:
        await ph.feature_flags.get(7)
    assert len(seen) == 5
