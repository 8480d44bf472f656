"""What the client offers beyond the generated resources, and in place of some of them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from asyncposthog.resources import Resources

if TYPE_CHECKING:
    from asyncposthog.export.service import Export
    from asyncposthog.query.insights import InsightsService
    from asyncposthog.query.service import QueryService

__all__ = ["Services"]


class Services(Resources):
    """The resources, with more to some of them. Each is loaded when it is first used."""

    @cached_property
    def export(self) -> Export:
        """Exports of many rows: events, persons, sessions, groups, any HogQL, any list."""
        from asyncposthog.export.service import Export

        return Export(self._executor)

    @cached_property
    def insights(self) -> InsightsService:
        """Operations on `insights`, and their results."""
        from asyncposthog.query.insights import InsightsService

        return InsightsService(self._executor)

    @cached_property
    def query(self) -> QueryService:
        """Operations on `query`. Called, it runs one: `await ph.query("SELECT 1")`."""
        from asyncposthog.query.service import QueryService

        return QueryService(self._executor)
