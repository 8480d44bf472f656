"""Answers to common questions about a product: `await recipes.power_users(ph)`.

Each recipe is a function of a client. Its result has typed rows, `to_arrow()`, `to_polars()`,
`to_pandas()`, and a chart: `plot()` and `save("chart.png")`.
"""

from __future__ import annotations

from .activity import (
    Lifecycle,
    LifecycleCount,
    Stickiness,
    StickinessCount,
    TrendPoint,
    Trends,
    lifecycle,
    stickiness,
    trends,
)
from .channels import MarketingChannel, MarketingChannels, marketing_channels
from .comparison import CohortComparison, ComparedCohort, Group, cohort_comparison
from .conditions import Event, EventLike
from .funnels import FunnelDropOff, FunnelStep, funnel_drop_off
from .impact import (
    ErrorImpact,
    ErrorKind,
    FeatureImpact,
    FeaturePeriod,
    error_impact,
    feature_impact,
)
from .people import (
    ChurnRisk,
    JourneyEvent,
    PersonAtRisk,
    PowerUser,
    PowerUsers,
    UserJourney,
    churn_risk,
    power_users,
    user_journey,
)
from .periods import Interval, Period
from .report import EventCount, ProjectReport, TopEvents, project_report, top_events
from .result import RecipeResult
from .retention import Retention, RetentionCell, retention
from .statistics import Difference
from .warehouse import SyncedTable, WarehouseSync, warehouse_sync

__all__ = [
    "ChurnRisk",
    "CohortComparison",
    "ComparedCohort",
    "Difference",
    "ErrorImpact",
    "ErrorKind",
    "Event",
    "EventCount",
    "EventLike",
    "FeatureImpact",
    "FeaturePeriod",
    "FunnelDropOff",
    "FunnelStep",
    "Group",
    "Interval",
    "JourneyEvent",
    "Lifecycle",
    "LifecycleCount",
    "MarketingChannel",
    "MarketingChannels",
    "Period",
    "PersonAtRisk",
    "PowerUser",
    "PowerUsers",
    "ProjectReport",
    "RecipeResult",
    "Retention",
    "RetentionCell",
    "Stickiness",
    "StickinessCount",
    "SyncedTable",
    "TopEvents",
    "TrendPoint",
    "Trends",
    "UserJourney",
    "WarehouseSync",
    "churn_risk",
    "cohort_comparison",
    "error_impact",
    "feature_impact",
    "funnel_drop_off",
    "lifecycle",
    "marketing_channels",
    "power_users",
    "project_report",
    "retention",
    "stickiness",
    "top_events",
    "trends",
    "user_journey",
    "warehouse_sync",
]
