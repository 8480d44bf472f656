"""Product engineer: did our new feature improve engagement?"""

from __future__ import annotations

from datetime import timedelta

from asyncposthog import AsyncPostHog, recipes
from examples.personas.demo_project import NOW, run


async def main(ph: AsyncPostHog) -> None:
    """Compare the four weeks before and after the launch of the assistant."""
    launched = NOW - timedelta(days=42)
    impact = await recipes.feature_impact(ph, "assistant used", launched, days=28)
    for period in impact:
        print(f"{period.name}: {period.mean:.1%} of {period.persons} persons")
    change = impact.difference
    if change is None:
        print("too few persons to compare")
        return
    verdict = "more than chance explains" if change.significant else "chance can explain it"
    print(f"change: {change.value:+.1%} ({change.low:+.1%} to {change.high:+.1%}), {verdict}")


if __name__ == "__main__":
    run(main)
