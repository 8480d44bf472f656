"""A small PostHog: an in-process ASGI application that behaves like PostHog's private API.

```python
emulator = Emulator()
emulator.seed("cohorts", 250)
async with serve(emulator) as url:                     # a real socket
    ...
async with httpx.AsyncClient(transport=emulator.transport(), base_url="http://emulator") as http:
    ...                                                # or no socket at all
```

It is written from how the server behaves, not from what this package's client sends, so that its
tests can find errors of the client. Names are imported on first use: the pytest plugin lives here
and must cost nothing in test runs that do not use it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .accounts import DEFAULT_KEY
    from .emulator import Emulator
    from .http.messages import FIDELITY
    from .http.server import serve, served
    from .recorder import RecordedRequest
    from .schema.forms import Upload

__all__ = ["DEFAULT_KEY", "FIDELITY", "Emulator", "RecordedRequest", "Upload", "serve", "served"]

_MODULES: Final = {
    "DEFAULT_KEY": ".accounts",
    "FIDELITY": ".http.messages",
    "Emulator": ".emulator",
    "RecordedRequest": ".recorder",
    "Upload": ".schema.forms",
    "serve": ".http.server",
    "served": ".http.server",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(module, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
