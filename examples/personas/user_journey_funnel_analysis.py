"""Technical product manager: where are users dropping off in our funnel?"""

from __future__ import annotations

from asyncposthog import AsyncPostHog, recipes
from examples.personas.demo_project import NOW, run


async def main(ph: AsyncPostHog) -> None:
    """Find the weakest step, and the kind of device on which it is weakest."""
    steps = ["$pageview", "signed up", "project created"]
    funnel = await recipes.funnel_drop_off(ph, steps, days=90, end=NOW)
    for step in funnel:
        taken = "" if step.median_seconds is None else f", {step.median_seconds / 60:.0f} min"
        print(f"{step.step}. {step.name}: {step.persons} persons, {step.dropped} left{taken}")
    by_device = await recipes.funnel_drop_off(ph, steps, breakdown="$device_type", days=90, end=NOW)
    worst = by_device.worst
    if worst is not None:
        print(f"weakest: {worst.name} on {worst.breakdown}, {worst.step_conversion:.0%} pass it")


if __name__ == "__main__":
    run(main)
