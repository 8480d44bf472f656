"""PostHog in a box: an in-process ASGI application that behaves like PostHog's private API.

```python
emulator = Emulator()
emulator.seed("cohorts", 250)
async with serve(emulator) as url:                     # a real socket
    ...
async with httpx.AsyncClient(transport=emulator.transport(), base_url="http://emulator") as http:
    ...                                                # or no socket at all
```

It is built from how the server behaves, not from what this package's client sends, so that it can
catch the client out.
"""

from __future__ import annotations

from asyncposthog.emulator.accounts import DEFAULT_KEY
from asyncposthog.emulator.core import Emulator
from asyncposthog.emulator.web.forms import Upload
from asyncposthog.emulator.web.messages import FIDELITY
from asyncposthog.emulator.web.recording import RecordedRequest
from asyncposthog.emulator.web.serving import serve, served

__all__ = ["DEFAULT_KEY", "FIDELITY", "Emulator", "RecordedRequest", "Upload", "serve", "served"]
