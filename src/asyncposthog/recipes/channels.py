"""Recipe: which marketing channels bring persons who stay and pay."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Final

from .conditions import EventLike, QueryBuilder, as_event
from .figures import Bar, Bars, format_number, format_percent
from .periods import last_days, require_count
from .result import RecipeResult, run

if TYPE_CHECKING:
    from asyncposthog.client import AsyncPostHog

__all__ = ["MarketingChannel", "MarketingChannels", "marketing_channels"]

NO_CHANNEL: Final = "(none)"


@dataclass(frozen=True, slots=True)
class MarketingChannel:
    """The persons of one channel."""

    channel: str
    persons: int
    """Persons with any event in the period."""
    signups: int
    """Persons who did the signup event."""
    conversions: int
    """Persons who did the conversion event."""
    signup_rate: float
    """Signups as a share of persons."""
    conversion_rate: float
    """Conversions as a share of persons."""
    events_per_person: float
    revenue: float | None
    """The sum of the property `revenue` of the conversion events; None: none was asked for."""


@dataclass(frozen=True, kw_only=True)
class MarketingChannels(RecipeResult[MarketingChannel]):
    """Channels by conversions, then by persons, highest first."""

    row_type: ClassVar[type] = MarketingChannel
    signup: str
    conversion: str

    def figure(self) -> Bars:
        """Return bars with the signup rate and the conversion rate of each channel."""
        bars: list[Bar] = []
        for row in self.rows:
            label = f"{row.channel} ({row.persons:,})"
            signups = f"{format_percent(row.signup_rate)} · {row.signups:,}"
            conversions = f"{format_percent(row.conversion_rate)} · {row.conversions:,}"
            if row.revenue:
                conversions += f", revenue {format_number(row.revenue)}"
            bars.append(Bar(label, row.signup_rate, signups, self.signup))
            bars.append(Bar(label, row.conversion_rate, conversions, self.conversion))
        return Bars(
            title="Marketing channels: who signs up and converts",
            subtitle=f"{self.period}; persons of each channel in brackets",
            empty="" if bars else f"No events from {self.period}",
            labels_title="Channel",
            values_title="Share of the persons of the channel",
            bars=tuple(bars),
            unit="percent",
            groups_title="Event",
        )


async def marketing_channels(
    ph: AsyncPostHog,
    signup: EventLike,
    conversion: EventLike,
    *,
    by: str = "person.$initial_utm_source",
    revenue: str | None = None,
    days: int = 30,
    end: datetime | None = None,
    limit: int = 15,
    timeout: float | None = None,  # noqa: ASYNC109
) -> MarketingChannels:
    """Return how many persons of each marketing channel sign up and convert.

    Args:
        ph: The client; its key needs the scope `query:read`.
        signup: The event of signing up.
        conversion: The event that the channel is to bring, such as a purchase.
        by: The property that names the channel; `person.…` is one of persons, such as
            `person.$initial_referring_domain`. Of a property of events, such as `utm_campaign`, a
            person's first value in the period counts.
        revenue: A numeric property of the conversion event to add up.
        days: The number of days before `end`.
        end: The end of the period, with a time zone; None: now.
        limit: The maximum number of channels, up to 1,000.
        timeout: Seconds for the query, waits included; None: the client's limits.

    Raises:
        PostHogError: The query failed.
        TypeError, ValueError: An argument is invalid. Nothing was sent.
    """
    period, query = last_days(days, end), QueryBuilder()
    require_count("limit", limit, most=1000)
    signed_up, converted = as_event(signup), as_event(conversion)
    value = f"toString({query.property(by)})"
    done = query.matches(converted)
    amount = "0" if revenue is None else f"sumIf(toFloat({query.property(revenue)}), {done})"
    result = await run(
        ph,
        f"""
        SELECT channel, count() AS persons, countIf(signups > 0), countIf(conversions > 0) AS n,
            sum(events), sum(amount)
        FROM (
            SELECT person_id,
                argMinIf({value}, timestamp, isNotNull({value})) AS channel, count() AS events,
                countIf({query.matches(signed_up)}) AS signups, countIf({done}) AS conversions,
                {amount} AS amount
            FROM events WHERE {query.during(period)} GROUP BY person_id
        ) GROUP BY channel ORDER BY n DESC, persons DESC, channel LIMIT {query.bind(limit)}
        """,  # noqa: S608
        query,
        "marketing channels",
        timeout,
    )
    rows = [
        MarketingChannel(
            channel=channel or NO_CHANNEL,
            persons=persons,
            signups=signups,
            conversions=conversions,
            signup_rate=signups / persons,
            conversion_rate=conversions / persons,
            events_per_person=events / persons,
            revenue=None if revenue is None else float(total or 0),
        )
        for channel, persons, signups, conversions, events, total in result
    ]
    return MarketingChannels(
        rows=tuple(rows), period=period, signup=str(signed_up), conversion=str(converted)
    )
