"""Growth marketer: which marketing channels drive the best users?"""

from __future__ import annotations

from asyncposthog import AsyncPostHog, recipes
from examples.personas.demo_project import NOW, run


async def main(ph: AsyncPostHog) -> None:
    """List the channels with their signups, purchases and revenue."""
    channels = await recipes.marketing_channels(
        ph, "signed up", "purchase completed", revenue="amount", days=90, end=NOW
    )
    for channel in channels:
        print(
            f"{channel.channel}: {channel.persons} persons, {channel.signup_rate:.0%} signed up, "
            f"{channel.conversion_rate:.1%} bought for {channel.revenue:.0f} USD"
        )


if __name__ == "__main__":
    run(main)
