"""Send events and evaluate flags with PostHog's Python SDK, synchronous and asynchronous.

The argument is the base URL of an emulator.
"""

import asyncio
import json
import sys

from posthog import AsyncPosthog, Posthog

HOST = sys.argv[1]


def synchronous() -> dict[str, object]:
    """Use the synchronous client, with local evaluation, and return what it said."""
    client = Posthog(
        "phc_emulator", host=HOST, personal_api_key="phx_emulator", flush_interval=0.05,
        poll_interval=3600,
    )  # fmt: skip
    client.capture("visited", distinct_id="visitor")
    client.capture("$identify", distinct_id="ada", properties={"$anon_distinct_id": "visitor"})
    client.set(distinct_id="ada", properties={"email": "ada@example.com"})
    client.group_identify("company", "acme", {"seats": 7})
    client.capture("paid", distinct_id="ada", groups={"company": "acme"})
    try:
        raise LookupError("no such cart")
    except LookupError as error:
        client.capture_exception(error, distinct_id="ada")
    client.load_feature_flags()
    said: dict[str, object] = {
        "layout": client.get_feature_flag("layout", "ada"),
        "payload": client.get_feature_flag_payload("layout", "ada"),
        "staff": client.feature_enabled(
            "staff",
            "someone",
            person_properties={"email": "ada@example.com"},
            only_evaluate_locally=True,
        ),
    }
    client.shutdown()
    return said


async def asynchronous() -> dict[str, object]:
    """Use the asynchronous client, and return what it said."""
    async with AsyncPosthog("phc_emulator", host=HOST) as client:
        client.capture("signed up", distinct_id="bob", properties={"plan": "pro"})
        await client.flush()
        evaluated = await client.evaluate_flags("bob")
        return {"on": evaluated.is_enabled("on"), "layout": evaluated.get_flag("layout")}


print(json.dumps({"sync": synchronous(), "async": asyncio.run(asynchronous())}))
