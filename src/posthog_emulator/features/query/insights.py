"""The kinds of insights, with the functions that compute them and list the actors in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from .correlation import correlation_actors, run_correlation
from .funnels import funnel_actors, run_funnels
from .insight_results import Actors
from .lifecycle import lifecycle_actors, run_lifecycle
from .paths import paths_actors, run_paths
from .result import Result
from .retention import retention_actors, run_retention
from .runner import QuerySession
from .stickiness import run_stickiness, stickiness_actors
from .trends import run_trends, trends_actors

__all__ = ["INSIGHTS", "INSIGHT_ACTORS", "ActorsOf"]

Run: TypeAlias = "Callable[[QuerySession, Mapping[str, Any]], Result]"
ActorsOf: TypeAlias = "Callable[[QuerySession, Mapping[str, Any], Mapping[str, Any]], Actors]"
"""Takes the session, the insight's query, and the fields that name a data point."""

INSIGHTS: Final[Mapping[str, Run]] = MappingProxyType({
    "TrendsQuery": run_trends,
    "FunnelsQuery": run_funnels,
    "FunnelCorrelationQuery": run_correlation,
    "RetentionQuery": run_retention,
    "PathsQuery": run_paths,
    "StickinessQuery": run_stickiness,
    "LifecycleQuery": run_lifecycle,
})  # fmt: skip
"""What computes an insight, by its kind."""
INSIGHT_ACTORS: Final[Mapping[str, ActorsOf]] = MappingProxyType({
    "TrendsQuery": trends_actors,
    "FunnelsQuery": funnel_actors,
    "FunnelCorrelationQuery": correlation_actors,
    "RetentionQuery": retention_actors,
    "PathsQuery": paths_actors,
    "StickinessQuery": stickiness_actors,
    "LifecycleQuery": lifecycle_actors,
})  # fmt: skip
"""What lists the actors behind a data point of an insight, by its kind."""
