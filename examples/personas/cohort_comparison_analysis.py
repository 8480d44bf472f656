"""Technical product manager: how do paid users behave vs free users?"""

from __future__ import annotations

from asyncposthog import AsyncPostHog, recipes
from examples.personas.demo_project import NOW, run


async def main(ph: AsyncPostHog) -> None:
    """Compare a cohort with persons of a plan."""
    paying = [cohort async for cohort in ph.cohorts.list() if cohort.name == "Paying"]
    compared = await recipes.cohort_comparison(
        ph,
        {"paid": paying[0].id, "free": {"plan": "free"}},
        outcome="document shared",
        days=90,
        end=NOW,
    )
    for group in compared:
        print(
            f"{group.name}: {group.persons} persons, {group.events_per_person:.1f} events each "
            f"({group.low:.1f} to {group.high:.1f}) on {group.active_days_per_person:.1f} days; "
            f"{group.outcome_share:.0%} shared a document"
        )


if __name__ == "__main__":
    run(main)
