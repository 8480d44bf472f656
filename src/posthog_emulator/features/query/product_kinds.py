"""The kinds of queries of single products, with the functions that compute them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from .ai_traces import run_ai_session, run_trace, run_trace_neighbors, run_traces
from .database_schema import run_autocomplete, run_database_schema
from .error_correlation import run_error_correlation
from .experiment_legacy import run_experiment_funnels, run_experiment_trends
from .experiment_metrics import run_experiment
from .logs import run_log_attributes, run_log_values, run_logs
from .result import Result
from .runner import QuerySession

__all__ = ["PRODUCT_KINDS"]

Run: TypeAlias = "Callable[[QuerySession, Mapping[str, Any]], Result]"

PRODUCT_KINDS: Final[Mapping[str, Run]] = MappingProxyType({
    "DatabaseSchemaQuery": run_database_schema,
    "HogQLAutocomplete": run_autocomplete,
    "ErrorTrackingIssueCorrelationQuery": run_error_correlation,
    "ExperimentQuery": run_experiment,
    "ExperimentFunnelsQuery": run_experiment_funnels,
    "ExperimentTrendsQuery": run_experiment_trends,
    "LogsQuery": run_logs,
    "LogAttributesQuery": run_log_attributes,
    "LogValuesQuery": run_log_values,
    "TracesQuery": run_traces,
    "TraceQuery": run_trace,
    "TraceNeighborsQuery": run_trace_neighbors,
    "SessionQuery": run_ai_session,
})  # fmt: skip
"""What computes a query, by its kind."""
