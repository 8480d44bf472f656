"""When a scheduled export runs, and for which stretch of time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

__all__ = ["LENGTHS", "WEEKDAYS", "Rhythm"]

LENGTHS: Final = {
    "every 5 minutes": timedelta(minutes=5),
    "every 15 minutes": timedelta(minutes=15),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
WEEKDAYS: Final = (
    "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday",
)  # fmt: skip
_SUNDAY: Final = date(2023, 1, 1)


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often, and where days and weeks begin."""

    interval: str
    timezone: str = "UTC"
    offset_day: int = 0
    """The day weeks begin with; 0 is Sunday."""
    offset_hour: int = 0
    """The hour days and weeks begin at."""

    @classmethod
    def of(cls, export: Mapping[str, Any]) -> Rhythm:
        """That of a batch export."""
        return cls(
            str(export["interval"]),
            export.get("timezone") or "UTC",
            export.get("offset_day") or 0,
            export.get("offset_hour") or 0,
        )

    @property
    def dated(self) -> bool:
        """Whether it goes by days, which are not all of one length."""
        return self.interval in {"day", "week"}

    def begins(self, day: date) -> datetime:
        """When a day, or a week, begins."""
        zone = ZoneInfo(self.timezone)
        return datetime.combine(day, time(self.offset_hour), zone).astimezone(UTC)

    def before(self, moment: datetime) -> datetime:
        """The latest boundary that is not after a moment."""
        if not self.dated:
            length = LENGTHS[self.interval]
            epoch = datetime(1970, 1, 1, tzinfo=UTC)
            return epoch + (moment.astimezone(UTC) - epoch) // length * length
        day = moment.astimezone(ZoneInfo(self.timezone)).date()
        if self.interval == "week":
            day -= timedelta(days=((day - _SUNDAY).days - self.offset_day) % 7)
        step = 1 if self.interval == "day" else 7
        while self.begins(day) > moment:
            day -= timedelta(days=step)
        return self.begins(day)

    def after(self, boundary: datetime) -> datetime:
        """The boundary that follows one."""
        if not self.dated:
            return boundary + LENGTHS[self.interval]
        day = boundary.astimezone(ZoneInfo(self.timezone)).date()
        return self.begins(day + LENGTHS[self.interval])

    def stretches(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Every stretch from one boundary to the next that lies between two moments.

        One that begins before `start` is left out, as is one that ends after `end`.
        """
        edge = self.before(start)
        if edge < start:
            edge = self.after(edge)
        while (following := self.after(edge)) <= end:
            yield edge, following
            edge = following
