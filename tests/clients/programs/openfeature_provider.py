"""Evaluate flags through OpenFeature with PostHog's provider.

The argument is the base URL of an emulator.
"""

import json
import sys

from openfeature import api
from openfeature.contrib.provider.posthog import PostHogProvider
from openfeature.evaluation_context import EvaluationContext
from posthog import Posthog

posthog = Posthog("phc_emulator", host=sys.argv[1], flush_interval=0.05)
api.set_provider(PostHogProvider(posthog))
client = api.get_client()
ada = EvaluationContext("ada", {"plan": "pro"})
said = {
    "on": client.get_boolean_value("on", False, ada),
    "off": client.get_boolean_value("off", True, ada),
    "layout": client.get_string_value("layout", "a", ada),
    "payload": client.get_object_value("layout", {}, ada),
    "size": client.get_integer_value("size", 0, ada),
    "missing": client.get_boolean_details("missing", True, ada).error_code,
    "pro": client.get_boolean_value("pro", False, ada),
    "free": client.get_boolean_value("pro", False, EvaluationContext("bob", {"plan": "free"})),
}
api.shutdown()
posthog.shutdown()
print(json.dumps(said))
