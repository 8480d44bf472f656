"""What happens to other objects when an object changes: one entry for each collection.

To connect a product with others, write its lifecycle in the module of its feature and enter it
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from posthog_emulator.features.cohorts import lifecycle as cohorts
from posthog_emulator.features.cohorts.stored_cohorts import COHORTS
from posthog_emulator.features.dashboards import lifecycle as dashboards
from posthog_emulator.features.dashboards.tiles import DASHBOARDS, INSIGHTS
from posthog_emulator.features.error_tracking.issues import ISSUES, SCOPE
from posthog_emulator.features.experiments import lifecycle as experiments
from posthog_emulator.features.flags import lifecycle as flags
from posthog_emulator.features.flags.links import EARLY_ACCESS, EXPERIMENTS, SURVEYS
from posthog_emulator.features.flags.lookup import FLAGS
from posthog_emulator.features.recordings import lifecycle as recordings
from posthog_emulator.features.recordings.snapshots import RECORDINGS
from posthog_emulator.features.surveys import lifecycle as surveys
from posthog_emulator.state import Lifecycle

from . import early_access, endpoints

__all__ = ["LIFECYCLES"]

_LOGGED: Final[Mapping[str, str]] = {
    "actions": "Action",
    "annotations": "Annotation",
    "comments": "Comment",
    "dashboard_templates": "DashboardTemplate",
    "event_definitions": "EventDefinition",
    "experiment_holdouts": "ExperimentHoldout",
    "experiment_saved_metrics": "ExperimentSavedMetric",
    "hog_flows": "HogFlow",
    "hog_functions": "HogFunction",
    "notebooks": "Notebook",
    "property_definitions": "PropertyDefinition",
    "subscriptions": "Subscription",
}
"""Scopes of collections that change no other objects, by the name in their path."""

LIFECYCLES: Final[Mapping[str, Lifecycle]] = {
    **{f"/api/projects/{{}}/{name}/": Lifecycle(scope) for name, scope in _LOGGED.items()},
    COHORTS: cohorts.LIFECYCLE,
    DASHBOARDS: dashboards.DASHBOARD_LIFECYCLE,
    endpoints.ENDPOINTS: endpoints.LIFECYCLE,
    EARLY_ACCESS: early_access.LIFECYCLE,
    EXPERIMENTS: experiments.LIFECYCLE,
    FLAGS: flags.LIFECYCLE,
    ISSUES: Lifecycle(SCOPE),
    INSIGHTS: dashboards.INSIGHT_LIFECYCLE,
    RECORDINGS: recordings.RECORDING_LIFECYCLE,
    recordings.PLAYLISTS: recordings.PLAYLIST_LIFECYCLE,
    SURVEYS: surveys.LIFECYCLE,
}
"""Lifecycles by the template of the collection."""
